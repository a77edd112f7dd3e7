//! Questions on their way through the tables, from the command to the answer.

use std::task::{Context, Poll};

use bytes::Bytes;
use carrick_core::Multiaddr;
use libp2p::kad::{QueryId, RecordKey};
use tokio::sync::oneshot;

use super::behaviour::Behaviour;
use super::dht::Dht;
use super::finder::{Lookup, Tell};
use super::found::Found;
use super::jobs::{Ask, Part, Reply, TooMany};
use super::schedule::Outcome;
use super::tables::Which;

/// Questions under way; who asks beyond waits.
const MAX_JOBS: usize = 64;
/// How many there may be when an announcement begins, so that lookups always have room. Beyond it has its turn later.
const MAX_TOLD: usize = 48;
/// Pages of strangers' records that are written when the node closes.
const SAVED_AT_END: usize = 2_048;

impl Behaviour {
    /// Takes what may begin now; whether something did.
    pub(super) fn take(&mut self, cx: &mut Context<'_>) -> bool {
        let before = self.jobs.len();
        while let Poll::Ready(Some(reply)) = self.inbox.saves.poll_recv(cx) {
            self.save_records(SAVED_AT_END);
            let _ = reply.send(());
        }
        while self.jobs.len() < MAX_JOBS
            && let Poll::Ready(Some(lookup)) = self.inbox.lookups.poll_recv(cx)
        {
            self.look_up(lookup);
        }
        while let Poll::Ready(Some(tell)) = self.inbox.tells.poll_recv(cx) {
            match tell {
                Tell::Announce { root, reply } => self.announce(root, reply),
                Tell::Withdraw { roots, reply } => self.withdraw(&roots, reply),
            }
        }
        let now = self.host.now();
        while self.jobs.len() < MAX_TOLD
            && !self.tables.is_none()
            && let Some(root) = self.roots.schedule.next(now)
        {
            self.tell(root, vec![]);
        }
        self.jobs.len() > before
    }

    /// A table found something out.
    pub(super) fn found(&mut self, which: Which, found: Found) {
        match found {
            Found::Table => self.roots.schedule.peers_came(),
            Found::Providers { query, peers } => {
                let admitted = peers.into_iter().filter(|(peer, _)| self.host.admits(peer));
                let named = admitted.map(|(peer, addrs)| match addrs.is_empty() {
                    true => (peer, self.book.addresses(&peer).to_vec()),
                    false => (peer, addrs),
                });
                let named = named.collect();
                let enough = self.jobs.found((which, query), named);
                self.cancel(&enough);
            }
            Found::Done { query, outcome, addrs } => {
                if let Some((ask, outcome)) = self.jobs.done((which, query), outcome, addrs) {
                    self.answer(ask, outcome);
                }
            }
        }
    }

    fn look_up(&mut self, lookup: Lookup) {
        match lookup {
            // Who asked gave up while it waited.
            Lookup::Providers { to, .. } if to.is_closed() => {}
            Lookup::Peer { reply, .. } if reply.is_closed() => {}
            Lookup::Providers { key, limit, to } => {
                let key = RecordKey::from(key.to_vec());
                let parts = self.start(|table| Some(table.providers(key.clone())));
                self.begin(Ask::Providers { to, left: limit, named: [self.host.me()].into() }, &parts);
            }
            Lookup::Peer { peer, reply } => {
                let mut addrs = self.book.addresses(&peer).to_vec();
                for (_, table) in self.tables.each() {
                    addrs.extend(table.addresses(&peer));
                }
                let parts = self.start(|table| Some(table.search(peer)));
                self.begin(Ask::Peer { reply, addrs }, &parts);
            }
        }
    }

    fn announce(&mut self, root: Bytes, reply: Reply) {
        if self.tables.is_none() {
            let _ = reply.send(Ok(Some(Outcome::Told)));
            return;
        }
        if self.roots.schedule.len() >= super::MAX_ROOTS && !self.roots.schedule.contains(&root) {
            let _ = reply.send(Err(TooMany));
            return;
        }
        let key = RecordKey::from(root.to_vec());
        self.tables.each().for_each(|(_, table)| table.own(key.clone()));
        if self.jobs.len() >= MAX_TOLD {
            self.roots.add(&root);
            let _ = reply.send(Ok(None));
            return;
        }
        // Before it joins one under way: the root may have been withdrawn since that began.
        self.roots.begin(&root);
        // One answer for all who ask meanwhile.
        if let Some(reply) = self.jobs.join(&root, reply) {
            self.tell(root, vec![reply]);
        }
    }

    fn withdraw(&mut self, roots: &[Bytes], reply: oneshot::Sender<()>) {
        for root in roots.iter().filter(|root| self.roots.remove(root)) {
            let key = RecordKey::from(root.to_vec());
            self.tables.each().for_each(|(_, table)| table.disown(&key));
        }
        let _ = reply.send(());
    }

    fn tell(&mut self, root: Bytes, replies: Vec<Reply>) {
        let key = RecordKey::from(root.to_vec());
        let parts = self.start(|table| table.announce(key.clone()));
        self.begin(Ask::Announce { root, replies }, &parts);
    }

    /// Starts a lookup in each table.
    fn start(&mut self, mut lookup: impl FnMut(&mut Dht) -> Option<QueryId>) -> Vec<Part> {
        self.tables.each().filter_map(|(which, table)| Some((which, lookup(table)?))).collect()
    }

    fn begin(&mut self, ask: Ask, parts: &[Part]) {
        if parts.is_empty() {
            self.answer(ask, Outcome::NoPeers);
        } else {
            self.jobs.begin(ask, parts);
        }
    }

    fn answer(&mut self, ask: Ask, outcome: Outcome) {
        match ask {
            Ask::Announce { root, replies } => {
                self.host.count(counter(outcome), 1);
                self.roots.done(&root, outcome, self.host.now());
                for reply in replies {
                    let _ = reply.send(Ok(Some(outcome)));
                }
            }
            // The stream ends with its sender.
            Ask::Providers { .. } => {}
            Ask::Peer { reply, addrs } => {
                let mut each: Vec<Multiaddr> = Vec::new();
                for addr in addrs {
                    if !each.contains(&addr) {
                        each.push(addr);
                    }
                }
                let _ = reply.send(each);
            }
        }
    }

    /// Ends lookups early.
    pub(super) fn cancel(&mut self, parts: &[Part]) {
        for (which, query) in parts {
            if let Some(table) = self.tables.get(*which) {
                table.cancel(*query);
            }
        }
    }
}

fn counter(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Told => "announced",
        Outcome::NoPeers => "announced_to_nobody",
        Outcome::Timeout => "announce_timeout",
    }
}

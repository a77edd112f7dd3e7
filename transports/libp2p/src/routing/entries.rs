//! Who is in a table, and where they listen.
//!
//! The library puts nobody into it: only peers that said by identify that they answer, at those of their addresses that pass.
//! It adds addresses of its own later, such as the one that was dialled; those are looked through at once.

use carrick_core::{Multiaddr, PeerId, Protocol};
use libp2p::core::Endpoint;
use libp2p::swarm::{ConnectionId, NetworkBehaviour as _};

use super::dht::Dht;
use crate::address::{Class, MAX_OF_PEER, Scope, class, without_peer};

impl Dht {
    /// A peer that answers, and where it listens; `remote` is the address of a connection to it, if there is one.
    ///
    /// On loopback its loopback addresses count, where it has no others: they are of use to nobody else.
    pub(crate) fn add(&mut self, peer: &PeerId, addrs: &[Multiaddr], remote: Option<&Multiaddr>) {
        let mut taken = self.rule().of_peer(peer, addrs);
        if let Some(remote) = remote.filter(|_| taken.is_empty()) {
            taken = self.rule().towards(remote).of_peer(peer, addrs);
        }
        for addr in &taken {
            self.kad.add_address(peer, addr.clone());
        }
        self.keep_only(peer, |addr| taken.contains(addr));
    }

    /// A peer that was said to answer before; its addresses were looked at then.
    pub(crate) fn restore(&mut self, peer: &PeerId, addrs: &[Multiaddr]) {
        let passes = |addr: &&Multiaddr| self.own.scope() != Scope::World || self.rule().passes(addr);
        let addrs: Vec<_> = addrs.iter().filter(passes).cloned().collect();
        for addr in addrs {
            self.kad.add_address(peer, addr);
        }
    }

    /// A peer that does not answer, or is not wanted.
    pub(crate) fn remove(&mut self, peer: &PeerId) {
        self.kad.remove_peer(peer);
    }

    /// Drops a peer and all it announced.
    pub(crate) fn forget(&mut self, peer: &PeerId) {
        self.kad.remove_peer(peer);
        self.kad.store_mut().forget(peer);
    }

    /// Whether a peer is in the table.
    #[cfg(test)]
    pub(crate) fn knows(&mut self, peer: &PeerId) -> bool {
        !self.in_table(peer).is_empty()
    }

    /// How many peers are in the table.
    pub(crate) fn len(&mut self) -> usize {
        self.kad.kbuckets().map(|bucket| bucket.num_entries()).sum()
    }

    /// Where a peer listens: as the table knows it, as it said when it announced something, and as is heard of it in lookups
    /// under way.
    pub(crate) fn addresses(&mut self, peer: &PeerId) -> Vec<Multiaddr> {
        let known = self.in_table(peer);
        let said = self.kad.store_mut().addresses(peer).to_vec();
        let heard = self.unfiltered(peer);
        let heard = self.rule().of_peer(peer, said.iter().chain(&heard));
        let mut all: Vec<_> = known.iter().filter_map(|addr| without_peer(addr, peer)).collect();
        for addr in heard {
            if !all.contains(&addr) {
                all.push(addr);
            }
        }
        all.truncate(MAX_OF_PEER);
        all
    }

    /// Looks through table and records: peers that are not admitted go, and addresses that do not pass.
    pub(crate) fn sweep(&mut self, admits: impl Fn(&PeerId) -> bool) {
        let mut peers: Vec<PeerId> = self.kad.store_mut().providing().collect();
        for bucket in self.kad.kbuckets() {
            peers.extend(bucket.iter().map(|entry| *entry.node.key.preimage()));
        }
        for peer in peers {
            if admits(&peer) { self.clean(&peer) } else { self.forget(&peer) }
        }
    }

    /// Drops the addresses of a peer that do not pass: the library adds those that it dialled, wherever it had them from.
    pub(super) fn clean(&mut self, peer: &PeerId) {
        let rule = self.rule();
        let good = self.in_table(peer).iter().any(|addr| rule.passes(addr));
        let only_here = !good && rule.scope != Scope::World;
        self.keep_only(peer, |addr| rule.passes(addr) || (only_here && class(addr) == Class::Loopback));
    }

    /// Drops the addresses of a peer in the table that are not to stay, and those too many, the oldest first.
    fn keep_only(&mut self, peer: &PeerId, stays: impl Fn(&Multiaddr) -> bool) {
        let known = self.in_table(peer);
        let (stay, go): (Vec<_>, Vec<_>) =
            known.into_iter().partition(|addr| without_peer(addr, peer).is_some_and(|addr| stays(&addr)));
        // The library puts a dialled address in without `/p2p/`, and cannot take it out again.
        if go.iter().any(|addr| !is_named(addr, peer)) {
            self.kad.remove_peer(peer);
            for addr in &stay {
                self.kad.add_address(peer, addr.clone());
            }
            return;
        }
        let many = stay.len().saturating_sub(MAX_OF_PEER);
        for addr in go.iter().chain(&stay[..many]) {
            self.kad.remove_address(peer, addr);
        }
    }

    pub(super) fn in_table(&mut self, peer: &PeerId) -> Vec<Multiaddr> {
        let Some(bucket) = self.kad.kbucket(*peer) else { return vec![] };
        let entry = bucket.iter().find(|entry| entry.node.key.preimage() == peer);
        entry.map(|entry| entry.node.value.iter().cloned().collect()).unwrap_or_default()
    }

    /// All that the library would dial.
    fn unfiltered(&mut self, peer: &PeerId) -> Vec<Multiaddr> {
        let nobody = ConnectionId::new_unchecked(0);
        self.kad
            .handle_pending_outbound_connection(nobody, Some(*peer), &[], Endpoint::Dialer)
            .unwrap_or_default()
    }
}

fn is_named(addr: &Multiaddr, peer: &PeerId) -> bool {
    addr.iter().last() == Some(Protocol::P2p(*peer))
}

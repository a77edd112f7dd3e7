//! The part inside the swarm: takes questions, watches the tables, keeps time. Nothing here waits for anything.

use std::task::{Context, Poll};
use std::time::Duration;

use carrick_core::{Host, Multiaddr, PeerId};
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::identify;
use libp2p::kad::RecordKey;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent,
    ToSwarm,
};
use tokio::time::Interval;

use super::book::Book;
use super::finder::Inbox;
use super::jobs::Jobs;
use super::remotes::Remotes;
use super::roots::Roots;
use super::saver::Saver;
use super::tables::{Tables, TablesEvent};
use crate::address::{Class, Rule, Scope, class};

/// How often all is looked through.
pub(super) const LOOK: Duration = Duration::from_secs(1);

/// Routing, as a part of the swarm's behaviour. Its events are handled inside: none comes out.
pub(crate) struct Behaviour {
    pub(super) host: Host,
    pub(super) saver: Saver,
    pub(super) scope: Scope,
    pub(super) tables: Tables,
    pub(super) inbox: Inbox,
    pub(super) jobs: Jobs,
    pub(super) roots: Roots,
    pub(super) book: Book,
    pub(super) remotes: Remotes,
    pub(super) looks: Interval,
    pub(super) looked: u32,
    /// Pages of records that may be written now; below zero where more were than might.
    pub(super) saves: isize,
}

impl Behaviour {
    /// Identify told what a connected peer speaks and where it listens: call it for each `Received` event.
    ///
    /// A peer that speaks the protocol of a table answers in it, and is put there with those of its addresses that are of use;
    /// one that does not is taken out. Where it listens is remembered over a restart.
    pub(crate) fn identified(&mut self, peer: PeerId, info: &identify::Info) {
        if !self.host.admits(&peer) {
            return self.forget(&peer);
        }
        let remote = self.remotes.of(&peer).cloned();
        let addrs = &info.listen_addrs;
        let tables = self.tables.identified(&peer, &info.protocols, addrs, remote.as_ref());
        let rule = self.rule_towards(remote.as_ref());
        // The one that was dialled is known to work.
        let worked = self.remotes.dialled(&peer).cloned();
        let addrs = rule.of_peer(&peer, worked.iter().chain(addrs));
        self.book.met(peer, addrs, tables, self.host.now());
    }

    /// Forgets a peer and all it announced: it is banned, or no member.
    pub(crate) fn forget(&mut self, peer: &PeerId) {
        self.book.remove(peer);
        for (_, table) in self.tables.each() {
            table.forget(peer);
        }
    }

    /// Peers that were met before, also in an earlier life, and where they listen; who was met last comes first. For dialling
    /// when nobody is connected.
    pub(crate) fn known(&self, limit: usize) -> Vec<(PeerId, Vec<Multiaddr>)> {
        self.book.peers().take(limit).map(|(peer, known)| (*peer, known.addrs.clone())).collect()
    }

    /// Whether this node answers others in one of its tables.
    #[cfg(test)]
    pub(crate) fn serves(&mut self) -> bool {
        self.tables.each().any(|(_, table)| table.serves())
    }

    /// Puts what was saved into the tables.
    pub(super) fn take_back(&mut self) {
        for (_, table) in self.tables.each() {
            for root in self.roots.schedule.roots() {
                table.own(RecordKey::from(root.to_vec()));
            }
            for (peer, known) in self.book.peers() {
                if known.tables.iter().any(|name| name == table.protocol().as_ref()) && self.host.admits(peer)
                {
                    table.restore(peer, &known.addrs);
                }
            }
        }
    }

    /// A stranger from the internet says nothing about this house; whoever else is connected is near.
    fn rule_towards(&self, remote: Option<&Multiaddr>) -> Rule {
        let far = remote.is_none_or(|remote| class(remote) == Class::Global);
        let scope = if self.scope == Scope::World && !far { Scope::Lan } else { self.scope };
        let rule = Rule::new(scope);
        remote.map_or(rule, |remote| rule.towards(remote))
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = <Tables as NetworkBehaviour>::ConnectionHandler;
    type ToSwarm = TablesEvent;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.tables.handle_pending_inbound_connection(id, local, remote)
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.tables.handle_established_inbound_connection(id, peer, local, remote)
    }

    /// Where the tables and the book say that a peer listens: so it can be dialled by its id alone.
    fn handle_pending_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: Option<PeerId>,
        addrs: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        let mut all = self.tables.handle_pending_outbound_connection(id, peer, addrs, role)?;
        for addr in peer.iter().flat_map(|peer| self.book.addresses(peer)) {
            if !all.contains(addr) {
                all.push(addr.clone());
            }
        }
        Ok(all)
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        addr: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.tables.handle_established_outbound_connection(id, peer, addr, role, port)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        if let Some(gone) = self.remotes.on_swarm_event(&event) {
            self.book.left(&gone, self.host.now());
        }
        self.tables.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, id: ConnectionId, event: THandlerOutEvent<Self>) {
        self.tables.on_connection_handler_event(peer, id, event);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        loop {
            match self.tables.poll(cx) {
                Poll::Ready(ToSwarm::GenerateEvent(event)) => {
                    let (which, found) = event.into();
                    self.found(which, found);
                    continue;
                }
                Poll::Ready(other) => return Poll::Ready(other),
                Poll::Pending => {}
            }
            if self.take(cx) {
                continue;
            }
            if self.looks.poll_tick(cx).is_pending() {
                return Poll::Pending;
            }
            self.look();
        }
    }
}

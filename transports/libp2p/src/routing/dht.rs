//! One table: the library's Kademlia, and what it does not do itself.
//!
//! The library passes on every address that it hears, announces none unless somebody confirmed it, and calls an announcement
//! that reached nobody a success. Here addresses pass a [`Rule`] both ways, what this node listens on is announced where that
//! is of use, and results come with the addresses of the peers found.

use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use carrick_core::{Multiaddr, PeerId, Time};
use libp2p::StreamProtocol;
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::kad::{self, Mode, QueryId, RecordKey};
use libp2p::swarm::behaviour::{ExternalAddrConfirmed, ExternalAddrExpired};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent,
    ToSwarm,
};
use tokio::time::Instant;

use super::config::DhtMode;
use super::found::{Ended, Found, found};
use super::own::Own;
use super::records::{Records, Refused, Restored};
use super::search::Searches;
use crate::address::{Rule, Scope};

/// Largest message. Kubo's answers name 40 peers with a dozen addresses each, which the library's 16 KiB do not hold.
const MAX_PACKET: usize = 64 * 1024;
/// How long a whole lookup may take.
const LOOKUP: Duration = Duration::from_secs(60);
/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(10);
/// Most providers taken from one answer: none keeps the others from being dialled in time.
const MAX_OF_ANSWER: usize = 20;

/// One table.
pub(crate) struct Dht {
    pub(super) kad: kad::Behaviour<Records>,
    protocol: StreamProtocol,
    mode: DhtMode,
    pub(super) own: Own,
    searches: Searches,
}

impl Dht {
    /// The table of a protocol, among these.
    pub(crate) fn new(
        me: PeerId,
        protocol: StreamProtocol,
        scope: Scope,
        mode: DhtMode,
        records: Records,
    ) -> Self {
        let mut config = kad::Config::new(protocol.clone());
        config
            .set_query_timeout(LOOKUP)
            .set_substreams_timeout(ANSWER)
            .set_max_packet_size(MAX_PACKET)
            .set_kbucket_inserts(kad::BucketInserts::Manual)
            .set_caching(kad::Caching::Disabled)
            // Refreshed from outside; the library would warn each time that nobody is there.
            .set_periodic_bootstrap_interval(None)
            // Records are announced again by our own schedule, and ones with values are not kept.
            .set_provider_publication_interval(None)
            .set_publication_interval(None)
            .set_replication_interval(None);
        let kad = kad::Behaviour::with_config(me, records, config);
        let mut dht = Self { kad, protocol, mode, own: Own::new(scope), searches: Searches::default() };
        // Always told, or the library decides by itself.
        let mode = dht.wanted_mode();
        dht.kad.set_mode(Some(mode));
        dht
    }

    /// Its protocol.
    pub(crate) fn protocol(&self) -> &StreamProtocol {
        &self.protocol
    }

    /// Whether it answers others now.
    #[cfg(test)]
    pub(crate) fn serves(&self) -> bool {
        self.kad.mode() == Mode::Server
    }

    /// The rule of its addresses now.
    pub(crate) fn rule(&self) -> Rule {
        self.own.rule()
    }

    /// This node provides a key.
    pub(crate) fn own(&mut self, key: RecordKey) {
        self.kad.store_mut().own(key);
    }

    /// It does so no more; what others were told of it lives out its time.
    pub(crate) fn disown(&mut self, key: &RecordKey) {
        self.kad.store_mut().disown(key);
        self.kad.stop_providing(key);
    }

    /// Tells the peers nearest to a key that this node provides it.
    pub(crate) fn announce(&mut self, key: RecordKey) -> Option<QueryId> {
        self.own(key.clone());
        self.kad.start_providing(key).ok()
    }

    /// Looks for the providers of a key.
    pub(crate) fn providers(&mut self, key: RecordKey) -> QueryId {
        self.kad.get_providers(key)
    }

    /// Looks for a peer.
    pub(crate) fn search(&mut self, peer: PeerId) -> QueryId {
        let query = self.kad.get_closest_peers(peer);
        self.searches.begin(query, peer);
        query
    }

    /// Ends a lookup early.
    pub(crate) fn cancel(&mut self, query: QueryId) {
        if let Some(mut running) = self.kad.query_mut(&query) {
            running.finish();
        }
    }

    /// The time goes on: old records go, lookups that found their peer end. Answers what was not stored.
    pub(crate) fn tick(&mut self, now: Instant) -> Refused {
        for query in self.searches.satisfied() {
            self.cancel(query);
        }
        self.kad.store_mut().tick(now)
    }

    /// Looks for peers near this node and in every part of the table. The library does so by itself whenever a peer is new
    /// and few are known.
    pub(crate) fn refresh(&mut self) {
        if self.len() > 0 {
            // It fails where nobody is known.
            let _ = self.kad.bootstrap();
        }
    }

    /// How many records of strangers there are, and their bytes.
    pub(crate) fn held(&mut self) -> (usize, usize) {
        self.kad.store_mut().held()
    }

    /// Pages of what strangers announced that are not on the disk yet, about so many.
    pub(crate) fn unsaved(&mut self, now: Time, pages: usize) -> Vec<(String, Option<Bytes>)> {
        self.kad.store_mut().unsaved(now, pages)
    }

    /// Takes back what strangers announced to an earlier life.
    pub(crate) fn restore_records(&mut self, saved: Restored, now: Time, admits: impl Fn(&PeerId) -> bool) {
        self.kad.store_mut().restore(saved, now, admits);
    }

    /// Passes the addresses of ours that changed on to the library, in its own words.
    fn tell_own(&mut self) {
        let (gone, come) = self.own.changes();
        for addr in &gone {
            self.kad.on_swarm_event(FromSwarm::ExternalAddrExpired(ExternalAddrExpired { addr }));
        }
        for addr in &come {
            self.kad.on_swarm_event(FromSwarm::ExternalAddrConfirmed(ExternalAddrConfirmed { addr }));
        }
        let rule = self.own.rule();
        self.kad.store_mut().set_rule(rule);
        let mode = self.wanted_mode();
        if self.kad.mode() != mode {
            self.kad.set_mode(Some(mode));
        }
    }

    fn wanted_mode(&self) -> Mode {
        let serves = match self.mode {
            DhtMode::Client => false,
            DhtMode::Server => true,
            DhtMode::Auto => self.own.scope() != Scope::World || self.own.is_public(),
        };
        if serves { Mode::Server } else { Mode::Client }
    }

    fn translate(&mut self, event: kad::Event) -> Option<Found> {
        match found(event)? {
            Ended::Found { query, providers } => {
                let named = providers
                    .into_iter()
                    .take(MAX_OF_ANSWER)
                    .map(|peer| (peer, self.addresses(&peer)))
                    .collect();
                Some(Found::Providers { query, peers: named })
            }
            Ended::Done { query, outcome } => {
                let addrs = self.searches.end(&query).unwrap_or_default();
                Some(Found::Done { query, outcome, addrs })
            }
            Ended::Table(peer) => {
                self.clean(&peer);
                Some(Found::Table)
            }
        }
    }

    /// An answer came: whatever it says about peers looked for is noted before the next answer writes over it.
    fn note_searches(&mut self) {
        for (query, peer) in self.searches.running() {
            let heard = self.addresses(&peer);
            self.searches.heard(&query, heard);
        }
    }
}

impl NetworkBehaviour for Dht {
    type ConnectionHandler = <kad::Behaviour<Records> as NetworkBehaviour>::ConnectionHandler;
    type ToSwarm = Found;

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.kad.handle_established_inbound_connection(id, peer, local, remote)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: Option<PeerId>,
        _: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        Ok(peer.map(|peer| self.addresses(&peer)).unwrap_or_default())
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        addr: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.kad.handle_established_outbound_connection(id, peer, addr, role, port)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        if self.own.on_swarm_event(&event) {
            self.tell_own();
        } else {
            self.kad.on_swarm_event(event);
        }
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        self.kad.on_connection_handler_event(peer, connection, event);
        self.note_searches();
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        loop {
            match self.kad.poll(cx) {
                Poll::Ready(ToSwarm::GenerateEvent(event)) => {
                    if let Some(found) = self.translate(event) {
                        return Poll::Ready(ToSwarm::GenerateEvent(found));
                    }
                }
                Poll::Ready(other) => return Poll::Ready(other.map_out(|_| Found::Table)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

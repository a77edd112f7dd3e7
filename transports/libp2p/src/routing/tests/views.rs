//! What the tests see of a node's routing.

use carrick_core::{Multiaddr, PeerId};
use libp2p::core::Endpoint;
use libp2p::kad::ProviderRecord;
use libp2p::kad::store::RecordStore as _;
use libp2p::swarm::{ConnectionId, NetworkBehaviour as _};

use super::super::Behaviour;
use super::super::tables::Which;
use super::super::watch::SWEEP;

impl Behaviour {
    /// Whether a peer is in one of the tables.
    pub(super) fn in_tables(&mut self, peer: &PeerId) -> bool {
        self.tables.each().any(|(_, table)| table.knows(peer))
    }

    /// How many records of others there are.
    pub(super) fn stored(&mut self) -> usize {
        self.tables.each().map(|(_, table)| table.held().0).sum()
    }

    /// How many roots are provided.
    pub(super) fn roots(&self) -> usize {
        self.roots.schedule.len()
    }

    /// How many questions are under way.
    pub(super) fn under_way(&self) -> usize {
        self.jobs.len()
    }

    /// Whether it answers in the public table.
    pub(super) fn serves_world(&mut self) -> bool {
        self.tables.get(Which::World).is_some_and(|table| table.serves())
    }

    /// Where the swarm would dial a peer.
    pub(super) fn would_dial(&mut self, peer: PeerId) -> Vec<Multiaddr> {
        let id = ConnectionId::new_unchecked(0);
        self.handle_pending_outbound_connection(id, Some(peer), &[], Endpoint::Dialer).expect("never denied")
    }

    /// A peer said that it answers, and where; over a connection to this address.
    pub(super) fn claim(&mut self, peer: PeerId, addrs: Vec<Multiaddr>, over: Option<Multiaddr>) {
        for (_, table) in self.tables.each() {
            table.add(&peer, &addrs, over.as_ref());
        }
    }

    /// What others are told of a peer in the table.
    pub(super) fn told_of(&mut self, peer: PeerId) -> Vec<Multiaddr> {
        self.tables.each().flat_map(|(_, table)| table.in_table(&peer)).collect()
    }

    /// A peer announced so many keys.
    pub(super) fn flooded(&mut self, peer: PeerId, keys: u32) {
        for (_, table) in self.tables.each() {
            for n in 0..keys {
                let record = ProviderRecord::new(n.to_be_bytes().to_vec(), peer, vec![]);
                table.kad.store_mut().add_provider(record).expect("never an error");
            }
        }
    }

    /// Looks through all as often as it takes for a sweep.
    pub(super) fn sweep_now(&mut self) {
        (0..SWEEP).for_each(|_| self.look());
    }
}

//! Lookups of peers under way in one table.
//!
//! A lookup ends when nobody nearer is left to ask. The peer itself may be named long before, so the lookup is cut short a
//! little after that: not at once, because the first answer need not be the true one.

use std::collections::HashMap;

use carrick_core::{Multiaddr, PeerId};
use libp2p::kad::QueryId;

use crate::address::MAX_OF_PEER;

/// Most addresses taken from one answer.
const OF_ANSWER: usize = 8;

/// Who is looked for, and what was heard of them.
#[derive(Debug, Default)]
pub(super) struct Searches(HashMap<QueryId, Search>);

#[derive(Debug)]
struct Search {
    peer: PeerId,
    addrs: Vec<Multiaddr>,
    /// Looks at it since the first address came.
    looks: u32,
}

impl Searches {
    pub(super) fn begin(&mut self, query: QueryId, peer: PeerId) {
        self.0.insert(query, Search { peer, addrs: vec![], looks: 0 });
    }

    pub(super) fn running(&self) -> Vec<(QueryId, PeerId)> {
        self.0.iter().map(|(query, search)| (*query, search.peer)).collect()
    }

    pub(super) fn heard(&mut self, query: &QueryId, addrs: Vec<Multiaddr>) {
        let Some(search) = self.0.get_mut(query) else { return };
        for addr in addrs.into_iter().take(OF_ANSWER) {
            if search.addrs.len() < MAX_OF_PEER && !search.addrs.contains(&addr) {
                search.addrs.push(addr);
            }
        }
    }

    /// Those that can end: they have an address since the look before this one.
    pub(super) fn satisfied(&mut self) -> Vec<QueryId> {
        for search in self.0.values_mut().filter(|search| !search.addrs.is_empty()) {
            search.looks += 1;
        }
        self.0.iter().filter(|(_, search)| search.looks >= 2).map(|(query, _)| *query).collect()
    }

    pub(super) fn end(&mut self, query: &QueryId) -> Option<Vec<Multiaddr>> {
        Some(self.0.remove(query)?.addrs)
    }
}

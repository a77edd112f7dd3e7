//! Where other peers listen, as their signed records say.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use libp2p_identity::PeerId;
use lru::LruCache;
use multiaddr::Multiaddr;

use crate::PeerRecord;

/// The newest record of each peer, within a bound; the least recently learnt goes first.
#[derive(Debug)]
pub(crate) struct Book(Mutex<State>);

#[derive(Debug)]
struct State {
    records: LruCache<PeerId, PeerRecord>,
    unsaved: BTreeSet<PeerId>,
}

impl Book {
    pub(crate) fn new(max_peers: usize) -> Self {
        let records = LruCache::new(NonZeroUsize::new(max_peers).unwrap_or(NonZeroUsize::MIN));
        Self(Mutex::new(State { records, unsaved: BTreeSet::new() }))
    }

    /// Takes a record if it is newer than the one there is; answers whether it was.
    pub(crate) fn learn(&self, record: PeerRecord) -> bool {
        let mut state = self.lock();
        if state.records.peek(record.peer()).is_some_and(|known| known.seq() >= record.seq()) {
            return false;
        }
        state.unsaved.insert(*record.peer());
        state.records.put(*record.peer(), record);
        true
    }

    pub(crate) fn addresses(&self, peer: &PeerId) -> Vec<Multiaddr> {
        self.lock().records.peek(peer).map(|record| record.addrs().to_vec()).unwrap_or_default()
    }

    /// The most recently learnt first.
    pub(crate) fn records(&self, limit: usize) -> Vec<PeerRecord> {
        self.lock().records.iter().take(limit).map(|(_, record)| record.clone()).collect()
    }

    /// Records learnt since the last call, at most `limit`.
    pub(crate) fn take_unsaved(&self, limit: usize) -> Vec<PeerRecord> {
        let mut state = self.lock();
        let unsaved = std::mem::take(&mut state.unsaved);
        unsaved.iter().take(limit).filter_map(|peer| state.records.peek(peer).cloned()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

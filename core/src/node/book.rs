//! Where other peers listen, as their signed records say.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use libp2p_identity::PeerId;
use lru::LruCache;
use multiaddr::Multiaddr;

use crate::PeerRecord;

/// Where the records are saved in the store's metadata.
pub(crate) const PREFIX: &str = "peers/";

/// The newest record of each peer, within a bound; the least recently learnt goes first.
#[derive(Debug)]
pub(crate) struct Book(Mutex<State>);

#[derive(Debug)]
struct State {
    records: LruCache<PeerId, PeerRecord>,
    /// What must be saved; `None` was pushed out and is deleted.
    dirty: BTreeMap<String, Option<Bytes>>,
}

impl Book {
    pub(crate) fn new(max_peers: usize) -> Self {
        let records = LruCache::new(NonZeroUsize::new(max_peers).unwrap_or(NonZeroUsize::MIN));
        Self(Mutex::new(State { records, dirty: BTreeMap::new() }))
    }

    /// Takes a record if it is newer than the one there is; answers whether it was.
    pub(crate) fn learn(&self, record: PeerRecord) -> bool {
        let mut state = self.lock();
        if state.records.peek(record.peer()).is_some_and(|known| known.seq() >= record.seq()) {
            return false;
        }
        state.dirty.insert(name(record.peer()), Some(record.encoded().clone()));
        let peer = *record.peer();
        // `push` gives back the older record of the same peer too.
        if let Some((pushed_out, _)) = state.records.push(peer, record)
            && pushed_out != peer
        {
            state.dirty.insert(name(&pushed_out), None);
        }
        true
    }

    pub(crate) fn addresses(&self, peer: &PeerId) -> Vec<Multiaddr> {
        self.lock().records.peek(peer).map(|record| record.addrs().to_vec()).unwrap_or_default()
    }

    /// The most recently learnt first.
    pub(crate) fn records(&self, limit: usize) -> Vec<PeerRecord> {
        self.lock().records.iter().take(limit).map(|(_, record)| record.clone()).collect()
    }

    /// What must be saved, once.
    pub(crate) fn take_dirty(&self) -> Vec<(String, Option<Bytes>)> {
        std::mem::take(&mut self.lock().dirty).into_iter().collect()
    }

    /// An entry that [`take_dirty`](Self::take_dirty) gave could not be saved; a newer one goes before it.
    pub(crate) fn unsaved(&self, name: String, record: Option<Bytes>) {
        self.lock().dirty.entry(name).or_insert(record);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name(peer: &PeerId) -> String {
    format!("{PREFIX}{peer}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use libp2p_identity::Keypair;

    #[test]
    fn the_book_is_bounded_and_forgets_on_disk_too() {
        let network = crate::NetworkId::new("home").expect("a network");
        let book = Book::new(2);
        let records = [(); 3].map(|()| {
            PeerRecord::sign(&Keypair::generate_ed25519(), &network, 1, vec![], vec![]).expect("signs")
        });
        for record in &records {
            assert!(book.learn(record.clone()) && !book.learn(record.clone()));
        }
        let deleted: Vec<_> = book.take_dirty().into_iter().filter(|(_, value)| value.is_none()).collect();
        assert_eq!(deleted, [(name(records[0].peer()), None)]);
        assert_eq!(book.records(9).len(), 2);
    }
}

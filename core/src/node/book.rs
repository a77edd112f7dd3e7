//! Where other peers listen, as their signed records say.
//!
//! Keys cost nothing, so anybody can sign any number of records. A peer that gave us its own over a link has *met* us; of
//! others we only *heard*. Each kind has a bound of its own: no hearsay pushes out whom we met. Only those we met are saved.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use libp2p_identity::PeerId;
use lru::LruCache;
use multiaddr::Multiaddr;

use super::hearsay::Hearsay;
use crate::{PeerRecord, Remote};

/// Where the records are saved in the store's metadata.
pub(crate) const PREFIX: &str = "peers/";

/// The newest record of each peer, within a bound.
#[derive(Debug)]
pub(crate) struct Book(Mutex<State>);

#[derive(Debug)]
struct State {
    max: usize,
    /// The most recently met first.
    met: LruCache<PeerId, PeerRecord>,
    heard: Hearsay,
    /// What must be saved; `None` was pushed out and is deleted.
    dirty: BTreeMap<String, Option<Bytes>>,
}

impl Book {
    /// Room for so many peers that we met, and for as many that we heard of.
    pub(crate) fn new(max: usize) -> Self {
        let heard = Hearsay::new(max);
        Self(Mutex::new(State { max, met: LruCache::unbounded(), heard, dirty: BTreeMap::new() }))
    }

    /// Takes a record that came over the link to `from`; answers whether it is kept and newer than what was there. Of those
    /// we met who is `connected` stays while another can go.
    pub(crate) fn learn(
        &self,
        from: &Remote,
        record: PeerRecord,
        connected: impl Fn(&PeerId) -> bool,
    ) -> bool {
        let mut state = self.lock();
        if from.peer() == Some(record.peer()) {
            return state.meet(record, connected);
        }
        state.get(record.peer()).is_none_or(|known| known.seq() < record.seq()) && state.hear(from, record)
    }

    pub(crate) fn addresses(&self, peer: &PeerId) -> Vec<Multiaddr> {
        self.lock().get(peer).map(|record| record.addrs().to_vec()).unwrap_or_default()
    }

    /// Those we met before those we heard of; of either the most recent first.
    pub(crate) fn records(&self, limit: usize) -> Vec<PeerRecord> {
        let state = self.lock();
        let met = state.met.iter().map(|(_, record)| record);
        met.chain(state.heard.iter()).take(limit).cloned().collect()
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

impl State {
    fn get(&self, peer: &PeerId) -> Option<&PeerRecord> {
        self.met.peek(peer).or_else(|| self.heard.get(peer))
    }

    fn meet(&mut self, record: PeerRecord, connected: impl Fn(&PeerId) -> bool) -> bool {
        let peer = *record.peer();
        // What we heard may be newer than what it says: its clock was set back.
        let known = self.get(&peer).filter(|known| known.seq() >= record.seq()).cloned();
        let news = known.is_none();
        if news || !self.met.contains(&peer) {
            self.heard.remove(&peer);
            self.write(known.unwrap_or(record));
        }
        self.met.promote(&peer);
        if self.met.len() > self.max {
            self.push_out(connected);
        }
        news
    }

    fn hear(&mut self, from: &Remote, record: PeerRecord) -> bool {
        if !self.met.contains(record.peer()) {
            return self.heard.take(from, record);
        }
        self.write(record);
        true
    }

    fn write(&mut self, record: PeerRecord) {
        let peer = *record.peer();
        self.dirty.insert(name(&peer), Some(record.encoded().clone()));
        match self.met.peek_mut(&peer) {
            Some(known) => *known = record,
            None => drop(self.met.put(peer, record)),
        }
    }

    fn push_out(&mut self, connected: impl Fn(&PeerId) -> bool) {
        for _ in 0..self.met.len() {
            match self.met.peek_lru().map(|(peer, _)| *peer) {
                Some(peer) if connected(&peer) => self.met.promote(&peer),
                _ => break,
            };
        }
        if let Some((peer, _)) = self.met.pop_lru() {
            self.dirty.insert(name(&peer), None);
        }
    }
}

fn name(peer: &PeerId) -> String {
    format!("{PREFIX}{peer}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Keypair, NetworkId};

    fn record(key: &Keypair, seq: u64) -> PeerRecord {
        let network = NetworkId::new("home").expect("a network");
        PeerRecord::sign(key, &network, seq, vec![], vec![]).expect("signs")
    }

    fn some() -> PeerRecord {
        record(&Keypair::generate_ed25519(), 1)
    }

    fn meet(book: &Book, record: &PeerRecord) -> bool {
        book.learn(&Remote::Peer(*record.peer()), record.clone(), |_| false)
    }

    fn hear(book: &Book, record: &PeerRecord) -> bool {
        book.learn(&Remote::Foreign("gossip".into()), record.clone(), |_| false)
    }

    fn deleted(book: &Book) -> Vec<String> {
        let dirty = book.take_dirty().into_iter();
        dirty.filter(|(_, value)| value.is_none()).map(|(name, _)| name).collect()
    }

    #[test]
    fn whom_we_met_is_pushed_out_by_those_we_met_alone_and_on_disk_too() {
        let book = Book::new(2);
        let met = [(); 3].map(|()| some());
        assert!(meet(&book, &met[0]) && !meet(&book, &met[0]) && meet(&book, &met[1]));
        for _ in 0..100 {
            assert!(hear(&book, &some()));
        }
        assert!(deleted(&book).is_empty());
        assert_eq!(book.records(2), [met[1].clone(), met[0].clone()], "whom we met stands first");
        meet(&book, &met[2]);
        assert_eq!(deleted(&book), [name(met[0].peer())], "the one met longest ago");
        assert_eq!(book.records(9).len(), 4);
    }

    #[test]
    fn who_is_connected_stays() {
        let book = Book::new(3);
        let friend = some();
        meet(&book, &friend);
        for _ in 0..100 {
            let stranger = some();
            let from = Remote::Peer(*stranger.peer());
            assert!(book.learn(&from, stranger, |peer| peer == friend.peer()));
        }
        assert!(book.records(9).contains(&friend));
        assert_eq!(book.records(9).len(), 3);
    }

    #[test]
    fn who_was_heard_of_first_and_then_met_counts_as_met() {
        let (book, key) = (Book::new(1), Keypair::generate_ed25519());
        assert!(hear(&book, &record(&key, 2)));
        assert!(book.take_dirty().is_empty(), "hearsay is not saved");
        assert!(!meet(&book, &record(&key, 1)), "what was heard is newer");
        assert!(!hear(&book, &record(&key, 2)) && hear(&book, &record(&key, 3)));
        assert!(hear(&book, &some()));
        let saved = book.take_dirty().pop().expect("saved");
        assert_eq!(saved, (name(record(&key, 3).peer()), Some(record(&key, 3).encoded().clone())));
    }
}

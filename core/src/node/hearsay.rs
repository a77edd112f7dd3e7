//! Records of peers that others told us of: a bound that the tellers share.
//!
//! At the bound whoever told most gives way, its oldest first. So one teller with any number of invented peers pushes out
//! none but its own.

use std::collections::{BTreeMap, VecDeque};

use libp2p_identity::PeerId;
use lru::LruCache;

use crate::{PeerRecord, Remote};

#[derive(Debug)]
pub(super) struct Hearsay {
    max: usize,
    /// The most recently told first.
    records: LruCache<PeerId, Heard>,
    /// Whom each told us of, the oldest first.
    tellers: BTreeMap<Remote, VecDeque<PeerId>>,
}

#[derive(Debug)]
struct Heard {
    record: PeerRecord,
    teller: Remote,
}

impl Hearsay {
    pub(super) fn new(max: usize) -> Self {
        Self { max, records: LruCache::unbounded(), tellers: BTreeMap::new() }
    }

    pub(super) fn get(&self, peer: &PeerId) -> Option<&PeerRecord> {
        self.records.peek(peer).map(|heard| &heard.record)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &PeerRecord> {
        self.records.iter().map(|(_, heard)| &heard.record)
    }

    /// Takes a record that is newer than the one there is; answers whether it found room.
    pub(super) fn take(&mut self, teller: &Remote, record: PeerRecord) -> bool {
        let peer = *record.peer();
        if let Some(known) = self.records.get_mut(&peer) {
            known.record = record;
            return true;
        }
        self.tellers.entry(teller.clone()).or_default().push_back(peer);
        self.records.put(peer, Heard { record, teller: teller.clone() });
        if self.records.len() > self.max {
            self.push_out(teller);
        }
        self.records.contains(&peer)
    }

    pub(super) fn remove(&mut self, peer: &PeerId) {
        let Some(Heard { teller, .. }) = self.records.pop(peer) else { return };
        if let Some(told) = self.tellers.get_mut(&teller) {
            told.retain(|other| other != peer);
            if told.is_empty() {
                self.tellers.remove(&teller);
            }
        }
    }

    /// Of tellers with equally many it is the last one's turn.
    fn push_out(&mut self, last: &Remote) {
        let most = self.tellers.iter().max_by_key(|(teller, told)| (told.len(), *teller == last));
        if let Some(oldest) = most.and_then(|(_, told)| told.front().copied()) {
            self.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Keypair, NetworkId};

    fn record() -> PeerRecord {
        let network = NetworkId::new("home").expect("a network");
        PeerRecord::sign(&Keypair::generate_ed25519(), &network, 1, vec![], vec![]).expect("signs")
    }

    fn teller(n: usize) -> Remote {
        Remote::Foreign(n.to_string().into())
    }

    #[test]
    fn one_teller_pushes_out_none_but_its_own() {
        let mut hearsay = Hearsay::new(10);
        let honest = [(); 4].map(|()| record());
        for record in &honest {
            assert!(hearsay.take(&teller(0), record.clone()));
        }
        for _ in 0..100 {
            assert!(hearsay.take(&teller(1), record()));
        }
        assert!(honest.iter().all(|record| hearsay.get(record.peer()).is_some()));
        assert_eq!(hearsay.iter().count(), 10);
    }

    #[test]
    fn however_many_tellers_there_are_each_keeps_one() {
        let mut hearsay = Hearsay::new(10);
        let honest = record();
        assert!(hearsay.take(&teller(0), honest.clone()));
        for n in 1..10 {
            assert!(hearsay.take(&teller(n), record()));
        }
        for n in 10..100 {
            assert!(!hearsay.take(&teller(n), record()), "there is no room for one more teller");
        }
        assert!(hearsay.get(honest.peer()).is_some());
        assert_eq!((hearsay.tellers.len(), hearsay.iter().count()), (10, 10));
    }

    #[test]
    fn what_is_removed_leaves_no_trace() {
        let mut hearsay = Hearsay::new(10);
        let record = record();
        hearsay.take(&teller(0), record.clone());
        hearsay.remove(record.peer());
        assert!(hearsay.tellers.is_empty() && hearsay.records.is_empty());
    }
}

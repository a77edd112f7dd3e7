//! What is known of the entries of a ledger, without reading them.

use std::collections::{BTreeSet, HashSet};
use std::num::NonZeroUsize;
use std::ops::Bound;

use carrick_core::limits::MAX_PARENTS;
use carrick_core::{Cid, Error, ErrorKind, Result};
use lru::LruCache;

use crate::order::{Absent, Order};
use crate::place::{CLOCK, Digest, PLACE, Place, cid};

/// Entries whose clock is in memory, about 80 bytes each; that of others is read from the store.
const CLOCKS: NonZeroUsize = NonZeroUsize::new(65_536).expect("not zero");

/// Entries by name and in their order.
#[derive(Debug)]
pub(crate) struct Index {
    clocks: LruCache<Digest, u64>,
    pub(crate) order: Order,
    /// Entries that no other one follows.
    pub(crate) heads: BTreeSet<Place>,
    /// Entries since the pages were saved last.
    pub(crate) fresh: Vec<Place>,
    /// Entries whose records may be in the store already, but which are none yet.
    adding: HashSet<Digest>,
}

/// What the store remembers of an entry: its clock and its parents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) place: Place,
    pub(crate) parents: Vec<Place>,
}

/// Whether an entry is there, as far as memory tells.
pub(crate) enum Known {
    Entry(Place),
    NoEntry,
    /// The store knows.
    Unsure,
}

impl Record {
    /// The record of an entry with these parents; `None` for the CID of what is no message.
    pub(crate) fn new(entry: &Cid, parents: Vec<Place>) -> Option<Self> {
        let clock = 1 + parents.iter().map(Place::clock).max().unwrap_or_default();
        Some(Self { place: Place::new(clock, entry)?, parents })
    }

    /// The bytes under the entry's name.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let parents = self.parents.iter().flat_map(|parent| parent.to_bytes());
        self.place.clock().to_be_bytes().into_iter().chain(parents).collect()
    }

    pub(crate) fn decode(name: Digest, bytes: &[u8]) -> Result<Self> {
        let damaged = || {
            let detail = format!("the record of the entry {} is damaged", cid(&name));
            Error::new(ErrorKind::Integrity, "open", detail)
        };
        let (clock, parents) = bytes.split_first_chunk::<CLOCK>().ok_or_else(damaged)?;
        let (parents, rest) = parents.as_chunks::<PLACE>();
        if !rest.is_empty() || parents.len() > MAX_PARENTS {
            return Err(damaged());
        }
        let parents = parents.iter().map(Place::from_bytes);
        Ok(Self { place: Place::of(u64::from_be_bytes(*clock), name), parents: parents.collect() })
    }
}

impl Index {
    /// What was saved.
    pub(crate) fn new(order: Order, heads: BTreeSet<Place>) -> Self {
        Self { clocks: LruCache::sparse(CLOCKS), order, heads, fresh: vec![], adding: HashSet::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    pub(crate) fn known(&mut self, digest: &Digest) -> Known {
        match self.clocks.get(digest) {
            Some(clock) => Known::Entry(Place::of(*clock, *digest)),
            None if self.adding.contains(digest) => Known::NoEntry,
            None => Known::Unsure,
        }
    }

    /// Remembers the clock of an entry that the store knows.
    pub(crate) fn learn(&mut self, place: &Place) {
        self.clocks.put(*place.digest(), place.clock());
    }

    /// Its record is about to be written; it is no entry before it is [inserted](Self::insert).
    pub(crate) fn begin(&mut self, place: &Place) {
        if !self.clocks.contains(place.digest()) {
            self.adding.insert(*place.digest());
        }
    }

    /// Adds an entry, whose parents are there; answers its rank, or `None` where it was there.
    pub(crate) fn insert(&mut self, record: &Record) -> Result<Option<usize>, Absent> {
        let rank = self.order.insert(record.place)?;
        self.learn(&record.place);
        self.adding.remove(record.place.digest());
        if rank.is_some() {
            for parent in &record.parents {
                self.heads.remove(parent);
            }
            self.heads.insert(record.place);
            self.fresh.push(record.place);
        }
        Ok(rank)
    }

    /// Entries that no other one follows, the highest first.
    pub(crate) fn heads(&self) -> impl Iterator<Item = Place> {
        self.heads.iter().rev().copied()
    }

    /// The clock of the last one; 0 where there is none.
    pub(crate) fn last_clock(&self) -> u64 {
        self.heads.last().map_or(0, Place::clock)
    }

    /// The highest of them, as many as are told.
    pub(crate) fn highest_heads(&self) -> Vec<Cid> {
        self.heads().take(MAX_PARENTS).map(|head| head.cid()).collect()
    }

    /// Entries that stand for all before them: the heads, and 1, 2, 4, … back from the last in the order.
    pub(crate) fn sample(&mut self, most: usize) -> Result<Vec<Cid>, Absent> {
        let mut places: Vec<Place> = self.heads().take(most / 2).collect();
        let back = (0..usize::BITS).map(|power| 1_usize << power);
        let ranks: Vec<usize> = back.map_while(|back| self.len().checked_sub(1 + back)).collect();
        for rank in ranks.into_iter().take(most - places.len()) {
            places.extend(self.order.at(rank)?);
        }
        Ok(places.iter().map(Place::cid).collect())
    }

    pub(crate) fn rank(&mut self, place: &Place) -> Result<Option<usize>, Absent> {
        self.order.rank(place)
    }

    pub(crate) fn from(&mut self, from: Bound<Place>) -> Result<Vec<Place>, Absent> {
        self.order.from(from)
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::seq::{IndexedRandom as _, SliceRandom as _};
    use rand::{Rng as _, SeedableRng as _};

    use super::*;
    use crate::place::digest;

    /// A log of many writers: each entry follows some of those before it.
    fn log(random: &mut StdRng, entries: usize) -> Vec<(Cid, Vec<Cid>)> {
        let mut log: Vec<(Cid, Vec<Cid>)> = Vec::new();
        for _ in 0..entries {
            let some = random.random_range(0..4);
            let mut parents: Vec<Cid> = log.choose_multiple(random, some).map(|(cid, _)| *cid).collect();
            parents.sort();
            log.push((cid(&random.random()), parents));
        }
        log
    }

    fn place(index: &mut Index, cid: &Cid) -> Option<Place> {
        match index.known(&digest(cid)?) {
            Known::Entry(place) => Some(place),
            Known::NoEntry | Known::Unsure => None,
        }
    }

    /// Adds entries as they come, each once its parents are there.
    fn grown(mut log: Vec<(Cid, Vec<Cid>)>) -> (Index, Vec<Record>) {
        let (mut index, mut records) = (Index::new(Order::default(), BTreeSet::new()), Vec::new());
        while !log.is_empty() {
            log.retain(|(entry, parents)| {
                let parents: Option<Vec<Place>> =
                    parents.iter().map(|parent| place(&mut index, parent)).collect();
                let Some(parents) = parents else { return true };
                let record = Record::new(entry, parents).expect("a message");
                index.insert(&record).expect("in memory").expect("new");
                records.push(record);
                false
            });
        }
        (index, records)
    }

    #[test]
    fn whoever_has_the_same_entries_has_the_same_order_and_heads() {
        for seed in 0..50 {
            let mut random = StdRng::seed_from_u64(seed);
            let mut log = log(&mut random, 100);
            let (mut first, _) = grown(log.clone());
            log.shuffle(&mut random);
            let (mut second, _) = grown(log.clone());
            assert_eq!(first.heads, second.heads, "seed {seed}");
            let mut rank = |cid: &Cid| {
                let place = place(&mut first, cid).expect("there");
                let rank = first.rank(&place).expect("in memory");
                assert_eq!(rank, second.rank(&place).expect("in memory"), "seed {seed}");
                rank.expect("there")
            };
            for (entry, parents) in &log {
                assert!(parents.iter().all(|parent| rank(parent) < rank(entry)), "seed {seed}");
            }
        }
    }

    #[test]
    fn what_is_being_added_is_no_entry_yet() {
        let mut index = Index::new(Order::default(), BTreeSet::new());
        let record = Record::new(&cid(&[1; 32]), vec![]).expect("a message");
        let known = |index: &mut Index| index.known(record.place.digest());
        assert!(matches!(known(&mut index), Known::Unsure));
        index.begin(&record.place);
        assert!(matches!(known(&mut index), Known::NoEntry));
        index.insert(&record).expect("in memory");
        index.begin(&record.place);
        assert!(matches!(known(&mut index), Known::Entry(place) if place == record.place));
    }

    #[test]
    fn records_come_back_and_damaged_ones_are_told() {
        let (index, records) = grown(log(&mut StdRng::seed_from_u64(7), 50));
        assert_eq!((index.len(), records.len()), (50, 50));
        for record in records {
            let (name, bytes) = (*record.place.digest(), record.encode());
            assert_eq!(Record::decode(name, &bytes).expect("whole"), record);
            let cut = Record::decode(name, &bytes[..bytes.len() - 1]).expect_err("cut");
            assert_eq!(cut.kind(), ErrorKind::Integrity);
        }
    }
}

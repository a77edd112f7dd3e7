//! What is known of the entries of a ledger, without reading them.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Bound;

use carrick_core::limits::MAX_PARENTS;
use carrick_core::{Cid, Error, ErrorKind, Result};

use crate::order::Order;
use crate::place::{Digest, Place, cid, digest};

/// Bytes of a clock in a record.
const CLOCK: usize = 8;

/// Entries by name and in their order. About 120 bytes each.
#[derive(Debug, Default)]
pub(crate) struct Index {
    clocks: HashMap<Digest, u64>,
    order: Order,
    /// Entries that no other one follows.
    heads: BTreeSet<Place>,
}

/// What the store remembers of an entry: its clock and its parents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) place: Place,
    pub(crate) parents: Vec<Digest>,
}

impl Record {
    /// The bytes under the entry's name.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let clock = self.place.clock().to_be_bytes();
        clock.into_iter().chain(self.parents.iter().flatten().copied()).collect()
    }

    pub(crate) fn decode(name: Digest, bytes: &[u8]) -> Result<Self> {
        let damaged = || {
            let detail = format!("the record of the entry {} is damaged", cid(&name));
            Error::new(ErrorKind::Integrity, "open", detail)
        };
        let (clock, parents) = bytes.split_first_chunk::<CLOCK>().ok_or_else(damaged)?;
        let (parents, rest) = parents.as_chunks::<{ size_of::<Digest>() }>();
        if !rest.is_empty() || parents.len() > MAX_PARENTS {
            return Err(damaged());
        }
        Ok(Self { place: Place::of(u64::from_be_bytes(*clock), name), parents: parents.to_vec() })
    }
}

impl Index {
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    pub(crate) fn place(&self, cid: &Cid) -> Option<Place> {
        let digest = digest(cid)?;
        Some(Place::of(*self.clocks.get(&digest)?, digest))
    }

    /// Those that are no entries here.
    pub(crate) fn missing(&self, cids: &[Cid]) -> Vec<Cid> {
        cids.iter().filter(|cid| self.place(cid).is_none()).copied().collect()
    }

    /// The record of an entry with these parents; `None` where one of them is no entry.
    pub(crate) fn record(&self, entry: &Cid, parents: &[Cid]) -> Option<Record> {
        let parents: Vec<Place> = parents.iter().map(|parent| self.place(parent)).collect::<Option<_>>()?;
        let clock = 1 + parents.iter().map(Place::clock).max().unwrap_or_default();
        let parents = parents.iter().map(|parent| *parent.digest()).collect();
        Some(Record { place: Place::new(clock, entry)?, parents })
    }

    /// Adds an entry, whose parents are there; answers its rank, or `None` where it was there.
    pub(crate) fn insert(&mut self, record: &Record) -> Option<usize> {
        let rank = self.order.insert(record.place)?;
        self.clocks.insert(*record.place.digest(), record.place.clock());
        for parent in &record.parents {
            if let Some(clock) = self.clocks.get(parent) {
                self.heads.remove(&Place::of(*clock, *parent));
            }
        }
        self.heads.insert(record.place);
        Some(rank)
    }

    /// All entries of a store, in whatever order they were read.
    pub(crate) fn of(records: &[Record]) -> Self {
        let places = || records.iter().map(|record| record.place);
        let followed: HashSet<&Digest> = records.iter().flat_map(|record| &record.parents).collect();
        Self {
            clocks: places().map(|place| (*place.digest(), place.clock())).collect(),
            order: Order::of(places().collect()),
            heads: places().filter(|place| !followed.contains(place.digest())).collect(),
        }
    }

    /// Entries that no other one follows, the highest first.
    pub(crate) fn heads(&self) -> impl Iterator<Item = Place> {
        self.heads.iter().rev().copied()
    }

    /// The highest of them, as many as an entry may follow.
    pub(crate) fn highest_heads(&self) -> Vec<Cid> {
        self.heads().take(MAX_PARENTS).map(|head| head.cid()).collect()
    }

    /// Entries that stand for all before them: the heads, and 1, 2, 4, … back from the last in the order.
    pub(crate) fn sample(&self, most: usize) -> Vec<Cid> {
        let back = (0..usize::BITS).map(|power| 1_usize << power);
        let ranks = back.map_while(|back| self.len().checked_sub(1 + back));
        let places = self.heads().take(most / 2).chain(ranks.filter_map(|rank| self.order.at(rank)));
        places.take(most).map(|place| place.cid()).collect()
    }

    pub(crate) fn rank(&self, place: &Place) -> Option<usize> {
        self.order.rank(place)
    }

    pub(crate) fn from(&self, from: Bound<Place>, most: usize) -> Vec<Place> {
        self.order.from(from, most)
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::seq::{IndexedRandom as _, SliceRandom as _};
    use rand::{Rng as _, SeedableRng as _};

    use super::*;

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

    /// Adds entries as they come, each once its parents are there.
    fn grown(mut log: Vec<(Cid, Vec<Cid>)>) -> (Index, Vec<Record>) {
        let (mut index, mut records) = (Index::default(), Vec::new());
        while !log.is_empty() {
            log.retain(|(entry, parents)| {
                let Some(record) = index.record(entry, parents) else { return true };
                index.insert(&record).expect("new");
                records.push(record);
                false
            });
        }
        (index, records)
    }

    fn all(index: &Index) -> Vec<Place> {
        index.from(Bound::Unbounded, usize::MAX)
    }

    #[test]
    fn whoever_has_the_same_entries_has_the_same_order_and_heads() {
        for seed in 0..50 {
            let mut random = StdRng::seed_from_u64(seed);
            let mut log = log(&mut random, 300);
            let (first, mut records) = grown(log.clone());
            log.shuffle(&mut random);
            let (second, _) = grown(log.clone());
            records.shuffle(&mut random);
            let read = Index::of(&records);
            for other in [&second, &read] {
                assert_eq!(all(&first), all(other), "seed {seed}");
                assert_eq!(first.heads, other.heads, "seed {seed}");
                assert_eq!(first.clocks, other.clocks, "seed {seed}");
            }
            let rank = |cid: &Cid| first.rank(&first.place(cid).expect("there")).expect("there");
            for (entry, parents) in &log {
                assert!(parents.iter().all(|parent| rank(parent) < rank(entry)), "seed {seed}");
            }
        }
    }

    #[test]
    fn records_come_back_and_damaged_ones_are_told() {
        let (_, records) = grown(log(&mut StdRng::seed_from_u64(7), 50));
        for record in records {
            let (name, bytes) = (*record.place.digest(), record.encode());
            assert_eq!(Record::decode(name, &bytes).expect("whole"), record);
            let cut = Record::decode(name, &bytes[..bytes.len() - 1]).expect_err("cut");
            assert_eq!(cut.kind(), ErrorKind::Integrity);
        }
    }
}

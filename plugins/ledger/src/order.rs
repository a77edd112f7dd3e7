//! Entries in their order, by rank, in pages that need not be in memory.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::ops::Bound;
use std::sync::Arc;

use lru::LruCache;

use crate::page::{MOST_ENTRIES, PageRef, ends_page};
use crate::place::{Digest, Place};

/// Pages that were read and are kept in memory, up to 40 KiB each.
const READ: NonZeroUsize = NonZeroUsize::new(64).expect("not zero");

/// A page has to be read first: [`supply`](Order::supply) it, and ask again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Absent(pub(crate) Digest);

/// Entries in their order. About 100 bytes a page; a page that was changed is in memory until it is saved.
#[derive(Debug)]
pub(crate) struct Order {
    /// None of them empty.
    leaves: Vec<Leaf>,
    len: usize,
    read: LruCache<Digest, Places>,
}

/// The entries of a page.
pub(crate) type Places = Arc<Vec<Place>>;

/// A page of entries.
#[derive(Clone, Debug)]
pub(crate) struct Leaf {
    pub(crate) first: Place,
    pub(crate) len: usize,
    pub(crate) state: State,
}

#[derive(Clone, Debug)]
pub(crate) enum State {
    /// It is in the store, under this name.
    Saved(Digest),
    Changed(Places),
}

impl Leaf {
    fn changed(places: Vec<Place>) -> Option<Self> {
        let (first, len) = (*places.first()?, places.len());
        Some(Self { first, len, state: State::Changed(Arc::new(places)) })
    }

    /// How it is listed once it is saved under this name.
    pub(crate) fn listed(&self, page: Digest) -> PageRef {
        PageRef { page, entries: self.len as u64, first: self.first }
    }
}

impl Default for Order {
    fn default() -> Self {
        Self { leaves: vec![], len: 0, read: LruCache::new(READ) }
    }
}

impl Order {
    /// What was saved, in its order.
    pub(crate) fn of(pages: impl IntoIterator<Item = PageRef>) -> Self {
        let leaf = |PageRef { page, entries, first }| Leaf {
            first,
            len: usize::try_from(entries).unwrap_or(usize::MAX),
            state: State::Saved(page),
        };
        let leaves: Vec<Leaf> = pages.into_iter().map(leaf).collect();
        let len = leaves.iter().fold(0, |len: usize, leaf| len.saturating_add(leaf.len));
        Self { leaves, len, ..Self::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// All pages, in their order.
    pub(crate) fn leaves(&self) -> &[Leaf] {
        &self.leaves
    }

    /// The names of those that are in the store.
    pub(crate) fn saved(&self) -> HashSet<Digest> {
        let saved = |leaf: &Leaf| match leaf.state {
            State::Saved(page) => Some(page),
            State::Changed(_) => None,
        };
        self.leaves.iter().filter_map(saved).collect()
    }

    /// Takes a page that was read.
    pub(crate) fn supply(&mut self, page: Digest, places: Vec<Place>) {
        self.read.put(page, Arc::new(places));
    }

    /// Notes under which name a page is in the store; nothing where it changed since.
    pub(crate) fn save(&mut self, places: &Places, page: Digest) {
        let Some(first) = places.first() else { return };
        let at = self.leaf_of(first);
        if let Some(leaf) = self.leaves.get_mut(at)
            && matches!(&leaf.state, State::Changed(now) if Arc::ptr_eq(now, places))
        {
            leaf.state = State::Saved(page);
            self.read.put(page, Arc::clone(places));
        }
    }

    /// Inserts a place; answers its rank, or `None` where it was there.
    pub(crate) fn insert(&mut self, place: Place) -> Result<Option<usize>, Absent> {
        if self.leaves.is_empty() {
            self.leaves.extend(Leaf::changed(vec![place]));
            self.len = 1;
            return Ok(Some(0));
        }
        let mut at = self.leaf_of(&place);
        let mut places = self.places(at)?;
        let Err(mut within) = places.binary_search(&place) else { return Ok(None) };
        let ended = within == places.len() && places.last().is_some_and(|last| ends_page(last.digest()));
        if ended && at + 1 < self.leaves.len() {
            (at, within) = (at + 1, 0);
            places = self.places(at)?;
        }
        // Given up, so that it is changed where it stands and not copied.
        self.leaves[at].state = State::Changed(Arc::default());
        let inserted = Arc::make_mut(&mut places);
        inserted.insert(within, place);
        let rest = cut(inserted, within);
        let rank = self.before(at) + within;
        let parts = [Arc::unwrap_or_clone(places), rest];
        self.leaves.splice(at..=at, parts.into_iter().filter_map(Leaf::changed));
        self.len += 1;
        Ok(Some(rank))
    }

    pub(crate) fn rank(&mut self, place: &Place) -> Result<Option<usize>, Absent> {
        let at = self.leaf_of(place);
        if self.leaves.is_empty() {
            return Ok(None);
        }
        let within = self.places(at)?.binary_search(place).ok();
        Ok(within.map(|within| self.before(at) + within))
    }

    /// The place of a rank.
    pub(crate) fn at(&mut self, mut rank: usize) -> Result<Option<Place>, Absent> {
        for at in 0..self.leaves.len() {
            if rank < self.leaves[at].len {
                return Ok(self.places(at)?.get(rank).copied());
            }
            rank -= self.leaves[at].len;
        }
        Ok(None)
    }

    /// Some places from one on, one at least where there is one.
    pub(crate) fn from(&mut self, from: Bound<Place>) -> Result<Vec<Place>, Absent> {
        let (Bound::Included(first) | Bound::Excluded(first)) = from else {
            return if self.leaves.is_empty() { Ok(vec![]) } else { Ok(self.places(0)?.to_vec()) };
        };
        let earlier = |place: &Place| match from {
            Bound::Excluded(_) => *place <= first,
            _ => *place < first,
        };
        for at in self.leaf_of(&first)..self.leaves.len() {
            let places = self.places(at)?;
            let rest = &places[places.partition_point(earlier)..];
            if !rest.is_empty() {
                return Ok(rest.to_vec());
            }
        }
        Ok(vec![])
    }

    /// How many entries stand before a page.
    fn before(&self, at: usize) -> usize {
        self.leaves[..at].iter().map(|leaf| leaf.len).sum()
    }

    fn places(&mut self, at: usize) -> Result<Places, Absent> {
        match &self.leaves[at].state {
            State::Changed(places) => Ok(Arc::clone(places)),
            State::Saved(page) => self.read.get(page).map(Arc::clone).ok_or(Absent(*page)),
        }
    }

    /// The page in which a place stands or would.
    fn leaf_of(&self, place: &Place) -> usize {
        self.leaves.partition_point(|leaf| leaf.first <= *place).saturating_sub(1)
    }
}

/// Takes off what does not belong into a page any more, after a place was inserted: what stands behind one that ends its
/// page, or half where it grew too long.
fn cut(places: &mut Vec<Place>, inserted: usize) -> Vec<Place> {
    let before_the_last = inserted + 1 < places.len();
    if before_the_last && ends_page(places[inserted].digest()) {
        return places.split_off(inserted + 1);
    }
    // It is the first of a new last page.
    if !before_the_last && inserted > 0 && ends_page(places[inserted - 1].digest()) {
        return places.split_off(inserted);
    }
    if places.len() <= MOST_ENTRIES {
        return vec![];
    }
    // What comes last is what comes most often: it leaves the page before it full.
    let cut = if before_the_last { MOST_ENTRIES / 2 } else { MOST_ENTRIES };
    places.split_off(cut)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::rngs::StdRng;
    use rand::seq::SliceRandom as _;
    use rand::{Rng as _, SeedableRng as _};

    use super::*;

    fn place(clock: u64, digest: u64) -> Place {
        let mut named = [0; 32];
        named[..8].copy_from_slice(&digest.to_be_bytes());
        // Spread, so that one of many ends its page.
        named[30..].copy_from_slice(&(digest.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48).to_be_bytes()[6..]);
        Place::of(clock, named)
    }

    fn some(random: &mut StdRng) -> Place {
        place(random.random_range(0..2_000), random.random_range(0..4))
    }

    fn all(order: &mut Order) -> Vec<Place> {
        let (mut all, mut next) = (Vec::new(), Bound::Unbounded);
        loop {
            let some = order.from(next).expect("in memory");
            let Some(last) = some.last() else { return all };
            next = Bound::Excluded(*last);
            all.extend(some);
        }
    }

    /// Whatever comes when, it stands as in a set, and each answer is the set's.
    #[test]
    fn it_is_a_sorted_set_with_ranks() {
        for seed in 0..5 {
            let mut random = StdRng::seed_from_u64(seed);
            let (mut order, mut set) = (Order::default(), BTreeSet::new());
            for _ in 0..6_000 {
                let place = some(&mut random);
                let rank = set.insert(place).then(|| set.range(..place).count());
                assert_eq!(order.insert(place), Ok(rank), "seed {seed}");
            }
            let sorted: Vec<Place> = set.iter().copied().collect();
            assert_eq!(all(&mut order), sorted, "seed {seed}");
            assert_eq!(order.len(), sorted.len());
            assert!(order.leaves.iter().all(|leaf| (1..=MOST_ENTRIES).contains(&leaf.len)));
            for _ in 0..200 {
                let rank = random.random_range(0..sorted.len());
                assert_eq!(
                    (order.at(rank), order.rank(&sorted[rank])),
                    (Ok(Some(sorted[rank])), Ok(Some(rank)))
                );
                let from = order.from(Bound::Included(sorted[rank])).expect("in memory");
                assert_eq!(from, sorted[rank..][..from.len()]);
                let after = order.from(Bound::Excluded(sorted[rank])).expect("in memory");
                assert_eq!(after, sorted[rank + 1..][..after.len()]);
                assert_eq!(after.is_empty(), rank + 1 == sorted.len());
            }
            assert_eq!(order.at(sorted.len()), Ok(None));
            assert_eq!(order.rank(&place(3_000, 0)), Ok(None));
        }
    }

    /// Nodes that got the same entries in another order have the same pages, where none grew too long.
    #[test]
    fn the_same_entries_make_the_same_pages() {
        let mut random = StdRng::seed_from_u64(1);
        let mut places: Vec<Place> = (0..20_000).map(|n| place(n / 2, n)).collect();
        let pages = |places: &[Place]| {
            let mut order = Order::default();
            for place in places {
                order.insert(*place).expect("in memory");
            }
            let pages: Vec<usize> = order.leaves.iter().map(|leaf| leaf.len).collect();
            assert_eq!(pages.iter().sum::<usize>(), places.len());
            order.leaves.iter().map(|leaf| (leaf.first, leaf.len)).collect::<HashSet<_>>()
        };
        let (grown, _) = (pages(&places), places.shuffle(&mut random));
        let shuffled = pages(&places);
        let same = grown.intersection(&shuffled).count();
        assert!(same * 4 > grown.len() * 3, "{same} of {}", grown.len());
    }

    /// What was saved is asked for where it is needed, and then answers as before.
    #[test]
    fn a_page_is_read_when_it_is_needed() {
        let mut order = Order::default();
        for n in 0..5_000 {
            order.insert(place(n, n)).expect("in memory");
        }
        let sorted = all(&mut order);
        let mut store = std::collections::HashMap::new();
        let mut pages = Vec::new();
        for (at, leaf) in order.leaves().iter().enumerate() {
            let State::Changed(places) = &leaf.state else { panic!("saved") };
            let name = *place(0, at as u64).digest();
            store.insert(name, places.to_vec());
            pages.push(leaf.listed(name));
        }
        let mut order = Order::of(pages);
        assert_eq!((order.len(), order.saved().len()), (5_000, order.leaves.len()));
        let mut reads = 0;
        for (rank, place) in sorted.iter().enumerate() {
            while let Err(Absent(page)) = order.rank(place) {
                order.supply(page, store[&page].clone());
                reads += 1;
            }
            assert_eq!(order.rank(place), Ok(Some(rank)));
        }
        assert_eq!(reads, order.leaves.len());
        let late = place(2_500, 9);
        assert_eq!(order.insert(late), Ok(order.rank(&late).expect("in memory")));
        assert_eq!(order.saved().len(), order.leaves.len() - 1);
    }
}

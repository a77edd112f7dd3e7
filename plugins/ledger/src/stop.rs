//! Stopping an author that equivocates, where an entry of its own follows both.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;

use carrick_core::{Result, Verdict, async_trait};
use lru::LruCache;
use tokio::time::{Instant, timeout_at};

use crate::equivocation::no_record;
use crate::inner::{Inner, lock};
use crate::place::{Digest, Place, digest};
use crate::{Entry, Past, Rule};

/// Refuses each entry that has two entries of its own author with one number among its ancestors. What follows only one of
/// them, or is by others, stays valid. All nodes of a ledger must have this rule, or none.
///
/// Only entries of authors who equivocated cost a walk through their ancestors, down to the first entry whose number is not
/// alone; the next one of the same author is compared with that one, and walks only through what is new. Where it takes longer than three quarters of
/// [`Limits::validation`](carrick_core::Limits::validation), the answer is Ignore, and the walk goes on when the entry comes
/// again.
#[derive(Clone, Copy, Debug, Default)]
pub struct StopAuthor;

#[async_trait]
impl Rule for StopAuthor {
    async fn entry(&self, past: &Past<'_>, entry: &Entry) -> Verdict {
        match past.ledger.follows_both(entry).await {
            Ok(Some(false)) => Verdict::Accept,
            Ok(Some(true)) => {
                let cause = "its author signed two entries with one number, and it follows both";
                Verdict::Reject(cause.into())
            }
            Ok(None) => {
                Verdict::Ignore("its author equivocated, and what it follows was not read in time".into())
            }
            Err(error) => Verdict::Ignore(error.to_string().into()),
        }
    }
}

/// Entries of an author of which it is remembered what they follow.
const FACTS: NonZeroUsize = NonZeroUsize::new(16).expect("not zero");
/// Walks of an author that were not finished and are kept.
const WALKS: NonZeroUsize = NonZeroUsize::new(4).expect("not zero");

/// Entries of an author whose number is not alone, some 100 bytes each, and what was found out about their descendants.
#[derive(Debug)]
pub(crate) struct Forks {
    numbers: HashMap<Digest, u64>,
    lowest: Place,
    /// Held while one walks: an author has one walk at a time.
    known: tokio::sync::Mutex<Known>,
}

/// What is known of the past of some entries of an author.
#[derive(Debug)]
struct Known {
    /// Which forks they have among their ancestors; no two of one number.
    facts: LruCache<Digest, Met>,
    walks: LruCache<Digest, Walk>,
}

/// Which fork was met, by its number.
type Met = BTreeMap<u64, Digest>;

impl Forks {
    /// Of entries with their numbers; `None` where there are none.
    pub(crate) fn new(entries: impl IntoIterator<Item = (Place, u64)>) -> Option<Self> {
        let entries: BTreeMap<Place, u64> = entries.into_iter().collect();
        let (lowest, _) = entries.first_key_value()?;
        let known = Known { facts: LruCache::sparse(FACTS), walks: LruCache::sparse(WALKS) };
        Some(Self {
            lowest: *lowest,
            numbers: entries.iter().map(|(place, number)| (*place.digest(), *number)).collect(),
            known: tokio::sync::Mutex::new(known),
        })
    }
}

/// A walk back through what an entry follows, the last in the order first: so whoever follows one was there before it.
#[derive(Debug, Default)]
struct Walk {
    /// What is to be visited, and whether a fact tells all about it, being that of one that follows it.
    front: BTreeMap<Place, bool>,
    /// How many of them no fact tells of.
    untold: usize,
    met: Met,
    /// It met two that have one number.
    both: bool,
}

impl Walk {
    fn from(parents: &[Place], forks: &Forks) -> Self {
        let mut walk = Self::default();
        walk.add(parents, false, forks);
        walk
    }

    /// The next one; `None` at the end.
    fn next(&self) -> Option<Place> {
        let last = self.front.last_key_value().filter(|_| self.untold > 0 && !self.both);
        last.map(|(place, _)| *place)
    }

    /// Goes over the last of the front to its parents.
    fn visit(&mut self, parents: &[Place], fact: Option<&Met>, forks: &Forks) {
        let Some((_, told)) = self.front.pop_last() else { return };
        self.untold -= usize::from(!told);
        for (number, name) in fact.into_iter().flatten() {
            self.meet(*number, *name);
        }
        self.add(parents, told || fact.is_some(), forks);
    }

    fn add(&mut self, places: &[Place], told: bool, forks: &Forks) {
        for place in places.iter().filter(|place| **place >= forks.lowest) {
            if let Some(number) = forks.numbers.get(place.digest()) {
                self.meet(*number, *place.digest());
            }
            let known = self.front.get(place).copied();
            self.front.insert(*place, told || known.unwrap_or_default());
            match known {
                None => self.untold += usize::from(!told),
                Some(known) => self.untold -= usize::from(told && !known),
            }
        }
    }

    fn meet(&mut self, number: u64, name: Digest) {
        self.both |= *self.met.entry(number).or_insert(name) != name;
    }
}

impl Inner {
    /// Whether two entries of its author with one number are among its ancestors; `None` where time was too short to tell.
    async fn follows_both(&self, entry: &Entry) -> Result<Option<bool>> {
        let forks = self.forks(entry.author()).await?;
        let (Some(forks), Some(name)) = (forks, digest(entry.cid())) else { return Ok(Some(false)) };
        let until = Instant::now() + self.node()?.limits().validation * 3 / 4;
        let Ok(mut known) = timeout_at(until, forks.known.lock()).await else { return Ok(None) };
        if !known.walks.contains(&name) {
            let mut parents = Vec::with_capacity(entry.parents().len());
            for parent in entry.parents() {
                parents.extend(self.judged_place(parent).await?);
            }
            known.walks.put(name, Walk::from(&parents, &forks));
        }
        if !self.walk(&name, &mut known, &forks, until).await? {
            return Ok(None);
        }
        let Some(walk) = known.walks.pop(&name) else { return Ok(None) };
        if !walk.both {
            known.facts.put(name, walk.met);
        }
        Ok(Some(walk.both))
    }

    /// Walks as far as time allows; answers whether that was to the end. What was visited stays visited where the future is
    /// dropped.
    async fn walk(&self, entry: &Digest, known: &mut Known, forks: &Forks, until: Instant) -> Result<bool> {
        let node = self.node()?;
        let Known { facts, walks } = known;
        let Some(walk) = walks.get_mut(entry) else { return Ok(false) };
        while let Some(next) = walk.next() {
            if Instant::now() >= until {
                return Ok(false);
            }
            tokio::task::consume_budget().await;
            let on_its_way = lock(&self.under_way).record(next.digest());
            let record = match on_its_way {
                Some(record) => Some(record),
                None => self.shelf.record(&**node.store(), next.digest()).await?,
            };
            let parents = record.ok_or_else(|| no_record(&next))?.parents;
            walk.visit(&parents, facts.get(next.digest()), forks);
        }
        Ok(true)
    }
}

//! A fold over what is before an entry.
//!
//! The ancestors are walked back, the last in the order first, until what is left is known: then its state is taken and
//! what was visited is folded into it, the first first.
//!
//! What is known are *cuts*: all entries before some, and themselves. A cut is named by its heads, those of it that no other
//! one of it follows. What is left of a walk is a cut, too, of which we know a *front*: its heads, and perhaps some that
//! stand before them. It is a known one if all heads of that are in the front, and all the rest of the front is known
//! to lie inside of it.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

use carrick_core::{Cid, Error, ErrorKind, Result};
use lru::LruCache;
use tokio::sync::oneshot;

use crate::inner::{Inner, lock};
use crate::ladder::stays;
use crate::place::{Digest, Place, digest};
use crate::walk::Walk;
use crate::{Entry, Fold};

/// States that are remembered unless told otherwise.
const STATES: NonZeroUsize = NonZeroUsize::new(64).expect("not zero");
/// Entries of a cut, the last ones, that are known to lie inside of it.
const INSIDE: usize = 128;
/// Beside the states before entries, those at every so many clocks are remembered: two walks pass the same ones.
const CLOCKS: u64 = 8;
/// Entries that are read while an entry waits for its verdict: few, so that a slow disk brings them in its time. For more the
/// walk becomes a task, which goes on when that is over.
const WHILE_WAITING: usize = 32;
/// Such tasks at most.
const TASKS: usize = 4;
/// Bytes of payloads of one walk that are held until they are folded; what is above is read twice.
const HELD_BYTES: usize = 8 << 20;
/// Entries that are folded before others have their turn.
const TURN: usize = 256;

/// A [`Fold`] for [`Past::fold`](crate::Past::fold), and the states it made, of which some are remembered. A
/// [`Rule`](crate::Rule) holds it. Cloning is cheap; clones remember the same.
pub struct PastFold<F: Fold>(Arc<Shared<F>>);

struct Shared<F: Fold> {
    fold: F,
    cuts: Mutex<LruCache<Heads, Cut<F::State>>>,
    /// What tasks are on, by the parents of the entry that they are for.
    tasks: Mutex<BTreeSet<Vec<Cid>>>,
}

/// The heads of a cut; they name it.
type Heads = BTreeSet<Place>;

/// What is known of a cut beside its heads.
struct Cut<S> {
    /// The last of what lies inside of it.
    inside: VecDeque<Digest>,
    state: Arc<S>,
}

impl<S> Clone for Cut<S> {
    fn clone(&self) -> Self {
        Self { inside: self.inside.clone(), state: Arc::clone(&self.state) }
    }
}

impl<F: Fold> PastFold<F> {
    /// A fold that remembers 64 states.
    pub fn new(fold: F) -> Self {
        Self::remembering(fold, STATES)
    }

    /// A fold that remembers so many states, the last ones used. Two dozen are of use where few write at the same time; take
    /// less where a state is large, more where many write.
    pub fn remembering(fold: F, states: NonZeroUsize) -> Self {
        let cuts = Mutex::new(LruCache::new(states));
        Self(Arc::new(Shared { fold, cuts, tasks: Mutex::default() }))
    }

    /// The fold.
    pub fn get(&self) -> &F {
        &self.0.fold
    }

    /// The state before an entry with these parents.
    pub(crate) async fn before(&self, ledger: &Inner, parents: &[Cid]) -> Result<Arc<F::State>> {
        let mut past = Back::begin(ledger, parents).await?;
        match self.back(ledger, &mut past, WHILE_WAITING).await? {
            Some(base) => self.forth(ledger, base, past.visited).await,
            None => self.as_a_task(ledger, parents, past).await,
        }
    }

    /// Walks back to a known cut; `None` where none came within so many entries.
    async fn back(
        &self,
        ledger: &Inner,
        past: &mut Back,
        most: usize,
    ) -> Result<Option<(Heads, Cut<F::State>)>> {
        loop {
            if let Some(known) = self.known(past.walk.front()) {
                return Ok(Some(known));
            }
            if past.visited.len() >= most {
                return Ok(None);
            }
            past.step(ledger).await?;
        }
    }

    /// The known cut that has this front.
    fn known(&self, front: &BTreeSet<Place>) -> Option<(Heads, Cut<F::State>)> {
        let Some(last) = front.last() else {
            let state = Arc::new(self.0.fold.start());
            return Some((Heads::new(), Cut { inside: VecDeque::new(), state }));
        };
        let mut cuts = lock(&self.0.cuts);
        // Most often no two wrote at the same time.
        let heads = match cuts.contains(front) {
            true => front.clone(),
            false => cuts
                .iter()
                .find(|(heads, cut)| heads.last() == Some(last) && cut.has(heads, front))?
                .0
                .clone(),
        };
        let cut = cuts.get(&heads)?.clone();
        Some((heads, cut))
    }

    /// Folds what was visited, the last of which comes first, into a state, and remembers what comes of it.
    async fn forth(
        &self,
        ledger: &Inner,
        (mut heads, cut): (Heads, Cut<F::State>),
        mut visited: Vec<(Place, Option<Entry>)>,
    ) -> Result<Arc<F::State>> {
        let Some(end) = visited.first().map(|(place, _)| place.clock() / CLOCKS) else {
            return Ok(cut.state);
        };
        let (mut inside, mut state, mut folded) = (cut.inside, F::State::clone(&cut.state), 0);
        while let Some((place, entry)) = visited.pop() {
            let entry = match entry {
                Some(entry) => entry,
                None => ledger.judged_entry(&place.cid()).await?.ok_or_else(lost)?,
            };
            self.0.fold.apply(&mut state, &entry);
            add(&mut heads, &mut inside, place, &entry);
            let passed = place.clock() / CLOCKS;
            let next = visited.last().map(|(next, _)| next.clock() / CLOCKS);
            if next.is_some_and(|next| next > passed && stays(passed as usize, end as usize)) {
                self.remember(&heads, &inside, Arc::new(state.clone()));
            }
            folded += 1;
            if folded % TURN == 0 {
                tokio::task::yield_now().await;
            }
        }
        let state = Arc::new(state);
        self.remember(&heads, &inside, Arc::clone(&state));
        Ok(state)
    }

    fn remember(&self, heads: &Heads, inside: &VecDeque<Digest>, state: Arc<F::State>) {
        lock(&self.0.cuts).put(heads.clone(), Cut { inside: inside.clone(), state });
    }

    /// Goes on, whether the entry is still waiting or not: it comes again, and then the state is remembered.
    async fn as_a_task(&self, ledger: &Inner, parents: &[Cid], mut past: Back) -> Result<Arc<F::State>> {
        let busy = || {
            let detail =
                "there is much to read before this entry, and that goes on; it is judged when it comes again";
            Error::new(ErrorKind::Busy, "past", detail)
        };
        let ledger = ledger.me.upgrade().ok_or_else(busy)?;
        let task = Task::begin(self, parents).ok_or_else(busy)?;
        let (tell, told) = oneshot::channel();
        let (fold, within) = (self.clone(), Arc::clone(&ledger));
        ledger.sync.spawn(async move {
            let done = async {
                let base = fold.back(&within, &mut past, usize::MAX).await?.ok_or_else(lost)?;
                fold.forth(&within, base, past.visited).await
            };
            let done = done.await;
            drop(task);
            // The entry may have gone on.
            let _ = tell.send(done);
        });
        told.await.map_err(|_| busy())?
    }
}

impl<S> Cut<S> {
    /// Whether it is what has this front.
    fn has(&self, heads: &Heads, front: &BTreeSet<Place>) -> bool {
        heads.is_subset(front) && front.difference(heads).all(|place| self.inside.contains(place.digest()))
    }
}

/// Adds an entry that stands behind all others of a cut, and of whose parents none is missing.
fn add(heads: &mut Heads, inside: &mut VecDeque<Digest>, place: Place, entry: &Entry) {
    let parents: BTreeSet<Digest> = entry.parents().iter().filter_map(digest).collect();
    heads.retain(|head| !parents.contains(head.digest()));
    heads.insert(place);
    if inside.len() == INSIDE {
        inside.pop_front();
    }
    inside.push_back(*place.digest());
}

/// A walk back, and what it visited.
struct Back {
    walk: Walk,
    visited: Vec<(Place, Option<Entry>)>,
    bytes: usize,
}

impl Back {
    async fn begin(ledger: &Inner, parents: &[Cid]) -> Result<Self> {
        Ok(Self { walk: Walk::before(ledger, parents).await?, visited: vec![], bytes: 0 })
    }

    async fn step(&mut self, ledger: &Inner) -> Result<()> {
        let Some((place, entry)) = self.walk.next(ledger).await? else { return Ok(()) };
        self.bytes += entry.payload().len();
        self.visited.push((place, (self.bytes <= HELD_BYTES).then_some(entry)));
        Ok(())
    }
}

/// A walk that goes on by itself; dropped when it ends, however it does.
struct Task<F: Fold> {
    of: PastFold<F>,
    parents: Vec<Cid>,
}

impl<F: Fold> Task<F> {
    /// `None` where there is one for these parents, or there are too many.
    fn begin(of: &PastFold<F>, parents: &[Cid]) -> Option<Self> {
        let mut tasks = lock(&of.0.tasks);
        let begins = tasks.len() < TASKS && tasks.insert(parents.to_vec());
        begins.then(|| Self { of: of.clone(), parents: parents.to_vec() })
    }
}

impl<F: Fold> Drop for Task<F> {
    fn drop(&mut self) {
        lock(&self.of.0.tasks).remove(&self.parents);
    }
}

impl<F: Fold> Clone for PastFold<F> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<F: Fold> fmt::Debug for PastFold<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let states = lock(&self.0.cuts).len();
        f.debug_struct("PastFold").field("states", &states).finish_non_exhaustive()
    }
}

fn lost() -> Error {
    Error::new(ErrorKind::Integrity, "past", "an entry that was there is not in the store any more")
}

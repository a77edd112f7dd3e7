//! The state of a fold over the whole log, kept up to date.

use std::collections::VecDeque;
use std::fmt;

use carrick_core::{Cid, Error, ErrorKind, Result};
use futures::stream::BoxStream;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::folding::Folding;
use crate::ladder::Point;
use crate::snapshots::Snapshots;
use crate::{Fold, Ledger};

/// Changes whose ranks are remembered for one who looks at the state now and then.
const REMEMBERED: usize = 64;

/// The state of a [`Fold`] over a ledger, which follows the ledger. Cloning is cheap; when all clones are gone, nothing is
/// folded any more.
pub struct Folded<F: Fold> {
    ledger: Ledger,
    shown: watch::Receiver<Shown<F::State>>,
}

/// What a fold has made of a log so far.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct View<S> {
    /// What it made of the entries.
    pub state: S,
    /// So many, the first of the order, are in it.
    pub entries: usize,
    /// The last of them; `None` where it is none.
    pub last: Option<Cid>,
    /// Rises with every change.
    pub version: u64,
}

/// How the state of a fold changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refold {
    /// The version of the state that came of it.
    pub version: u64,
    /// Entries were folded from this rank on, from 0. Where it is less than the number of entries in the state before,
    /// late ones came, and what follows from entries from there on may be another thing now.
    pub from: usize,
    /// So many entries are in the state.
    pub entries: usize,
}

/// What the task that folds shows.
pub(crate) struct Shown<S> {
    pub(crate) view: View<S>,
    /// The last versions, each with the rank it was folded from.
    from: VecDeque<(u64, usize)>,
}

impl<S> Shown<S> {
    pub(crate) fn new(point: Point, state: S) -> Self {
        let view = View { state, entries: point.entries, last: point.last, version: 0 };
        Self { view, from: VecDeque::new() }
    }

    pub(crate) fn point(&self) -> Point {
        Point { last: self.view.last, entries: self.view.entries }
    }

    /// Notes that the state stands at a point now, folded from a rank on.
    pub(crate) fn moved(&mut self, to: Point, from: usize) {
        (self.view.last, self.view.entries) = (to.last, to.entries);
        self.view.version += 1;
        self.from.push_back((self.view.version, from));
        if self.from.len() > REMEMBERED {
            self.from.pop_front();
        }
    }

    /// From which rank on things may have changed since a version; from the first where that is forgotten.
    fn since(&self, version: u64) -> usize {
        let known = self.from.front().is_some_and(|(oldest, _)| *oldest <= version + 1);
        let since = self.from.iter().filter(|(later, _)| *later > version).map(|(_, from)| *from);
        since.min().filter(|_| known).unwrap_or_default()
    }
}

impl Ledger {
    /// Folds the log from its first entry on and follows it. Where a late entry comes to stand before others, only what
    /// stands behind it is folded again.
    ///
    /// The state begins as [`Fold::start`] and catches up; [`Folded::current`] waits for that. An entry that was once in it
    /// stays in it.
    ///
    /// # Errors
    /// `Closed` before the node is open and after it closed.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn fold<F: Fold>(&self, fold: F) -> Result<Folded<F>> {
        self.begin(fold, None)
    }

    /// As [`fold`](Self::fold), and saves the state now and then, so that it goes on after a restart without folding the
    /// log from its first entry.
    ///
    /// It is saved in the node's store under `name` after every 1,024th entry, and some older ones are kept: a saved state
    /// is used when the entries before it are still the same, that is, when no late one came among them. **Give another
    /// `version` whenever the fold computes another thing**, its settings included; what was saved with another one is not used.
    /// A state whose encoding is above 16 MiB, or cannot be encoded, is not saved, with a warning in the log.
    ///
    /// # Errors
    /// As [`fold`](Self::fold); `Config` for a name that is not 1 to 64 of `a-z`, `0-9`, `.`, `_`, `-`.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn fold_saved<F>(&self, name: &str, version: u64, fold: F) -> Result<Folded<F>>
    where
        F: Fold<State: Serialize + DeserializeOwned>,
    {
        self.begin(fold, Some(Snapshots::new(self.name(), name, version)?))
    }

    fn begin<F: Fold>(&self, fold: F, saved: Option<Snapshots<F::State>>) -> Result<Folded<F>> {
        // Closed, or not open yet.
        self.count()?;
        let (shows, shown) = watch::channel(Shown::new(Point::default(), fold.start()));
        let folding = Folding::new(self.clone(), fold, shows, saved);
        self.0.sync.spawn(folding.run(self.watch()));
        Ok(Folded { ledger: self.clone(), shown })
    }
}

impl<F: Fold> Folded<F> {
    /// Reads the state as it is now. It does not change while it is read: be quick, and do not call this within itself.
    pub fn read<T>(&self, read: impl FnOnce(&View<F::State>) -> T) -> T {
        read(&self.shown.borrow().view)
    }

    /// A copy of the state as it is now.
    pub fn view(&self) -> View<F::State> {
        self.read(View::clone)
    }

    /// Waits until an entry is in the state, which may be one that has not come yet.
    ///
    /// # Errors
    /// `Closed` when the ledger closed, or the fold ended by a panic.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn until(&self, entry: &Cid) -> Result<()> {
        let mut shown = self.shown.clone();
        loop {
            let point = shown.borrow_and_update().point();
            if self.ledger.covers(point, entry).await? {
                return Ok(());
            }
            shown.changed().await.map_err(|_| ended())?;
        }
    }

    /// Waits until all entries are in the state that the ledger has now, and answers it.
    ///
    /// # Errors
    /// As [`until`](Self::until).
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn current(&self) -> Result<View<F::State>> {
        let (mut shown, entries) = (self.shown.clone(), self.ledger.count()?);
        loop {
            let point = shown.borrow_and_update().point();
            if point.entries >= entries && self.ledger.fits(point).await? {
                return Ok(self.view());
            }
            shown.changed().await.map_err(|_| ended())?;
        }
    }

    /// Tells whenever the state changed, from now on; ends with the ledger. Who is slow is told of several changes as one.
    pub fn changes(&self) -> BoxStream<'static, Refold> {
        let mut shown = self.shown.clone();
        let version = shown.borrow_and_update().view.version;
        Box::pin(futures::stream::unfold((shown, version), async |(mut shown, seen)| {
            shown.changed().await.ok()?;
            let refold = {
                let now = shown.borrow_and_update();
                let View { version, entries, .. } = now.view;
                Refold { version, entries, from: now.since(seen) }
            };
            Some((refold, (shown, refold.version)))
        }))
    }
}

impl<F: Fold> Clone for Folded<F> {
    fn clone(&self) -> Self {
        Self { ledger: self.ledger.clone(), shown: self.shown.clone() }
    }
}

impl<F: Fold> fmt::Debug for Folded<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let point = self.shown.borrow().point();
        f.debug_struct("Folded").field("ledger", &self.ledger.name()).field("point", &point).finish()
    }
}

fn ended() -> Error {
    Error::new(ErrorKind::Closed, "fold", "the ledger closed, or the fold panicked")
}

impl Ledger {
    /// Whether the entries up to a point are still what stands before it. An entry never leaves a ledger, so where there are
    /// as many as there were, they are the same.
    pub(crate) async fn fits(&self, point: Point) -> Result<bool> {
        match point.last {
            Some(last) => Ok(self.rank(&last).await?.is_some_and(|rank| rank + 1 == point.entries)),
            None => Ok(point.entries == 0),
        }
    }

    /// Whether an entry is among those up to a point.
    async fn covers(&self, point: Point, entry: &Cid) -> Result<bool> {
        // In this order: where the point still fits, the rank was no other a moment before.
        let rank = self.rank(entry).await?;
        Ok(rank.is_some_and(|rank| rank < point.entries) && self.fits(point).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_looks_now_and_then_learns_the_least_rank_in_between() {
        let mut shown = Shown::new(Point::default(), ());
        for (entries, from) in [(1, 0), (2, 1), (3, 2), (4, 1), (5, 4)] {
            shown.moved(Point { last: None, entries }, from);
        }
        assert_eq!([0, 1, 2, 3, 4].map(|version| shown.since(version)), [0, 1, 1, 1, 4]);
        for entries in 6..100 {
            shown.moved(Point { last: None, entries }, entries - 1);
        }
        assert_eq!(shown.from.len(), REMEMBERED);
        assert_eq!([30, 34, 35, 98].map(|version| shown.since(version)), [0, 0, 35, 98]);
    }
}

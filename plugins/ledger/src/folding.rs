//! The task that keeps the state of a fold up to date.
//!
//! It folds forward from where it is, and looks whether that was right: the number of entries folded must be the rank
//! behind the last of them. Where it is not, a late one came somewhere before, and it goes back to the last state that
//! still fits. So it relies on no change that the ledger tells: a missed one costs nothing but that entries are read.

use std::time::Duration;

use carrick_core::Result;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::folded::Shown;
use crate::ladder::{Ladder, Point, stays};
use crate::snapshots::{EVERY, Snapshots};
use crate::watch::Watch;
use crate::{Change, Entry, Fold, Ledger};

/// Entries that are read before they are folded, and the bytes of their payloads.
const AT_ONCE: usize = 256;
const AT_ONCE_BYTES: usize = 4 << 20;
/// Who must go far back waits first, so long for each entry and no longer than this in all: where one late entry comes, more
/// do, and one way back is enough for all of them.
const WAIT_AN_ENTRY: Duration = Duration::from_micros(50);
const WAIT: Duration = Duration::from_secs(1);
/// Entries that are not far.
const NEAR: usize = 64;
/// How long to wait after the store did not answer.
const AGAIN: Duration = Duration::from_secs(5);

pub(crate) struct Folding<F: Fold> {
    ledger: Ledger,
    fold: F,
    shown: watch::Sender<Shown<F::State>>,
    /// What is being folded again and not shown yet, and the rank from which on.
    again: Option<Again<F::State>>,
    ladder: Ladder<F::State>,
    saved: Option<Snapshots<F::State>>,
}

struct Again<S> {
    point: Point,
    state: S,
    from: usize,
}

impl<F: Fold> Folding<F> {
    pub(crate) fn new(
        ledger: Ledger,
        fold: F,
        shown: watch::Sender<Shown<F::State>>,
        saved: Option<Snapshots<F::State>>,
    ) -> Self {
        Self { ledger, fold, shown, again: None, ladder: Ladder::new(), saved }
    }

    /// Follows the ledger until it closes or nobody reads the state any more.
    pub(crate) async fn run(mut self, mut changes: Watch) {
        if let Err(error) = self.resume().await {
            tracing::warn!(%error, "no saved state of a fold was read");
        }
        let mut came = Vec::new();
        loop {
            while let Err(error) = self.catch_up(std::mem::take(&mut came)).await {
                tracing::warn!(%error, "a fold waits for the store");
                tokio::select! {
                    biased;
                    () = self.shown.closed() => return,
                    () = sleep(AGAIN) => {}
                }
            }
            let change = tokio::select! {
                biased;
                () = self.shown.closed() => return,
                change = changes.next() => change,
            };
            let Some(change) = change else { return };
            let more = std::iter::from_fn(|| changes.next().now_or_never().flatten());
            came = appended(std::iter::once(change).chain(more.take(AT_ONCE - 1)));
        }
    }

    /// Goes on from the last saved state that still fits.
    async fn resume(&mut self) -> Result<()> {
        let Some(saved) = &self.saved else { return Ok(()) };
        let node = self.ledger.0.node()?;
        for (point, state) in saved.read(&**node.store()).await? {
            if self.ledger.fits(point).await? {
                self.ladder.push(point, state);
            }
        }
        self.go_back().await
    }

    /// Folds until the end of the log; first what is said to have come, if it is what comes next.
    async fn catch_up(&mut self, came: Vec<Entry>) -> Result<()> {
        if !came.is_empty() && self.again.is_none() && self.follows(&came).await? {
            self.take(came).await?;
        }
        loop {
            if !self.ledger.fits(self.point()).await? {
                self.go_back().await?;
            }
            let next = self.next().await?;
            let end = next
                .last()
                .map(|last| Point { last: Some(*last.cid()), entries: self.point().entries + next.len() });
            match end {
                None => {
                    self.show();
                    return Ok(());
                }
                Some(end) if self.ledger.fits(end).await? => self.take(next).await?,
                // A late one came meanwhile.
                Some(_) => {}
            }
        }
    }

    fn point(&self) -> Point {
        self.again.as_ref().map_or_else(|| self.shown.borrow().point(), |again| again.point)
    }

    /// Whether entries in their order are just what stands behind the point.
    async fn follows(&self, came: &[Entry]) -> Result<bool> {
        let point = self.point();
        let (Some(first), Some(last)) = (came.first(), came.last()) else { return Ok(false) };
        // Else they may be folded already, and the numbers agree by chance.
        let follows = match point.last {
            Some(before) => self.ledger.rank(&before).await? < self.ledger.rank(first.cid()).await?,
            None => true,
        };
        let end = Point { last: Some(*last.cid()), entries: point.entries + came.len() };
        Ok(follows && self.ledger.fits(end).await?)
    }

    /// The entries behind the point, as many as are taken at once; none at the end.
    async fn next(&self) -> Result<Vec<Entry>> {
        let (last, mut bytes) = (self.point().last, 0);
        let mut entries = self.ledger.entries(last).skip(usize::from(last.is_some()));
        let mut next = Vec::new();
        while next.len() < AT_ONCE
            && bytes < AT_ONCE_BYTES
            && let Some(entry) = entries.try_next().await?
        {
            bytes += entry.payload().len();
            next.push(entry);
        }
        Ok(next)
    }

    /// Folds entries that are just what stands behind the point.
    async fn take(&mut self, entries: Vec<Entry>) -> Result<()> {
        let of = self.ledger.count()?;
        let mut run = Run { fold: &self.fold, ladder: &mut self.ladder, of, save: vec![] };
        match &mut self.again {
            Some(again) => again.point = run.over(&entries, again.point, &mut again.state),
            None => self.shown.send_modify(|shown| {
                let from = shown.point();
                let to = run.over(&entries, from, &mut shown.view.state);
                shown.moved(to, from.entries);
            }),
        }
        let save = run.save;
        self.ladder.thin(of);
        if self.again_holds_all_that_is_shown().await? {
            self.show();
        }
        self.save(save).await;
        Ok(())
    }

    async fn again_holds_all_that_is_shown(&self) -> Result<bool> {
        let Some(again) = &self.again else { return Ok(false) };
        let last = self.shown.borrow().view.last;
        let Some(last) = last else { return Ok(true) };
        Ok(self.ledger.rank(&last).await?.is_none_or(|rank| rank < again.point.entries))
    }

    /// Shows what was folded again.
    fn show(&mut self) {
        if let Some(Again { point, state, from }) = self.again.take() {
            self.shown.send_modify(|shown| {
                shown.view.state = state;
                shown.moved(point, from);
            });
        }
    }

    /// Goes back to the last state that still fits.
    async fn go_back(&mut self) -> Result<()> {
        let far = self.point().entries.saturating_sub(self.drop_what_does_not_fit().await?);
        if far > NEAR {
            let wait = u32::try_from(far).map_or(WAIT, |far| WAIT_AN_ENTRY.saturating_mul(far));
            sleep(wait.min(WAIT)).await;
            self.drop_what_does_not_fit().await?;
        }
        let start = || (Point::default(), self.fold.start());
        let (point, state) = self.ladder.last().cloned().unwrap_or_else(start);
        // What is being folded again was not shown: whoever looks compares with what was.
        let shown = self.shown.borrow().view.entries;
        let from = self.again.as_ref().map_or(shown, |again| again.from).min(point.entries);
        self.again = Some(Again { point, state, from });
        Ok(())
    }

    /// Answers how many entries are in the last state that does.
    async fn drop_what_does_not_fit(&mut self) -> Result<usize> {
        while let Some((point, _)) = self.ladder.last() {
            if self.ledger.fits(*point).await? {
                return Ok(point.entries);
            }
            self.ladder.drop_last();
        }
        Ok(0)
    }

    async fn save(&self, states: Vec<(Point, F::State)>) {
        let Some(saved) = &self.saved else { return };
        for (point, state) in states {
            let written = match self.ledger.0.node() {
                Ok(node) => saved.write(&**node.store(), point, state).await,
                Err(error) => Err(error),
            };
            if let Err(error) = written {
                tracing::warn!(%error, ledger = self.ledger.name(), "the state of a fold was not saved");
            }
        }
    }
}

/// One pass over entries that are known to come next.
struct Run<'a, F: Fold> {
    fold: &'a F,
    ladder: &'a mut Ladder<F::State>,
    /// So many entries the ledger has.
    of: usize,
    save: Vec<(Point, F::State)>,
}

impl<F: Fold> Run<'_, F> {
    fn over(&mut self, entries: &[Entry], from: Point, state: &mut F::State) -> Point {
        entries.iter().fold(from, |point, entry| {
            let point = point.and(entry.cid());
            self.fold.apply(state, entry);
            self.ladder.offer(point, state, self.of);
            if point.entries.is_multiple_of(EVERY) && stays(point.entries / EVERY, self.of / EVERY) {
                self.save.push((point, state.clone()));
            }
            point
        })
    }
}

/// The entries of changes, if all of them came to stand behind all others; else none.
fn appended(changes: impl Iterator<Item = Change>) -> Vec<Entry> {
    let entries: Option<Vec<Entry>> = changes
        .map(|change| match change {
            Change::Appended(entry) => Some(entry),
            _ => None,
        })
        .collect();
    entries.unwrap_or_default()
}

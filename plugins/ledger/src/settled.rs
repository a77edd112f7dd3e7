//! Telling entries once they are settled.
//!
//! Nothing is queued here but the late ones among the changes that were not looked at: what is told next is read from the order
//! when it is due. Changes are taken out and the order is asked under one lock, so that they are of the same moment.

use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_stream::try_stream;
use carrick_core::{Cid, Error, Result};
use futures::stream::BoxStream;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::{Instant, sleep_until};

use crate::index::Index;
use crate::inner::Inner;
use crate::ledger::absent;
use crate::order::Absent;
use crate::place::Place;
use crate::watch::Told;
use crate::{Change, Entry, Ledger};

/// Arrivals are told apart as finely as this part of the time that they wait.
const PARTS: u32 = 256;

/// When an entry is settled, so that it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Settled {
    /// Once so many entries stand behind it in the order.
    Depth(usize),
    /// Once it, or one behind it, has been here for so long; at most 1/256 of that later. What was there when the stream was
    /// made counts as having come then.
    After(Duration),
}

impl Ledger {
    /// The entries that settle from now on, in their order, as [`Change::Appended`]. One that comes late and stands before
    /// others that were told already is told at once, as [`Change::Inserted`]. With [`Settled::After`] what is there now counts as
    /// settled.
    ///
    /// Memory is bounded. [`Change::Lagged`] comes where a reader was so slow that late entries may have been missed, with the
    /// number of those; of the others none is lost. The stream ends with the ledger.
    ///
    /// # Errors
    /// What the store answers, `Closed`; then also in the stream, which ends.
    pub async fn watch_settled(&self, settled: Settled) -> Result<BoxStream<'static, Result<Change>>> {
        let begin = |index: &mut Index| {
            let passed = match settled {
                Settled::Depth(depth) => index.len().saturating_sub(depth),
                Settled::After(_) => index.len(),
            };
            Tide::behind(passed, index, settled, self.0.changes.listen())
        };
        Ok(stream(Arc::downgrade(&self.0), self.0.ask(begin).await?))
    }

    /// The settled entries in their order, from one of them on or from the first, and then those that settle, as
    /// [`watch_settled`](Self::watch_settled) tells them.
    ///
    /// # Errors
    /// `NotFound` where `from` is no entry; what the store answers, `Closed`; then also in the stream, which ends.
    pub async fn follow_settled(
        &self,
        from: Option<Cid>,
        settled: Settled,
    ) -> Result<BoxStream<'static, Result<Change>>> {
        let from = match from {
            Some(cid) => Some(self.0.place(&cid).await?.ok_or_else(|| absent(&cid))?),
            None => None,
        };
        let begin = |index: &mut Index| {
            let passed = match &from {
                Some(place) => index.rank(place)?.unwrap_or_default(),
                None => 0,
            };
            let mut tide = Tide::behind(passed, index, settled, self.0.changes.listen())?;
            tide.mark_all(Instant::now(), index);
            Ok(tide)
        };
        Ok(stream(Arc::downgrade(&self.0), self.0.ask(begin).await?))
    }
}

/// What is to be told next.
#[derive(Debug, Default)]
struct Due {
    late: Vec<Change>,
    settled: Vec<Place>,
}

/// How far entries were told.
#[derive(Debug)]
struct Tide {
    settled: Settled,
    changes: Receiver<Told>,
    /// The last one that was told, and how many stand up to there: told, or before where it began.
    last: Option<Place>,
    passed: usize,
    /// Late ones that were taken out of the changes.
    late: Vec<Change>,
    /// Changes that were missed.
    lagged: bool,
    /// Up to where entries had come at which time, both rising.
    marks: VecDeque<Mark>,
    /// Up to where entries are settled by their time.
    aged: Option<Place>,
}

#[derive(Debug)]
struct Mark {
    begun: Instant,
    at: Instant,
    place: Place,
}

impl Tide {
    /// Behind so many entries.
    fn behind(
        passed: usize,
        index: &mut Index,
        settled: Settled,
        changes: Receiver<Told>,
    ) -> Result<Self, Absent> {
        let last = match passed.checked_sub(1) {
            Some(rank) => index.order.at(rank)?,
            None => None,
        };
        let (late, marks) = (vec![], VecDeque::new());
        Ok(Self { settled, changes, last, passed, late, lagged: false, marks, aged: None })
    }

    /// Takes a change that was told.
    fn take(&mut self, (at, change): Told) {
        let Some(place) = change.entry().and_then(place) else { return };
        if self.last.is_some_and(|last| place <= last) {
            // Where changes were missed they are all counted together.
            if !self.lagged {
                self.passed += 1;
                self.late.push(change);
            }
            return;
        }
        self.mark(at, place);
    }

    /// Notes that an entry came.
    fn mark(&mut self, at: Instant, place: Place) {
        let Settled::After(age) = self.settled else { return };
        match self.marks.back_mut() {
            // It is told with that one.
            Some(last) if last.place >= place => {}
            Some(last) if at.saturating_duration_since(last.begun) < age / PARTS => {
                (last.at, last.place) = (at, place);
            }
            _ => self.marks.push_back(Mark { begun: at, at, place }),
        }
    }

    /// Notes that all there are came.
    fn mark_all(&mut self, at: Instant, index: &Index) {
        // Nothing stands behind the last one, so it is a head.
        if let Some(last) = index.heads.last() {
            self.mark(at, *last);
        }
    }

    /// When the next entry has been here long enough.
    fn next_aged(&self) -> Option<Instant> {
        let Settled::After(age) = self.settled else { return None };
        // What is too far to be told is never due.
        self.marks.front()?.at.checked_add(age)
    }

    /// What is due now. Takes all changes out, so that they are of the same moment as the index.
    fn due(&mut self, index: &mut Index) -> Result<Due, Absent> {
        loop {
            match self.changes.try_recv() {
                Ok(told) => self.take(told),
                Err(TryRecvError::Lagged(_)) => self.lagged = true,
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        if self.lagged {
            self.find_again(index)?;
        }
        if !self.late.is_empty() {
            return Ok(Due { late: std::mem::take(&mut self.late), ..Due::default() });
        }
        while self.next_aged().is_some_and(|due| due <= Instant::now()) {
            self.aged = self.marks.pop_front().map(|mark| mark.place).max(self.aged);
        }
        let settled = self.settled_now(index)?;
        if let Some(last) = settled.last() {
            (self.last, self.passed) = (Some(*last), self.passed + settled.len());
        }
        Ok(Due { settled, ..Due::default() })
    }

    /// After changes were missed: how many of them stand before what was told.
    fn find_again(&mut self, index: &mut Index) -> Result<(), Absent> {
        let passed = match &self.last {
            Some(last) => index.rank(last)?.map_or(self.passed, |rank| rank + 1),
            None => self.passed,
        };
        let missed = passed.saturating_sub(self.passed) as u64;
        if missed > 0 {
            self.late.push(Change::Lagged(missed));
        }
        (self.passed, self.lagged) = (passed, false);
        self.mark_all(Instant::now(), index);
        Ok(())
    }

    /// Some places of those that are settled and were not told.
    fn settled_now(&self, index: &mut Index) -> Result<Vec<Place>, Absent> {
        let most = match self.settled {
            Settled::Depth(depth) => index.len().saturating_sub(self.passed).saturating_sub(depth),
            Settled::After(_) if self.aged <= self.last => 0,
            Settled::After(_) => usize::MAX,
        };
        if most == 0 {
            return Ok(vec![]);
        }
        let mut places = index.from(self.last.map_or(Bound::Unbounded, Bound::Excluded))?;
        places.truncate(most);
        if let Settled::After(_) = self.settled {
            places.truncate(places.partition_point(|place| Some(*place) <= self.aged));
        }
        Ok(places)
    }
}

fn place(entry: &Entry) -> Option<Place> {
    Place::new(entry.clock(), entry.cid())
}

/// Holds the ledger while it asks only: whoever waits for what comes does not keep it.
fn stream(ledger: Weak<Inner>, mut tide: Tide) -> BoxStream<'static, Result<Change>> {
    Box::pin(try_stream! {
        loop {
            let Some(inner) = ledger.upgrade() else { break };
            let due = inner.ask(|index| tide.due(index)).await?;
            let nothing = due.late.is_empty() && due.settled.is_empty();
            drop(inner);
            for late in due.late {
                yield late;
            }
            for place in due.settled {
                let inner = ledger.upgrade().ok_or_else(crate::inner::closed)?;
                let entry = inner.read(&place).await?;
                drop(inner);
                yield Change::Appended(entry);
            }
            if nothing && !next(&mut tide).await? {
                break;
            }
        }
    })
}

/// Waits until there is something new; `false` at the end.
async fn next(tide: &mut Tide) -> Result<bool, Error> {
    let aged = tide.next_aged();
    let aged = async {
        match aged {
            Some(due) => sleep_until(due).await,
            None => std::future::pending().await,
        }
    };
    let told = tokio::select! {
        biased;
        told = tide.changes.recv() => told,
        () = aged => return Ok(true),
    };
    match told {
        Ok(told) => tide.take(told),
        Err(RecvError::Lagged(_)) => tide.lagged = true,
        Err(RecvError::Closed) => return Ok(false),
    }
    Ok(true)
}

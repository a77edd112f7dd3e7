//! Checking the log: what is stored, and the order that is made of it.
//!
//! The order is walked as it is when the walk begins, page by page. A page that is in the store is named by the hash of what it
//! lists, and entries never change: one that was checked as a whole is [remembered](crate::checked) and not read again.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use carrick_core::{Error, ErrorKind, Result};
use futures::future::BoxFuture;
use futures::{StreamExt as _, stream};
use tokio::sync::watch;

use crate::Ledger;
use crate::audit::{Sound, damage};
use crate::checked::Checked;
use crate::index::Record;
use crate::inner::Inner;
use crate::order::{Leaf, State};
use crate::place::{Digest, Place, cid};

/// Entries that are read at once.
const AT_ONCE: usize = 16;
/// Checked pages that are remembered in one write.
const NOTED_AT_ONCE: usize = 64;

/// What [`Ledger::verify_with`] does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifyOptions {
    /// Checks everything anew, also what was checked before. Default `false`.
    pub all: bool,
    /// Fetches a block that is missing or damaged again, from whoever has it. Default `false`.
    pub mend: bool,
}

/// A log that is sound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// How many entries it has.
    pub entries: u64,
    /// How many of them were read and checked; the others were before, and still stand in the same pages.
    pub checked: u64,
    /// Of how many of them a block was fetched again.
    pub mended: u64,
}

/// How far a [`Verify`] is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyProgress {
    /// Entries that it has behind it.
    pub entries: u64,
    /// How many there are.
    pub of: u64,
}

/// A check of a log. A future; dropping it ends the check, and what it had behind it is remembered but for the last 64 pages.
#[must_use = "a future does nothing before it is awaited"]
pub struct Verify {
    work: BoxFuture<'static, Result<Verified>>,
    progress: watch::Receiver<VerifyProgress>,
}

impl Verify {
    /// How far it is, as it goes.
    pub fn progress(&self) -> watch::Receiver<VerifyProgress> {
        self.progress.clone()
    }
}

impl Future for Verify {
    type Output = Result<Verified>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.work.as_mut().poll(cx)
    }
}

impl std::fmt::Debug for Verify {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Verify({:?})", *self.progress.borrow())
    }
}

impl Ledger {
    /// Checks the log and answers how many entries there are. What was checked before and stands in the same page still is
    /// not read again: damage that came since is found by [`verify_all`](Self::verify_all) alone.
    ///
    /// Of each entry: it is in the store with its payload, signed, of this topic and network; its parents are entries, before
    /// it; its clock is 1 + the highest of theirs; it stands where its record says. Of the order: it rises, no entry is there
    /// twice, the pages list as many as there are, and the heads are those that no other entry follows.
    ///
    /// [Rules](crate::Rule) are not asked again: an entry is there because they let it through, and one that was changed since
    /// judges what comes.
    ///
    /// # Errors
    /// `Integrity` with the first fault in the order and what to do; what the store answers, `Closed`.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn verify(&self) -> Result<u64> {
        self.verify_with(VerifyOptions::default()).await.map(|verified| verified.entries)
    }

    /// As [`verify`](Self::verify), and reads everything anew.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn verify_all(&self) -> Result<u64> {
        let options = VerifyOptions { all: true, ..VerifyOptions::default() };
        self.verify_with(options).await.map(|verified| verified.entries)
    }

    /// As [`verify`](Self::verify), with a choice, and tells how far it is.
    ///
    /// # Errors
    /// As [`verify`](Self::verify). To mend, somebody has to be there who has the block: else the fault stands, and what the
    /// fetch answered is its source.
    pub fn verify_with(&self, options: VerifyOptions) -> Verify {
        let (tell, progress) = watch::channel(VerifyProgress::default());
        let ledger = Arc::clone(&self.0);
        Verify { work: Box::pin(async move { Walk::new(&ledger, options, tell).run().await }), progress }
    }
}

/// The order at one moment.
struct Seen {
    pages: Vec<Leaf>,
    entries: u64,
    heads: BTreeSet<Place>,
}

/// A check at work.
struct Walk<'a> {
    ledger: &'a Inner,
    options: VerifyOptions,
    tell: watch::Sender<VerifyProgress>,
    /// Pages that are sound, with those that were before.
    sound: BTreeMap<Digest, Checked>,
    /// Those of them that are to be remembered.
    fresh: Vec<Digest>,
    done: Verified,
}

/// That a page is not in the store any more, because the order changed.
struct Outdated;

impl<'a> Walk<'a> {
    fn new(ledger: &'a Inner, options: VerifyOptions, tell: watch::Sender<VerifyProgress>) -> Self {
        let (sound, fresh) = (BTreeMap::new(), vec![]);
        Self { ledger, options, tell, sound, fresh, done: Verified::default() }
    }

    async fn run(mut self) -> Result<Verified> {
        let walked = loop {
            match self.walk().await {
                Ok(Ok(entries)) => break Ok(entries),
                // Begun anew; what was checked need not be read again.
                Ok(Err(Outdated)) => {}
                Err(error) => break Err(error),
            }
        };
        let noted = self.note().await;
        let entries = walked?;
        noted?;
        Ok(Verified { entries, ..self.done })
    }

    async fn walk(&mut self) -> Result<Result<u64, Outdated>> {
        let seen = self.ledger.with_index(|index| Seen {
            pages: index.order.leaves().to_vec(),
            entries: index.len() as u64,
            heads: index.heads.clone(),
        })?;
        let (mut entries, mut last, mut tips) = (0, None, BTreeSet::new());
        self.tell.send_replace(VerifyProgress { entries, of: seen.entries });
        for page in &seen.pages {
            let Ok(checked) = self.page(page).await? else { return Ok(Err(Outdated)) };
            if last.is_some_and(|last| last >= page.first) || checked.entries != page.len as u64 {
                let detail = format!("the page that begins with {} is not in order", page.first.cid());
                return Err(damage(detail));
            }
            for followed in &checked.follows {
                tips.remove(followed);
            }
            entries += checked.entries;
            last = Some(checked.last);
            tips.extend(checked.tips);
            self.tell.send_replace(VerifyProgress { entries, of: seen.entries });
            // A store in memory never waits.
            tokio::task::yield_now().await;
        }
        if entries != seen.entries {
            return Err(damage(format!("{} entries are counted, and {entries} listed", seen.entries)));
        }
        same_heads(&seen.heads, &tips)?;
        Ok(Ok(entries))
    }

    /// Checks a page, where it was not before.
    async fn page(&mut self, page: &Leaf) -> Result<Result<Checked, Outdated>> {
        let State::Saved(name) = &page.state else { return self.entries(page).await };
        if let Some(checked) = self.sound.get(name) {
            return Ok(Ok(checked.clone()));
        }
        let node = self.ledger.node()?;
        let store = &**node.store();
        if !self.options.all
            && let Some(checked) = self.ledger.shelf.checked(store, name).await?
        {
            self.sound.insert(*name, checked.clone());
            return Ok(Ok(checked));
        }
        match self.entries(page).await {
            Ok(Ok(checked)) => {
                self.sound.insert(*name, checked.clone());
                self.fresh.push(*name);
                if self.fresh.len() >= NOTED_AT_ONCE {
                    self.note().await?;
                }
                Ok(Ok(checked))
            }
            Err(error) if error.kind() == ErrorKind::Integrity => {
                // It was found by a check of everything; the next one finds it too.
                let saved = self.ledger.saved.lock().await;
                self.ledger.shelf.note_checked(store, &saved, [(*name, None)]).await?;
                Err(error)
            }
            outdated => outdated,
        }
    }

    /// Remembers what was checked.
    async fn note(&mut self) -> Result<()> {
        let node = self.ledger.node()?;
        let pages: Vec<_> = self.fresh.drain(..).map(|page| (page, self.sound.get(&page).cloned())).collect();
        // Under the lock, so that none is remembered that goes meanwhile.
        let saved = self.ledger.saved.lock().await;
        self.ledger.shelf.note_checked(&**node.store(), &saved, pages).await
    }

    /// Checks every entry of a page.
    async fn entries(&mut self, page: &Leaf) -> Result<Result<Checked, Outdated>> {
        let places = match &page.state {
            State::Changed(places) => Arc::clone(places),
            State::Saved(name) => match self.listed(name).await? {
                Ok(places) => Arc::new(places),
                Err(outdated) => return Ok(Err(outdated)),
            },
        };
        let (ledger, mend) = (self.ledger, self.options.mend);
        let (Some(first), Some(last)) = (places.first(), places.last()) else {
            return Err(damage("a page is empty"));
        };
        if *first != page.first || !places.is_sorted_by(|one, next| one < next) {
            return Err(damage(format!("the page that begins with {} is not in order", page.first.cid())));
        }
        let entries = places.len() as u64;
        let mut checked = Checked { entries, last: *last, tips: BTreeSet::new(), follows: BTreeSet::new() };
        let checks = stream::iter(places.to_vec()).map(|place| ledger.audit(place, mend));
        let mut checks = std::pin::pin!(checks.buffered(AT_ONCE));
        while let Some(sound) = checks.next().await {
            let Sound { record, mended } = sound?;
            self.done.checked += 1;
            self.done.mended += u64::from(mended);
            checked.add(&record, &places);
        }
        Ok(Ok(checked))
    }

    /// What a page in the store lists.
    async fn listed(&self, page: &Digest) -> Result<Result<Vec<Place>, Outdated>> {
        let node = self.ledger.node()?;
        match self.ledger.shelf.places(&**node.store(), page).await {
            Ok(places) => Ok(Ok(places)),
            Err(error) if error.kind() == ErrorKind::Integrity => {
                let listed = self.ledger.with_index(|index| index.order.saved().contains(page))?;
                if !listed {
                    return Ok(Err(Outdated));
                }
                Err(Error::new(ErrorKind::Integrity, "verify", "a page of the order is damaged")
                    .mend("start the node again: its pages are made anew then")
                    .from_source(error))
            }
            Err(error) => Err(error),
        }
    }
}

impl Checked {
    /// Adds an entry of a page, in their order.
    fn add(&mut self, record: &Record, page: &[Place]) {
        for parent in &record.parents {
            let was_tip = self.tips.remove(parent.digest());
            if !was_tip && page.binary_search(parent).is_err() {
                self.follows.insert(*parent.digest());
            }
        }
        self.tips.insert(*record.place.digest());
    }
}

/// Whether the heads are the entries that no other one follows.
fn same_heads(heads: &BTreeSet<Place>, tips: &BTreeSet<Digest>) -> Result<()> {
    let named: BTreeSet<Digest> = heads.iter().map(|head| *head.digest()).collect();
    if let Some(tip) = tips.difference(&named).next() {
        return Err(damage(format!("no entry follows {}, and it is not among the heads", cid(tip))));
    }
    match named.difference(tips).next() {
        Some(head) => Err(damage(format!(
            "{} is among the heads, and another entry follows it, or it is none",
            cid(head)
        ))),
        None => Ok(()),
    }
}

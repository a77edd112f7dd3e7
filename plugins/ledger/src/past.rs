//! What was before an entry.

use std::fmt;
use std::sync::Arc;

use async_stream::try_stream;
use carrick_core::{Cid, Result};
use futures::stream::BoxStream;

use crate::inner::Inner;
use crate::walk::{Walk, no_entry};
use crate::{Entry, Fold, PastFold};

/// What an entry's author knew of the ledger: its ancestors, which are its parents, their parents, and so on. The same on
/// every node, whatever else a node has.
///
/// Every method fails with what the store answers, or with `Closed`; a rule that cannot read answers
/// [`Verdict::Ignore`](carrick_core::Verdict::Ignore). Dropping a future changes nothing.
pub struct Past<'a> {
    pub(crate) ledger: &'a Inner,
    entry: &'a Entry,
}

impl<'a> Past<'a> {
    pub(crate) fn new(ledger: &'a Inner, entry: &'a Entry) -> Self {
        Self { ledger, entry }
    }

    /// The entries it follows, at most 64, in the order of their CIDs' bytes; none at a beginning. They are the **heads** of
    /// the ledger as its author knew them, by its own word.
    ///
    /// [`Ledger::append`](crate::Ledger::append) follows all heads that it knows, the 64 highest of more. Other software may
    /// leave some out, or name one that another of them follows: nobody can tell what an author knew. What the heads of this
    /// node are meanwhile is not shown, because another node has others.
    ///
    /// # Errors
    /// What the store answers; `Closed`.
    pub async fn parents(&self) -> Result<Vec<Entry>> {
        let read = self
            .entry
            .parents()
            .iter()
            .map(async |parent| self.ledger.judged_entry(parent).await?.ok_or_else(|| no_entry(parent)));
        futures::future::try_join_all(read).await
    }

    /// Its ancestors, the last in the ledger's order first. Each is read when it is asked for: take as few as will do.
    pub fn ancestors(&self) -> BoxStream<'a, Result<Entry>> {
        let (ledger, parents) = (self.ledger, self.entry.parents());
        Box::pin(try_stream! {
            let mut walk = Walk::before(ledger, parents).await?;
            while let Some((_, entry)) = walk.next(ledger).await? {
                yield entry;
            }
        })
    }

    /// An ancestor by its CID; `None` for what is none. It reads all ancestors that stand behind it: a near one, such as a
    /// parent, is found at once, and what is far back is better kept by a fold.
    ///
    /// # Errors
    /// What the store answers; `Closed`.
    pub async fn entry(&self, cid: &Cid) -> Result<Option<Entry>> {
        if self.entry.parents().contains(cid) {
            return self.ledger.judged_entry(cid).await;
        }
        // Every ancestor is an entry, and those behind it are not before it.
        let Some(place) = self.ledger.judged_place(cid).await? else { return Ok(None) };
        let mut walk = Walk::before(self.ledger, self.entry.parents()).await?;
        while walk.front().last().is_some_and(|last| *last >= place) {
            match walk.next(self.ledger).await? {
                Some((at, entry)) if at == place => return Ok(Some(entry)),
                _ => {}
            }
        }
        Ok(None)
    }

    /// What the author said before: of its entries among the ancestors the one with the highest number, and of equal ones the
    /// last in the order. `None` where it said nothing.
    ///
    /// An honest author's entries follow each other, so that this is its last one. Whoever writes without following itself
    /// may have two entries with the same previous one.
    ///
    /// # Errors
    /// As [`fold`](Self::fold).
    pub async fn previous(&self) -> Result<Option<Entry>> {
        let latest = self.fold(&self.ledger.latest).await?;
        match latest.of(self.entry.author()) {
            Some(cid) => self.ledger.judged_entry(cid).await,
            None => Ok(None),
        }
    }

    /// What a fold makes of the ancestors, in the ledger's order: what the author could know when it wrote.
    ///
    /// States are remembered: where one entry follows another it costs one [`Fold::apply`], and where authors wrote at the
    /// same time, the reading of what they wrote since they last knew the same.
    ///
    /// # Errors
    /// What the store answers; `Closed`; `Busy` where so much must be read that it goes on without this entry, which is taken
    /// when it comes again.
    pub async fn fold<F: Fold>(&self, fold: &PastFold<F>) -> Result<Arc<F::State>> {
        fold.before(self.ledger, self.entry.parents()).await
    }
}

impl fmt::Debug for Past<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Past({})", self.entry.cid())
    }
}

//! Back from an entry through what it follows, the last in the order first.

use std::collections::BTreeSet;

use carrick_core::{Cid, Error, ErrorKind, Result};

use crate::Entry;
use crate::inner::Inner;
use crate::place::Place;

/// A walk back. What it has not come to yet is always all that is before some entries, its front, and themselves.
#[derive(Debug)]
pub(crate) struct Walk {
    /// Not visited yet, but followed by one that was. None of what is left stands behind the last of them.
    front: BTreeSet<Place>,
}

impl Walk {
    /// Before an entry with these parents.
    pub(crate) async fn before(ledger: &Inner, parents: &[Cid]) -> Result<Self> {
        let mut walk = Self { front: BTreeSet::new() };
        walk.meet(ledger, parents).await?;
        Ok(walk)
    }

    pub(crate) fn front(&self) -> &BTreeSet<Place> {
        &self.front
    }

    /// The next one, which stands behind all that is left; `None` at the beginning.
    ///
    /// # Cancel safety
    /// Dropping the future loses it: drop the walk with it.
    pub(crate) async fn next(&mut self, ledger: &Inner) -> Result<Option<(Place, Entry)>> {
        let Some(place) = self.front.pop_last() else { return Ok(None) };
        let cid = place.cid();
        let entry = ledger.judged_entry(&cid).await?.ok_or_else(|| no_entry(&cid))?;
        self.meet(ledger, entry.parents()).await?;
        Ok(Some((place, entry)))
    }

    async fn meet(&mut self, ledger: &Inner, parents: &[Cid]) -> Result<()> {
        for parent in parents {
            self.front.insert(ledger.judged_place(parent).await?.ok_or_else(|| no_entry(parent))?);
        }
        Ok(())
    }
}

pub(crate) fn no_entry(cid: &Cid) -> Error {
    Error::new(ErrorKind::Integrity, "past", format!("{cid} is followed and no entry here"))
}

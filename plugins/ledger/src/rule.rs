//! What a ledger of one's own demands of its entries.

use std::fmt::Debug;

use carrick_core::{Cid, Result, Verdict, async_trait};

use crate::Entry;
use crate::ledger::Inner;

/// Judges entries before they are stored, served, handed out or passed on, on every node alike.
///
/// **It must depend on the entry and its ancestors alone**: not on the clock, on what else has arrived, on the order of
/// arrival, or on anything outside the ledger. Nodes that judge otherwise part for ever.
#[async_trait]
pub trait Rule: Debug + Send + Sync + 'static {
    /// Judges an entry whose form, signature and parents are checked, and whose parents are entries. Reject what no node may
    /// take; to answer Ignore or Defer is to say that this node cannot tell now.
    ///
    /// # Cancel safety
    /// The future is dropped when [`Limits::validation`](carrick_core::Limits::validation) is over.
    async fn entry(&self, past: &Past<'_>, entry: &Entry) -> Verdict;
}

/// What came before an entry.
#[derive(Debug)]
pub struct Past<'a>(pub(crate) &'a Inner);

impl Past<'_> {
    /// An entry by its CID, such as a parent; `None` where there is none.
    ///
    /// # Errors
    /// What the store answers; `Closed`.
    pub async fn entry(&self, cid: &Cid) -> Result<Option<Entry>> {
        self.0.entry(cid).await
    }
}

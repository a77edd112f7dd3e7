//! What a program makes of a log.

use crate::Entry;

/// A state machine over entries: balances, the last reading of each sensor, whatever follows from a log.
///
/// [`Ledger::fold`](crate::Ledger::fold) keeps its state up to date with the whole log;
/// [`Past::fold`](crate::Past::fold) tells a rule what it makes of the entries before the one being judged.
///
/// # Examples
///
/// ```
/// use std::collections::BTreeMap;
///
/// use carrick_core::PeerId;
/// use carrick_plugin_ledger::{Entry, Fold};
///
/// /// How many entries each author wrote.
/// struct Written;
///
/// impl Fold for Written {
///     type State = BTreeMap<PeerId, u64>;
///
///     fn start(&self) -> Self::State {
///         BTreeMap::new()
///     }
///
///     fn apply(&self, written: &mut Self::State, entry: &Entry) {
///         *written.entry(*entry.author()).or_default() += 1;
///     }
/// }
/// ```
pub trait Fold: Send + Sync + 'static {
    /// What it makes of entries.
    ///
    /// It is cloned about once an entry, and some dozens of clones are held: a state of more than a few thousand items had
    /// better share what clones have in common, by [`Arc`](std::sync::Arc) or as a persistent map.
    type State: Clone + Send + Sync + 'static;

    /// The state before the first entry.
    fn start(&self) -> Self::State;

    /// Takes one more entry. Entries come in the ledger's order, each once; those between may be missing where only what is
    /// before an entry is folded.
    ///
    /// **It must follow from the state and the entry alone**: not from a clock, from chance, from a file, from the order in
    /// which a `HashMap` lists its keys. Then every node that has the same entries has the same state. An entry that makes no
    /// sense is best skipped, by a rule that every node shares.
    fn apply(&self, state: &mut Self::State, entry: &Entry);
}

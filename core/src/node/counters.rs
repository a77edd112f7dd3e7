//! Counts of everything refused, ignored, deferred, dropped or lagged.

use std::collections::BTreeMap;

use super::scoped::Scoped;

/// Counters by scope (`node`, or the name of a transport instance) and name.
#[derive(Debug, Default)]
pub(crate) struct Counters(Scoped<u64>);

/// The scope of what no transport did.
pub(crate) const NODE: &str = "node";

impl Counters {
    /// Counts one.
    pub(crate) fn count(&self, scope: &str, what: &'static str) {
        self.add(scope, what, 1);
    }

    /// Counts `n`.
    pub(crate) fn add(&self, scope: &str, what: &'static str, n: u64) {
        self.0.change(scope, |counts| *counts.entry(what).or_default() += n);
    }

    /// All of them, sorted.
    pub(crate) fn all(&self) -> BTreeMap<String, BTreeMap<String, u64>> {
        self.0.all()
    }
}

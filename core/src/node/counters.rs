//! Counts of everything refused, ignored, deferred, dropped or lagged.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Counters by scope (`node`, or the name of a transport instance) and name.
#[derive(Debug, Default)]
pub(crate) struct Counters(Mutex<BTreeMap<Arc<str>, BTreeMap<&'static str, u64>>>);

/// The scope of what no transport did.
pub(crate) const NODE: &str = "node";

impl Counters {
    /// Counts one.
    pub(crate) fn count(&self, scope: &str, what: &'static str) {
        self.add(scope, what, 1);
    }

    /// Counts `n`.
    pub(crate) fn add(&self, scope: &str, what: &'static str, n: u64) {
        let mut scopes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !scopes.contains_key(scope) {
            scopes.insert(scope.into(), BTreeMap::new());
        }
        if let Some(counts) = scopes.get_mut(scope) {
            *counts.entry(what).or_default() += n;
        }
    }

    /// All of them, sorted.
    pub(crate) fn all(&self) -> BTreeMap<String, BTreeMap<String, u64>> {
        let scopes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let named =
            |counts: &BTreeMap<&str, u64>| counts.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect();
        scopes.iter().map(|(scope, counts)| (scope.to_string(), named(counts))).collect()
    }
}

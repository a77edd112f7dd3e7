//! Values that are told with the status.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::core::lock;

type Named<T> = BTreeMap<&'static str, T>;

/// Values by scope (`node`, or the name of a transport instance) and name.
#[derive(Debug, Default)]
pub(crate) struct Scoped<T>(Mutex<BTreeMap<Arc<str>, Named<T>>>);

impl<T: Clone> Scoped<T> {
    /// Changes the values of a scope.
    pub(crate) fn change(&self, scope: &str, change: impl FnOnce(&mut Named<T>)) {
        let mut scopes = lock(&self.0);
        // Made once, for it may be done for each message.
        if !scopes.contains_key(scope) {
            scopes.insert(scope.into(), BTreeMap::new());
        }
        if let Some(named) = scopes.get_mut(scope) {
            change(named);
        }
    }

    /// Those of a scope, sorted.
    pub(crate) fn of(&self, scope: &str) -> BTreeMap<String, T> {
        lock(&self.0).get(scope).map(owned).unwrap_or_default()
    }

    /// All of them, sorted.
    pub(crate) fn all(&self) -> BTreeMap<String, BTreeMap<String, T>> {
        lock(&self.0).iter().map(|(scope, named)| (scope.to_string(), owned(named))).collect()
    }
}

fn owned<T: Clone>(named: &Named<T>) -> BTreeMap<String, T> {
    named.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

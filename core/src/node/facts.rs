//! What transports found out about what is behind them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::core::lock;

/// No fact is longer, in characters.
const MAX_FACT: usize = 300;

/// Facts by transport instance and name.
#[derive(Debug, Default)]
pub(crate) struct Facts(Mutex<BTreeMap<Arc<str>, BTreeMap<&'static str, String>>>);

impl Facts {
    /// Notes one in the place of what was known before.
    pub(crate) fn note(&self, instance: &Arc<str>, what: &'static str, value: &str) {
        let shown = value.chars().filter(|c| !c.is_control()).take(MAX_FACT).collect();
        lock(&self.0).entry(Arc::clone(instance)).or_default().insert(what, shown);
    }

    /// Those of an instance.
    pub(crate) fn of(&self, instance: &str) -> BTreeMap<String, String> {
        let all = lock(&self.0);
        let facts = all.get(instance).into_iter().flatten();
        facts.map(|(what, value)| ((*what).to_owned(), value.clone())).collect()
    }
}

//! What transports found out about what is behind them.

use std::collections::BTreeMap;

use super::scoped::Scoped;

/// No fact is longer, in characters.
const MAX_FACT: usize = 300;

/// Facts by transport instance and name.
#[derive(Debug, Default)]
pub(crate) struct Facts(Scoped<String>);

impl Facts {
    /// Notes one in the place of what was known before.
    pub(crate) fn note(&self, instance: &str, what: &'static str, value: &str) {
        let shown = value.chars().filter(|c| !c.is_control()).take(MAX_FACT).collect();
        self.0.change(instance, |facts| drop(facts.insert(what, shown)));
    }

    /// Those of an instance.
    pub(crate) fn of(&self, instance: &str) -> BTreeMap<String, String> {
        self.0.of(instance)
    }
}

//! `carrick plugins`: what is linked into this program.

use carrick::{Entry, Kind, Registry};
use serde::Serialize;

use super::Cx;
use crate::fault::Outcome;
use crate::terminal::{show, table};

pub(super) fn run(cx: &Cx) -> Outcome {
    let registry = Registry::linked()?;
    if cx.term.json {
        return registry.entries().try_for_each(|entry| cx.term.json(&Plugin::from(entry)));
    }
    let mut table = table(&["kind", "name", "package", "version", "keys of its table"]);
    for entry in registry.entries() {
        table.add_row([
            entry.kind().to_string(),
            entry.name.into(),
            entry.package.into(),
            entry.version.into(),
            keys(entry),
        ]);
    }
    cx.term.line(show(table))
}

/// A plugin for a program.
#[derive(Serialize)]
struct Plugin {
    kind: Kind,
    name: &'static str,
    package: &'static str,
    version: &'static str,
    keys: &'static [&'static str],
}

impl From<&Entry> for Plugin {
    fn from(entry: &Entry) -> Self {
        let Entry { name, package, version, .. } = *entry;
        Self { kind: entry.kind(), name, package, version, keys: entry.keys() }
    }
}

fn keys(entry: &Entry) -> String {
    match entry.keys() {
        [] => "none".into(),
        keys => keys.join(", "),
    }
}

//! Nodes that take part in the ledger `log`.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Up, edit, init, until};

/// A folder for a node that takes part in the ledger `log`.
pub(crate) fn folder(dir: &Path, name: &str, bootstrap: Option<&str>) -> PathBuf {
    let folder = init(dir, name, bootstrap);
    edit(dir, name, |text| format!("{text}\n[ledger.log]\n"));
    folder
}

pub(crate) fn entries(node: &Up) -> u64 {
    node.run(["ledger", "heads", "log", "--json"]).ok().json()[0]["entries"].as_u64().expect("a number")
}

pub(crate) fn log(node: &Up) -> Vec<Value> {
    node.run(["ledger", "log", "log", "--json"]).ok().json()
}

/// Waits until all have so many entries, and compares their logs.
pub(crate) fn agree(nodes: &[&Up], count: u64) -> Vec<Value> {
    for node in nodes {
        until("all entries", || entries(node) == count);
        assert_eq!(log(node), log(nodes[0]));
        let verified = node.run(["ledger", "verify", "log", "--all", "--json"]).ok().json();
        assert_eq!(verified, [serde_json::json!({ "entries": count, "ok": true, "checked": count })]);
    }
    log(nodes[0])
}

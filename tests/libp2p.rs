//! Nodes on native libp2p and one behind a Kubo daemon: one network, one topic, one ledger.
#![cfg(all(feature = "libp2p", feature = "ipfs-http"))]

mod common;

use std::path::{Path, PathBuf};

use carrick_interop::{Daemon, Kubo};
use common::ledger::agree;
use common::{Up, edit, init_over_kubo, run, until_on_topic};
use serde_json::Value;

const LISTEN: &str = "/ip4/127.0.0.1/tcp/0";

/// A folder for a native node that takes part in the ledger `log`.
fn native(dir: &Path, name: &str, bootstrap: &str) -> PathBuf {
    let arguments = ["init", name, "--network", "test", "--transport", "libp2p", "--listen", LISTEN];
    run(dir, [&arguments[..], &["--bootstrap", bootstrap]].concat()).ok();
    edit(dir, name, |text| format!("{text}\n[ledger.log]\n"));
    dir.join(name)
}

/// The same for one behind a daemon.
fn behind(dir: &Path, name: &str, daemon: &Daemon) -> PathBuf {
    let folder = init_over_kubo(dir, name, &daemon.api);
    edit(dir, name, |text| format!("{text}\n[ledger.log]\n"));
    folder
}

fn tcp(daemon: &Daemon) -> &str {
    daemon.addrs.iter().find(|addr| addr.contains("/tcp/")).expect("it listens there")
}

/// Each appends, and all have all of it: so many entries.
fn append(nodes: &[&Up], round: &str, entries: u64) -> Vec<Value> {
    for node in nodes {
        let text = format!("{round} of {}", node.peer());
        node.run(["ledger", "append", "log", &text]).ok();
    }
    agree(nodes, entries)
}

#[test]
fn a_node_moves_from_a_daemon_to_native_libp2p_and_nothing_is_lost() {
    let dir = tempfile::tempdir().expect("a folder");
    let kubo = Kubo::run(1, &[]).expect("a daemon");
    let daemon = &kubo.daemons()[0];
    let one = Up::start(&native(dir.path(), "one", tcp(daemon)));
    let other = Up::start(&native(dir.path(), "other", &one.addr()));
    let folder = behind(dir.path(), "third", daemon);
    let third = Up::start(&folder);
    assert_eq!(third.ready["transports"][0]["name"], "ipfs-http");
    until_on_topic(&third, "ledger/log", 1);
    until_on_topic(&one, "ledger/log", 2);
    append(&[&one, &other, &third], "first", 3);
    let before = append(&[&one, &other, &third], "second", 6);
    let author = third.peer();

    third.terminate();
    assert_eq!(third.end().1, 0);
    // The line, and where the others are. The daemon is there no more, nor needed.
    drop(kubo);
    append(&[&one, &other], "meanwhile", 8);
    let table = format!("[transport.libp2p]\nlisten = [{LISTEN:?}]\nbootstrap = [{:?}]\n", one.addr());
    edit(dir.path(), "third", |text| {
        text.replace("transport = \"ipfs-http\"", "transport = \"libp2p\"") + &table
    });
    let third = Up::start(&folder);
    assert_eq!(third.ready["transports"][0]["name"], "libp2p");
    assert_eq!(third.peer(), author);
    until_on_topic(&third, "ledger/log", 1);
    let all = agree(&[&one, &other, &third], 8);
    assert_eq!(all[..6], before);
    let after = append(&[&one, &other, &third], "after", 11);
    assert_eq!(after[..8], all);
    assert_eq!(after.iter().filter(|entry| entry["author"] == author).count(), 3);
}

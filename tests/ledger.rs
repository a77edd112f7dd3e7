//! Ledgers of real nodes, each a process: what a person writes with one, all have.

mod common;

use std::path::Path;

use common::{Lines, Up, edit, feed, init, run, until, until_peers};
use serde_json::Value;

/// A folder for a node that takes part in the ledger `log`.
fn folder(dir: &Path, name: &str, bootstrap: Option<&str>) -> std::path::PathBuf {
    let folder = init(dir, name, bootstrap);
    edit(dir, name, |text| format!("{text}\n[ledger.log]\n"));
    folder
}

fn entries(node: &Up) -> u64 {
    node.run(["ledger", "heads", "log", "--json"]).ok().json()[0]["entries"].as_u64().expect("a number")
}

fn log(node: &Up) -> Vec<Value> {
    node.run(["ledger", "log", "log", "--json"]).ok().json()
}

/// Waits until all have so many entries, and compares their logs.
fn agree(nodes: &[&Up], count: u64) -> Vec<Value> {
    for node in nodes {
        until("all entries", || entries(node) == count);
        assert_eq!(log(node), log(nodes[0]));
        let verified = node.run(["ledger", "verify", "log", "--json"]).ok().json();
        assert_eq!(verified, [serde_json::json!({ "entries": count, "ok": true })]);
    }
    log(nodes[0])
}

#[test]
fn what_one_appends_all_have_in_one_order() {
    let dir = tempfile::tempdir().expect("a folder");
    let a = Up::start(&folder(dir.path(), "a", None));
    let b = Up::start(&folder(dir.path(), "b", Some(&a.addr())));
    until_peers(&a, |peers| !peers.is_empty());
    let made = a.run(["ledger", "append", "log", "from a", "--json"]).ok().json();
    assert_eq!((&made[0]["clock"], &made[0]["author"]), (&1.into(), &a.ready["peer"]));
    until("the first entry", || entries(&b) == 1);
    feed(&b.dir, &["ledger", "append", "log", "-"], b"one\r\ntwo\nthree").ok();
    let all = agree(&[&a, &b], 4);
    assert_eq!(all[0]["cid"], made[0]["cid"]);
    let texts: Vec<_> = all.iter().map(|entry| entry["text"].as_str().expect("text")).collect();
    assert_eq!(texts, ["from a", "one", "two", "three"]);
    assert_eq!(all[3]["parents"], serde_json::json!([all[2]["cid"]]));

    let from = all[2]["cid"].as_str().expect("a CID");
    let part = b.run(["ledger", "log", "log", "--from", from, "--count", "1"]).ok().stdout();
    assert_eq!(part, "two\n");
    // Whoever comes late has it all.
    let late = Up::start(&folder(dir.path(), "c", Some(&a.addr())));
    assert_eq!(agree(&[&a, &b, &late], 4), all);
}

#[test]
fn a_log_is_followed_as_it_grows() {
    let dir = tempfile::tempdir().expect("a folder");
    let a = Up::start(&folder(dir.path(), "a", None));
    a.run(["ledger", "append", "log", "before"]).ok();
    let mut followed = Lines::run(&a, &["ledger", "log", "log", "--follow"]);
    assert_eq!(followed.json()["text"], "before");
    for text in ["one", "two"] {
        a.run(["ledger", "append", "log", text]).ok();
        assert_eq!(followed.json()["text"], text);
    }
}

#[test]
fn what_was_appended_survives_a_kill() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = folder(dir.path(), "a", None);
    let mut made = Vec::new();
    for round in 0..5 {
        let mut node = Up::start(&folder);
        for n in 0..4 {
            let append = node.run(["ledger", "append", "log", &format!("{round} {n}")]).ok();
            made.push(append.stdout().trim().to_owned());
        }
        node.child.kill().expect("killed");
        node.child.wait().expect("it ends");
    }
    let node = Up::start(&folder);
    let all = agree(&[&node], 20);
    let cids: Vec<_> = all.iter().map(|entry| entry["cid"].as_str().expect("a CID").to_owned()).collect();
    assert_eq!(cids, made);
}

#[test]
fn what_is_wrong_is_told_with_the_mend() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = Up::start(&folder(dir.path(), "a", None));
    for command in
        [&["append", "other", "x"][..], &["log", "other"], &["heads", "other"], &["verify", "other"]]
    {
        let error = node.run([&["ledger", "--json"], command].concat()).fails(2).error();
        assert_eq!(error["message"], "no ledger \"other\" is configured");
        assert!(error["hint"].as_str().is_some_and(|hint| hint.contains("[ledger.other]")), "{error}");
    }
    let stranger = "bafyreihpq5nbobnf7wwca27js32nyh3sn2tlncdb5n2byn6664tx6f46g4";
    let error = node.run(["ledger", "log", "log", "--from", stranger, "--json"]).fails(4).error();
    assert!(error["message"].as_str().is_some_and(|text| text.contains("no entry here")), "{error}");
    node.run(["ledger", "append", "log"]).fails(2);
    node.run(["ledger", "append", "log", "--file", "nowhere"]).fails(4);
    let large = vec![b'x'; 3 << 20];
    std::fs::write(node.dir.join("large"), &large).expect("written");
    node.run(["ledger", "append", "log", "--file", "large"]).fails(5);
    assert_eq!(entries(&node), 0);

    for (line, says) in [
        ("[ledger.log]\nauthors = \"all\"", "found \"all\"; allowed: \"any\", or a list of peer ids"),
        ("[ledger.log]\nauthors = [\"me\"]", "found \"me\"; allowed: \"any\", or a list of peer ids"),
        ("[ledger.log]\nauthor = \"any\"", "did you mean \"authors\"?"),
        ("[ledger.Log]", "allowed in a name: a-z 0-9 -"),
    ] {
        init(dir.path(), "wrong", None);
        edit(dir.path(), "wrong", |text| format!("{text}\n{line}\n"));
        let error = run(&dir.path().join("wrong"), ["up"]).fails(2).stderr();
        assert!(error.contains(says), "{error}");
        std::fs::remove_dir_all(dir.path().join("wrong")).expect("removed");
    }
}

/// Who may not write is refused on every node, its own among them; what it says reaches nobody.
#[test]
fn only_named_authors_write() {
    let dir = tempfile::tempdir().expect("a folder");
    let [a, b] = ["a", "b"].map(|name| init(dir.path(), name, None));
    let named = Up::start(&a).peer();
    for name in ["a", "b"] {
        edit(dir.path(), name, |text| format!("{text}\n[ledger.log]\nauthors = [{named:?}]\n"));
    }
    let (a, b) = (Up::start(&a), Up::start(&b));
    b.run(["connect", &a.addr()]).ok();
    a.run(["ledger", "append", "log", "allowed"]).ok();
    let refused = b.run(["ledger", "append", "log", "not allowed", "--json"]).fails(5).error();
    assert!(refused["message"].as_str().is_some_and(|text| text.contains("may not write")), "{refused}");
    agree(&[&a, &b], 1);
}

/// Over daemons no DAG comes in one request, messages may be lost, and nobody is connected but daemons.
#[cfg(feature = "ipfs-http")]
#[test]
fn nodes_over_daemons_have_one_log() {
    let dir = tempfile::tempdir().expect("a folder");
    let kubo = carrick_interop::Kubo::run(3, &["--connect"]).expect("daemons");
    let node = |name: &str, at: usize| {
        let folder = common::init_over_kubo(dir.path(), name, &kubo.daemons()[at].api);
        edit(dir.path(), name, |text| format!("{text}\n[ledger.log]\n"));
        Up::start(&folder)
    };
    let a = node("a", 0);
    feed(
        &a.dir,
        &["ledger", "append", "log", "-"],
        (0..40).map(|n| format!("{n}\n")).collect::<String>().as_bytes(),
    )
    .ok();
    let (b, c) = (node("b", 1), node("c", 2));
    agree(&[&a, &b, &c], 40);
    for (node, text) in [(&a, "from a"), (&b, "from b"), (&c, "from c")] {
        node.run(["ledger", "append", "log", text]).ok();
    }
    agree(&[&a, &b, &c], 43);
}

//! Ledgers of real nodes that are killed, stopped and parted: what was acknowledged is there, no author says two things at once,
//! and in the end all have one log.
//!
//! `LEDGER_KILLS=100` kills a writer so often instead of ten times, `LEDGER_ENTRIES=10000` makes the log so long that a joiner
//! reads.

mod common;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use common::ledger::{agree, entries, folder};
use common::{Up, carrick, feed, until_peers};
#[cfg(feature = "ipfs-http")]
use common::{edit, init_over_kubo, until};
use rand::Rng as _;
use serde_json::Value;

/// A number from the environment.
fn number(name: &str, unless_told: u64) -> u64 {
    std::env::var(name)
        .map_or(unless_told, |text| text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}")))
}

/// Appends one line after the other until its node is gone; answers what was acknowledged.
fn append_until_killed(writer: Up, round: u64) -> Vec<Value> {
    let mut command = carrick(&writer.dir);
    command.args(["ledger", "append", "log", "-", "--json"]);
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut appending = piped.spawn().expect("the program runs");
    let mut lines = appending.stdin.take().expect("piped");
    let told = BufReader::new(appending.stdout.take().expect("piped"));
    let acknowledged = thread::scope(|scope| {
        // Until nobody reads any more.
        scope.spawn(move || (0..).try_for_each(|n: u64| writeln!(lines, "{n} of round {round}")));
        let reading = scope.spawn(|| {
            let whole = told.lines().map_while(Result::ok);
            whole.map(|line| serde_json::from_str(&line).expect("an object")).collect()
        });
        let moment = rand::rng().random_range(0..500);
        thread::sleep(Duration::from_millis(moment));
        writer.kill();
        reading.join().expect("reads")
    });
    appending.wait().expect("it ends");
    acknowledged
}

fn kill_while_it_starts(folder: &Path) {
    let mut starting = carrick(folder).args(["up", "--json"]).stdout(Stdio::null()).spawn().expect("it runs");
    thread::sleep(Duration::from_millis(rand::rng().random_range(0..200)));
    starting.kill().expect("it runs");
    starting.wait().expect("it ends");
}

fn cid(entry: &Value) -> &str {
    entry["cid"].as_str().expect("a CID")
}

#[test]
fn a_writer_killed_at_any_moment_loses_nothing_that_was_acknowledged_and_never_forks() {
    let kills = number("LEDGER_KILLS", 10);
    let dir = tempfile::tempdir().expect("a folder");
    let reader = Up::start(&folder(dir.path(), "reader", None));
    let writer = folder(dir.path(), "writer", Some(&reader.addr()));
    let mut acknowledged = Vec::new();
    for round in 0..kills {
        if round % 2 == 1 {
            kill_while_it_starts(&writer);
        }
        let up = Up::start(&writer);
        acknowledged.extend(append_until_killed(up, round));
    }
    let writer = Up::start(&writer);
    acknowledged.extend(writer.run(["ledger", "append", "log", "the last", "--json"]).ok().json());
    let count = entries(&writer);
    let all = agree(&[&writer, &reader], count);

    assert!(acknowledged.len() as u64 > kills, "few were acknowledged");
    // One chain in the order in which it was said, with nothing missing that was acknowledged.
    let mut there = all.iter().map(cid);
    for made in &acknowledged {
        assert!(there.any(|entry| entry == cid(made)), "{made} of {} entries", all.len());
    }
    for pair in all.windows(2) {
        assert_eq!(pair[1]["parents"], serde_json::json!([pair[0]["cid"]]));
        assert_eq!(pair[1]["clock"].as_u64(), pair[0]["clock"].as_u64().map(|clock| clock + 1));
    }
    assert_eq!(count_of(&reader, "equivocation"), 0, "no number came twice");
}

/// One of a node's counters, over all scopes.
fn count_of(node: &Up, name: &str) -> u64 {
    let status = node.run(["status", "--json"]).ok().json().remove(0);
    let scopes = status["counters"].as_object().expect("counters").clone();
    scopes.values().filter_map(|counts| counts[name].as_u64()).sum()
}

/// Each says some things.
fn say(nodes: &[&Up], texts: &[&str]) {
    for node in nodes {
        feed(&node.dir, &["ledger", "append", "log", "-"], texts.join("\n").as_bytes()).ok();
    }
}

#[test]
fn nodes_that_are_stopped_and_killed_have_one_log_in_the_end() {
    let dir = tempfile::tempdir().expect("a folder");
    let a = Up::start(&folder(dir.path(), "a", None));
    let [b, c, d, e] = ["b", "c", "d", "e"].map(|name| Up::start(&folder(dir.path(), name, Some(&a.addr()))));
    until_peers(&a, |peers| peers.len() == 4);
    say(&[&a, &b, &c, &d, &e], &["together", "and again"]);
    agree(&[&a, &b, &c, &d, &e], 10);

    // One side stands still until the other one has given it up.
    let stopped = [&d, &e];
    stopped.iter().for_each(|node| node.freeze());
    say(&[&a, &b, &c], &["one", "two", "three"]);
    let are_gone = |peers: &[Value]| {
        peers.iter().all(|peer| stopped.iter().all(|node| peer["peer"] != node.ready["peer"]))
    };
    for node in [&a, &b, &c] {
        until_peers(node, are_gone);
    }
    stopped.iter().for_each(|node| node.thaw());
    // The other way round, and for so short a time that nobody is given up.
    let stopped = [&a, &b, &c];
    stopped.iter().for_each(|node| node.freeze());
    say(&[&d, &e], &["four", "five"]);
    stopped.iter().for_each(|node| node.thaw());
    let dir = c.dir.clone();
    c.kill();
    say(&[&a, &e], &["while one is dead"]);
    let c = Up::start(&dir);
    say(&[&c], &["it lives"]);
    agree(&[&a, &b, &c, &d, &e], 10 + 9 + 4 + 3);
}

/// The log is one of many, and all of it is there, signed and in its place.
#[test]
fn a_joiner_gets_a_long_log() {
    let count = number("LEDGER_ENTRIES", 2_000);
    let dir = tempfile::tempdir().expect("a folder");
    let writer = Up::start(&folder(dir.path(), "writer", None));
    // Some at once: each waits for the disk.
    thread::scope(|scope| {
        for at in 0..8 {
            let texts: String = (at..count).step_by(8).map(|n| format!("{n}\n")).collect();
            let dir = &writer.dir;
            scope.spawn(move || feed(dir, &["ledger", "append", "log", "-"], texts.as_bytes()).ok());
        }
    });
    let joiner = Up::start(&folder(dir.path(), "joiner", Some(&writer.addr())));
    let all = agree(&[&writer, &joiner], count);
    let mut texts: Vec<u64> =
        all.iter().map(|entry| entry["text"].as_str().expect("text").parse().expect("a number")).collect();
    texts.sort_unstable();
    assert!(texts.into_iter().eq(0..count), "each once");
}

/// A daemon that hangs or dies takes its node out of the network, and nothing with it.
#[cfg(feature = "ipfs-http")]
#[test]
fn nodes_whose_daemons_hang_and_die_have_one_log_in_the_end() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut kubo = carrick_interop::Kubo::run(3, &["--connect"]).expect("daemons");
    let [a, b, c] = [("a", 0), ("b", 1), ("c", 2)].map(|(name, at)| {
        let folder = init_over_kubo(dir.path(), name, &kubo.daemons()[at].api);
        edit(dir.path(), name, |text| format!("{text}\n[ledger.log]\n"));
        Up::start(&folder)
    });
    say(&[&a, &b, &c], &["together", "and again"]);
    agree(&[&a, &b, &c], 6);
    kubo.freeze(1).expect("hangs");
    say(&[&a, &c], &["while one hangs"]);
    agree(&[&a, &c], 8);
    kubo.thaw(1).expect("goes on");
    kubo.connect(1, 0).expect("connects");
    agree(&[&a, &b, &c], 8);
    kubo.kill(2).expect("dies");
    say(&[&a, &b], &["while one is dead"]);
    agree(&[&a, &b], 10);
    assert_eq!(entries(&c), 8);
    kubo.start(2).expect("starts");
    kubo.connect(2, 0).expect("connects");
    until("the daemon", || entries(&c) == 10);
    say(&[&c], &["all are back"]);
    agree(&[&a, &b, &c], 11);
}

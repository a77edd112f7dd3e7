//! Ledgers of real nodes, each a process: what a person writes with one, all have.

mod common;

use carrick::ledger::Ledger;
use carrick::quic::{Quic, QuicConfig};
use carrick::{Clock, Keypair, NetworkId, Node, SystemClock};
use common::ledger::{agree, entries, folder, log};
use common::{Lines, Up, edit, feed, init, run, until, until_peers};
use serde_json::json;

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
fn the_status_says_how_far_it_is_and_who_takes_part() {
    let dir = tempfile::tempdir().expect("a folder");
    let a = Up::start(&folder(dir.path(), "a", None));
    let status = |node: &Up| node.run(["ledger", "status", "log", "--json"]).ok().json().remove(0);
    assert_eq!(
        status(&a),
        json!({ "ledger": "log", "topic": "ledger/log", "entries": 0, "heads": [], "last": null, "peers": [],
            "equivocations": 0, "forks": [] })
    );
    let alone = a.run(["ledger", "status", "log"]).ok();
    assert!(alone.stderr().contains("nobody else takes part"), "{}", alone.stderr());

    // Connected, but not to the ledger.
    let stranger = Up::start(&init(dir.path(), "stranger", Some(&a.addr())));
    let b = Up::start(&folder(dir.path(), "b", Some(&a.addr())));
    until_peers(&a, |peers| peers.iter().any(|peer| peer["peer"] == stranger.ready["peer"]));
    until("one that takes part", || status(&a)["peers"] == json!([b.peer()]));
    let made = b.run(["ledger", "append", "log", "from b", "--json"]).ok().json().remove(0);
    until("the entry", || status(&a)["entries"] == 1);
    let said = status(&a);
    assert_eq!(said["heads"], json!([made["cid"]]));
    for key in ["cid", "clock", "author"] {
        assert_eq!(said["last"][key], made[key]);
    }
    assert_eq!(said["last"]["time"], log(&a)[0]["time"]);
    let text = a.run(["ledger", "status", "log"]).ok().stdout();
    assert!(text.contains("entries    1\n") && text.contains(&b.peer()) && text.contains(" s ago"), "{text}");
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
fn a_log_is_followed_as_it_settles() {
    let dir = tempfile::tempdir().expect("a folder");
    let a = Up::start(&folder(dir.path(), "a", None));
    let mut deep = Lines::run(&a, &["ledger", "log", "log", "--follow", "--settled", "2"]);
    let mut aged = Lines::run(&a, &["ledger", "log", "log", "--follow", "--settled-after", "10ms"]);
    for n in 0..5 {
        a.run(["ledger", "append", "log", &format!("{n}")]).ok();
    }
    for n in 0..3 {
        assert_eq!(deep.json()["text"], format!("{n}"));
    }
    for n in 0..5 {
        assert_eq!(aged.json()["text"], format!("{n}"));
    }
    for odd in [&["--settled", "2"][..], &["--follow", "--settled", "2", "--settled-after", "1s"]] {
        a.run([&["ledger", "log", "log"], odd].concat()).fails(2);
    }
}

#[test]
fn a_check_says_what_was_checked_before() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = folder(dir.path(), "a", None);
    let a = Up::start(&folder);
    feed(&folder, &["ledger", "append", "log", "-"], b"one\ntwo\nthree").ok();
    let verify =
        |node: &Up, how: &[&str]| node.run([&["ledger", "verify", "log"], how].concat()).ok().stdout();
    assert_eq!(verify(&a, &[]), "3 entries, all sound\n");
    a.terminate();
    assert_eq!(a.end().1, 0);
    let a = Up::start(&folder);
    assert_eq!(verify(&a, &["--mend"]), "3 entries, all sound\n");
    assert_eq!(verify(&a, &[]), "3 entries, all sound, 3 of them checked before\n");
    assert_eq!(verify(&a, &["--all"]), "3 entries, all sound\n");
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
    for command in [
        &["append", "other", "x"][..],
        &["log", "other"],
        &["heads", "other"],
        &["status", "other"],
        &["verify", "other"],
    ] {
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
        ("[ledger.log]\nequivocation = \"stop\"", "stop-author"),
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

/// A clock that stands still: what two nodes of one key write first has one number.
#[derive(Clone, Copy, Debug)]
struct Stopped(carrick::Time);

impl Clock for Stopped {
    fn now(&self) -> carrick::Time {
        self.0
    }
}

async fn of_one_key(key: &Keypair, clock: Stopped) -> (Node, Ledger) {
    let ledger = Ledger::new("log", vec![]).expect("a name");
    let node = Node::builder().network(NetworkId::new("test").expect("a network")).identity(key.clone());
    let node = node.clock(clock).mount("quic", |host| {
        let mut config = QuicConfig::default();
        config.listen = vec!["/ip4/127.0.0.1/udp/0/quic-v1".parse().expect("an address")];
        Quic::open(config, host)
    });
    (ledger.mount(node).open().await.expect("opens"), ledger)
}

/// Two entries with one number are listed by the status, and their author is stopped where the configuration says so.
#[tokio::test(flavor = "multi_thread")]
async fn the_status_lists_equivocations_and_their_author_is_stopped() {
    let dir = tempfile::tempdir().expect("a folder");
    init(dir.path(), "a", None);
    edit(dir.path(), "a", |text| format!("{text}\n[ledger.log]\nequivocation = \"stop-author\"\n"));
    let a = Up::start(&dir.path().join("a"));
    let (key, clock) = (Keypair::generate_ed25519(), Stopped(SystemClock.now()));
    let mut forked = Vec::new();
    for payload in ["one", "other"] {
        let (node, ledger) = of_one_key(&key, clock).await;
        forked.push(ledger.append(payload).await.expect("appends").cid.to_string());
        node.connect(&a.addr().parse().expect("an address")).await.expect("connects");
        until("the entry", || entries(&a) == forked.len() as u64);
        node.close().await.expect("closes");
    }
    let status = a.run(["ledger", "status", "log", "--json"]).ok().json().remove(0);
    assert_eq!(status["equivocations"], 1);
    forked.sort();
    let fork =
        json!({ "author": key.public().to_peer_id().to_string(), "number": clock.0.0, "entries": forked });
    assert_eq!(status["forks"], json!([fork]));
    let text = a.run(["ledger", "status", "log"]).ok().stdout();
    assert!(text.contains("equivocations 1\n") && forked.iter().all(|cid| text.contains(cid)), "{text}");
    // Others go on; it does not.
    a.run(["ledger", "append", "log", "by a, follows both"]).ok();
    let (node, ledger) = of_one_key(&key, clock).await;
    node.connect(&a.addr().parse().expect("an address")).await.expect("connects");
    until("all entries", || ledger.count().expect("open") == 3);
    ledger.append("follows both").await.expect("it does not stop itself");
    until("it is refused", || {
        let counters = a.run(["status", "--json"]).ok().json().remove(0)["counters"].to_string();
        counters.contains("rejected")
    });
    assert_eq!(entries(&a), 3);
    node.close().await.expect("closes");
}

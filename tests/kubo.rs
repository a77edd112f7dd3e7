//! The same program over `quic` and over `ipfs-http`: what differs is a line of configuration.
#![cfg(feature = "ipfs-http")]

mod common;

use std::fs;
use std::path::Path;
use std::time::Duration;

use carrick_interop::{Daemon, Kubo};
use common::{
    LOCAL, Lines, Ran, Up, carrick, edit, init, init_over_kubo, run, until, until_on_topic, until_peers,
};

/// A node over its daemon.
fn behind(dir: &Path, name: &str, daemon: &Daemon) -> Up {
    Up::start(&init_over_kubo(dir, name, &daemon.api))
}

fn direct(dir: &Path, name: &str) -> Up {
    Up::start(&init(dir, name, None))
}

/// Has a node keep its blocks in a daemon.
fn store_in(dir: &Path, name: &str, daemon: &Daemon) {
    let table = format!("[store.ipfs-http]\napi = {:?}\n", daemon.api);
    edit(dir, name, |text| text.replace("[node]\n", "[node]\nstore = \"ipfs-http\"\n") + &table);
}

/// What two nodes do together, and what comes of it: the CID of a file, and the messages heard.
fn story(dir: &Path, [a, b]: [&Up; 2]) -> (String, Vec<String>) {
    let input = dir.join("input");
    let content: Vec<u8> = (0..600_000_u32).flat_map(u32::to_le_bytes).collect();
    fs::write(&input, &content).expect("written");
    b.run(["connect", &a.addr()]).ok();
    for node in [a, b] {
        until_peers(node, |peers| !peers.is_empty());
    }
    let cid = a.run(["put".as_ref(), "--json".as_ref(), input.as_os_str()]).ok().cid();
    b.run(["get", &cid, "-o", "out"]).ok();
    assert!(fs::read(b.dir.join("out")).expect("there") == content, "other bytes came");
    let mut heard = Lines::subscribe(b, &["readings"]);
    // A daemon tells who is on a topic to those who are on it too.
    let _also = Lines::subscribe(a, &["readings"]);
    until_on_topic(a, "readings", 1);
    let heard = ["one", "two", "three"].map(|payload| published(a, payload, &mut heard));
    until_parted(a, b);
    (cid, heard.into())
}

/// Disconnects two nodes, again where a daemon dials the other one for its own routing.
fn until_parted(a: &Up, b: &Up) {
    until("the two to be parted", || {
        for peer in b.run(["peers", "--json"]).ok().json() {
            // Gone by itself meanwhile is as good.
            b.run(["disconnect", peer["peer"].as_str().expect("a name")]);
        }
        a.run(["peers", "--json"]).ok().json().is_empty()
    });
}

/// Publishes what then is heard: again where a daemon lost it.
fn published(from: &Up, payload: &str, by: &mut Lines) -> String {
    loop {
        from.run(["publish", "readings", payload]).ok();
        if let Some(line) = by.within(Duration::from_secs(10)) {
            return line["text"].as_str().expect("text").to_owned();
        }
    }
}

#[test]
fn a_line_of_configuration_changes_the_transport_and_nothing_else() {
    let dir = tempfile::tempdir().expect("a folder");
    let kubo = Kubo::run(2, &[]).expect("two daemons");
    let [first, second] = [&kubo.daemons()[0], &kubo.daemons()[1]];
    let over_kubo = [behind(dir.path(), "a", first), behind(dir.path(), "b", second)];
    let over_quic = [direct(dir.path(), "c"), direct(dir.path(), "d")];
    let told = story(dir.path(), over_kubo.each_ref());
    assert_eq!(told, story(dir.path(), over_quic.each_ref()));
    assert_eq!(told.1, ["one", "two", "three"]);
    let elsewhere = second.post(&format!("cat?arg={}&timeout=60s", told.0), None).expect("cat");
    assert_eq!(elsewhere, fs::read(dir.path().join("input")).expect("there"));
    for node in over_kubo {
        node.terminate();
        assert_eq!(node.end().1, 0);
    }
}

#[test]
fn what_a_daemon_stores_survives_its_garbage_collection_and_both_restarts() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut kubo = Kubo::run(2, &["--connect", "--durable"]).expect("two daemons");
    let (ours, elsewhere) = (kubo.daemons()[0].clone(), kubo.daemons()[1].clone());
    init(dir.path(), "a", None);
    run(dir.path(), ["init", "b", "--network", "test", "--transport", "ipfs-http"]).ok();
    edit(dir.path(), "b", |text| {
        text.replace("# api = \"http://127.0.0.1:5001\"", &format!("api = {:?}", ours.api))
    });
    let other = direct(dir.path(), "c");
    let input = dir.path().join("input");
    for (name, fill) in [("a", 1), ("b", 2)] {
        fs::write(&input, vec![fill; 3_000_000]).expect("written");
        store_in(dir.path(), name, &ours);
        let node = Up::start(&dir.path().join(name));
        let cid = node.run(["put".as_ref(), "--json".as_ref(), input.as_os_str()]).ok().cid();
        let before = node.run(["status", "--json"]).ok().json()[0]["store"].clone();
        assert!(before["bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{before}");
        ours.post("repo/gc", None).expect("collects");
        node.terminate();
        assert_eq!(node.end().1, 0);
        kubo.kill(0).expect("dies");
        kubo.start(0).expect("starts");

        let node = Up::start(&dir.path().join(name));
        assert_eq!(node.run(["status", "--json"]).ok().json()[0]["store"], before);
        node.run(["get", &cid, "-o", "again"]).ok();
        assert!(fs::read(node.dir.join("again")).expect("there") == fs::read(&input).expect("there"));
        if name == "a" {
            other.run(["connect", &node.addr()]).ok();
            other.run(["get", &cid, "-o", "out"]).ok();
            assert!(fs::read(other.dir.join("out")).expect("there") == fs::read(&input).expect("there"));
        }
        // For other programs it is a file in the daemon.
        kubo.connect(0, 1).expect("connects");
        let seen = elsewhere.post(&format!("cat?arg={cid}&timeout=60s"), None).expect("cat");
        assert!(seen == fs::read(&input).expect("there"));
        node.terminate();
        assert_eq!(node.end().1, 0);
    }
}

#[test]
fn a_store_without_its_daemon_is_exit_code_3_and_says_what_to_do() {
    let dir = tempfile::tempdir().expect("a folder");
    run(dir.path(), ["init", "a", "--listen", LOCAL]).ok();
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("binds").local_addr().expect("bound");
    let api = format!("store.ipfs-http.api=http://{free}");
    let up = ["--set", "node.store=ipfs-http", "--set", &api, "up", "--json"];
    let refused = run(&dir.path().join("a"), up).fails(3).error();
    assert_eq!(refused["kind"], "unreachable", "{refused}");
    assert!(refused["hint"].as_str().is_some_and(|hint| hint.contains("ipfs daemon")), "{refused}");
    let plugins = run(dir.path(), ["plugins", "--json"]).ok().json();
    let ours = plugins.iter().find(|plugin| plugin["kind"] == "store" && plugin["name"] == "ipfs-http");
    assert!(ours.is_some_and(|ours| ours["keys"].to_string().contains("max_bytes")), "{plugins:?}");
}

#[test]
fn a_daemon_that_is_not_there_is_exit_code_3_and_says_what_to_do() {
    let dir = tempfile::tempdir().expect("a folder");
    run(dir.path(), ["init", "a", "--transport", "ipfs-http"]).ok();
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("binds").local_addr().expect("bound");
    let api = format!("transport.ipfs-http.api=http://{free}");
    let refused = run(&dir.path().join("a"), ["--set", &api, "up", "--json"]).fails(3).error();
    assert_eq!((&refused["kind"], &refused["transport"]), (&"unreachable".into(), &"ipfs-http".into()));
    assert!(refused["hint"].as_str().is_some_and(|hint| hint.contains("ipfs daemon")), "{refused}");
}

#[test]
fn the_demo_starts_daemons_of_its_own_and_ends_them() {
    let dir = tempfile::tempdir().expect("a folder");
    fs::create_dir(dir.path().join("input")).expect("made");
    fs::write(dir.path().join("input/file"), vec![2; 3_000_000]).expect("written");
    carrick_interop::install("kubo").expect("there");
    let args =
        ["demo", "--transport", "ipfs-http", "--nodes", "2", "--json", "--keep", "kept", "--input", "input"];
    let lines = run(dir.path(), args).ok().json();
    let last = lines.last().expect("a line");
    assert_eq!((&last["ok"], &last["content"]["verified"]), (&true.into(), &true.into()), "{last}");
    let api = fs::read_to_string(dir.path().join("kept/kubo-1/api")).unwrap_or_default();
    let port = api.trim().rsplit('/').next().and_then(|port| port.parse::<u16>().ok());
    let answers = port.is_some_and(|port| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    assert!(!answers, "a daemon outlives the demo");
}

#[test]
fn a_demo_without_kubo_says_where_to_get_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut command = carrick(dir.path());
    command.args(["demo", "--transport", "ipfs-http", "--json"]).env("PATH", "").env("HOME", dir.path());
    let refused = Ran(command.output().expect("it runs")).fails(3).error();
    assert!(refused["hint"].as_str().is_some_and(|hint| hint.contains("install Kubo")), "{refused}");
}

#[test]
fn a_secret_in_the_wrong_place_is_not_shown() {
    let dir = tempfile::tempdir().expect("a folder");
    run(dir.path(), ["init", "a", "--transport", "ipfs-http"]).ok();
    for (key, value) in [
        ("api", "\"https://user:s3cret@kubo.example\""),
        ("api", "\"https://kubo.example/?token=s3cret\""),
        ("auth", "\"Bearer s3cret\""),
        ("auth", "{ scheme = \"s3cret\", env = \"TOKEN\" }"),
    ] {
        let set = format!("transport.ipfs-http.{key}={value}");
        for json in [&["up"][..], &["up", "--json"]] {
            let ran = run(&dir.path().join("a"), ["--set", &set].iter().chain(json)).fails(2);
            let said = ran.stdout() + &ran.stderr();
            assert!(!said.contains("s3cret") && said.contains(key), "{said}");
        }
    }
}

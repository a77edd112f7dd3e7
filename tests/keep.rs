//! What stays in the store and what goes: `ls`, `stat`, `rm`, `pin` and `gc`.

mod common;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use common::{Up, feed, init, run, until_peers};
use serde_json::{Value, json};

/// Well formed, and of nothing that anybody has.
const ABSENT: &str = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e";

fn put(node: &Up, content: &[u8]) -> String {
    feed(&node.dir, &["put", "-", "--json"], content).ok().cid()
}

/// A folder of two files, one of them of several blocks.
fn folder(dir: &Path) -> (std::path::PathBuf, Vec<u8>) {
    let folder = dir.join("folder");
    fs::create_dir(&folder).expect("made");
    let large: Vec<u8> = (0..700_000_u32).flat_map(u32::to_le_bytes).collect();
    fs::write(folder.join("large"), &large).expect("written");
    fs::write(folder.join("two\nlines"), "small").expect("written");
    (folder, large)
}

#[test]
fn what_is_removed_goes_and_what_others_need_stays() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = Up::start(&init(dir.path(), "a", None));
    let (folder, large) = folder(dir.path());
    let whole = node.run(["put".as_ref(), "--json".as_ref(), folder.as_os_str()]).ok().cid();
    let part = put(&node, &large);

    let items = node.run(["ls", &whole, "--json"]).ok().json();
    assert_eq!((&items[0]["name"], &items[0]["cid"]), (&"large".into(), &part.clone().into()));
    assert_eq!(items[1]["name"], "two\nlines");
    assert!(items[0]["bytes"].as_u64().is_some_and(|bytes| bytes > 2_800_000), "{items:?}");
    let shown = node.run(["ls", &whole]).ok().stdout();
    assert!(
        shown.contains("large") && shown.contains("two\\nlines") && shown.lines().count() == 3,
        "{shown}"
    );
    let links = node.run(["ls", &format!("{whole}/large"), "--json"]).ok().json();
    assert_eq!((links.len(), &links[0]["name"]), (3, &Value::Null));
    node.run(["ls", &format!("{whole}/absent")]).fails(4);

    let stat = &node.run(["stat", &part, "--json"]).ok().json()[0];
    let expected = json!({
        "cid": part, "codec": "dag-pb", "kind": "file", "bytes": 2_800_000, "block_bytes": stat["block_bytes"],
        "links": 3, "blocks": 4, "missing": 0, "pins": [{ "cid": part, "owner": "user", "depth": "recursive" }],
    });
    assert_eq!(*stat, expected);
    assert!(node.run(["stat", &whole]).ok().stdout().contains("6 blocks, all of it"));

    let removed = &node.run(["rm", &part, "--json"]).ok().json()[0];
    assert_eq!(*removed, json!({ "cid": part, "kept": 4, "deleted": 0, "bytes": 0 }), "the folder needs it");
    let removed = &node.run(["rm", &whole, "--json"]).ok().json()[0];
    assert_eq!((&removed["kept"], &removed["deleted"]), (&0.into(), &6.into()));
    assert!(removed["bytes"].as_u64().is_some_and(|bytes| bytes > 2_800_000), "{removed}");
    let store = &node.run(["status", "--json"]).ok().json()[0]["store"];
    assert_eq!((&store["blocks"], &store["bytes"]), (&0.into(), &0.into()));
    for command in ["rm", "stat"] {
        assert_eq!(node.run([command, &whole, "--json"]).fails(4).error()["kind"], "not_found");
    }
}

#[test]
fn one_that_is_not_there_keeps_no_other_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = Up::start(&init(dir.path(), "a", None));
    let cids = [&b"one"[..], b"two"].map(|content| put(&node, content));
    let ran = node.run(["rm", "--json", &cids[0], ABSENT, &cids[1]]).fails(4);
    assert_eq!(ran.json().len(), 2);
    assert_eq!(ran.error()["kind"], "not_found");
    let said = node.run(["rm", ABSENT]).fails(4).stderr();
    assert!(said.contains(ABSENT), "{said}");
}

#[test]
fn pins_are_added_listed_and_taken_away() {
    let dir = tempfile::tempdir().expect("a folder");
    let a = Up::start(&init(dir.path(), "a", None));
    let b = Up::start(&init(dir.path(), "b", Some(&a.addr())));
    until_peers(&b, |peers| !peers.is_empty());
    let cid = put(&a, b"content");
    assert_eq!(b.run(["pin", "ls", "--json"]).ok().stdout(), "");
    let pinned = b.run(["pin", "add", &cid, "--json"]).ok().json();
    assert_eq!(pinned, [json!({ "cid": cid })]);
    let pins = b.run(["pin", "ls", "--json"]).ok().json();
    assert_eq!(pins, [json!({ "cid": cid, "owner": "user", "depth": "recursive" })]);
    assert_eq!(b.run(["pin", "ls", "--all", "--json"]).ok().json(), pins);
    let shown = b.run(["pin", "ls"]).ok().stdout();
    assert!(shown.starts_with("CID") && shown.contains(&cid) && shown.contains("all under it"), "{shown}");

    let got = put(&a, b"got and not pinned");
    assert_eq!(b.run(["get", &got]).ok().stdout(), "got and not pinned");
    let collected = b.run(["gc", "--json"]).ok().json();
    assert_eq!(collected, [json!({ "kept": 1, "deleted": 1, "bytes": 18 })]);
    b.run(["pin", "rm", &cid]).ok();
    b.run(["stat", &cid]).ok();
    assert_eq!(b.run(["pin", "rm", &cid, "--json"]).fails(4).error()["kind"], "not_found");
    assert_eq!(b.run(["gc"]).ok().stdout().trim(), "1 blocks deleted, 7 B; 0 stay");
    b.run(["stat", &cid]).fails(4);
    assert_eq!(a.run(["stat", &cid, "--json"]).ok().json()[0]["missing"], 0, "the other one keeps its own");
    assert_eq!(b.run(["get", &cid]).ok().stdout(), "content", "it can be got again");
}

/// A command reads from the node what it had it fetch; until it has gone, nothing of that is taken.
#[test]
fn what_a_command_is_still_reading_stays() {
    let dir = tempfile::tempdir().expect("a folder");
    let a = Up::start(&init(dir.path(), "a", None));
    let b = Up::start(&init(dir.path(), "b", Some(&a.addr())));
    until_peers(&b, |peers| !peers.is_empty());
    let cid = put(&a, b"content");
    let mut reader = UnixStream::connect(b.dir.join("data/carrick.sock")).expect("it listens");
    reader.write_all(&request("/v1/fetch", &json!({ "cid": cid }).to_string())).expect("sent");
    let mut lines = BufReader::new(reader).lines().map(|line| line.expect("text"));
    assert!(lines.any(|line| line.contains("\"done\"")), "it ends without an answer");
    let deleted = || b.run(["gc", "--json"]).ok().json()[0]["deleted"].as_u64().expect("a number");
    assert_eq!(deleted(), 0);
    drop(lines);
    let started = std::time::Instant::now();
    while deleted() == 0 {
        assert!(started.elapsed().as_secs() < 30, "it is held for nobody");
    }
}

#[test]
fn words_that_are_no_cid_are_2_and_hashes_that_prove_nothing_5() {
    let dir = tempfile::tempdir().expect("a folder");
    let a = init(dir.path(), "a", None);
    for command in [&["rm"][..], &["stat"], &["ls"], &["pin", "add"], &["pin", "rm"]] {
        let error = run(&a, command.iter().chain(&["nonsense", "--json"])).fails(2).error();
        assert!(error["hint"].as_str().is_some_and(|hint| hint.contains("carrick put")), "{error}");
        run(&a, command.iter().chain(&[ABSENT, "--json"])).fails(3);
    }
    for command in [&["gc"][..], &["pin", "ls"]] {
        run(&a, command).fails(3);
    }
    run(&a, ["rm"]).fails(2);
    let node = Up::start(&a);
    for command in [&["rm"][..], &["stat"], &["ls"], &["pin", "add"], &["pin", "rm"]] {
        node.run(command.iter().chain(&["bafkqaaa"])).fails(5);
    }
}

/// A request as any program may write it.
fn request(path: &str, body: &str) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body.as_bytes()].concat()
}

/// Any program of this user may speak to the socket.
#[test]
fn the_socket_refuses_what_is_malformed() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = Up::start(&init(dir.path(), "a", None));
    let ask = |path: &str, body: &str| {
        let mut socket = UnixStream::connect(node.dir.join("data/carrick.sock")).expect("it listens");
        socket.write_all(&request(path, body)).expect("sent");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("text");
        answer
    };
    for path in ["/v1/rm", "/v1/stat", "/v1/unpin", "/v1/pins"] {
        for body in
            ["", "{}", "[]", "{\"cid\":7}", "{\"cid\":\"x\",\"more\":1}", "{\"all\":\"yes\"}", "\u{0}"]
        {
            let answer = ask(path, body);
            assert!(answer.starts_with("HTTP/1.1 400"), "{path} {body}: {answer}");
        }
    }
    assert!(ask("/v1/gc", "anything").starts_with("HTTP/1.1 200"), "it needs no words");
    node.run(["status"]).ok();
}

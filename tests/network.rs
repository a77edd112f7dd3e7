//! Three nodes, each of which was told of the one before it alone.

mod common;

use std::fs;
use std::path::Path;

use common::{Lines, Up, feed, init, until_on_topic, until_peers};

/// Three nodes in a line, connected.
fn line(dir: &Path) -> [Up; 3] {
    let a = Up::start(&init(dir, "a", None));
    let b = Up::start(&init(dir, "b", Some(&a.addr())));
    let c = Up::start(&init(dir, "c", Some(&b.addr())));
    until_peers(&a, |peers| !peers.is_empty());
    until_peers(&b, |peers| peers.len() >= 2);
    until_peers(&c, |peers| !peers.is_empty());
    [a, b, c]
}

#[test]
fn a_folder_put_on_one_is_got_whole_on_the_others() {
    let dir = tempfile::tempdir().expect("a folder");
    let [a, b, c] = line(dir.path());
    let input = dir.path().join("in");
    fs::create_dir_all(input.join("empty folder")).expect("made");
    fs::write(input.join("empty"), "").expect("written");
    fs::write(input.join("größe.txt"), "größe").expect("written");
    let large: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    fs::write(input.join("large"), &large).expect("written");

    let put = a.run(["put".as_ref(), "--json".as_ref(), input.as_os_str()]).ok().json();
    assert_eq!((&put[0]["name"], &put[0]["bytes"]), (&"in".into(), &(large.len() + "größe".len()).into()));
    let cid = put[0]["cid"].as_str().expect("a CID");
    for node in [&b, &c] {
        let got = node.run(["get", cid, "-o", "out", "--json"]).ok().json();
        assert_eq!((&got[0]["cid"], &got[0]["bytes"]), (&put[0]["cid"], &put[0]["bytes"]));
        assert!(got[0]["sources"].as_array().is_some_and(|sources| !sources.is_empty()), "{got:?}");
        let out = node.dir.join("out");
        assert_eq!(fs::read(out.join("large")).expect("there"), large);
        assert_eq!(fs::read_to_string(out.join("größe.txt")).expect("there"), "größe");
        assert_eq!(fs::read(out.join("empty")).expect("there"), b"");
        assert!(out.join("empty folder").is_dir());
        let refused = node.run(["get", cid, "-o", "out", "--json"]).fails(2).error();
        assert!(refused["message"].as_str().is_some_and(|text| text.contains("is a folder")), "{refused}");
    }
    assert_eq!(a.run(["put", "--only-cid", input.to_str().expect("text")]).ok().stdout().trim(), cid);
}

#[test]
fn only_what_a_path_leads_to_is_fetched() {
    let dir = tempfile::tempdir().expect("a folder");
    let [a, b, _c] = line(dir.path());
    let input = dir.path().join("in");
    fs::create_dir_all(input.join("x")).expect("made");
    fs::write(input.join("x/small"), "small").expect("written");
    fs::write(input.join("large"), vec![7; 4 << 20]).expect("written");
    let cid = a.run(["put".as_ref(), input.as_os_str()]).ok().stdout().trim().to_string();

    let got = b.run(["get", &format!("{cid}/x/small"), "--json"]).ok();
    assert_eq!(got.stdout(), "small");
    let told: serde_json::Value =
        serde_json::from_str(got.stderr().trim()).expect("an object beside the data");
    assert_eq!(told["bytes"], 5);
    let stored = b.run(["status", "--json"]).ok().json()[0]["store"]["bytes"].as_u64().expect("a number");
    assert!(stored < 1 << 20, "{stored} bytes are more than was asked for");

    assert_eq!(b.run(["get", &cid, "--json"]).fails(2).error()["hint"], "name the folder to write: -o PATH");
    b.run(["get", &format!("{cid}/nothing")]).fails(4);
    fs::write(b.dir.join("file"), "old").expect("written");
    b.run(["get", &format!("{cid}/x/small"), "-o", "file"]).ok();
    assert_eq!(fs::read_to_string(b.dir.join("file")).expect("there"), "small", "a file is replaced");
    assert_eq!(b.run(["get", &format!("{cid}/x/small"), "-o", "-"]).ok().stdout(), "small");
    b.run(["get", &format!("{cid}/x/small"), "-o", "new/"]).fails(2);
    let socket = b.dir.join("data/carrick.sock");
    let refused = b.run(["get", &format!("{cid}/x/small"), "-o", socket.to_str().expect("text"), "--json"]);
    let refused = refused.fails(2).error();
    assert!(refused["message"].as_str().is_some_and(|text| text.contains("not replaced")), "{refused}");
    b.run(["status"]).ok();
}

#[test]
fn what_nobody_has_is_not_found_in_time() {
    let dir = tempfile::tempdir().expect("a folder");
    let [a, _b, _c] = line(dir.path());
    let cid = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e";
    let error = a.run(["get", cid, "--deadline", "5s", "--json"]).fails(4).error();
    assert!(["not_found", "timeout"].contains(&error["kind"].as_str().expect("text")), "{error}");
    assert!(!a.dir.join("out").exists());
    let identity = "bafkqaaa";
    a.run(["get", identity]).fails(5);
}

#[test]
fn standard_input_is_a_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let [a, b, _c] = line(dir.path());
    let put = feed(&a.dir, &["put", "-", "--json"], b"from a pipe").ok().json();
    assert_eq!((&put[0]["name"], &put[0]["bytes"]), (&serde_json::Value::Null, &11.into()));
    assert_eq!(b.run(["get", put[0]["cid"].as_str().expect("a CID")]).ok().stdout(), "from a pipe");
}

/// A node that dials its bootstrap peers alone, so that a line stays a line.
fn init_lonely(dir: &Path, name: &str, bootstrap: Option<&str>) -> std::path::PathBuf {
    let folder = init(dir, name, bootstrap);
    let file = folder.join("carrick.toml");
    let text = fs::read_to_string(&file).expect("a configuration");
    let lonely = text.replace("[transport.quic]\n", "[transport.quic]\nneighbours = 0\n");
    assert_ne!(lonely, text, "the table is there");
    fs::write(&file, lonely).expect("written");
    folder
}

/// A node whose messages wait for those they follow even where the machine is busy with something else.
fn init_patient(dir: &Path, name: &str, bootstrap: Option<&str>) -> std::path::PathBuf {
    let folder = init(dir, name, bootstrap);
    let file = folder.join("carrick.toml");
    let text = fs::read_to_string(&file).expect("a configuration");
    fs::write(&file, text + "\n[node.limits]\nreorder = 10\n").expect("written");
    folder
}

/// All know each other: each line comes to each reader over several ways, and all lines are sent at once.
#[test]
fn in_a_mesh_messages_reach_all_in_the_order_of_their_author() {
    let dir = tempfile::tempdir().expect("a folder");
    let a = Up::start(&init_patient(dir.path(), "a", None));
    let b = Up::start(&init_patient(dir.path(), "b", Some(&a.addr())));
    let c = Up::start(&init_patient(dir.path(), "c", Some(&b.addr())));
    let d = Up::start(&init_patient(dir.path(), "d", Some(&c.addr())));
    let mut readers = [&b, &c, &d].map(|up| Lines::subscribe(up, &["t", "--count", "500"]));
    for up in [&a, &b, &c, &d] {
        until_peers(up, |peers| peers.len() == 3);
    }
    until_on_topic(&a, "t", 3);
    until_on_topic(&b, "t", 2);
    until_on_topic(&c, "t", 2);
    until_on_topic(&d, "t", 2);

    let lines: Vec<String> = (0..500).map(|n| format!("line {n}")).collect();
    feed(&a.dir, &["publish", "t", "-"], (lines.join("\n") + "\n").as_bytes()).ok();
    for reader in &mut readers {
        let heard: Vec<String> = lines
            .iter()
            .map(|_| reader.json()["text"].as_str().map_or_else(String::new, Into::into))
            .collect();
        assert_eq!(heard, lines);
    }
    assert_eq!(readers.map(Lines::code), [0, 0, 0]);
}

#[test]
fn along_a_line_messages_reach_all_in_the_order_of_their_author() {
    let dir = tempfile::tempdir().expect("a folder");
    let a = Up::start(&init_lonely(dir.path(), "a", None));
    let b = Up::start(&init_lonely(dir.path(), "b", Some(&a.addr())));
    let c = Up::start(&init_lonely(dir.path(), "c", Some(&b.addr())));
    until_peers(&b, |peers| peers.len() >= 2);
    let mut readers =
        [Lines::subscribe(&b, &["t", "--count", "22"]), Lines::subscribe(&c, &["t", "--count", "22"])];
    until_on_topic(&a, "t", 1);
    until_on_topic(&b, "t", 1);
    until_on_topic(&c, "t", 1);

    let lines: String = (0..20).map(|n| format!("line {n}\n")).collect();
    let published = feed(&a.dir, &["publish", "t", "-", "--json"], lines.as_bytes()).ok().json();
    assert_eq!(published.len(), 20);
    assert_eq!((&published[0]["topic"], &published[0]["queued"]), (&"t".into(), &false.into()));
    assert!(published[0]["peers"].as_u64().is_some_and(|peers| peers >= 1), "{}", published[0]);
    a.run(["publish", "t", "größe"]).ok();
    fs::write(a.dir.join("raw"), [0xff, 0]).expect("written");
    a.run(["publish", "t", "--file", "raw"]).ok();

    for reader in &mut readers {
        for (n, published) in published.iter().enumerate() {
            let message = reader.json();
            assert_eq!((&message["text"], &message["id"]), (&format!("line {n}").into(), &published["id"]));
            assert_eq!(message["author"], a.ready["peer"]);
        }
        assert_eq!(reader.json()["payload"], "Z3LDtsOfZQ==");
        let raw = reader.json();
        assert_eq!((&raw["payload"], raw.get("text")), (&"/wA=".into(), None));
    }
    assert_eq!(readers.map(Lines::code), [0, 0]);
}

#[test]
fn a_subscription_that_hears_too_little_is_4() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = Up::start(&init(dir.path(), "a", None));
    let error = node.run(["subscribe", "t", "--count", "2", "--timeout", "200ms", "--json"]).fails(4).error();
    assert_eq!(
        (&error["kind"], &error["message"]),
        (&"timeout".into(), &"0 of 2 messages came within 0.2 s".into())
    );
    let endless = node.run(["publish", "t", "--file", "/dev/zero", "--json"]).fails(5).error();
    assert_eq!(endless["kind"], "too_large");
    let queued = node.run(["publish", "t", "nobody is there", "--json"]).ok().json();
    assert_eq!((&queued[0]["queued"], &queued[0]["peers"]), (&true.into(), &0.into()));
}

#[test]
fn peers_are_listed_connected_and_disconnected() {
    let dir = tempfile::tempdir().expect("a folder");
    let a = Up::start(&init(dir.path(), "a", None));
    let b = Up::start(&init(dir.path(), "b", None));
    let connected = b.run(["connect", &a.addr(), "--json"]).ok().json();
    assert_eq!((&connected[0]["peer"], &connected[0]["direction"]), (&a.ready["peer"], &"outbound".into()));
    let peers = until_peers(&a, |peers| peers.len() == 1);
    for key in ["peer", "address", "transport", "direction", "since", "topics", "reputation"] {
        assert!(peers[0].get(key).is_some(), "{key} is missing in {}", peers[0]);
    }
    assert_eq!((&peers[0]["peer"], &peers[0]["direction"]), (&b.ready["peer"], &"inbound".into()));
    assert!(a.run(["peers"]).ok().stdout().contains(&b.peer()));
    b.run(["disconnect", &a.peer()]).ok();
    until_peers(&a, |peers| peers.is_empty());
    b.run(["disconnect", &a.peer()]).fails(4);
    b.run(["connect", "10.0.0.7:4600"]).fails(2);
    let wrong = format!("{}/p2p/{}", a.addr().split("/p2p/").next().expect("an address"), b.peer());
    let refused = a.run(["connect", &wrong, "--json"]);
    assert!(refused.code() != 0, "a node does not connect to itself");
}

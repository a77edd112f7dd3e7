//! Daemons that are not what they should be, through the program: the words, the exit code, and what goes on afterwards.
#![cfg(feature = "ipfs-http")]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use carrick_interop::{Daemon, Kubo};
use common::{Lines, Ran, Up, carrick, init_over_kubo, run, until};
use serde_json::Value;

const ID: &str = r#"{"ID":"12D3KooWJWoaqZhDaoEFshF7Rh1bpY9ohihFhzcW6d69Lr2NASuq","Addresses":null}"#;

/// Where a server answers each path as it is told.
fn server(answer: impl Fn(&str) -> (u16, String) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let api = format!("http://{}", listener.local_addr().expect("bound"));
    let answer = std::sync::Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let answer = std::sync::Arc::clone(&answer);
            thread::spawn(move || serve(stream, &*answer));
        }
    });
    api
}

/// One request a connection.
fn serve(stream: TcpStream, answer: &dyn Fn(&str) -> (u16, String)) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let (mut path, mut length, mut line) = (String::new(), 0, String::new());
    while stream.read_line(&mut line)? > 2 {
        if let Some(found) = line.strip_prefix("POST /api/v0/") {
            found.split(['?', ' ']).next().unwrap_or_default().clone_into(&mut path);
        }
        if let Some(found) = line.to_lowercase().strip_prefix("content-length:") {
            length = found.trim().parse().unwrap_or(0);
        }
        line.clear();
    }
    stream.read_exact(&mut vec![0; length])?;
    let (status, body) = answer(&path);
    let head =
        format!("HTTP/1.1 {status} Said\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.get_mut().write_all(format!("{head}{body}").as_bytes())
}

fn said(message: &str) -> (u16, String) {
    (500, format!(r#"{{"Message":{message:?},"Code":0,"Type":"error"}}"#))
}

/// A daemon that is good as far as it is asked here.
fn good(path: &str) -> (u16, String) {
    match path {
        "id" => (200, ID.into()),
        "version" => (200, r#"{"Version":"0.43.0","Commit":"","Repo":"18"}"#.into()),
        "pubsub/peers" => said("URL arg must be multibase encoded"),
        "pubsub/ls" => (200, r#"{"Strings":null}"#.into()),
        "swarm/peers" => (200, r#"{"Peers":null}"#.into()),
        "block/get" | "dag/import" | "routing/findprovs" => (400, "argument \"it\" is required".into()),
        "pin/add" => said("pin: block was not found locally (offline): ipld: could not find bafk"),
        _ => (404, "404 page not found".into()),
    }
}

/// Why a node does not start, with these settings.
fn refused(api: &str, settings: &[&str], code: i32) -> Value {
    let dir = tempfile::tempdir().expect("a folder");
    let settings = settings.iter().flat_map(|set| ["--set", set]);
    run(&init_over_kubo(dir.path(), "a", api), settings.chain(["up", "--json"])).fails(code).error()
}

#[track_caller]
fn told(error: &Value, kind: &str, words: &str, mend: &str) {
    let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
    assert_eq!((text("kind").as_str(), text("transport").as_str()), (kind, "ipfs-http"), "{error}");
    assert!(text("message").contains(words) && text("hint").contains(mend), "{error}");
}

#[test]
fn another_program_at_its_port_is_told_from_a_daemon() {
    for (status, page) in [(200, "<html>welcome</html>"), (404, "<html>nothing</html>"), (200, "pong")] {
        let api = server(move |_| (status, page.into()));
        told(&refused(&api, &[], 1), "unexpected", "not what Kubo says", "`api`");
    }
    let database = server(|_| (400, "-ERR unknown command".into()));
    told(&refused(&database, &[], 1), "unexpected", "-ERR unknown command", "`api`");
}

#[test]
fn a_daemon_that_is_too_old_or_hangs_is_told() {
    let old = server(|path| match path {
        "pubsub/peers" => (200, r#"{"Strings":null}"#.into()),
        _ => good(path),
    });
    told(&refused(&old, &[], 1), "unsupported", "before 0.11", "newer Kubo");
    let hangs = server(|_| {
        loop {
            thread::park();
        }
    });
    let soon = "transport.ipfs-http.request_timeout=0.3";
    told(&refused(&hangs, &[soon], 4), "timeout", "no answer within 0.3 s", "overloaded or stopped");
}

/// Whoever must judge before others hear of it cannot use a daemon; whoever may use one is warned, once.
#[test]
fn a_daemon_that_relays_first_is_refused_where_that_is_required_and_else_warned_of_once() {
    let api = server(good);
    let refused = refused(&api, &["node.require.relay=\"after-verdict\""], 2);
    told(&refused, "config", "relay", "take relay out of [node.require]");
    let dir = tempfile::tempdir().expect("a folder");
    let mut up = carrick(&init_over_kubo(dir.path(), "a", &api));
    let mut up =
        up.args(["up", "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("runs");
    let mut ready = String::new();
    BufReader::new(up.stdout.take().expect("piped")).read_line(&mut ready).expect("a line");
    assert!(ready.contains("ready"), "{ready}");
    up.kill().expect("it runs");
    let mut said = String::new();
    up.stderr.take().expect("piped").read_to_string(&mut said).expect("text");
    up.wait().expect("it ends");
    assert_eq!(said.matches("before this node has judged them").count(), 1, "{said}");
}

#[test]
fn what_a_real_daemon_refuses_is_told() {
    let kubo = Kubo::run(1, &["--no-pubsub", "--bearer", "s3cret"]).expect("a daemon");
    let api = &kubo.daemons()[0].api;
    told(&refused(api, &[], 5), "unauthorized", "access denied", "`auth`");
    let secret = tempfile::NamedTempFile::new().expect("a file");
    let auth = format!("transport.ipfs-http.auth={{ scheme = \"bearer\", file = {:?} }}", secret.path());
    fs::write(secret.path(), "another").expect("written");
    told(&refused(api, &[&auth], 5), "unauthorized", "access denied", "`auth`");
    fs::write(secret.path(), "s3cret").expect("written");
    let off = refused(api, &[&auth], 2);
    told(&off, "config", "pubsub is off", "ipfs config --json Pubsub.Enabled true");
    drop(secret);
    let unread = refused(api, &[&auth], 2).to_string();
    assert!(
        unread.contains("cannot be read") && unread.contains("a file that this user may read"),
        "{unread}"
    );
}

#[test]
fn a_full_disk_of_the_daemon_is_exit_code_5_and_the_node_keeps_what_was_put() {
    let dir = tempfile::tempdir().expect("a folder");
    let full = server(|path| match path {
        "block/put" => said("put: write /repo/blocks/x: no space left on device"),
        _ => good(path),
    });
    let node = Up::start(&init_over_kubo(dir.path(), "a", &full));
    fs::write(node.dir.join("file"), "hello world").expect("written");
    let error = node.run(["put", "--json", "file"]).fails(5).error();
    told(&error, "full", "no space left on device", "make room");
    let cid = node.run(["put", "--only-cid", "--json", "file"]).ok().json()[0]["cid"].clone();
    node.run(["get", cid.as_str().expect("a CID"), "-o", "back"]).ok();
    assert_eq!(fs::read(node.dir.join("back")).expect("there"), b"hello world");
}

/// Over the RPC nobody is told of it: a daemon that does not get its repository does not start.
#[test]
fn a_locked_repository_is_told_by_the_demo_with_what_to_do() {
    let dir = tempfile::tempdir().expect("a folder");
    let kubo = Kubo::run(1, &[]).expect("a daemon");
    let program = dir.path().join("ipfs");
    // Before the demo's daemon another one takes the repository.
    let script = format!(
        r#"#!/bin/sh
real={:?}
[ "$1" = daemon ] || exec "$real" "$@"
"$real" daemon >/dev/null 2>&1 &
while ! [ -e "$IPFS_PATH/api" ]; do sleep 0.1; done
"$real" daemon
code=$?
kill $!
exit $code
"#,
        kubo.daemons()[0].program
    );
    fs::write(&program, script).expect("written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it may run");
    let mut demo = carrick(dir.path());
    demo.args(["demo", "--transport", "ipfs-http", "--json"]).env("CARRICK_IPFS", program);
    let error = Ran(demo.output().expect("it runs")).fails(1).error().to_string();
    assert!(error.contains("someone else has the lock") && error.contains("end it"), "{error}");
}

/// What everybody sees who looks at a subscription while the daemon is killed and started again.
#[test]
fn a_killed_daemon_is_a_gap_in_a_subscription_and_messages_flow_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut kubo = Kubo::run(1, &[]).expect("a daemon");
    let api = kubo.daemons()[0].api.clone();
    let node = Up::start(&init_over_kubo(dir.path(), "a", &api));
    // On the same daemon: how soon two daemons find each other again is Kubo's affair.
    let near = Up::start(&init_over_kubo(dir.path(), "b", &api));
    let state = || {
        let status = node.run(["status", "--json"]).ok().json();
        status[0]["transports"][0]["facts"]["state"].as_str().expect("a state").to_owned()
    };
    let mut heard = Lines::subscribe(&node, &["readings"]);
    near.run(["publish", "readings", "before"]).ok();
    assert_eq!(heard.json()["text"], "before");
    assert_eq!(state(), "answers");
    kubo.kill(0).expect("dies");
    until("that it is noticed", || state().starts_with("does not answer: "));
    let error = node.run(["publish", "--json", "readings", "lost"]).fails(3).error();
    told(&error, "unreachable", "no connection", "ipfs daemon");
    kubo.start(0).expect("starts");
    until("the daemon", || state() == "answers");
    assert!(heard.json()["gap"].is_object(), "the gap is told");
    // Until it is heard: a daemon may lose a message.
    let publishing = AtomicBool::new(true);
    thread::scope(|scope| {
        scope.spawn(|| {
            while publishing.load(Ordering::Relaxed) {
                near.run(["publish", "readings", "after"]).ok();
            }
        });
        let after = std::iter::from_fn(|| Some(heard.json())).any(|line| line["text"] == "after");
        publishing.store(false, Ordering::Relaxed);
        assert!(after);
    });
}

/// As a user checks it by hand, with the daemon's own program.
#[test]
fn the_daemons_own_program_reads_what_was_put_and_hears_what_was_published() {
    let dir = tempfile::tempdir().expect("a folder");
    let kubo = Kubo::run(2, &["--connect"]).expect("daemons");
    let [own, other] = [&kubo.daemons()[0], &kubo.daemons()[1]];
    let node = Up::start(&init_over_kubo(dir.path(), "a", &own.api));
    fs::write(node.dir.join("file"), vec![7; 3_000_000]).expect("written");
    let cid = node.run(["put", "--json", "file"]).ok().cid();
    let cat = other.post(&format!("cat?arg={cid}&timeout=60s"), None).expect("cat");
    assert!(cat == vec![7; 3_000_000]);
    let content: Vec<u8> = (0..700_000_u32).flat_map(u32::to_be_bytes).collect();
    let added = other.post("add?cid-version=1&quieter=true", Some(&content)).expect("adds");
    let added: Value = serde_json::from_slice(&added).expect("JSON");
    node.run(["get", added["Hash"].as_str().expect("a CID"), "-o", "back"]).ok();
    assert!(fs::read(node.dir.join("back")).expect("there") == content);
    hears(other, &node);
}

/// Another program on the topic gets the envelope, in which the payload can be read.
fn hears(daemon: &Daemon, node: &Up) {
    let topic = "uY2Fycmljay90ZXN0L3JlYWRpbmdz";
    let mut stream = TcpStream::connect(daemon.api.trim_start_matches("http://")).expect("connects");
    let head = format!("POST /api/v0/pubsub/sub?arg={topic} HTTP/1.1\r\nHost: kubo\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("written");
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    until("its subscription", || {
        daemon.post("pubsub/ls", None).is_ok_and(|ls| String::from_utf8_lossy(&ls).contains(topic))
    });
    until("a reader", || node.run(["publish", "--json", "readings", "21.5 °C"]).ok().json()[0]["peers"] != 0);
    let mut messages =
        lines.filter_map(|line| serde_json::from_str::<Value>(&line).ok()).filter(Value::is_object);
    let data = messages.next().expect("a message")["data"].as_str().expect("data").to_owned();
    let bytes = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, &data[1..]);
    let bytes = bytes.expect("base64");
    let payload = "21.5 °C".as_bytes();
    assert!(bytes.windows(payload.len()).any(|part| part == payload), "the payload stands in it");
}

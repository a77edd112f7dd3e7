//! One running node: start, refusal of a second, end.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use common::{Up, carrick, init, run};

#[test]
fn it_says_that_it_is_ready_and_that_it_closed() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = Up::start(&init(dir.path(), "a", None));
    let ready = node.ready.clone();
    assert_eq!((&ready["event"], &ready["network"]), (&"ready".into(), &"test".into()));
    assert_eq!(ready["pid"], node.pid());
    assert!(node.addr().ends_with(&format!("/p2p/{}", node.peer())), "{ready}");
    let socket = ready["control"].as_str().expect("a path");
    let mode = fs::metadata(socket).expect("a socket").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let status = node.run(["status", "--json"]).ok().json();
    assert_eq!(
        (status.len(), &status[0]["peer"], &status[0]["peers"]),
        (1, &ready["peer"], &serde_json::json!([]))
    );
    assert!(node.run(["status"]).ok().stdout().contains(&node.peer()));
    node.terminate();
    assert_eq!(node.end(), ("{\"event\":\"closed\"}\n".to_string(), 0));
    assert!(!fs::exists(socket).expect("readable"), "the socket is removed");
}

#[test]
fn a_second_node_in_the_folder_is_refused_and_the_first_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = Up::start(&init(dir.path(), "a", None));
    let refused = node.run(["up", "--json"]).fails(2).error();
    let message = refused["message"].as_str().expect("text");
    assert!(message.contains(&format!("process {}", node.pid())), "{message}");
    node.run(["status"]).ok();
}

#[test]
fn a_socket_left_by_a_crash_is_replaced() {
    let dir = tempfile::tempdir().expect("a folder");
    let a = init(dir.path(), "a", None);
    let mut node = Up::start(&a);
    node.child.kill().expect("it runs");
    node.child.wait().expect("it ends");
    assert!(a.join("data/carrick.sock").exists());
    run(&a, ["status"]).fails(3);
    let again = Up::start(&a);
    assert_eq!(again.peer(), node.peer());
    again.run(["status"]).ok();
}

#[test]
fn an_identity_that_others_may_read_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let a = init(dir.path(), "a", None);
    let key = a.join("data/identity.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("ours");
    let refused = run(&a, ["up", "--json"]).fails(2).error();
    assert_eq!(refused["hint"], format!("chmod 600 {}", key.display()));
}

#[test]
fn a_port_in_use_is_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let first = Up::start(&init(dir.path(), "a", None));
    let taken = first.addr().split("/p2p/").next().expect("an address").to_string();
    run(dir.path(), ["init", "b", "--network", "test", "--listen", &taken]).ok();
    let refused = run(&dir.path().join("b"), ["up", "--json"]);
    assert!([2, 3].contains(&refused.code()), "{}", refused.stderr());
    let port = taken.split('/').nth(4).expect("a port");
    assert!(
        refused.error()["message"].as_str().is_some_and(|text| text.contains(port)),
        "{}",
        refused.stderr()
    );
}

/// Subscriptions are open and content is on its way in while it is told to stop.
#[test]
fn a_busy_node_ends_within_five_seconds() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = Up::start(&init(dir.path(), "a", None));
    let subscription = common::Lines::subscribe(&node, &["t"]);
    let mut endless = carrick(&node.dir);
    endless.args(["put", "-"]).stdin(fs::File::open("/dev/zero").expect("there"));
    endless.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut endless = endless.spawn().expect("runs");
    // It is busy once blocks have come.
    let began = Instant::now();
    while node.run(["status", "--json"]).ok().json()[0]["store"]["blocks"] == 0 {
        assert!(began.elapsed() < Duration::from_secs(30), "nothing is put");
    }
    let told = Instant::now();
    node.terminate();
    assert_eq!(node.end(), ("{\"event\":\"closed\"}\n".to_string(), 0));
    assert!(told.elapsed() < Duration::from_secs(5), "{:?}", told.elapsed());
    assert_eq!(endless.wait().expect("ends").code(), Some(3), "the command says that the node went away");
    assert_eq!(subscription.code(), 3);
}

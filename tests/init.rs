//! `carrick init`.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use common::{init, run};

#[test]
fn it_writes_a_configuration_and_a_private_identity() {
    let dir = tempfile::tempdir().expect("a folder");
    let made = run(dir.path(), ["init", "a", "--json"]).ok().json();
    assert_eq!(made.len(), 1);
    let a = dir.path().join("a");
    assert_eq!(made[0]["config"], a.join("carrick.toml").to_str().expect("text"));
    assert_eq!(made[0]["transport"], "quic");
    assert!(made[0]["peer"].as_str().is_some_and(|peer| peer.starts_with("12D3KooW")));
    assert!(made[0]["network"].as_str().is_some_and(|network| network.len() > 10));
    let mode = fs::metadata(a.join("data/identity.key")).expect("a key").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let text = fs::read_to_string(a.join("carrick.toml")).expect("a file");
    assert!(text.contains("[transport.quic]") && text.starts_with('#'), "{text}");
}

#[test]
fn it_takes_what_it_is_told() {
    let dir = tempfile::tempdir().expect("a folder");
    let peer = "12D3KooWQtR9yHH4iMC2zkZan5Noc5ShH5QGatYT5pBXtCJa1kp6";
    let bootstrap = format!("/ip4/10.0.0.7/udp/4600/quic-v1/p2p/{peer}");
    let listen = "/ip4/127.0.0.1/udp/4601/quic-v1";
    let arguments = ["init", "--network", "n", "--listen", listen, "--bootstrap", &bootstrap, "--json"];
    assert_eq!(run(dir.path(), arguments).ok().json()[0]["network"], "n");
    let text = fs::read_to_string(dir.path().join("carrick.toml")).expect("a file");
    assert!(text.contains(&format!("listen = [\"{listen}\"]")), "{text}");
    assert!(text.contains(&format!("bootstrap = [\"{bootstrap}\"]")), "{text}");
}

#[test]
fn it_overwrites_only_when_forced_and_keeps_the_peer() {
    let dir = tempfile::tempdir().expect("a folder");
    let peer = run(dir.path(), ["init", "--json"]).ok().json()[0]["peer"].clone();
    let refused = run(dir.path(), ["init", "--json"]).fails(2).error();
    assert_eq!(refused["kind"], "config");
    assert!(refused["hint"].as_str().is_some_and(|hint| hint.contains("--force")));
    let again = run(dir.path(), ["init", "--force", "--network", "other", "--json"]).ok().json();
    assert_eq!((again[0]["peer"].clone(), &again[0]["network"]), (peer, &"other".into()));
}

#[test]
fn a_damaged_identity_is_moved_aside_when_forced() {
    let dir = tempfile::tempdir().expect("a folder");
    let a = init(dir.path(), "a", None);
    let key = a.join("data/identity.key");
    fs::write(&key, "damaged").expect("written");
    let refused = run(&a, ["up", "--json"]).fails(2).error();
    assert!(refused["message"].as_str().is_some_and(|text| text.contains("damaged")), "{refused}");
    assert!(refused["hint"].as_str().is_some_and(|hint| hint.contains("init --force")), "{refused}");
    run(&a, ["init", "--force"]).ok();
    assert_eq!(fs::read(key.with_extension("key.damaged")).expect("kept"), b"damaged");
}

#[test]
fn a_transport_that_is_not_linked_makes_no_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let refused = run(dir.path(), ["init", "--transport", "qiuc", "--json"]).fails(2).error();
    assert_eq!(refused["hint"], "did you mean \"quic\"?");
    assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 0);
}

#[test]
fn the_way_to_start_it_can_be_pasted_into_a_shell() {
    let dir = tempfile::tempdir().expect("a folder");
    let said = run(dir.path(), ["init", "my node"]).ok().stderr();
    assert!(said.contains("cd 'my node' && carrick up"), "{said}");
}

#[test]
fn a_used_folder_without_its_key_gets_no_new_one() {
    let dir = tempfile::tempdir().expect("a folder");
    let a = init(dir.path(), "a", None);
    let key = a.join("data/identity.key");
    fs::create_dir(a.join("data/blocks")).expect("made");
    fs::remove_file(&key).expect("there");
    for command in [&["up"][..], &["init", "--force"]] {
        let error = run(&a, command.iter().chain(&["--json"])).fails(2).error();
        assert!(error["message"].as_str().is_some_and(|text| text.contains("another peer")), "{error}");
        assert!(error["hint"].as_str().is_some_and(|hint| hint.contains("put a copy")), "{error}");
    }
    assert!(!key.exists());
}

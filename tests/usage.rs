//! What needs no running node: usage, configuration, exit codes.

mod common;

use std::fs;
use std::io::Read;
use std::process::Stdio;

use common::{carrick, feed, init, run};

#[test]
fn without_a_file_up_says_how_to_get_one() {
    let dir = tempfile::tempdir().expect("a folder");
    for command in [&["up"][..], &["status"], &["peers"]] {
        let error = run(dir.path(), command.iter().chain(&["--json"])).fails(2).error();
        assert_eq!(error["kind"], "config");
        assert!(error["hint"].as_str().is_some_and(|hint| hint.contains("carrick init")), "{error}");
    }
}

#[test]
fn without_a_node_the_hint_names_up_and_the_socket() {
    let dir = tempfile::tempdir().expect("a folder");
    let a = init(dir.path(), "a", None);
    let ran = run(&a, ["status"]).fails(3);
    let lines: Vec<_> = ran.stderr().lines().map(str::to_string).collect();
    assert_eq!(lines.len(), 2, "what failed, and the mend: {lines:?}");
    assert!(lines[0].starts_with("error: ") && lines[1].starts_with("mend: "), "{lines:?}");
    assert!(lines[1].contains("carrick up") && lines[1].contains("data/carrick.sock"), "{lines:?}");
    let error = run(&a, ["--json", "publish", "t", "hi"]).fails(3).error();
    assert_eq!(error["kind"], "unreachable");
}

#[test]
fn wrong_usage_is_2_also_as_json() {
    let dir = tempfile::tempdir().expect("a folder");
    run(dir.path(), ["bogus"]).fails(2);
    run(dir.path(), ["publish", "topic"]).fails(2);
    run(dir.path(), ["publish", "_reserved", "hi"]).fails(2);
    run(dir.path(), ["demo", "--nodes", "1"]).fails(2);
    let error = run(dir.path(), ["get", "nonsense", "--json"]).fails(2).error();
    assert_eq!((&error["kind"], &error["operation"]), (&"config".into(), &"usage".into()));
    run(dir.path(), ["--help"]).ok();
    run(dir.path(), ["--version"]).ok();
}

#[test]
fn wrong_usage_says_in_two_lines_what_is_missing() {
    let dir = tempfile::tempdir().expect("a folder");
    let said = run(dir.path(), ["publish", "topic"]).fails(2).stderr();
    let lines: Vec<_> = said.lines().collect();
    assert!(lines.len() == 2 && lines[0].starts_with("error: ") && lines[1].starts_with("mend: "), "{said}");
    assert!(lines[0].contains("MESSAGE") && lines[1].contains("publish"), "{said}");
    let error = run(dir.path(), ["put", "--json"]).fails(2).error();
    assert!(error["message"].as_str().is_some_and(|text| text.contains("<PATH>")), "{error}");
    run(dir.path(), ["--json"]).fails(2).error();
    let error = run(dir.path(), ["publsh", "--json", "t", "x"]).fails(2).error();
    assert!(error["hint"].as_str().is_some_and(|hint| hint.contains("publish")), "{error}");
}

#[test]
fn a_wrong_value_is_named_with_its_mend() {
    let dir = tempfile::tempdir().expect("a folder");
    let a = init(dir.path(), "a", None);
    fs::create_dir(a.join("folder")).expect("made");
    fs::write(a.join("file"), "file").expect("written");
    let cid = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e";
    let cases: &[(&[&str], &str, &str)] = &[
        (&["init", "b", "--network", "A b"], "\"A b\"", "sensors-1"),
        (&["init", "b", "--listen", "here"], "\"here\"", "/ip4/"),
        (&["init", "b", "--bootstrap", "there"], "\"there\"", "/p2p/"),
        (&["connect", "there"], "\"there\"", "/p2p/"),
        (&["disconnect", "him"], "\"him\"", "carrick peers"),
        (&["get", "abc"], "\"abc\"", "carrick put"),
        (&["get", cid, "--deadline", "-3s"], "\"-3s\" is no time", "--help"),
        (&["get", cid, "-o", "file/x"], "file is no folder", "write elsewhere"),
        (&["subscribe", "t", "--count", "0"], "\"0\"", "--help"),
        (&["subscribe", "t", "--timeout", "soon"], "\"soon\" is no time", "--help"),
        (&["demo", "--nodes", "many"], "\"many\" is no number from 2 to 16", "--help"),
        (&["publish", "t", "--file", "folder"], "folder", "carrick put"),
        (&["status", "--set", "node.zzz=1"], "zzz", "leave it out"),
    ];
    for (arguments, message, hint) in cases {
        let error = run(&a, arguments.iter().chain(&["--json"])).fails(2).error();
        assert!(error["message"].as_str().is_some_and(|text| text.contains(message)), "{error}");
        assert!(error["hint"].as_str().is_some_and(|text| text.contains(hint)), "{error}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn output_that_finds_no_room_is_full() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut command = carrick(dir.path());
    command.args(["plugins", "--json"]).stdout(fs::File::create("/dev/full").expect("there"));
    let error = common::Ran(command.output().expect("runs")).fails(5).error();
    assert_eq!(error["kind"], "full");
    assert!(error["hint"].is_string(), "{error}");
}

#[test]
fn an_empty_variable_names_no_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let a = init(dir.path(), "a", None);
    let mut command = carrick(&a);
    command.arg("status").env("CARRICK_CONFIG", "").env("CARRICK_PROFILE", "");
    common::Ran(command.output().expect("runs")).fails(3);
}

#[test]
fn the_memory_transport_has_addresses_of_its_own() {
    let dir = tempfile::tempdir().expect("a folder");
    run(dir.path(), ["init", "a", "--transport", "memory", "--listen", "/memory/7"]).ok();
    let text = fs::read_to_string(dir.path().join("a/carrick.toml")).expect("there");
    assert!(text.contains("\nlisten = \"/memory/7\"\n") && !text.contains("quic"), "{text}");
}

#[test]
fn a_bad_configuration_names_file_table_and_key() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = |text: &str| fs::write(dir.path().join("carrick.toml"), text).expect("written");
    let message = |arguments: &[&str]| {
        let error = run(dir.path(), arguments).fails(2).error();
        error["message"].as_str().expect("text").to_string()
    };
    file("[node]\nnetwork = \"n\"\ntransport = \"qiuc\"");
    let mut known = vec!["memory", "quic"];
    if cfg!(feature = "libp2p") {
        known.insert(0, "libp2p");
    }
    if cfg!(feature = "ipfs-http") {
        known.insert(0, "ipfs-http");
    }
    let known = known.join(", ");
    assert_eq!(
        message(&["up", "--json"]),
        format!("carrick.toml: [node] transport: unknown transport \"qiuc\"; known: {known}")
    );
    file("[node]\nnetwork = \"n\"\n[transport.quic]\nlisen = []");
    assert!(
        message(&["up", "--json"]).starts_with("carrick.toml: [transport.quic] lisen: unknown key; known")
    );
    file("[node]\nnetwork = \"n\"\n[node.limits]\nseen = \"many\"");
    assert_eq!(
        message(&["up", "--json"]),
        "carrick.toml: [node.limits] seen: found \"many\"; allowed: a whole number, not negative"
    );
    file("[node]\nnetwork = \"n\"");
    let set = message(&["--json", "--set", "node.fetch=5", "up", "--set", "node.broadcast=[]"]);
    assert!(set.starts_with("--set node.fetch: [node] fetch: found 5; allowed: a list"), "{set}");
}

#[test]
fn a_variable_is_a_source_and_the_flag_is_stronger() {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("carrick.toml"), "[node]\nnetwork = \"n\"").expect("written");
    let mut command = carrick(dir.path());
    command.args(["--json", "status"]).env("CARRICK_NODE__NETWORK", "Not Allowed");
    let refused = common::Ran(command.output().expect("runs")).fails(2).error();
    assert!(
        refused["message"]
            .as_str()
            .is_some_and(|text| text.starts_with("CARRICK_NODE__NETWORK: [node] network:"))
    );
    command.args(["--set", "node.network=good"]);
    common::Ran(command.output().expect("runs")).fails(3);
}

#[test]
fn a_file_elsewhere_is_named_by_flag_or_variable() {
    let dir = tempfile::tempdir().expect("a folder");
    let a = init(dir.path(), "a", None);
    let socket = a.join("data/carrick.sock");
    let named = run(dir.path(), ["--config", "a/carrick.toml", "peers"]).fails(3);
    assert!(named.stderr().contains(socket.to_str().expect("text")), "{}", named.stderr());
    let mut command = carrick(dir.path());
    command.arg("peers").env("CARRICK_CONFIG", "a/carrick.toml");
    common::Ran(command.output().expect("runs")).fails(3);
    let missing = run(dir.path(), ["--config", "nowhere.toml", "peers"]).fails(2);
    assert!(missing.stderr().contains("nowhere.toml"), "{}", missing.stderr());
}

#[test]
fn a_socket_path_that_is_too_long_is_refused_with_the_mend() {
    let dir = tempfile::tempdir().expect("a folder");
    let name = "x".repeat(100);
    init(dir.path(), &name, None);
    for command in ["up", "status"] {
        let error = run(&dir.path().join(&name), [command, "--json"]).fails(2).error();
        assert!(error["message"].as_str().is_some_and(|text| text.contains("at most 107")), "{error}");
        assert!(error["hint"].as_str().is_some_and(|hint| hint.contains("data_dir")), "{error}");
    }
}

#[test]
fn only_cid_needs_no_node_and_knows_the_reference() {
    let dir = tempfile::tempdir().expect("a folder");
    let hello = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e";
    assert_eq!(feed(dir.path(), &["put", "--only-cid", "-"], b"hello world").ok().stdout().trim(), hello);
    fs::write(dir.path().join("hello.txt"), "hello world").expect("written");
    let put = run(dir.path(), ["put", "--only-cid", "--json", "hello.txt"]).ok().json();
    assert_eq!(put[0], serde_json::json!({"cid": hello, "name": "hello.txt", "bytes": 11, "blocks": 1}));
    run(dir.path(), ["put", "--only-cid", "nowhere"]).fails(4);
    let error = run(dir.path(), ["put", "--only-cid", "--layout", "v9", "hello.txt"]).fails(2);
    assert!(error.stderr().contains("kubo-cid-v1"), "{}", error.stderr());
}

#[test]
fn the_linked_plugins_are_listed() {
    let dir = tempfile::tempdir().expect("a folder");
    let plugins = run(dir.path(), ["plugins", "--json"]).ok().json();
    let quic = plugins.iter().find(|plugin| plugin["name"] == "quic").expect("linked");
    assert_eq!((&quic["kind"], &quic["package"]), (&"transport".into(), &"carrick-transport-quic".into()));
    assert!(quic["keys"].as_array().is_some_and(|keys| keys.iter().any(|key| key == "listen")), "{quic}");
    assert!(run(dir.path(), ["plugins"]).ok().stdout().contains("store-fjall"));
}

#[test]
fn completions_and_the_manual_are_printed() {
    let dir = tempfile::tempdir().expect("a folder");
    assert!(run(dir.path(), ["completions", "bash"]).ok().stdout().contains("_carrick"));
    assert!(run(dir.path(), ["man"]).ok().stdout().contains(".TH carrick"));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut command = carrick(dir.path());
    command.args(["completions", "bash"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("runs");
    drop(child.stdout.take());
    let mut said = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut said).expect("text");
    assert_eq!((child.wait().expect("ends").code(), said.as_str()), (Some(0), ""));
}

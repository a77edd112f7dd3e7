//! `cargo xtask test`: all tests, then the programs as a user starts them.

use std::time::Duration;

use crate::command::{built, cargo};
use crate::report::Report;
use crate::suites::{self, Suite};
use crate::tools::{self, Tool};
use crate::workspace::{Stranger, Workspace};
use crate::{Result, command::Command};

/// What the tests call that does not come with Rust.
const TOOLS: [Tool; 1] = [tools::PEERS];

/// How long a suite may run, by its name. Each of these is a promise, and must be there.
const PROMISED: [(&str, Duration); 7] = [
    ("carrick-transport-memory conformance", Duration::from_secs(60)),
    ("carrick-transport-quic conformance", Duration::from_secs(180)),
    ("carrick-transport-ipfs-http conformance", Duration::from_secs(300)),
    ("carrick-transport-libp2p conformance", Duration::from_secs(300)),
    ("carrick-transport-libp2p peers", Duration::from_secs(420)),
    ("carrick-core mutants", Duration::from_secs(120)),
    (SIMULATIONS, Duration::from_secs(180)),
];

/// The suite that is told how many networks to simulate.
const SIMULATIONS: &str = "carrick sim";

/// How long any other suite may run: a test that hangs is ended.
const SUITE_DEADLINE: Duration = Duration::from_secs(600);

/// How long an example may run: it ends by itself, or the test fails.
const EXAMPLE_DEADLINE: Duration = Duration::from_secs(120);

/// How long the demo may run.
const DEMO_DEADLINE: Duration = Duration::from_secs(300);

/// What computes so much that an optimised build costs less than it saves.
const HEAVY: [&str; 3] = ["decoders", "mutants", "sim"];

pub(crate) fn run(report: &mut Report) -> Result<()> {
    for tool in &TOOLS {
        tools::ensure(report, tool)?;
    }
    let workspace = Workspace::read()?;
    // All of them, so that one run names whatever fails.
    let mut failed = Vec::new();
    for suite in suites(report, &workspace)? {
        let command = suite.command().deadline(deadline(&suite.name));
        let command = if suite.name == SIMULATIONS { command.var("SIM_SEEDS", "100") } else { command };
        failed.extend(report.command(&suite.name, &command).err());
    }
    if !failed.is_empty() {
        return Err(failed.join("\n"));
    }
    let documented = cargo("test --workspace --all-features --doc").deadline(SUITE_DEADLINE);
    report.command("examples in the documentation", &documented)?;
    for (name, example) in examples(&workspace) {
        report.command(&format!("example {name}"), &example.deadline(EXAMPLE_DEADLINE))?;
    }
    for example in workspace.strangers() {
        stranger(report, &example)?;
    }
    let demo = built(&workspace.quick("carrick"), "cargo run --profile quick --".to_owned())
        .arg("demo")
        .arg("--json")
        .deadline(DEMO_DEADLINE);
    report.step("demo", &demo.to_string(), || demo.last_line().and_then(|line| agreed(&line)))
}

/// Builds all suites, and the programs.
fn suites(report: &mut Report, workspace: &Workspace) -> Result<Vec<Suite>> {
    let build = "test --workspace --no-run";
    let mut suites = suites::build(report, workspace, "build the tests", build, "")?;
    // They are run once, with more inputs and seeds than a debug build gets through.
    let is_heavy = |suite: &mut Suite| HEAVY.iter().any(|heavy| suite.name.ends_with(&format!(" {heavy}")));
    let left_out: Vec<Suite> = suites.extract_if(.., is_heavy).collect();
    // One build for these and the programs: with another set of features for each, half the tree is built again and again.
    // Not in release, which takes longer to build and tells no more. The benchmarks are built with the tests above.
    let heavy = HEAVY.map(|name| format!("--test {name}")).join(" ");
    let build =
        format!("build --workspace --exclude xtask --exclude carrick-bench --bins --examples {heavy}");
    let title = "build the heavy tests and the programs";
    suites.extend(suites::build(report, workspace, title, &build, "--profile quick")?);
    suites.sort_by(|one, other| one.name.cmp(&other.name));
    let promised = PROMISED.iter().map(|(name, _)| *name);
    let mut wanted = promised.chain(left_out.iter().map(|suite| suite.name.as_str()));
    match wanted.find(|name| !suites.iter().any(|suite| suite.name == *name)) {
        Some(name) => Err(format!("there is no suite {name}")),
        None => Ok(suites),
    }
}

fn deadline(suite: &str) -> Duration {
    let promised = PROMISED.iter().find(|(name, _)| suite == *name);
    promised.map_or(SUITE_DEADLINE, |(_, deadline)| *deadline)
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
            let shown_as =
                format!("cargo run --profile quick --package {} --{kind} {}", package.name, target.name);
            found.push((target.name.clone(), built(&workspace.quick(&path), shown_as)));
        }
    }
    found
}

/// Tests a crate outside the workspace and runs its program if it has one.
fn stranger(report: &mut Report, stranger: &Stranger) -> Result<()> {
    let name = stranger.name();
    report.command(&format!("build the tests of example {name}"), &stranger.cargo("test").arg("--no-run"))?;
    let tests = stranger.cargo("test").deadline(SUITE_DEADLINE);
    report.command(&format!("tests of example {name}"), &tests)?;
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

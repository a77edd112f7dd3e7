//! Test programs: cargo builds all at once, and each is run alone, so that its deadline counts the run and not the build.

use std::path::PathBuf;

use serde::Deserialize;

use crate::Result;
use crate::command::{Command, built, cargo};
use crate::report::Report;
use crate::workspace::{Target, Workspace};

/// A test program that cargo has built.
#[derive(Debug)]
pub(crate) struct Suite {
    /// Its package and what of that it tests, as in `carrick-core mutants`.
    pub(crate) name: String,
    program: PathBuf,
    /// Where cargo runs it.
    folder: PathBuf,
    /// What a person types.
    again: String,
}

/// What cargo tells of something that it built.
#[derive(Debug, Deserialize)]
struct Artifact {
    manifest_path: PathBuf,
    target: Target,
    profile: Profile,
    executable: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct Profile {
    test: bool,
}

/// Builds as a step, and gives the test programs among what was built with all features and `profile`, an option of cargo.
pub(crate) fn build(
    report: &mut Report,
    workspace: &Workspace,
    title: &str,
    build: &str,
    profile: &str,
) -> Result<Vec<Suite>> {
    let build = cargo(build).arg("--all-features").args(profile);
    let again = build.to_string();
    let build = build.arg("--message-format").arg("json-render-diagnostics");
    let told = report.step(title, &again, || build.read())?;
    let artifacts = told.lines().filter_map(|line| serde_json::from_str(line).ok());
    Ok(artifacts.filter_map(|artifact| suite(artifact, workspace, profile)).collect())
}

/// What was built, if it is a test program.
fn suite(artifact: Artifact, workspace: &Workspace, profile: &str) -> Option<Suite> {
    let program = artifact.executable.filter(|_| artifact.profile.test)?;
    let package = &workspace.package(&artifact.manifest_path)?.name;
    let target = &artifact.target.name;
    let (part, option) = match &artifact.target {
        t if t.is("lib") => ("lib", "--lib".to_owned()),
        t if t.is("bin") => ("bin", format!("--bin {target}")),
        _ => (target.as_str(), format!("--test {target}")),
    };
    Some(Suite {
        name: format!("{package} {part}"),
        program,
        folder: artifact.manifest_path.parent()?.to_owned(),
        again: cargo("test")
            .args(profile)
            .args(&format!("--package {package} --all-features {option}"))
            .to_string(),
    })
}

impl Suite {
    /// The command that runs it.
    pub(crate) fn command(&self) -> Command {
        built(&self.program, self.again.clone()).folder(&self.folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_program_is_named_and_told_how_to_repeat() {
        let workspace = Workspace::read().expect("a workspace");
        let built = |kind: &str, name: &str, test: bool| {
            let told = serde_json::json!({
                "manifest_path": workspace.root.join("core/Cargo.toml"),
                "target": { "name": name, "kind": [kind] },
                "profile": { "test": test },
                "executable": "/target/quick/deps/program",
            });
            suite(serde_json::from_value(told).expect("an artifact"), &workspace, "--profile quick")
        };
        let mutants = built("test", "mutants", true).expect("a suite");
        assert_eq!(mutants.name, "carrick-core mutants");
        assert_eq!(
            mutants.command().to_string(),
            "cargo test --profile quick --package carrick-core --all-features --test mutants"
        );
        assert_eq!(built("lib", "carrick_core", true).expect("a suite").name, "carrick-core lib");
        assert!(built("bin", "carrick", false).is_none());
    }
}

//! `cargo xtask check`: all that can be said about the code without running it.

use crate::command::cargo;
use crate::report::Report;
use crate::workspace::{Stranger, Workspace};
use crate::{Result, arrows, links, tools};

pub(crate) fn run(report: &mut Report) -> Result<()> {
    report.command("format", &cargo("fmt --all --check"))?;
    for (title, features) in [
        ("clippy, all features", "--all-features"),
        ("clippy, no features", "--no-default-features"),
        ("clippy, default features", ""),
    ] {
        let clippy = cargo(&format!("clippy --workspace --all-targets {features} -- -D warnings"));
        report.command(title, &clippy)?;
    }
    let doc = cargo("doc --no-deps --workspace --all-features").var("RUSTDOCFLAGS", "-D warnings");
    report.command("documentation", &doc)?;
    let workspace = Workspace::read()?;
    report.step("links of the documentation", "cargo xtask check", || links::check(&workspace.root))?;
    report.step("dependency arrows", "cargo xtask check", || arrows::check(&workspace))?;
    tools::ensure(report, &tools::CARGO_DENY)?;
    // For every target that the lock file names: cargo-deny then reads the manifests without network.
    report.command("fetch dependencies", &cargo("fetch"))?;
    let deny = cargo("deny --offline --workspace check bans licenses sources");
    report.command("bans, licences, sources", &deny)?;
    workspace.strangers().iter().try_for_each(|example| stranger(report, example))
}

/// The same for a crate outside the workspace, with the one set of features that it has.
fn stranger(report: &mut Report, stranger: &Stranger) -> Result<()> {
    let (name, manifest) = (stranger.name(), stranger.manifest());
    let fmt = cargo("fmt --check --manifest-path").arg(&manifest);
    report.command(&format!("format of example {name}"), &fmt)?;
    let clippy = stranger.cargo("clippy --all-targets").arg("--").arg("-D").arg("warnings");
    report.command(&format!("clippy on example {name}"), &clippy)?;
    report.command(&format!("fetch dependencies of example {name}"), &stranger.cargo("fetch"))?;
    let deny = cargo("deny --offline --config deny.toml --manifest-path").arg(&manifest);
    let deny = deny.arg("check").arg("bans").arg("licenses").arg("sources");
    report.command(&format!("bans, licences, sources of example {name}"), &deny)
}

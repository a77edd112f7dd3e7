//! One node at a time in a data folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use super::identity::{make_private_dir, unwritable};
use crate::{Error, ErrorKind, Result};

/// The name of the lock file inside the data folder.
pub(super) const FILE: &str = "node.lock";

/// A data folder that no other node can open while this is held. Dropping it, or dying, lets go.
#[derive(Debug)]
pub struct DataDirLock {
    _file: File,
}

impl DataDirLock {
    /// Takes a data folder, which is created when it is missing, and writes the process id into its lock file.
    ///
    /// # Errors
    /// `Config` when another process holds it, named by its id, or when the folder cannot be written; `Full` when the
    /// disk has no room.
    pub fn take(data_dir: &Path) -> Result<Self> {
        make_private_dir(data_dir)?;
        let path = data_dir.join(FILE);
        let failed = |source: std::io::Error| {
            let detail = format!("{} cannot be locked: {source}", path.display());
            let mend = "run as the user who owns the data folder, on a file system with locks";
            unwritable("data folder", detail, source, mend)
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(taken(data_dir, &mut file)),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let write_pid = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        write_pid(&mut file).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

fn taken(data_dir: &Path, file: &mut File) -> Error {
    let mut text = String::new();
    let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse::<u32>().ok());
    let holder = pid.map_or("another process".to_string(), |pid| format!("process {pid}"));
    wrong(format!("a node already runs in {}: {holder}", data_dir.display()))
        .mend("use that node, stop it, or give this one another [node] data_dir")
}

fn wrong(detail: String) -> Error {
    Error::new(ErrorKind::Config, "data folder", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_refused_and_the_first_named() {
        let dir = tempfile::tempdir().expect("a folder");
        let first = DataDirLock::take(dir.path()).expect("free");
        let error = DataDirLock::take(dir.path()).expect_err("taken");
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.detail().ends_with(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        DataDirLock::take(dir.path()).expect("free again");
    }
}

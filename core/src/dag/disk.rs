//! What reading from and writing to the disk have in common.

use std::io;
use std::path::Path;

use crate::{Error, ErrorKind};

/// How far adding or writing has come.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Progress<'a> {
    /// The file or folder being worked on.
    pub path: &'a Path,
    /// Bytes of file content done, in all.
    pub bytes: u64,
    /// Files done, in all.
    pub files: u64,
}

/// Translates an error of the file system; the path is named.
pub(super) fn disk_error(operation: &'static str, path: &Path, source: io::Error) -> Error {
    let (kind, mend) = match source.kind() {
        io::ErrorKind::NotFound => {
            (ErrorKind::NotFound, "look at the name; it counts from the current folder")
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            (ErrorKind::Unauthorized, "run as a user who has the right, or choose another place")
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            (ErrorKind::Full, "make room on the disk, or choose another place")
        }
        _ => (ErrorKind::Unexpected, "look after the disk"),
    };
    Error::new(kind, operation, format!("{}: {source}", path.display())).mend(mend).from_source(source)
}

/// Translates an error of a stream of bytes that has no path.
pub(super) fn stream_error(operation: &'static str, source: io::Error) -> Error {
    Error::new(ErrorKind::Unexpected, operation, format!("the stream failed: {}", source.kind()))
        .from_source(source)
}

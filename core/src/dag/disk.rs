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
    let kind = match source.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Unauthorized,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full,
        _ => ErrorKind::Unexpected,
    };
    let detail = format!("{}: {}", path.display(), source.kind());
    Error::new(kind, operation, detail).from_source(source)
}

/// Translates an error of a stream of bytes that has no path.
pub(super) fn stream_error(operation: &'static str, source: io::Error) -> Error {
    Error::new(ErrorKind::Unexpected, operation, format!("the stream failed: {}", source.kind()))
        .from_source(source)
}

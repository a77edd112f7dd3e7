//! The one translation from the database's errors to the contract's.

use std::io;
use std::sync::Arc;

use carrick_core::{Error, ErrorKind};
use fjall::LsmError;

/// What can be done about a database that does not open because it is damaged.
pub(crate) const RESTORE: &str = "put a copy of the store's folder back; or move it away, and the node starts with an empty \
    store, without its pins, and fetches content again from its peers";

/// Turns a failure of the database into an error of `operation`; shared, because many callers may share one flush.
pub(crate) fn failed(operation: &'static str, source: impl Into<Arc<fjall::Error>>) -> Error {
    let source = source.into();
    let error = Error::new(kind(&source), operation, detail(&source));
    // This one says no more than the detail.
    if matches!(*source, fjall::Error::Poisoned) { error } else { error.from_source(source) }
}

/// The answer to everything after [`close`](carrick_core::Store::close).
pub(crate) fn closed(operation: &'static str) -> Error {
    Error::new(ErrorKind::Closed, operation, "the store is closed")
}

fn kind(error: &fjall::Error) -> ErrorKind {
    match error {
        fjall::Error::Io(source) | fjall::Error::Storage(LsmError::Io(source)) => io_kind(source),
        fjall::Error::Storage(_)
        | fjall::Error::JournalRecovery(_)
        | fjall::Error::Decompress(_)
        | fjall::Error::InvalidTrailer
        | fjall::Error::InvalidTag(_)
        | fjall::Error::Unrecoverable => ErrorKind::Integrity,
        fjall::Error::Locked | fjall::Error::InvalidVersion(_) => ErrorKind::Config,
        _ => ErrorKind::Unexpected,
    }
}

pub(crate) fn io_kind(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full,
        // A file that ends before its content does was cut.
        io::ErrorKind::UnexpectedEof => ErrorKind::Integrity,
        _ => ErrorKind::Unexpected,
    }
}

fn detail(error: &fjall::Error) -> String {
    match error {
        fjall::Error::Io(source) | fjall::Error::Storage(LsmError::Io(source)) => {
            format!("the disk: {source}")
        }
        fjall::Error::Storage(source) => format!("what is on disk is damaged: {source:?}"),
        fjall::Error::Poisoned => "an earlier write to the disk failed".into(),
        fjall::Error::InvalidVersion(_) => "the database was written by another version of fjall".into(),
        other => format!("the database: {other:?}"),
    }
}

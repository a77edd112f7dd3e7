//! The versions of what other nodes send.

use carrick_core::{Error, ErrorKind};
use serde::Deserialize;

/// The version of a format, alone: a later one may have other fields.
#[derive(Deserialize)]
struct Versioned {
    v: u64,
}

/// Why something cannot be read: `Unsupported` where it is of a later version than `known`, else `Rejected`.
pub(crate) fn unread(bytes: &[u8], known: u64, what: &'static str, why: impl ToString) -> Error {
    match serde_ipld_dagcbor::from_slice(bytes) {
        Ok(Versioned { v }) if v > known => later(what, v),
        _ => Error::new(ErrorKind::Rejected, what, why.to_string()),
    }
}

pub(crate) fn later(what: &'static str, version: u64) -> Error {
    Error::new(ErrorKind::Unsupported, what, format!("of version {version}"))
}

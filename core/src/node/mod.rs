//! A running Carrick: it keeps the promises of the contract, whatever carries the bytes.

mod core;
mod gate;
mod host;
pub mod identity;
mod lock;

pub use host::{Host, Inbound, Misdeed, Notice, Relay, Served, ServedStream, Slot};
pub use lock::DataDirLock;

/// A running node. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Node {}

#![doc = include_str!("../README.md")]

mod config;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod decoders;
mod entry;
mod gate;
mod heads;
mod index;
mod ledger;
mod order;
mod place;
mod rule;
mod service;
mod sync;
mod tail;
mod watch;

pub use config::{LedgerConfig, Writers};
pub use entry::Entry;
pub use ledger::Ledger;
pub use rule::{Past, Rule};
pub use watch::{Appended, Change, Watch};

carrick_core::register_service!("ledger", LedgerConfig, Ledger::open);

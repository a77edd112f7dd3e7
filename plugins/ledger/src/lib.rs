#![doc = include_str!("../README.md")]

mod append;
mod audit;
mod batch;
mod checked;
mod config;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod decoders;
mod entry;
mod equivocation;
mod failed;
mod fold;
mod folded;
mod folding;
mod gate;
mod heads;
mod index;
mod inner;
mod ladder;
mod latest;
mod ledger;
mod lost;
mod order;
mod page;
mod pages;
mod past;
mod past_fold;
mod patience;
mod place;
mod rule;
mod saved;
mod service;
mod settled;
mod snapshots;
mod stop;
mod sync;
mod tail;
mod under_way;
#[cfg(test)]
mod vectors;
mod verify;
mod version;
mod walk;
mod watch;

pub use config::{LedgerConfig, OnEquivocation, Writers};
pub use entry::Entry;
pub use equivocation::Equivocation;
pub use fold::Fold;
pub use folded::{Folded, Refold, View};
pub use ledger::Ledger;
pub use past::Past;
pub use past_fold::PastFold;
pub use rule::Rule;
pub use settled::Settled;
pub use stop::StopAuthor;
pub use verify::{Verified, Verify, VerifyOptions, VerifyProgress};
pub use watch::{Appended, Change, Watch};

/// The page of the book on the ledger, whose code must run.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/ledger.md")]
mod page_of_the_book {}

carrick_core::register_service!("ledger", LedgerConfig, Ledger::open);

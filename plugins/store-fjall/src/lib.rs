#![doc = include_str!("../README.md")]

mod batch;
mod config;
mod database;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod decoders;
mod error;
mod journal;
mod keys;
mod store;
mod writer;

pub use config::FjallConfig;
pub use store::FjallStore;

carrick_core::register_store!("fjall", FjallConfig, FjallStore::open);

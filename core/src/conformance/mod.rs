//! What a plugin has to keep, as tests that every plugin of a kind shares. Feature `conformance`.
//!
//! A plugin writes a small fixture and one macro call; each promise of the contract becomes a named test. They panic
//! with what went wrong, as tests do.
//!
//! - [`store_suite!`](crate::store_suite) with a [`StoreFixture`](store::StoreFixture) tries a store,
//! - [`transport_suite!`](crate::transport_suite) with a [`Fixture`](transport::Fixture) tries a transport,
//! - [`decoder_suite!`](crate::decoder_suite) with a list of [`Decoder`](decoder::Decoder)s tries what reads bytes of
//!   strangers.
//!
//! Beside them is [`Faulty`](faulty::Faulty), which makes any transport worse on purpose, for the tests of a ledger.

pub mod decoder;
pub mod faulty;
mod mutation;
pub mod store;
pub mod transport;

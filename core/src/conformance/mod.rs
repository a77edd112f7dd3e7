//! What a plugin has to keep, as tests that every plugin of a kind shares. Feature `conformance`.
//!
//! A plugin writes a small fixture and one macro call; each promise of the contract becomes a named test. They panic
//! with what went wrong, as tests do.
//!
//! - [`store_suite!`](crate::store_suite) with a [`StoreFixture`](store::StoreFixture) tries a store,
//! - [`transport_suite!`](crate::transport_suite) with a [`Fixture`](transport::Fixture) tries a transport,
//! - [`decoder_suite!`](crate::decoder_suite) with a list of [`Decoder`](decoder::Decoder)s tries what reads bytes of
//!   strangers,
//! - [`golden`] compares what is written with the bytes that a format pins.
//!
//! Beside them are [`Faulty`](faulty::Faulty), which makes any transport worse on purpose, for the tests of a ledger, and
//! [`Forged`](forged::Forged), any message that nobody should make, for those of validators and rules, and
//! [`host::alone`], a host without a transport, for those of what transports are made of.

pub mod decoder;
pub mod faulty;
pub mod forged;
pub mod golden;
pub mod host;
mod mutation;
pub mod store;
pub mod transport;

//! What a plugin has to keep, as tests that every plugin of a kind shares. Feature `conformance`.
//!
//! A plugin writes a small fixture and one macro call; each promise of the contract becomes a named test. They panic
//! with what went wrong, as tests do.

pub mod store;

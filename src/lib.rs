//! Joins a ledger to any network: broadcast a message, fetch content by its address, over the transport you choose.
//!
//! This crate is what a program imports: it re-exports [`carrick_core`] and links the built-in plugins. See
//! `examples/hello.rs` for two nodes in one program, `carrick demo` for several on one machine.
//!
//! A library user leaves the command line out: `carrick = { version = "0.1", default-features = false }`.

pub use carrick_core::*;

// A crate that no code names is never linked, and its plugins would be missing.
use carrick_plugin_store_fjall as _;
use carrick_plugin_validator_authors as _;
use carrick_transport_memory as _;
use carrick_transport_quic as _;

#[cfg(test)]
mod tests {
    use crate::Registry;

    #[test]
    fn the_built_in_plugins_are_linked() {
        let registry = Registry::linked().expect("no name has two owners");
        let linked: Vec<String> =
            registry.entries().map(|entry| format!("{} {}", entry.kind(), entry.name)).collect();
        assert_eq!(
            linked,
            ["transport memory", "transport quic", "store fjall", "store memory", "validator authors"]
        );
    }
}

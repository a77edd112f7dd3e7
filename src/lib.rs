//! Joins a ledger to any network: broadcast a message, fetch content by its address, over the transport you choose.
//!
//! This crate is what a program imports: it re-exports [`carrick_core`] and links the built-in plugins. Begin with
//! [`Node`]. A node is described in code by [`Node::builder`], or in a `carrick.toml` that [`config`] reads:
//!
//! ```no_run
//! use carrick::config::Config;
//! use carrick::{Registry, Topic};
//!
//! # async fn run() -> carrick::Result<()> {
//! let config = Config::from_file("carrick.toml")?;
//! let node = config.check(&Registry::linked()?)?.open().await?;
//! node.publish(&Topic::new("readings")?, "21.5 °C").await?;
//! node.close().await
//! # }
//! ```
//!
//! A program that wants no command line leaves its dependencies out:
//! `carrick = { version = "0.1", default-features = false }`. A plugin crate of yours is linked by naming it once:
//! `use my_validator as _;`. The feature `conformance` brings what plugins and ledgers are tested with. Of the default ones,
//! `ipfs-http` brings the transport and the store over a Kubo daemon, `libp2p` the transport over native libp2p.

pub use carrick_core::*;
/// The ledger: a log with many writers.
pub use carrick_plugin_ledger as ledger;
/// The transport and the store `ipfs-http`, over a Kubo daemon.
#[cfg(feature = "ipfs-http")]
pub use carrick_transport_ipfs_http as ipfs_http;
/// The transport `libp2p`: gossipsub, bitswap and Kademlia, a peer of Kubo and Helia without a daemon.
#[cfg(feature = "libp2p")]
pub use carrick_transport_libp2p as libp2p;
/// The transport `memory`, for tests and simulations.
pub use carrick_transport_memory as memory;
/// The transport `quic`, the default.
pub use carrick_transport_quic as quic;

// A crate that no code names is never linked, and its plugins would be missing.
use carrick_plugin_store_fjall as _;
use carrick_plugin_validators as _;

/// The examples of the front page, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct FrontPage;

/// As are those of the page on simulation.
#[cfg(all(doctest, feature = "conformance"))]
#[doc = include_str!("../docs/simulation.md")]
struct SimulationPage;

#[cfg(test)]
mod tests {
    use crate::Registry;

    #[test]
    fn the_built_in_plugins_are_linked() {
        let registry = Registry::linked().expect("no name has two owners");
        let linked: Vec<String> =
            registry.entries().map(|entry| format!("{} {}", entry.kind(), entry.name)).collect();
        let mut expected = vec![
            "transport memory",
            "transport quic",
            "store fjall",
            "store memory",
            "validator authors",
            "validator monotonic-time",
            "validator rate",
            "validator size",
            "service ledger",
        ];
        if cfg!(feature = "libp2p") {
            expected.insert(0, "transport libp2p");
        }
        if cfg!(feature = "ipfs-http") {
            expected.insert(0, "transport ipfs-http");
            let stores = expected.iter().position(|name| *name == "store memory").expect("there");
            expected.insert(stores, "store ipfs-http");
        }
        assert_eq!(linked, expected);
    }
}

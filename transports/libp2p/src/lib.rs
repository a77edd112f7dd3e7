#![doc = include_str!("../README.md")]

mod address;
mod admission;
mod bitswap;
mod config;
mod dag;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod decoders;
mod dial;
mod error;
mod fetch;
mod gossip;
mod link;
mod net;
mod routed;
mod routing;
mod shared;
mod streams;
mod swarm;
mod transport;
mod way;
mod wire;

pub use config::{GossipsubConfig, Libp2pConfig};
pub use routing::{DhtMode, Routing};
pub use transport::Libp2p;

carrick_core::register_transport!("libp2p", Libp2pConfig, Libp2p::open);

#![doc = include_str!("../README.md")]

mod access;
mod announce;
mod config;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod decoders;
mod dial;
mod endpoint;
mod fetch;
mod hold;
mod links;
mod probe;
mod pubsub;
mod rpc;
mod shared;
mod store;
mod swarm;
mod transport;

pub use access::{Auth, Scheme};
pub use carrick_core::config::Seconds;
pub use config::{IpfsHttpConfig, Provide};
pub use endpoint::Endpoint;
pub use store::{IpfsHttpStore, IpfsHttpStoreConfig};
pub use transport::IpfsHttp;

carrick_core::register_transport!("ipfs-http", IpfsHttpConfig, IpfsHttp::open);
carrick_core::register_store!("ipfs-http", IpfsHttpStoreConfig, IpfsHttpStore::open);

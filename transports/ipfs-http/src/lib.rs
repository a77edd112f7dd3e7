#![doc = include_str!("../README.md")]

mod announce;
mod config;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod decoders;
mod endpoint;
mod fetch;
mod hold;
mod probe;
mod pubsub;
mod rpc;
mod shared;
mod swarm;
mod transport;

pub use config::{Auth, IpfsHttpConfig, Provide, Scheme, Seconds};
pub use endpoint::Endpoint;
pub use transport::IpfsHttp;

carrick_core::register_transport!("ipfs-http", IpfsHttpConfig, IpfsHttp::open);

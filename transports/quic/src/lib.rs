#![doc = include_str!("../README.md")]

mod address;
mod config;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod decoders;
mod error;
mod io;
mod tls;
mod transport;
mod wire;

pub use config::QuicConfig;
pub use transport::Quic;

carrick_core::register_transport!("quic", QuicConfig, Quic::open);

#[cfg(test)]
mod hostile;

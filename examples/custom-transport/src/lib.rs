#![doc = include_str!("../README.md")]

mod blocks;
mod config;
mod connect;
mod hello;
mod link;
mod transport;
mod wire;

pub use config::TcpConfig;
pub use transport::Tcp;

carrick_core::register_transport!("tcp", TcpConfig, Tcp::open);

#![doc = include_str!("../README.md")]

mod bootstrap;
mod conditions;
mod config;
mod fetch;
mod flight;
mod network;
mod queue;
mod reader;
mod state;
mod transport;

pub use conditions::Conditions;
pub use config::MemoryConfig;
pub use network::MemoryNetwork;
pub use transport::Memory;

carrick_core::register_transport!("memory", MemoryConfig, Memory::open);

//! The memory transport under real nodes.

mod common;
mod fetch;
mod gossip;
mod links;
mod order;

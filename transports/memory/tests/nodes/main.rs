//! The memory transport under real nodes.

mod common;
mod conditions;
mod fetch;
mod gossip;
mod links;
mod order;

//! Peers that break the rules, on the real wire: each gets what it deserves, it costs bounded memory, and every honest message
//! through the node that is attacked arrives.
//!
//! One attack at a time: memory is counted for the whole process.

mod bitswap;
mod gossip;
mod kad;
mod links;
#[path = "../raw/mod.rs"]
mod raw;
mod stage;
mod streams;
mod swarm_key;

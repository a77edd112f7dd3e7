//! What bitswap promises, tried on the message, on each state machine, in a seeded network of them, and on whole nodes over
//! streams in memory.

mod client;
mod hostile;
mod mesh;
mod messages;
mod network;
mod nodes;
mod server;
mod simulation;
mod walks;

use std::time::Duration;

use carrick_core::{Block, Keypair, PeerId, RAW};

use super::message::Ask;

/// Some peer; the same for the same number.
fn peer(number: u8) -> PeerId {
    let mut secret = [number; 32];
    Keypair::ed25519_from_bytes(&mut secret[..]).expect("a key").public().to_peer_id()
}

fn raw(text: impl Into<Vec<u8>>) -> Block {
    Block::new(RAW, text.into())
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Asks for a block.
fn want(block: &Block) -> Ask {
    Ask { cid: *block.cid(), priority: 1, cancel: false, have: false, dont_have: true }
}

/// Asks whether it is there.
fn question(block: &Block) -> Ask {
    Ask { have: true, ..want(block) }
}

/// Takes it back.
fn cancel(block: &Block) -> Ask {
    Ask { cancel: true, ..want(block) }
}

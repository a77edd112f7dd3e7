//! The address of a block that came: bitswap sends the kind of hash and the bytes, never the hash itself.
//!
//! So a block cannot have wrong bytes: it has another address, which nobody asked for.

use bytes::Bytes;
use carrick_core::{Block, Claim};

use super::message::Prefix;

const DIGEST_BYTES: u64 = 32;

/// Hashes a block that came, once and for all; `None` where its hash proves nothing or is not known.
pub(crate) fn claim(prefix: Prefix, bytes: Bytes) -> Option<Claim> {
    let Prefix { version, codec, hash, digest } = prefix;
    if digest != DIGEST_BYTES {
        return None;
    }
    Block::with_prefix(version, codec, hash, bytes).ok().map(Claim::from)
}

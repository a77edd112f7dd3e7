//! The decoder of what peers send, with good inputs and what it may take: for whoever tries it with changed inputs.

use bytes::Bytes;
use carrick_core::conformance::decoder::Decoder;
use carrick_core::{RAW, cid_of};

use super::address;
use super::frame::{Outgoing, Version};
use super::message::{Ask, MAX_MESSAGE, Message};

/// All of bitswap's.
pub(crate) fn decoders() -> Vec<Decoder> {
    // The message itself, and its items: of an entry 64 bytes for each 24.
    let memory = 4 * MAX_MESSAGE;
    vec![Decoder {
        name: "bitswap",
        read: message,
        check: |_| (),
        samples: samples(),
        longest: MAX_MESSAGE,
        memory,
    }]
}

/// A message, without its length: all that a reader looks at.
pub(crate) fn message(bytes: &[u8]) -> bool {
    let Ok(mut message) = Message::decode(Bytes::copy_from_slice(bytes)) else { return false };
    let asks = message.asks().all(|ask| ask.is_ok());
    let presences = message.presences().all(|presence| presence.is_ok());
    let blocks = message.take_blocks().all(|block| {
        block.is_ok_and(|(prefix, bytes)| {
            address::claim(prefix, bytes).is_none_or(|claim| claim.check().is_ok())
        })
    });
    asks && presences && blocks
}

/// A small one of every kind, and a large list.
fn samples() -> Vec<Vec<u8>> {
    let cid = |n: u32| cid_of(RAW, &n.to_be_bytes());
    let ask = |n| Ask { cid: cid(n), priority: 1, cancel: n % 7 == 0, have: n % 2 == 0, dont_have: true };
    let small = |version| {
        let out = Outgoing {
            full: true,
            asks: (0..3).map(ask).collect(),
            blocks: (0..3_u32).map(|n| (cid(n), n.to_be_bytes())).collect(),
            presences: vec![(cid(4), true), (cid(5), false)],
            pending_bytes: 9,
        };
        body(out, version)
    };
    let list = Outgoing::<[u8; 0]> { asks: (0..2_000).map(ask).collect(), ..Outgoing::default() };
    vec![small(Version::V1_0), small(Version::V1_1), small(Version::V1_2), body(list, Version::V1_2)]
}

fn body<B: AsRef<[u8]>>(out: Outgoing<B>, version: Version) -> Vec<u8> {
    let bytes = out.encode(version).iter().flat_map(|part| part.as_ref().to_vec()).collect::<Vec<_>>();
    unsigned_varint::decode::usize(&bytes).map_or_else(|_| vec![], |(_, body)| body.to_vec())
}

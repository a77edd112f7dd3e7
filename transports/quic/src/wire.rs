//! Frames: their kinds, how their bodies are encoded and decoded, and how long each may be.
//!
//! The [frame](carrick_core::links::frames) itself, and those of [requests](carrick_core::links::exchange), are the core's.
//! Control bodies are canonical dag-cbor maps; messages are a short head and the bytes themselves, so that they are never
//! copied to be framed. `docs/transports/quic.md` states every byte, and `tests/vectors/` pins them.

mod bodies;
mod hello;

use carrick_core::Limits;
use carrick_core::limits::{MAX_NETWORK_BYTES, MAX_RECORD_BYTES, MAX_TOPIC_BYTES};
use carrick_core::links::frames::FrameKind;

pub(crate) use bodies::{message_head, read_message, read_topic};
pub(crate) use carrick_core::links::Reason;
pub(crate) use carrick_core::links::frames::{Broken, frame};
pub(crate) use hello::{Hello, Refused, clean};

/// The version of the hello; ALPN names that of the framing.
pub(crate) const VERSION: u64 = 1;
/// Longest text of a refusal.
const MAX_TEXT_BYTES: usize = 256;
/// What dag-cbor needs beside the values of a map of ours, generously.
const MAP_BYTES: usize = 256;
/// The same for one entry of a list.
const ENTRY_BYTES: usize = 8;

/// A head of one of these frames.
pub(crate) type Head = carrick_core::links::frames::Head<Kind>;

/// What a frame of the control stream or of messages is. The numbers are frozen; those from 0x20 on are requests and
/// answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Who we are, what we want: the first frame of each end.
    Hello = 0x01,
    /// Instead of a hello: why not.
    Refused = 0x02,
    /// The sender takes part in a topic.
    Join = 0x03,
    /// It does not any more.
    Leave = 0x04,
    /// A signed peer record, the sender's own or another's.
    Record = 0x05,
    /// A message of a topic.
    Message = 0x10,
}

impl FrameKind for Kind {
    const ALL: &'static [Self] =
        &[Self::Hello, Self::Refused, Self::Join, Self::Leave, Self::Record, Self::Message];

    fn number(self) -> u8 {
        self as u8
    }

    fn limit(self, limits: &Limits) -> usize {
        match self {
            Self::Hello => {
                let topics = limits.topics_per_peer * (MAX_TOPIC_BYTES + ENTRY_BYTES);
                MAP_BYTES + MAX_NETWORK_BYTES + MAX_RECORD_BYTES + topics
            }
            Self::Refused => MAP_BYTES + MAX_TEXT_BYTES,
            Self::Join | Self::Leave => MAX_TOPIC_BYTES,
            Self::Record => MAX_RECORD_BYTES,
            Self::Message => 2 + MAX_TOPIC_BYTES + limits.envelope_bytes(),
        }
    }
}

#[cfg(test)]
mod tests;

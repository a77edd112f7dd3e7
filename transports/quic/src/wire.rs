//! Frames: how they are encoded and decoded, and how long each may be.
//!
//! A frame is its length (u32, big endian, of what follows), a kind byte and a body. Control bodies are
//! canonical dag-cbor maps; messages and blocks are a short head and the bytes themselves, so that they are
//! never copied to be framed. `docs/transports/quic.md` states every byte, and `tests/vectors/` pins them.
//!
//! Nothing here reads a socket: a reader takes the five bytes of a [`Head`], which checks the length against
//! the limit of its kind before anybody allocates, and then as many bytes as it says.

mod bodies;
mod count;
mod hello;

use bytes::{BufMut, Bytes, BytesMut};
use carrick_core::Limits;
use carrick_core::limits::{MAX_NETWORK_BYTES, MAX_RECORD_BYTES, MAX_ROOTS, MAX_TOPIC_BYTES};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use bodies::{
    AskBlock, AskDag, ask_has, block_head, message_head, read_cid, read_message, read_topic,
};
pub(crate) use carrick_core::links::Reason;
pub(crate) use hello::{Hello, Refused, clean};

/// The version of the hello; ALPN names that of the framing.
pub(crate) const VERSION: u64 = 1;
/// Length and kind.
pub(crate) const HEAD_BYTES: usize = 5;
/// Longest CID taken: 32 bytes of digest need 36 to 40.
pub(crate) const MAX_CID_BYTES: usize = 64;
/// Most CIDs in the `have` list of one request.
pub(crate) const MAX_HAVE: usize = 2_048;
/// Longest text of a refusal.
const MAX_TEXT_BYTES: usize = 256;
/// What dag-cbor needs beside the values of a map of ours, generously.
const MAP_BYTES: usize = 256;
/// The same for one entry of a list.
const ENTRY_BYTES: usize = 8;

/// What a frame is. The numbers are frozen.
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
    /// Asks for one block.
    AskBlock = 0x20,
    /// Asks whether the far end has a block.
    AskHas = 0x21,
    /// Asks for a DAG.
    AskDag = 0x22,
    /// A block.
    Block = 0x30,
    /// The far end has not what was asked for.
    Absent = 0x31,
    /// It has.
    Present = 0x32,
    /// All of the DAG came.
    End = 0x33,
    /// The block, or the rest of the DAG, is above the limit that the asker named.
    Limit = 0x34,
    /// It cannot serve now.
    Busy = 0x35,
}

impl Kind {
    const ALL: [Self; 15] = [
        Self::Hello,
        Self::Refused,
        Self::Join,
        Self::Leave,
        Self::Record,
        Self::Message,
        Self::AskBlock,
        Self::AskHas,
        Self::AskDag,
        Self::Block,
        Self::Absent,
        Self::Present,
        Self::End,
        Self::Limit,
        Self::Busy,
    ];

    /// The longest body a frame of this kind may have.
    pub(crate) fn limit(self, limits: &Limits) -> usize {
        match self {
            Self::Hello => {
                let topics = limits.topics_per_peer * (MAX_TOPIC_BYTES + ENTRY_BYTES);
                MAP_BYTES + MAX_NETWORK_BYTES + MAX_RECORD_BYTES + topics
            }
            Self::Refused => MAP_BYTES + MAX_TEXT_BYTES,
            Self::Join | Self::Leave => MAX_TOPIC_BYTES,
            Self::Record => MAX_RECORD_BYTES,
            Self::Message => 2 + MAX_TOPIC_BYTES + limits.envelope_bytes(),
            Self::AskBlock => 5 + MAX_CID_BYTES,
            Self::AskHas => MAX_CID_BYTES,
            Self::AskDag => MAP_BYTES + (MAX_ROOTS + MAX_HAVE) * (MAX_CID_BYTES + ENTRY_BYTES),
            Self::Block => 1 + MAX_CID_BYTES + limits.block_bytes,
            Self::Absent | Self::Present | Self::End | Self::Limit | Self::Busy => 0,
        }
    }
}

/// How a frame breaks the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The length does not even cover the kind.
    Empty,
    /// No kind has this number.
    Kind(u8),
    /// A kind that does not belong here.
    Misplaced(Kind),
    /// A body above the limit of its kind.
    TooLong {
        /// The kind of the frame.
        kind: Kind,
        /// The length it claims.
        length: usize,
        /// The most that is allowed.
        limit: usize,
    },
    /// A hello of another version.
    Version(u64),
    /// A body that cannot be read.
    Body(Kind, &'static str),
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => f.write_str("a frame without a kind"),
            Self::Kind(kind) => write!(f, "a frame of unknown kind {kind:#04x}"),
            Self::Misplaced(kind) => write!(f, "a frame {kind:?} that does not belong there"),
            Self::TooLong { kind, length, limit } => {
                write!(f, "a frame {kind:?} of {length} bytes; at most {limit} are allowed")
            }
            Self::Version(found) => write!(f, "a hello of version {found}; {VERSION} is spoken here"),
            Self::Body(kind, why) => write!(f, "a frame {kind:?} that is malformed: {why}"),
        }
    }
}

/// The first five bytes of a frame, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// What follows.
    pub(crate) kind: Kind,
    /// How many bytes of it.
    pub(crate) length: usize,
}

impl Head {
    /// Reads a head and checks the length it claims, before anything is allocated for it.
    pub(crate) fn decode(bytes: [u8; HEAD_BYTES], limits: &Limits) -> Result<Self, Broken> {
        let [a, b, c, d, kind] = bytes;
        let length = (u32::from_be_bytes([a, b, c, d]) as usize).checked_sub(1).ok_or(Broken::Empty)?;
        let kind = Kind::ALL.into_iter().find(|known| *known as u8 == kind).ok_or(Broken::Kind(kind))?;
        let limit = kind.limit(limits);
        if length > limit {
            return Err(Broken::TooLong { kind, length, limit });
        }
        Ok(Self { kind, length })
    }
}

/// A whole frame of a small body.
pub(crate) fn frame(kind: Kind, body: &[u8]) -> Bytes {
    let mut frame = start(kind, body.len(), body.len());
    frame.put_slice(body);
    frame.freeze()
}

/// Head of a frame whose body has `length` bytes, with room for the first `room` of them.
fn start(kind: Kind, length: usize, room: usize) -> BytesMut {
    let mut frame = BytesMut::with_capacity(HEAD_BYTES + room);
    // Every body is bounded far below 4 GiB: the limits of a node say so.
    frame.put_u32(u32::try_from(length + 1).unwrap_or(u32::MAX));
    frame.put_u8(kind as u8);
    frame
}

fn cbor<T: Serialize>(value: &T) -> Vec<u8> {
    serde_ipld_dagcbor::to_vec(value).expect("maps of text, bytes, numbers and links always encode")
}

/// Reads some of the fields of a body; others may be there too, and the form need not be canonical.
fn first_look<T: DeserializeOwned>(kind: Kind, body: &[u8]) -> Result<T, Broken> {
    serde_ipld_dagcbor::from_slice(body)
        .map_err(|_| Broken::Body(kind, "no map of the fields that belong there"))
}

/// Reads a canonical body: whatever encodes to other bytes than those that came is refused.
fn read_cbor<T: Serialize + DeserializeOwned>(kind: Kind, body: &[u8]) -> Result<T, Broken> {
    let value: T = first_look(kind, body)?;
    if cbor(&value) == body { Ok(value) } else { Err(Broken::Body(kind, "not in canonical form")) }
}

#[cfg(test)]
mod tests;

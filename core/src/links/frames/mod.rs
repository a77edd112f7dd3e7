//! Frames: a length (u32, big endian, of what follows), a kind byte and a body.
//!
//! A reader takes the five bytes of a [`Head`], which checks the length against the limit of its kind before anybody
//! allocates, and then as many bytes as it says. A wire names its kinds by [`FrameKind`]; those of requests and answers are
//! [`exchange::Kind`](super::exchange::Kind).

mod body;
mod buffers;
mod fault;
mod reader;

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use crate::Limits;

pub use body::{ListLength, encode, first_look, read_canonical};
pub use fault::Fault;
pub use reader::{Heard, Hears, Reader, within};

/// Length and kind.
pub const HEAD_BYTES: usize = 5;

/// What frames there are on a stream.
pub trait FrameKind: Copy + Eq + fmt::Debug + Send + Sync + 'static {
    /// All of them.
    const ALL: &'static [Self];

    /// The number on the wire.
    fn number(self) -> u8;

    /// The longest body a frame of this kind may have, in bytes.
    fn limit(self, limits: &Limits) -> usize;
}

/// How a frame breaks the format. Kinds are told by their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Broken {
    /// The length does not even cover the kind.
    Empty,
    /// No kind that is spoken there has this number.
    Kind(u8),
    /// A kind that does not belong here.
    Misplaced(u8),
    /// A body above the limit of its kind.
    TooLong {
        /// The kind of the frame.
        kind: u8,
        /// The length it claims.
        length: usize,
        /// The most that is allowed.
        limit: usize,
    },
    /// A greeting of another version of the protocol.
    Version(u64),
    /// A body that cannot be read, and why.
    Body(u8, &'static str),
}

impl Broken {
    /// A body that cannot be read.
    pub fn body<K: FrameKind>(kind: K, why: &'static str) -> Self {
        Self::Body(kind.number(), why)
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a frame without a kind"),
            Self::Kind(kind) => write!(f, "a frame {kind:#04x}, which is unknown there"),
            Self::Misplaced(kind) => write!(f, "a frame {kind:#04x} that does not belong there"),
            Self::TooLong { kind, length, limit } => {
                write!(f, "a frame {kind:#04x} of {length} bytes; at most {limit} are allowed")
            }
            Self::Version(found) => write!(f, "a greeting of version {found}, which is not spoken here"),
            Self::Body(kind, why) => write!(f, "a frame {kind:#04x} that is malformed: {why}"),
        }
    }
}

/// The first five bytes of a frame, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head<K> {
    /// What follows.
    pub kind: K,
    /// How many bytes of it.
    pub length: usize,
}

impl<K: FrameKind> Head<K> {
    /// Reads a head and checks the length it claims, before anything is allocated for it.
    ///
    /// # Errors
    /// `Empty`, `Kind`, `TooLong`.
    pub fn decode(bytes: [u8; HEAD_BYTES], limits: &Limits) -> Result<Self, Broken> {
        let [a, b, c, d, number] = bytes;
        let length = (u32::from_be_bytes([a, b, c, d]) as usize).checked_sub(1).ok_or(Broken::Empty)?;
        let known = K::ALL.iter().find(|kind| kind.number() == number);
        let kind = *known.ok_or(Broken::Kind(number))?;
        let limit = kind.limit(limits);
        if length > limit {
            return Err(Broken::TooLong { kind: number, length, limit });
        }
        Ok(Self { kind, length })
    }
}

/// A whole frame of a small body.
pub fn frame<K: FrameKind>(kind: K, body: &[u8]) -> Bytes {
    let mut frame = start(kind, body.len(), body.len());
    frame.put_slice(body);
    frame.freeze()
}

/// The head of a frame whose body has `length` bytes, with room for the first `room` of them.
pub fn start<K: FrameKind>(kind: K, length: usize, room: usize) -> BytesMut {
    let mut frame = BytesMut::with_capacity(HEAD_BYTES + room);
    // Every body is bounded far below 4 GiB: the limits of a node say so.
    frame.put_u32(u32::try_from(length + 1).unwrap_or(u32::MAX));
    frame.put_u8(kind.number());
    frame
}

//! What crosses a connection: frames, each with its length before it.
//!
//! A frame is small. Behind a message and a block come as many plain bytes as their frame says: so the reader knows what
//! is about to come before it makes room for it.

use std::io;
use std::time::Duration;

use carrick_core::{Bytes, Topic};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::timeout;

/// Longest frame. The longest that there is carries a record of 2 KiB.
const MAX_FRAME_BYTES: usize = 4 << 10;

/// A frame: four bytes of length, big-endian, then this in postcard. A new variant comes last, or old nodes misread it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Frame<'a> {
    /// Who we are, and what the far end shall sign.
    Hello { network: &'a str, key: &'a [u8], nonce: [u8; 32] },
    /// Our signature under both hellos.
    Proof(&'a [u8]),
    /// The link stands.
    Welcome,
    /// Nothing more comes.
    Bye(End),
    /// Still here.
    Ping,
    /// The sender takes part in a topic, or not any more.
    Topic { name: &'a str, joined: bool },
    /// Where a peer listens, signed by that peer.
    Record(&'a [u8]),
    /// An envelope of so many bytes follows.
    Message { topic: &'a str, bytes: u32 },
    /// Asks for a block of at most so many bytes. Each request has exactly one answer.
    Ask { request: u64, cid: &'a [u8], most: u32 },
    /// The answer is not wanted any more: it may be `Absent` now.
    Cancel { request: u64 },
    /// A block of so many bytes follows; or why not.
    Answer { request: u64, bytes: Result<u32, No> },
}

/// Why there is no block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum No {
    Absent,
    TooLarge,
    Busy,
}

/// Why a link ends, or never begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum End {
    /// The node closes, or is gone.
    Goodbye,
    /// A user ended the link: nobody restores it by itself.
    Parted,
    /// There is a link between the two already.
    Duplicate,
    /// All connections are taken.
    Full,
    /// It is of another network.
    Network,
    /// It is not a member, or banned.
    NotAdmitted,
    /// Another peer answers than the one that was dialled.
    AnotherKey,
    /// It dialled itself.
    Oneself,
    /// It broke the format.
    Broken,
    /// It began something and did not go on.
    Stalled,
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Goodbye
    }
}

impl<'a> Frame<'a> {
    /// The frame with its length, and what follows it.
    pub(crate) fn encode(&self, and: &[u8]) -> Bytes {
        let mut bytes = postcard::to_extend(self, vec![0; 4]).expect("all its parts know their length");
        let length = u32::try_from(bytes.len() - 4).expect("a frame is small");
        bytes[..4].copy_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(and);
        bytes.into()
    }

    /// Reads a frame from the bytes of [`read_frame`].
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, End> {
        match postcard::take_from_bytes(bytes) {
            // What only we can know of a far end is no word of its own.
            Ok((Frame::Bye(End::Broken | End::Stalled | End::Oneself | End::AnotherKey), [])) => {
                Ok(Frame::Bye(End::Goodbye))
            }
            Ok((frame, [])) => Ok(frame),
            _ => Err(End::Broken),
        }
    }
}

/// Reads the bytes of a frame, which may let us wait for so long.
pub(crate) async fn read_frame(from: &mut (impl AsyncRead + Unpin), wait: Duration) -> Result<Bytes, End> {
    let length = timeout(wait, from.read_u32()).await.map_err(|_| End::Goodbye)?? as usize;
    if length > MAX_FRAME_BYTES {
        return Err(End::Broken);
    }
    read_bytes(from, length, wait).await
}

/// Reads so many bytes; the caller compared the number with a limit. They must come, because room was made for them.
pub(crate) async fn read_bytes(
    from: &mut (impl AsyncRead + Unpin),
    length: usize,
    wait: Duration,
) -> Result<Bytes, End> {
    let mut bytes = vec![0; length];
    timeout(wait, from.read_exact(&mut bytes)).await.map_err(|_| End::Stalled)??;
    Ok(bytes.into())
}

/// A topic as the far end names it.
pub(crate) fn topic(name: &str) -> Result<Topic, End> {
    Topic::from_wire(name).map_err(|_| End::Broken)
}

//! Requests, and the heads of blocks.

use bytes::{BufMut, Bytes, BytesMut};
use cid::Cid;
use serde::{Deserialize, Serialize};

use crate::limits::MAX_ROOTS;
use crate::links::frames::{Broken, FrameKind, ListLength, encode, first_look, frame, read_canonical, start};
use crate::{Follow, Limits, WantDag};

/// Longest CID taken: 32 bytes of digest need 36 to 40.
pub const MAX_CID_BYTES: usize = 64;
/// Most CIDs in the `have` list of one request.
pub const MAX_HAVE: usize = 2_048;
/// What dag-cbor needs beside the values of a map of ours, generously.
const MAP_BYTES: usize = 256;
/// The same for one entry of a list.
const ENTRY_BYTES: usize = 8;

/// What a frame of a request or an answer is. The numbers are frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
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

impl FrameKind for Kind {
    const ALL: &'static [Self] = &[
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

    fn number(self) -> u8 {
        self as u8
    }

    fn limit(self, limits: &Limits) -> usize {
        match self {
            Self::AskBlock => 5 + MAX_CID_BYTES,
            Self::AskHas => MAX_CID_BYTES,
            Self::AskDag => MAP_BYTES + (MAX_ROOTS + MAX_HAVE) * (MAX_CID_BYTES + ENTRY_BYTES),
            Self::Block => 1 + MAX_CID_BYTES + limits.block_bytes,
            Self::Absent | Self::Present | Self::End | Self::Limit | Self::Busy => 0,
        }
    }
}

/// Everything of a block frame but the block itself, which is never copied to be framed.
pub fn block_head(cid: &Cid, block_bytes: usize) -> Bytes {
    let cid = cid.to_bytes();
    let mut head = start(Kind::Block, 1 + cid.len() + block_bytes, 1 + cid.len());
    head.put_u8(u8::try_from(cid.len()).unwrap_or(u8::MAX));
    head.put_slice(&cid);
    head.freeze()
}

/// Reads a CID that must fill `bytes` exactly.
///
/// # Errors
/// `Body`.
pub fn read_cid(kind: Kind, bytes: &[u8]) -> Result<Cid, Broken> {
    let cid = Cid::try_from(bytes).map_err(|_| Broken::body(kind, "no CID"))?;
    // The parser stops at the end of the digest: what follows it would go unseen.
    if cid.to_bytes() == bytes { Ok(cid) } else { Err(Broken::body(kind, "more than a CID")) }
}

/// Asks for one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskBlock {
    /// Its address.
    pub cid: Cid,
    /// The largest that the asker takes.
    pub max_bytes: u32,
    /// Higher goes first among the requests of one asker.
    pub priority: i8,
}

impl AskBlock {
    /// The whole frame.
    pub fn encode(&self) -> Bytes {
        let [priority] = self.priority.to_be_bytes();
        let mut body = BytesMut::with_capacity(5 + MAX_CID_BYTES);
        body.put_u32(self.max_bytes);
        body.put_u8(priority);
        body.put_slice(&self.cid.to_bytes());
        frame(Kind::AskBlock, &body)
    }

    /// Reads a body.
    ///
    /// # Errors
    /// `Body`.
    pub fn decode(body: &[u8]) -> Result<Self, Broken> {
        let short = Broken::body(Kind::AskBlock, "too short");
        let (fixed, cid) = body.split_first_chunk::<5>().ok_or(short)?;
        let [a, b, c, d, priority] = *fixed;
        Ok(Self {
            cid: read_cid(Kind::AskBlock, cid)?,
            max_bytes: u32::from_be_bytes([a, b, c, d]),
            priority: i8::from_be_bytes([priority]),
        })
    }
}

/// The frame that asks whether the far end has a block.
pub fn ask_has_frame(cid: &Cid) -> Bytes {
    frame(Kind::AskHas, &cid.to_bytes())
}

/// Asks for a DAG. Fields as [`WantDag`]'s.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskDag {
    /// At most [`MAX_HAVE`]; what is left out only costs bandwidth.
    pub have: Vec<Cid>,
    /// How many links below a root to go.
    pub depth: u32,
    /// How many bytes of blocks may come.
    pub limit: u64,
    /// 1 to 64.
    pub roots: Vec<Cid>,
    /// Which links to follow.
    pub follow: Follow,
}

impl AskDag {
    /// The request that a want becomes on the wire.
    pub fn new(want: &WantDag) -> Self {
        Self {
            have: want.have.iter().take(MAX_HAVE).copied().collect(),
            depth: want.depth,
            limit: want.limit_bytes,
            roots: want.roots.clone(),
            follow: want.follow,
        }
    }

    /// The whole frame.
    pub fn encode(&self) -> Bytes {
        frame(Kind::AskDag, &encode(self))
    }

    /// Reads a body.
    ///
    /// # Errors
    /// `Body`.
    pub fn decode(body: &[u8]) -> Result<Self, Broken> {
        #[derive(Deserialize)]
        struct Lists {
            have: ListLength,
            roots: ListLength,
        }
        let lists: Lists = first_look(Kind::AskDag, body)?;
        if !(1..=MAX_ROOTS).contains(&lists.roots.0) || lists.have.0 > MAX_HAVE {
            return Err(Broken::body(Kind::AskDag, "too many roots or haves"));
        }
        read_canonical(Kind::AskDag, body)
    }
}

#[cfg(test)]
mod tests;

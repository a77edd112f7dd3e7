//! Messages, requests and blocks.

use bytes::{BufMut, Bytes, BytesMut};
use carrick_core::limits::MAX_ROOTS;
use carrick_core::{Cid, Follow, Topic, WantDag};
use serde::{Deserialize, Serialize};

use super::count::Count;
use super::{Broken, Kind, MAX_CID_BYTES, MAX_HAVE, cbor, first_look, frame, read_cbor, start};

/// The topic of a [`Kind::Join`] or [`Kind::Leave`].
pub(crate) fn read_topic(kind: Kind, body: &[u8]) -> Result<Topic, Broken> {
    let name = std::str::from_utf8(body).map_err(|_| Broken::Body(kind, "a topic that is no text"))?;
    Topic::from_wire(name).map_err(|_| Broken::Body(kind, "no topic"))
}

/// Everything of a message frame but the message itself.
pub(crate) fn message_head(topic: &Topic, message_bytes: usize) -> Bytes {
    let name = topic.as_str().as_bytes();
    let mut head = start(Kind::Message, 2 + name.len() + message_bytes, 2 + name.len());
    head.put_u16(u16::try_from(name.len()).unwrap_or(u16::MAX));
    head.put_slice(name);
    head.freeze()
}

/// Splits the body of a message frame.
pub(crate) fn read_message(mut body: Bytes) -> Result<(Topic, Bytes), Broken> {
    let short = Broken::Body(Kind::Message, "too short");
    if body.len() < 2 {
        return Err(short);
    }
    let name_bytes = usize::from(u16::from_be_bytes([body[0], body[1]]));
    let _ = body.split_to(2);
    if body.len() < name_bytes {
        return Err(short);
    }
    let topic = read_topic(Kind::Message, &body.split_to(name_bytes))?;
    Ok((topic, body))
}

/// Everything of a block frame but the block itself.
pub(crate) fn block_head(cid: &Cid, block_bytes: usize) -> Bytes {
    let cid = cid.to_bytes();
    let mut head = start(Kind::Block, 1 + cid.len() + block_bytes, 1 + cid.len());
    head.put_u8(u8::try_from(cid.len()).unwrap_or(u8::MAX));
    head.put_slice(&cid);
    head.freeze()
}

/// Reads a CID that must fill `bytes` exactly.
pub(crate) fn read_cid(kind: Kind, bytes: &[u8]) -> Result<Cid, Broken> {
    let cid = Cid::try_from(bytes).map_err(|_| Broken::Body(kind, "no CID"))?;
    // The parser stops at the end of the digest: what follows it would go unseen.
    if cid.to_bytes() == bytes { Ok(cid) } else { Err(Broken::Body(kind, "more than a CID")) }
}

/// Asks for one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AskBlock {
    /// Its address.
    pub(crate) cid: Cid,
    /// The largest that the asker takes.
    pub(crate) max_bytes: u32,
    /// Higher goes first among the requests of one asker.
    pub(crate) priority: i8,
}

impl AskBlock {
    /// The whole frame.
    pub(crate) fn encode(&self) -> Bytes {
        let [priority] = self.priority.to_be_bytes();
        let mut body = BytesMut::with_capacity(5 + MAX_CID_BYTES);
        body.put_u32(self.max_bytes);
        body.put_u8(priority);
        body.put_slice(&self.cid.to_bytes());
        frame(Kind::AskBlock, &body)
    }

    /// Reads a body.
    pub(crate) fn decode(body: &[u8]) -> Result<Self, Broken> {
        let (fixed, cid) = body.split_first_chunk::<5>().ok_or(Broken::Body(Kind::AskBlock, "too short"))?;
        let [a, b, c, d, priority] = *fixed;
        Ok(Self {
            cid: read_cid(Kind::AskBlock, cid)?,
            max_bytes: u32::from_be_bytes([a, b, c, d]),
            priority: i8::from_be_bytes([priority]),
        })
    }
}

/// Asks whether the far end has a block.
pub(crate) fn ask_has(cid: &Cid) -> Bytes {
    frame(Kind::AskHas, &cid.to_bytes())
}

/// Asks for a DAG. Fields as [`WantDag`]'s.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AskDag {
    /// At most [`MAX_HAVE`]; what is left out only costs bandwidth.
    pub(crate) have: Vec<Cid>,
    /// How many links below a root to go.
    pub(crate) depth: u32,
    /// How many bytes of blocks may come.
    pub(crate) limit: u64,
    /// 1 to 64.
    pub(crate) roots: Vec<Cid>,
    /// Which links to follow.
    pub(crate) follow: Follow,
}

impl AskDag {
    /// The request that a want becomes on the wire.
    pub(crate) fn new(want: &WantDag) -> Self {
        Self {
            have: want.have.iter().take(MAX_HAVE).copied().collect(),
            depth: want.depth,
            limit: want.limit_bytes,
            roots: want.roots.clone(),
            follow: want.follow,
        }
    }

    /// The whole frame.
    pub(crate) fn encode(&self) -> Bytes {
        frame(Kind::AskDag, &cbor(self))
    }

    /// Reads a body.
    pub(crate) fn decode(body: &[u8]) -> Result<Self, Broken> {
        #[derive(Deserialize)]
        struct Lists {
            have: Count,
            roots: Count,
        }
        let lists: Lists = first_look(Kind::AskDag, body)?;
        if !(1..=MAX_ROOTS).contains(&lists.roots.0) || lists.have.0 > MAX_HAVE {
            return Err(Broken::Body(Kind::AskDag, "too many roots or haves"));
        }
        read_cbor(Kind::AskDag, body)
    }
}

//! Frames: how they are encoded and decoded, and how long each may be.
//!
//! A frame is its length (u32, big endian, of what follows), a kind byte and a body. Control bodies are canonical
//! dag-cbor maps; messages and blocks are a short head and the bytes themselves, so that they are never copied to be
//! framed. `docs/transports/quic.md` states every byte, and `tests/vectors/` pins them.
//!
//! Nothing here reads a socket: a reader takes the five bytes of a [`Head`], which checks the length against the limit
//! of its kind before anybody allocates, and then as many bytes as it says.

use bytes::{BufMut, Bytes, BytesMut};
use carrick_core::limits::{MAX_NETWORK_BYTES, MAX_RECORD_BYTES, MAX_ROOTS, MAX_TOPIC_BYTES};
use carrick_core::{Cid, Follow, Limits, NetworkId, Topic, WantDag};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

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

/// Reads a canonical body: whatever encodes to other bytes than those that came is refused.
fn read_cbor<T: Serialize + DeserializeOwned>(kind: Kind, body: &[u8]) -> Result<T, Broken> {
    let value: T = serde_ipld_dagcbor::from_slice(body)
        .map_err(|_| Broken::Body(kind, "no map of the fields that belong there"))?;
    if cbor(&value) == body { Ok(value) } else { Err(Broken::Body(kind, "not in canonical form")) }
}

/// Opens a link: the first frame of each end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hello {
    /// [`VERSION`].
    pub(crate) v: u64,
    /// The sender's own signed record.
    #[serde(with = "serde_bytes")]
    pub(crate) record: Vec<u8>,
    /// The topics the sender takes part in, sorted.
    pub(crate) topics: Vec<Topic>,
    /// The network; of another one nothing is taken.
    pub(crate) network: NetworkId,
    /// Names the running instance: another one means that the peer was started again.
    pub(crate) session: u64,
}

impl Hello {
    /// The whole frame.
    pub(crate) fn encode(&self) -> Bytes {
        frame(Kind::Hello, &cbor(self))
    }

    /// Reads a body.
    pub(crate) fn decode(body: &[u8], limits: &Limits) -> Result<Self, Broken> {
        // Alone and first: another version may have other fields, and is refused as what it is.
        #[derive(Deserialize)]
        struct Version {
            v: u64,
        }
        match serde_ipld_dagcbor::from_slice(body) {
            Ok(Version { v: VERSION }) => {}
            Ok(Version { v }) => return Err(Broken::Version(v)),
            Err(_) => return Err(Broken::Body(Kind::Hello, "no version")),
        }
        let hello: Self = read_cbor(Kind::Hello, body)?;
        if hello.topics.len() > limits.topics_per_peer {
            return Err(Broken::Body(Kind::Hello, "too many topics"));
        }
        if !hello.topics.is_sorted_by(|a, b| a < b) {
            return Err(Broken::Body(Kind::Hello, "topics not in order"));
        }
        Ok(hello)
    }
}

/// Why a link was refused or ended. The number is the code of a [`Refused`] frame and of CONNECTION_CLOSE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Reason {
    /// The node closes.
    Goodbye = 0,
    /// It speaks another version of the hello.
    Version = 1,
    /// It is of another network.
    Network = 2,
    /// It is not a member, or banned.
    NotAdmitted = 3,
    /// All connections are taken.
    Busy = 4,
    /// There is a link between the two already, and that one stays.
    Duplicate = 5,
    /// It broke the wire format.
    Malformed = 6,
    /// The far end's user ended the link; it is not to be dialled again by itself.
    Disconnected = 7,
    /// It did not read what it must.
    Stalled = 8,
}

impl Reason {
    const ALL: [Self; 9] = [
        Self::Goodbye,
        Self::Version,
        Self::Network,
        Self::NotAdmitted,
        Self::Busy,
        Self::Duplicate,
        Self::Malformed,
        Self::Disconnected,
        Self::Stalled,
    ];

    /// The reason behind a number; one that a later version added counts as [`Reason::Goodbye`].
    pub(crate) fn from_code(code: u64) -> Self {
        Self::ALL.into_iter().find(|known| *known as u64 == code).unwrap_or(Self::Goodbye)
    }

    /// The code as QUIC carries it.
    pub(crate) fn code(self) -> quinn::VarInt {
        quinn::VarInt::from_u32(self as u32)
    }

    /// In words, for the far end and for logs.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Goodbye => "the node closes",
            Self::Version => "it speaks another version of the protocol",
            Self::Network => "it belongs to another network",
            Self::NotAdmitted => "this peer is not admitted",
            Self::Busy => "all its connections are taken",
            Self::Duplicate => "there is a connection already",
            Self::Malformed => "a frame broke the wire format",
            Self::Disconnected => "the link was ended by its user",
            Self::Stalled => "nothing was read for too long",
        }
    }
}

/// Instead of a hello: why not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refused {
    /// A [`Reason`] by number.
    pub(crate) code: u64,
    /// For a person; at most 256 bytes.
    pub(crate) text: String,
}

impl Refused {
    /// A refusal in our own words.
    pub(crate) fn new(reason: Reason) -> Self {
        Self { code: reason as u64, text: reason.text().into() }
    }

    /// The whole frame.
    pub(crate) fn encode(&self) -> Bytes {
        frame(Kind::Refused, &cbor(self))
    }

    /// Reads a body. The text is cleaned: it ends up in errors and logs.
    pub(crate) fn decode(body: &[u8]) -> Result<Self, Broken> {
        let refused: Self = read_cbor(Kind::Refused, body)?;
        Ok(Self { text: clean(&refused.text), ..refused })
    }
}

/// Text of the far end, without what could move a cursor, cut to a line.
pub(crate) fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_TEXT_BYTES).collect()
}

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
        let ask: Self = read_cbor(Kind::AskDag, body)?;
        if !(1..=MAX_ROOTS).contains(&ask.roots.len()) || ask.have.len() > MAX_HAVE {
            return Err(Broken::Body(Kind::AskDag, "too many roots or haves"));
        }
        Ok(ask)
    }
}

#[cfg(test)]
mod tests;

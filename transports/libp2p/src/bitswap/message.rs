//! The message of bitswap as it is on the wire: reading it within bounds.
//!
//! The format is that of the specification (1.2.0; 1.1.0 lacks presences, 1.0.0 also the prefix of a block). A message is
//! a varint with its length, and so many bytes of protobuf. Before anything is allocated for it, its length is compared with
//! [`MAX_MESSAGE`], and its items are counted: a list of many tiny items would take a multiple of its bytes in memory.
//! Blocks are slices of the message, not copies.

use std::fmt;

use bytes::{Buf as _, Bytes};
use carrick_core::Cid;
use prost::Message as _;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use super::limits;

/// Largest message, in both directions: 4 MiB, as the specification and Kubo have it.
pub(crate) const MAX_MESSAGE: usize = 4 << 20;
/// Longest CID in a message, in bytes, as Kubo has it.
pub(crate) const MAX_CID: usize = 168;
/// Longest prefix of a block: four numbers.
const MAX_PREFIX: usize = 40;
/// An entry of a list takes at least so many bytes, [some](SMALL_ITEMS) may take less: any hash that proves something is
/// longer.
const ENTRY_BYTES: usize = 24;
const SMALL_ITEMS: usize = 64;
/// Blocks in one message: more than are ever wanted of one peer. Each costs a hash before it is known as unrequested.
pub(crate) const MAX_BLOCKS: usize = 8_192;
const _: () = assert!(MAX_BLOCKS >= limits::WINDOW + limits::QUESTIONS + limits::SETTLED);

/// How a message breaks the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// It says it is longer than [`MAX_MESSAGE`].
    TooLong(u64),
    /// Its length is no number.
    Length,
    /// It is no protobuf of this message.
    Protobuf,
    /// More blocks than anybody asks for, or more of the rest than honest ones fit into so few bytes.
    TooManyItems(usize),
    /// A CID above [`MAX_CID`], or bytes that are none.
    Cid,
    /// A prefix that is none.
    Prefix,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(bytes) => {
                write!(f, "a message of {bytes} bytes; at most {MAX_MESSAGE} are allowed")
            }
            Self::Length => f.write_str("a message whose length is no number"),
            Self::Protobuf => f.write_str("a message that is no protobuf"),
            Self::TooManyItems(items) => {
                write!(f, "{items} items, more than an honest message of its length has")
            }
            Self::Cid => f.write_str("bytes that are no CID"),
            Self::Prefix => f.write_str("a block whose prefix is none"),
        }
    }
}

impl std::error::Error for Broken {}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Wire {
    #[prost(message, optional, tag = "1")]
    pub(super) wantlist: Option<Wantlist>,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub(super) blocks: Vec<Bytes>,
    #[prost(message, repeated, tag = "3")]
    pub(super) payload: Vec<Payload>,
    #[prost(message, repeated, tag = "4")]
    pub(super) presences: Vec<Presence>,
    #[prost(int32, tag = "5")]
    pub(super) pending_bytes: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Wantlist {
    #[prost(message, repeated, tag = "1")]
    pub(super) entries: Vec<Entry>,
    #[prost(bool, tag = "2")]
    pub(super) full: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Entry {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) cid: Bytes,
    #[prost(int32, tag = "2")]
    pub(super) priority: i32,
    #[prost(bool, tag = "3")]
    pub(super) cancel: bool,
    /// 0: the block, 1: whether it is there.
    #[prost(int32, tag = "4")]
    pub(super) want_type: i32,
    #[prost(bool, tag = "5")]
    pub(super) send_dont_have: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Payload {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) prefix: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) data: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Presence {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) cid: Bytes,
    /// 0: it is there, 1: it is not.
    #[prost(int32, tag = "2")]
    pub(super) kind: i32,
}

/// One entry of a wantlist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    /// What is asked for.
    pub(crate) cid: Cid,
    /// Higher goes first.
    pub(crate) priority: i32,
    /// It is no longer wanted.
    pub(crate) cancel: bool,
    /// Only whether it is there, not the block.
    pub(crate) have: bool,
    /// An answer is expected also when it is not there.
    pub(crate) dont_have: bool,
}

/// What a block's address is made of beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prefix {
    /// Of the CID: 0 or 1.
    pub(crate) version: u64,
    /// The multicodec of the content.
    pub(crate) codec: u64,
    /// The multicodec of the hash function.
    pub(crate) hash: u64,
    /// Bytes of digest.
    pub(crate) digest: u64,
}

/// A message that was read. What is in it is read further as it is taken: nothing is held twice.
#[derive(Clone, Debug)]
pub(crate) struct Message(Wire, usize);

impl Message {
    /// Reads the protobuf. Blocks are slices of `bytes`.
    ///
    /// # Errors
    /// [`Broken`]; memory for the items is at most a small multiple of the length.
    pub(crate) fn decode(bytes: Bytes) -> Result<Self, Broken> {
        if bytes.len() > MAX_MESSAGE {
            return Err(Broken::TooLong(bytes.len() as u64));
        }
        let items = Items::count(&bytes).ok_or(Broken::Protobuf)?;
        let [entries, blocks] = [items.entries + items.presences, items.blocks + items.payload];
        if entries > SMALL_ITEMS + bytes.len() / ENTRY_BYTES || blocks > MAX_BLOCKS {
            return Err(Broken::TooManyItems(entries + blocks));
        }
        let (mut wire, size) = (items.room(), bytes.len());
        wire.merge(bytes).map_err(|_| Broken::Protobuf)?;
        Ok(Self(wire, size))
    }

    /// Its length in bytes.
    pub(crate) fn size(&self) -> usize {
        self.1
    }

    /// Whether the wantlist replaces the one that the peer sent before.
    pub(crate) fn is_full(&self) -> bool {
        self.0.wantlist.as_ref().is_some_and(|list| list.full)
    }

    /// The entries of the wantlist; `None` for an address of a kind that nobody here can have.
    pub(crate) fn asks(&self) -> impl Iterator<Item = Result<Option<Ask>, Broken>> {
        let entries = self.0.wantlist.iter().flat_map(|list| &list.entries);
        entries.map(|entry| {
            let ask = |cid| Ask {
                cid,
                priority: entry.priority,
                cancel: entry.cancel,
                have: entry.want_type == 1,
                dont_have: entry.send_dont_have,
            };
            Ok(cid(&entry.cid)?.map(ask))
        })
    }

    /// What the peer says of blocks: whether it has them.
    pub(crate) fn presences(&self) -> impl Iterator<Item = Result<Option<(Cid, bool)>, Broken>> {
        self.0.presences.iter().map(|presence| Ok(cid(&presence.cid)?.map(|cid| (cid, presence.kind == 0))))
    }

    /// The blocks, taken out.
    pub(crate) fn take_blocks(&mut self) -> impl Iterator<Item = Result<(Prefix, Bytes), Broken>> + use<> {
        let old = std::mem::take(&mut self.0.blocks).into_iter().map(|data| Ok((Prefix::V0, data)));
        let new = std::mem::take(&mut self.0.payload)
            .into_iter()
            .map(|payload| Ok((Prefix::decode(&payload.prefix)?, payload.data)));
        old.chain(new)
    }

    /// Whether it holds asks: the other side expects something.
    #[cfg(test)]
    pub(crate) fn ask_count(&self) -> usize {
        self.0.wantlist.as_ref().map_or(0, |list| list.entries.len())
    }
}

impl Prefix {
    /// That of a block of bitswap 1.0.0, which sends none.
    pub(crate) const V0: Self = Self { version: 0, codec: 0x70, hash: 0x12, digest: 32 };

    /// Reads four numbers.
    ///
    /// # Errors
    /// [`Broken::Prefix`] where there are not four, or more than that.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Broken> {
        if bytes.len() > MAX_PREFIX {
            return Err(Broken::Prefix);
        }
        let mut numbers = [0; 4];
        let mut rest = bytes;
        for number in &mut numbers {
            (*number, rest) = unsigned_varint::decode::u64(rest).map_err(|_| Broken::Prefix)?;
        }
        let [version, codec, hash, digest] = numbers;
        if rest.is_empty() { Ok(Self { version, codec, hash, digest }) } else { Err(Broken::Prefix) }
    }

    /// That of an address.
    pub(crate) fn of(cid: &Cid) -> Self {
        let (version, codec, hash) = (u64::from(cid.version()), cid.codec(), cid.hash());
        Self { version, codec, hash: hash.code(), digest: hash.size().into() }
    }

    /// The four numbers.
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(8);
        for number in [self.version, self.codec, self.hash, self.digest] {
            bytes.extend_from_slice(unsigned_varint::encode::u64(
                number,
                &mut unsigned_varint::encode::u64_buffer(),
            ));
        }
        bytes
    }
}

/// An address; `None` where its hash is longer than any that we know.
fn cid(bytes: &[u8]) -> Result<Option<Cid>, Broken> {
    if bytes.len() > MAX_CID {
        return Err(Broken::Cid);
    }
    match Cid::try_from(bytes) {
        Ok(cid) if cid.encoded_len() == bytes.len() => Ok(Some(cid)),
        Err(_) if has_long_digest(bytes) => Ok(None),
        _ => Err(Broken::Cid),
    }
}

/// Whether bytes are an address all the same, of a hash with a longer digest than any that we know.
fn has_long_digest(mut bytes: &[u8]) -> bool {
    let mut digest = 0;
    for _ in 0..4 {
        let Ok((number, rest)) = unsigned_varint::decode::u64(bytes) else { return false };
        (digest, bytes) = (number, rest);
    }
    digest > 64 && bytes.len() as u64 == digest
}

/// How many of each are in a message.
#[derive(Default)]
struct Items {
    entries: usize,
    blocks: usize,
    payload: usize,
    presences: usize,
}

impl Items {
    /// Goes through a message without keeping anything; `None` where it is broken.
    fn count(mut bytes: &[u8]) -> Option<Self> {
        let mut items = Self::default();
        while bytes.has_remaining() {
            let (tag, kind) = decode_key(&mut bytes).ok()?;
            match (tag, kind) {
                (1, WireType::LengthDelimited) => {
                    let length = usize::try_from(decode_varint(&mut bytes).ok()?).ok()?;
                    let (list, rest) = bytes.split_at_checked(length)?;
                    items.entries += count_entries(list)?;
                    bytes = rest;
                    continue;
                }
                (2, _) => items.blocks += 1,
                (3, _) => items.payload += 1,
                (4, _) => items.presences += 1,
                _ => {}
            }
            skip_field(kind, tag, &mut bytes, DecodeContext::default()).ok()?;
        }
        Some(items)
    }

    /// An empty message with room for exactly so many.
    fn room(&self) -> Wire {
        let entries = Vec::with_capacity(self.entries);
        Wire {
            wantlist: (self.entries > 0).then_some(Wantlist { entries, full: false }),
            blocks: Vec::with_capacity(self.blocks),
            payload: Vec::with_capacity(self.payload),
            presences: Vec::with_capacity(self.presences),
            pending_bytes: 0,
        }
    }
}

fn count_entries(mut list: &[u8]) -> Option<usize> {
    let mut entries = 0;
    while list.has_remaining() {
        let (tag, kind) = decode_key(&mut list).ok()?;
        entries += usize::from(tag == 1);
        skip_field(kind, tag, &mut list, DecodeContext::default()).ok()?;
    }
    Some(entries)
}

//! Writing messages: the bytes of large blocks go out as they are, without being copied into the message.

use bytes::{BufMut as _, Bytes};
use carrick_core::Cid;
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

use super::message::{Ask, Entry, Prefix, Presence, Wantlist, Wire};

/// A smaller block is copied beside what stands around it, which costs less than one more write.
const COPIED: usize = 8 << 10;

/// Which bitswap the far end speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    /// Blocks without prefix: only CIDv0.
    V1_0,
    /// Blocks with prefix.
    V1_1,
    /// Also who has what.
    V1_2,
}

/// What is to be sent to a peer.
#[derive(Debug)]
pub(crate) struct Outgoing<B> {
    /// The wantlist is the whole of it.
    pub(crate) full: bool,
    /// What we want, and no longer want.
    pub(crate) asks: Vec<Ask>,
    /// Blocks that it asked for.
    pub(crate) blocks: Vec<(Cid, B)>,
    /// What it asked for and we have or have not.
    pub(crate) presences: Vec<(Cid, bool)>,
    /// Bytes that wait for it beside these.
    pub(crate) pending_bytes: usize,
}

impl<B> Default for Outgoing<B> {
    fn default() -> Self {
        Self { full: false, asks: vec![], blocks: vec![], presences: vec![], pending_bytes: 0 }
    }
}

/// A part of a message on its way.
#[derive(Debug)]
pub(crate) enum Part<B> {
    /// What stands around blocks, and small ones.
    Head(Bytes),
    /// A block.
    Block(B),
}

impl<B: AsRef<[u8]>> AsRef<[u8]> for Part<B> {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Head(bytes) => bytes,
            Self::Block(block) => block.as_ref(),
        }
    }
}

impl<B: AsRef<[u8]>> Outgoing<B> {
    /// Whether there is nothing to send.
    pub(crate) fn is_empty(&self) -> bool {
        self.asks.is_empty() && self.blocks.is_empty() && self.presences.is_empty() && !self.full
    }

    /// The message, with its length before it, as parts to be written one after the other.
    pub(crate) fn encode(self, version: Version) -> Vec<Part<B>> {
        let wire = Wire {
            wantlist: self.wantlist(),
            presences: self.presences.iter().map(presence).filter(|_| version >= Version::V1_2).collect(),
            pending_bytes: i32::try_from(self.pending_bytes).unwrap_or(i32::MAX),
            ..Wire::default()
        };
        let fields: Vec<_> =
            self.blocks.into_iter().map(|(cid, block)| Field::new(&cid, block, version)).collect();
        let length = wire.encoded_len() + fields.iter().map(Field::len).sum::<usize>();
        let mut parts = Vec::with_capacity(1 + 2 * fields.len());
        let mut head = Vec::with_capacity(16 + wire.encoded_len() + 64 * fields.len());
        encode_varint(length as u64, &mut head);
        wire.encode_raw(&mut head);
        for field in fields {
            head.extend_from_slice(&field.head);
            if field.block.as_ref().len() <= COPIED {
                head.extend_from_slice(field.block.as_ref());
            } else {
                parts.push(Part::Head(std::mem::take(&mut head).into()));
                parts.push(Part::Block(field.block));
            }
        }
        if !head.is_empty() {
            parts.push(Part::Head(head.into()));
        }
        parts
    }

    fn wantlist(&self) -> Option<Wantlist> {
        let entries = self.asks.iter().map(entry).collect::<Vec<_>>();
        (self.full || !entries.is_empty()).then_some(Wantlist { entries, full: self.full })
    }
}

fn entry(ask: &Ask) -> Entry {
    Entry {
        cid: ask.cid.to_bytes().into(),
        priority: ask.priority,
        cancel: ask.cancel,
        want_type: ask.have.into(),
        send_dont_have: ask.dont_have,
    }
}

fn presence((cid, has): &(Cid, bool)) -> Presence {
    Presence { cid: cid.to_bytes().into(), kind: (!has).into() }
}

/// A block in a message, and what stands before its bytes.
struct Field<B> {
    head: Vec<u8>,
    block: B,
}

impl<B: AsRef<[u8]>> Field<B> {
    fn new(cid: &Cid, block: B, version: Version) -> Self {
        let (size, mut head) = (block.as_ref().len(), Vec::with_capacity(24));
        if version == Version::V1_0 {
            encode_key(2, WireType::LengthDelimited, &mut head);
        } else {
            let prefix = Prefix::of(cid).encode();
            let fields = 2 + encoded_len_varint(prefix.len() as u64) + encoded_len_varint(size as u64);
            encode_key(3, WireType::LengthDelimited, &mut head);
            encode_varint((fields + prefix.len() + size) as u64, &mut head);
            encode_key(1, WireType::LengthDelimited, &mut head);
            encode_varint(prefix.len() as u64, &mut head);
            head.put_slice(&prefix);
            encode_key(2, WireType::LengthDelimited, &mut head);
        }
        encode_varint(size as u64, &mut head);
        Self { head, block }
    }

    fn len(&self) -> usize {
        self.head.len() + self.block.as_ref().len()
    }
}

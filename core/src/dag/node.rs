//! dag-pb nodes and the UnixFS message inside them, decoded strictly and without copying content.
//!
//! Writing is left to rust-unixfs. Its reader drops links that it cannot parse and adds sizes unchecked, which is
//! not good enough for nodes of strangers; so reading is here, by the specifications:
//! <https://ipld.io/specs/codecs/dag-pb/spec/> and <https://specs.ipfs.tech/unixfs/>.

use bytes::Bytes;
use cid::Cid;

use super::{DirEntry, MAX_LINKS};
use crate::{Block, Error, ErrorKind, RAW, Result};

/// The multicodec of dag-pb.
pub const DAG_PB: u64 = 0x70;

/// Why bytes are no node.
type Malformed = &'static str;

/// What a block means as a part of a file system.
#[derive(Debug)]
pub(super) enum Content {
    File(FileNode),
    Folder(Vec<DirEntry>),
    Sharded,
    Symlink(String),
}

/// A file, or a part of one: first the bytes it holds itself, then its children in order.
#[derive(Debug)]
pub(super) struct FileNode {
    pub(super) data: Bytes,
    pub(super) children: Vec<(Cid, u64)>,
    /// The length of the whole; always `data` and `children` together.
    pub(super) bytes: u64,
}

impl Content {
    /// Decodes a raw or dag-pb block.
    ///
    /// `Integrity` when it is malformed, `Unsupported` for another codec, `TooLarge` above [`MAX_LINKS`].
    pub(super) fn of(block: &Block) -> Result<Self> {
        match block.cid().codec() {
            RAW => {
                let (data, bytes) = (block.bytes().clone(), block.size() as u64);
                Ok(Self::File(FileNode { data, children: vec![], bytes }))
            }
            DAG_PB => Self::of_pb(block, PbNode::decode(block)?),
            codec => {
                let detail =
                    format!("{} is neither a file nor a folder: its codec is {codec:#x}", block.cid());
                Err(Error::new(ErrorKind::Unsupported, "read", detail))
            }
        }
    }

    /// As [`of`](Self::of), of a dag-pb block that is decoded already.
    pub(super) fn of_pb(block: &Block, node: PbNode) -> Result<Self> {
        Self::of_node(node).map_err(|why| malformed(block, why))
    }

    fn of_node(node: PbNode) -> Result<Self, Malformed> {
        let unixfs = Unixfs::decode(&node.data.ok_or("it has no data: no UnixFS node")?)?;
        match unixfs.kind {
            Unixfs::RAW | Unixfs::FILE => FileNode::new(node.links, unixfs).map(Self::File),
            Unixfs::FOLDER => Ok(Self::Folder(node.links)),
            Unixfs::SYMLINK => {
                let target = String::from_utf8(unixfs.data.into()).map_err(|_| "its target is not UTF-8")?;
                Ok(Self::Symlink(target))
            }
            Unixfs::SHARD => Ok(Self::Sharded),
            _ => Err("it is of an unknown UnixFS type"),
        }
    }
}

impl FileNode {
    fn new(links: Vec<DirEntry>, unixfs: Unixfs) -> Result<Self, Malformed> {
        if links.len() != unixfs.blocksizes.len() {
            return Err("it has not one size for each link");
        }
        let mut sizes = unixfs.blocksizes.iter();
        let bytes = sizes.try_fold(unixfs.data.len() as u64, |sum, size| sum.checked_add(*size));
        let bytes = bytes.ok_or("its sizes overflow")?;
        if unixfs.filesize.is_some_and(|claimed| claimed != bytes) {
            return Err("its size is not the sum of its parts");
        }
        let children = links.into_iter().map(|link| link.cid).zip(unixfs.blocksizes).collect();
        Ok(Self { data: unixfs.data, children, bytes })
    }
}

/// The outer shell.
#[derive(Debug, Default)]
pub(super) struct PbNode {
    pub(super) links: Vec<DirEntry>,
    data: Option<Bytes>,
}

impl PbNode {
    pub(super) fn decode(block: &Block) -> Result<Self> {
        let mut node = Self::default();
        for field in Fields(block.bytes()) {
            match field.map_err(|why| malformed(block, why))? {
                (1, Value::Bytes(data)) if node.data.is_none() => {
                    node.data = Some(block.bytes().slice_ref(data));
                }
                (2, Value::Bytes(_)) if node.links.len() == MAX_LINKS => {
                    let detail = format!("{} has more than {MAX_LINKS} links", block.cid());
                    return Err(Error::new(ErrorKind::TooLarge, "read", detail));
                }
                (2, Value::Bytes(link)) => {
                    node.links.push(decode_link(link).map_err(|why| malformed(block, why))?);
                }
                _ => {
                    return Err(malformed(
                        block,
                        "a field is unknown, or of the wrong type, or stands twice",
                    ));
                }
            }
        }
        Ok(node)
    }
}

fn decode_link(bytes: &[u8]) -> Result<DirEntry, Malformed> {
    let (mut cid, mut name, mut tsize) = (None, None, None);
    for field in Fields(bytes) {
        match field? {
            (1, Value::Bytes(hash)) if cid.is_none() => cid = Some(exact_cid(hash)?),
            (2, Value::Bytes(text)) if name.is_none() => {
                name = Some(str::from_utf8(text).map_err(|_| "a name is not UTF-8")?.to_owned());
            }
            (3, Value::Varint(size)) if tsize.is_none() => tsize = Some(size),
            _ => return Err("a field of a link is unknown, or of the wrong type, or stands twice"),
        }
    }
    let cid = cid.ok_or("a link has no CID")?;
    Ok(DirEntry { name: name.unwrap_or_default(), cid, tsize: tsize.unwrap_or_default() })
}

/// A CID that fills its bytes: what follows one would be ignored, and so a second form of the same link.
fn exact_cid(bytes: &[u8]) -> Result<Cid, Malformed> {
    let cid = Cid::try_from(bytes).map_err(|_| "a link is no CID")?;
    if cid.encoded_len() == bytes.len() { Ok(cid) } else { Err("bytes follow the CID of a link") }
}

/// The inner message. Fields that later versions add are skipped, as protobuf asks.
#[derive(Debug, Default)]
struct Unixfs {
    kind: u64,
    data: Bytes,
    filesize: Option<u64>,
    blocksizes: Vec<u64>,
}

impl Unixfs {
    const RAW: u64 = 0;
    const FOLDER: u64 = 1;
    const FILE: u64 = 2;
    const SYMLINK: u64 = 4;
    const SHARD: u64 = 5;

    fn decode(bytes: &Bytes) -> Result<Self, Malformed> {
        let (mut unixfs, mut kind) = (Self::default(), None);
        for field in Fields(bytes) {
            match field? {
                (1, Value::Varint(number)) => kind = Some(number),
                (2, Value::Bytes(data)) => unixfs.data = bytes.slice_ref(data),
                (3, Value::Varint(size)) => unixfs.filesize = Some(size),
                (4, Value::Varint(_)) if unixfs.blocksizes.len() == MAX_LINKS => {
                    return Err("it has more sizes than links are allowed");
                }
                (4, Value::Varint(size)) => unixfs.blocksizes.push(size),
                (1..=4, _) => return Err("a UnixFS field is of the wrong type"),
                _ => {}
            }
        }
        unixfs.kind = kind.ok_or("it has no UnixFS type")?;
        Ok(unixfs)
    }
}

/// The fields of a protobuf message, one after the other.
struct Fields<'a>(&'a [u8]);

#[derive(Debug, PartialEq, Eq)]
enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Fixed,
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Result<(u64, Value<'a>), Malformed> {
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            _ => return Err("a field is of an unknown wire type"),
        };
        Ok((tag >> 3, value))
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first().ok_or("it ends inside a number")?;
            self.0 = rest;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("a number does not fit in 64 bits")
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(length).map_err(|_| "a field is longer than the block")?;
        let (taken, rest) = self.0.split_at_checked(length).ok_or("a field is longer than the block")?;
        self.0 = rest;
        Ok(taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

fn malformed(block: &Block, why: Malformed) -> Error {
    Error::new(ErrorKind::Integrity, "read", format!("{} is malformed: {why}", block.cid()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pb(bytes: &[u8]) -> Block {
        Block::new(DAG_PB, bytes.to_vec())
    }

    #[test]
    fn numbers_are_bounded() {
        let longest = [&[0xff; 9][..], &[1]].concat();
        assert_eq!(Fields(&longest).varint(), Ok(u64::MAX));
        assert!(Fields(&[&[0xff; 9][..], &[2]].concat()).varint().is_err(), "65 bits");
        assert!(Fields(&[0x80; 11]).varint().is_err(), "no end");
        assert!(Fields(&[0x80]).varint().is_err(), "cut off");
    }

    #[test]
    fn a_length_beyond_the_block_is_malformed() {
        let huge = [&[0x0a][..], &[0xff; 9], &[1]].concat();
        for bytes in [&huge[..], &[0x0a, 2, 8], &[0x12, 1], &[0x0b], &[0x09, 0, 0]] {
            let error = PbNode::decode(&pb(bytes)).expect_err("malformed");
            assert_eq!(error.kind(), ErrorKind::Integrity, "{bytes:x?}");
        }
    }

    #[test]
    fn every_prefix_of_a_folder_is_refused_or_decoded_without_panic() {
        let cid = crate::cid_of(RAW, b"leaf").to_bytes();
        let link = [&[0x0a, 36][..], &cid, &[0x12, 1, b'a', 0x18, 4]].concat();
        let folder = [&[0x12, link.len() as u8][..], &link, &[0x0a, 2, 8, 1]].concat();
        assert!(matches!(Content::of(&pb(&folder)), Ok(Content::Folder(links)) if links.len() == 1));
        for end in 0..folder.len() {
            assert!(Content::of(&pb(&folder[..end])).is_err(), "{end} bytes");
        }
        for at in 0..folder.len() {
            let mut bytes = folder.clone();
            bytes[at] ^= 0x81;
            let _ = Content::of(&pb(&bytes));
        }
    }

    #[test]
    fn sizes_that_do_not_add_up_are_refused() {
        let overflow = [&[8, 2, 0x20][..], &[0xff; 9], &[1]].concat();
        assert!(Unixfs::decode(&overflow.into()).is_ok(), "alone it is a number like any other");
        let file = |unixfs: &[u8]| pb(&[&[0x0a, unixfs.len() as u8][..], unixfs].concat());
        assert!(Content::of(&file(&[8, 2, 0x12, 1, b'x', 0x18, 1])).is_ok());
        for unixfs in [&[8, 2, 0x12, 1, b'x', 0x18, 2][..], &[8, 2, 0x20, 1], &[0x12, 1, b'x'], &[8, 3]] {
            let error = Content::of(&file(unixfs)).expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::Integrity, "{unixfs:x?}");
        }
    }
}

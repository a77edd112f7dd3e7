//! What a CID is, what a folder holds, where a path leads.

use cid::Cid;
use serde::{Deserialize, Serialize};

use super::node::{Content, DAG_PB, PbNode};
use super::{BlockSource, links};
use crate::{Error, ErrorKind, RAW, Result};

/// What a CID is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Its address.
    pub cid: Cid,
    /// File, folder or something else.
    pub kind: EntryKind,
    /// The size of the block itself, in bytes.
    pub block_bytes: u64,
    /// How many blocks it links to.
    pub links: usize,
    /// Bytes of all blocks under it and its own, repeats counted, as its author says; nothing checks that.
    pub dag_size: u64,
}

/// The kinds of [`Entry`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryKind {
    /// A file, also one that is a single raw block.
    File {
        /// Its length; every part of it is compared with this when it is read.
        bytes: u64,
    },
    /// A folder.
    Directory {
        /// How many entries it has.
        entries: usize,
    },
    /// A folder too large for one block (HAMT). It is not read yet.
    Sharded,
    /// A symbolic link. It is not written to disk yet.
    Symlink {
        /// Where it points.
        target: String,
    },
    /// A block that is no part of a file system, such as a message.
    Block,
}

/// An entry of a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirEntry {
    /// Its name, as its author wrote it: it may be hostile (`..`, `/`) until it is checked.
    pub name: String,
    /// What it is.
    pub cid: Cid,
    /// Bytes of all blocks under it, as the author says.
    pub tsize: u64,
}

/// Tells what a CID is, from its block alone.
///
/// # Errors
/// `NotFound`; `Integrity` when it is malformed; `Unsupported` for a codec whose links are not known.
pub async fn stat(source: &(impl BlockSource + ?Sized), cid: &Cid) -> Result<Entry> {
    let block = source.block(cid).await?;
    let block_bytes = block.size() as u64;
    let (kind, links, below) = match cid.codec() {
        RAW => (EntryKind::File { bytes: block_bytes }, 0, 0),
        DAG_PB => {
            let node = PbNode::decode(&block)?;
            let below = node.links.iter().fold(0, |sum: u64, link| sum.saturating_add(link.tsize));
            let links = node.links.len();
            (kind_of(Content::of_pb(&block, node)?), links, below)
        }
        _ => (EntryKind::Block, links(&block)?.len(), 0),
    };
    Ok(Entry { cid: *cid, kind, block_bytes, links, dag_size: below.saturating_add(block_bytes) })
}

fn kind_of(content: Content) -> EntryKind {
    match content {
        Content::File(file) => EntryKind::File { bytes: file.bytes },
        Content::Folder(entries) => EntryKind::Directory { entries: entries.len() },
        Content::Sharded => EntryKind::Sharded,
        Content::Symlink(target) => EntryKind::Symlink { target },
    }
}

/// The entries of a folder, in its own order (by name, where its author kept to the rule).
///
/// # Errors
/// `NotFound`; `Config` when it is no folder; `Unsupported` for a sharded one; `Integrity` when it is malformed.
pub async fn list(source: &(impl BlockSource + ?Sized), cid: &Cid) -> Result<Vec<DirEntry>> {
    match Content::of(&source.block(cid).await?)? {
        Content::Folder(entries) => Ok(entries),
        Content::Sharded => Err(sharded("list", cid)),
        _ => Err(Error::new(ErrorKind::Config, "list", format!("{cid} is not a folder"))),
    }
}

/// Follows a path such as `a/b/c` down from a folder; the empty path is the root itself.
///
/// # Errors
/// `NotFound` names the segment that is not there; otherwise as [`list`].
pub async fn resolve(source: &(impl BlockSource + ?Sized), root: &Cid, path: &str) -> Result<Cid> {
    let mut cid = *root;
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        let missing = |why: &str| {
            let detail = format!("{segment:?} of {root}/{}: {why}", path.trim_matches('/'));
            Error::new(ErrorKind::NotFound, "resolve", detail)
        };
        let entries = match Content::of(&source.block(&cid).await?)? {
            Content::Folder(entries) => entries,
            Content::Sharded => return Err(sharded("resolve", &cid)),
            _ => return Err(missing("what stands before it is not a folder")),
        };
        let entry = entries.into_iter().find(|entry| entry.name == segment);
        cid = entry.ok_or_else(|| missing("not there"))?.cid;
    }
    Ok(cid)
}

pub(super) fn sharded(operation: &'static str, cid: &Cid) -> Error {
    let detail = format!("{cid} is a sharded folder (HAMT); those are not read yet");
    Error::new(ErrorKind::Unsupported, operation, detail)
}

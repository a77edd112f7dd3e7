//! The content of a file, in order, block by block.

use std::ops::{Bound, Range, RangeBounds};

use bytes::Bytes;
use cid::Cid;
use futures::{Stream, TryStreamExt, stream};

use super::node::{Content, FileNode};
use super::{BlockSource, MAX_FILE_DEPTH, MAX_PENDING};
use crate::{Error, ErrorKind, Result};

/// Reads a file, or a range of its bytes, in order.
///
/// Blocks outside the range are not asked for. A range that reaches beyond the end stops there; one that begins beyond
/// it is empty. The stream ends with its first error; what came before is content of the file. Every part is compared
/// with the length that its parent promised, so that a hostile tree cannot make endless work of a short file.
///
/// The source is taken by value: give a reference, an `Arc`, or whatever else is cheap to clone.
///
/// # Errors
/// In the stream: `NotFound` for a missing block; `Integrity` for a malformed node or a wrong length;
/// `Unsupported` for what is no file; `TooLarge` above a limit of this module.
pub fn read<S: BlockSource>(
    source: S,
    cid: &Cid,
    range: impl RangeBounds<u64>,
) -> impl Stream<Item = Result<Bytes>> + Send {
    let (cid, range) = (*cid, to_range(&range));
    let walk = stream::once(async move {
        match Content::of(&source.block(&cid).await?)? {
            Content::File(root) => FileWalk::new(source, root, range),
            _ => Err(Error::new(ErrorKind::Unsupported, "read", format!("{cid} is not a file"))),
        }
    });
    walk.map_ok(FileWalk::into_stream).try_flatten()
}

fn to_range(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(first) => *first,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

/// A walk over the tree of one file, depth first.
pub(super) struct FileWalk<S> {
    source: S,
    wanted: Range<u64>,
    /// Content at hand.
    ready: Bytes,
    /// What is still to be visited, the next one last.
    pending: Vec<Part>,
    /// Blocks read, the root included.
    pub(super) blocks: u64,
}

/// A subtree and the bytes of the file that it must hold.
struct Part {
    cid: Cid,
    start: u64,
    bytes: u64,
    depth: u32,
}

impl<S: BlockSource> FileWalk<S> {
    pub(super) fn new(source: S, root: FileNode, wanted: Range<u64>) -> Result<Self> {
        let mut walk = Self { source, wanted, ready: Bytes::new(), pending: vec![], blocks: 1 };
        walk.enter(root, 0, 0)?;
        Ok(walk)
    }

    /// The next piece of content, never an empty one.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if !self.ready.is_empty() {
                return Ok(Some(std::mem::take(&mut self.ready)));
            }
            let Some(part) = self.pending.pop() else { return Ok(None) };
            let Content::File(node) = Content::of(&self.source.block(&part.cid).await?)? else {
                return Err(wrong(&part.cid, "stands inside a file and is not a part of one"));
            };
            if node.bytes != part.bytes {
                let why = format!("holds {} bytes where {} were promised", node.bytes, part.bytes);
                return Err(wrong(&part.cid, &why));
            }
            self.blocks += 1;
            self.enter(node, part.start, part.depth)?;
        }
    }

    /// Takes what a node holds itself and remembers its children, as far as they are wanted.
    fn enter(&mut self, node: FileNode, mut start: u64, depth: u32) -> Result<()> {
        let held = node.data.len() as u64;
        let first = self.wanted.start.saturating_sub(start).min(held);
        let last = self.wanted.end.saturating_sub(start).min(held).max(first);
        self.ready = node.data.slice(first as usize..last as usize);
        start += held;
        if depth == MAX_FILE_DEPTH && !node.children.is_empty() {
            let detail = format!("the file is more than {MAX_FILE_DEPTH} levels deep");
            return Err(Error::new(ErrorKind::TooLarge, "read", detail));
        }
        let before = self.pending.len();
        for (cid, bytes) in node.children {
            let end = start + bytes; // The node's sum was checked, and its start lies within its parent's.
            // Nothing to read is nothing to visit: empty parts would make a tree without end of no bytes at all.
            if bytes > 0 && start < self.wanted.end && end > self.wanted.start {
                self.pending.push(Part { cid, start, bytes, depth: depth + 1 });
            }
            start = end;
        }
        if self.pending.len() > MAX_PENDING {
            let detail = format!("more than {MAX_PENDING} parts of the file wait to be visited");
            return Err(Error::new(ErrorKind::TooLarge, "read", detail));
        }
        self.pending[before..].reverse();
        Ok(())
    }

    fn into_stream(self) -> impl Stream<Item = Result<Bytes>> + Send {
        stream::try_unfold(self, |mut walk| async move { Ok(walk.next().await?.map(|piece| (piece, walk))) })
    }
}

fn wrong(cid: &Cid, why: &str) -> Error {
    Error::new(ErrorKind::Integrity, "read", format!("{cid} {why}"))
}

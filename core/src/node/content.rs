//! Files and folders through a node: written into its store, read from it and from its peers.

use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use cid::Cid;
use futures::{Stream, TryStreamExt as _};
use std::ops::RangeBounds;
use tokio::io::AsyncRead;

use super::Node;
use super::behind::Behind;
use super::core::Core;
use super::hold::Hold;
use super::host::{Host, Served};
use super::router::Router;
use crate::dag::{
    AddOptions, Added, BlockSource, BlockWriter, EntryKind, Layout, add_file, add_path, read, stat,
};
use crate::{Block, Error, ErrorKind, Owner, Remote, Result, Store};

/// Writes blocks into a node, and holds them until they are pinned or nobody cares any more.
pub(super) struct Keeping {
    pub(super) router: Arc<Router>,
    pub(super) hold: Arc<Hold>,
}

impl Keeping {
    pub(super) fn new(router: &Arc<Router>) -> Arc<Self> {
        Arc::new(Self { router: Arc::clone(router), hold: Arc::new(router.core.holds.hold()) })
    }
}

impl BlockWriter for Arc<Keeping> {
    async fn write(&self, blocks: &[Block]) -> Result<()> {
        self.hold.add(blocks.iter().map(Block::cid)).await;
        self.router.put_blocks(blocks).await
    }
}

/// Hands out blocks of a node: from its store, else fetched, checked and stored.
#[derive(Clone, Debug)]
pub struct NodeSource(Node);

impl BlockSource for NodeSource {
    async fn block(&self, cid: &Cid) -> Result<Block> {
        self.0.block(cid, vec![]).await
    }
}

impl Node {
    /// Stores a stream of bytes as a file, pins and announces it. Durable when this returns.
    ///
    /// # Errors
    /// `Full`, `Closed`; `Unexpected` when the reader fails.
    ///
    /// # Cancel safety
    /// Dropping the future leaves blocks that nobody pinned, for the next garbage collection.
    pub async fn put(&self, content: impl AsyncRead + Unpin + Send, layout: Layout) -> Result<Added> {
        let keeping = Keeping::new(self.open("put")?);
        let mut sink = Behind::new(Arc::clone(&keeping), &keeping.router.core.tasks);
        let added = add_file(content, layout, &mut sink).await?;
        sink.flush().await?;
        self.pin(&added.cid, Owner::user()).await?;
        Ok(added)
    }

    /// Stores a file or folder of this machine, pins and announces it. Durable when this returns.
    ///
    /// # Errors
    /// As [`add_path`]; `Full`, `Closed`.
    ///
    /// # Cancel safety
    /// Dropping the future leaves blocks that nobody pinned, for the next garbage collection.
    pub async fn put_path(&self, path: &Path, options: impl Into<AddOptions<'_>>) -> Result<Added> {
        let keeping = Keeping::new(self.open("put")?);
        let mut sink = Behind::new(Arc::clone(&keeping), &keeping.router.core.tasks);
        let added = add_path(path, options, &mut sink).await?;
        sink.flush().await?;
        self.pin(&added.cid, Owner::user()).await?;
        Ok(added)
    }

    /// Reads a file, or a range of its bytes, block by block; what is not in the store is fetched on the way. To fetch a
    /// whole file first, and in one request, use [`get`](Self::get).
    ///
    /// # Errors
    /// In the stream: as [`read`] and [`block`](Self::block).
    ///
    /// # Cancel safety
    /// Dropping the stream ends what it fetches.
    pub fn read(&self, cid: &Cid, range: impl RangeBounds<u64>) -> impl Stream<Item = Result<Bytes>> + Send {
        read(self.source(), cid, range)
    }

    /// The node as a source of blocks, for the functions of [`dag`](crate::dag).
    pub fn source(&self) -> NodeSource {
        NodeSource(self.clone())
    }
}

/// A file of the store, read piece by piece for a peer, without a second copy of it.
#[derive(Debug)]
pub struct Content {
    core: Arc<Core>,
    asker: Remote,
    root: Cid,
    bytes: u64,
}

impl Content {
    /// Its length in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads `length` bytes from `offset`; less at the end of the file.
    ///
    /// # Errors
    /// `TooLarge` above the block limit, `Busy` while serving memory is full, `NotFound` when a block is missing by now.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn read_at(&self, offset: u64, length: usize) -> Result<Served> {
        let limit = self.core.limits.block_bytes;
        if length > limit {
            return Err(Error::new(
                ErrorKind::TooLarge,
                "read",
                format!("{length} bytes; the limit is {limit}"),
            ));
        }
        let share = self.core.share(&self.asker, length).await?;
        let mut piece = BytesMut::with_capacity(length);
        let source: &dyn Store = &*self.core.store;
        let mut parts =
            std::pin::pin!(read(source, &self.root, offset..offset.saturating_add(length as u64)));
        while let Some(part) = parts.try_next().await? {
            piece.extend_from_slice(&part);
        }
        Ok(Served { bytes: piece.freeze(), _share: share })
    }
}

impl Host {
    /// A file of ours for a peer that asks for it; `None` when we have not all of its root, or it is no file.
    ///
    /// # Errors
    /// What the store answers.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn content(&self, asker: &Remote, root: &Cid) -> Result<Option<Content>> {
        let core = Arc::clone(&self.core);
        if !core.serve_has(asker, root).await? {
            return Ok(None);
        }
        let source: &dyn Store = &*core.store;
        match stat(source, root).await?.kind {
            EntryKind::File { bytes } => Ok(Some(Content { asker: asker.clone(), root: *root, bytes, core })),
            _ => Ok(None),
        }
    }
}

//! Where blocks go and where they come from.

use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;

use cid::Cid;

use crate::{Block, Error, ErrorKind, Result, Store};

/// Takes the blocks of a DAG as they are made: children before parents, the root last.
///
/// Content that repeats gives the same block again; a sink that stores by CID has nothing to do then.
pub trait BlockSink: Send {
    /// Takes one block.
    ///
    /// # Errors
    /// Whatever stopped it; adding ends with that error.
    fn put(&mut self, block: Block) -> impl Future<Output = Result<()>> + Send;
}

/// Hands out blocks by their address. Every [`Store`] is one.
pub trait BlockSource: Send + Sync {
    /// The block of a CID.
    ///
    /// # Errors
    /// `NotFound` when it is missing, and whatever the source says.
    fn block(&self, cid: &Cid) -> impl Future<Output = Result<Block>> + Send;
}

impl<T: BlockSource + ?Sized> BlockSource for &T {
    async fn block(&self, cid: &Cid) -> Result<Block> {
        (**self).block(cid).await
    }
}

impl<T: BlockSource + ?Sized> BlockSource for Arc<T> {
    async fn block(&self, cid: &Cid) -> Result<Block> {
        (**self).block(cid).await
    }
}

impl BlockSource for dyn Store + '_ {
    async fn block(&self, cid: &Cid) -> Result<Block> {
        self.get(cid).await?.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "read", format!("block {cid} is not in the store"))
        })
    }
}

/// Takes every block and keeps none: for computing a CID.
#[derive(Clone, Copy, Debug, Default)]
pub struct NullSink;

impl BlockSink for NullSink {
    async fn put(&mut self, _: Block) -> Result<()> {
        Ok(())
    }
}

/// Writes many blocks at once. Every [`Store`] does, and the node.
pub trait BlockWriter: Send + Sync {
    /// Writes blocks; `Ok`: all of them are durable.
    ///
    /// # Errors
    /// As [`Store::put`].
    fn write(&self, blocks: &[Block]) -> impl Future<Output = Result<()>> + Send;
}

impl BlockWriter for &dyn Store {
    async fn write(&self, blocks: &[Block]) -> Result<()> {
        Store::put(*self, blocks).await
    }
}

/// A [`BatchSink`] into a store.
pub type StoreSink<'a> = BatchSink<&'a dyn Store>;

/// Writes blocks many at a time, so that they share one flush to disk.
///
/// Holds at most 8 MiB and 1,024 blocks. Nothing is promised before [`finish`](Self::finish): dropping it loses the
/// last batch.
#[derive(Debug)]
#[must_use = "the last batch is written by `finish`"]
pub struct BatchSink<W> {
    writer: W,
    batch: Batch,
}

impl<W: BlockWriter> BatchSink<W> {
    /// A sink into `writer`.
    pub fn new(writer: W) -> Self {
        Self { writer, batch: Batch::new(8 << 20) }
    }

    /// Writes what is left. `Ok`: every block handed in is durable.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub async fn finish(mut self) -> Result<()> {
        self.flush().await
    }

    async fn flush(&mut self) -> Result<()> {
        if !self.batch.blocks.is_empty() {
            self.writer.write(&self.batch.blocks).await?;
            self.batch.take();
        }
        Ok(())
    }
}

impl<W: BlockWriter> BlockSink for BatchSink<W> {
    async fn put(&mut self, block: Block) -> Result<()> {
        if self.batch.push(block) { self.flush().await } else { Ok(()) }
    }
}

/// Blocks that are to be written together, each once.
#[derive(Debug)]
pub(crate) struct Batch {
    blocks: Vec<Block>,
    seen: HashSet<Cid>,
    bytes: usize,
    most_bytes: usize,
}

impl Batch {
    const MOST_BLOCKS: usize = 1_024;

    /// An empty one that is full with so many bytes, or 1,024 blocks.
    pub(crate) fn new(most_bytes: usize) -> Self {
        Self { blocks: Vec::new(), seen: HashSet::new(), bytes: 0, most_bytes }
    }

    /// Adds a block that is not in it; answers whether that filled it.
    pub(crate) fn push(&mut self, block: Block) -> bool {
        if !self.seen.insert(*block.cid()) {
            return false;
        }
        self.bytes += block.size();
        self.blocks.push(block);
        self.bytes >= self.most_bytes || self.blocks.len() >= Self::MOST_BLOCKS
    }

    /// The blocks, which it has no more.
    pub(crate) fn take(&mut self) -> Vec<Block> {
        self.seen.clear();
        self.bytes = 0;
        std::mem::take(&mut self.blocks)
    }
}

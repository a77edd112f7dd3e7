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
    batch: Vec<Block>,
    seen: HashSet<Cid>,
    bytes: usize,
}

impl<W: BlockWriter> BatchSink<W> {
    const BATCH_BYTES: usize = 8 << 20;
    const BATCH_BLOCKS: usize = 1024;

    /// A sink into `writer`.
    pub fn new(writer: W) -> Self {
        Self { writer, batch: Vec::new(), seen: HashSet::new(), bytes: 0 }
    }

    /// Writes what is left. `Ok`: every block handed in is durable.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub async fn finish(mut self) -> Result<()> {
        self.flush().await
    }

    pub(crate) async fn flush(&mut self) -> Result<()> {
        if !self.batch.is_empty() {
            self.writer.write(&self.batch).await?;
            self.batch.clear();
            self.seen.clear();
            self.bytes = 0;
        }
        Ok(())
    }
}

impl<W: BlockWriter> BlockSink for BatchSink<W> {
    async fn put(&mut self, block: Block) -> Result<()> {
        if !self.seen.insert(*block.cid()) {
            return Ok(());
        }
        self.bytes += block.size();
        self.batch.push(block);
        if self.bytes >= Self::BATCH_BYTES || self.batch.len() >= Self::BATCH_BLOCKS {
            self.flush().await?;
        }
        Ok(())
    }
}

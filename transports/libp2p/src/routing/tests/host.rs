//! A node that is there for its host alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use carrick_core::conformance::host;
use carrick_core::{
    Block, Bytes, Cid, Error, ErrorKind, Host, MemoryStore, NetworkId, Node, Owner, Pin, Result, Store,
    Usage, async_trait,
};
use futures::stream::BoxStream;

use super::net::{Setup, key};

/// A node whose only transport is its host.
pub(super) async fn node(n: u8, setup: &Setup) -> (Node, Host) {
    let builder = Node::builder()
        .network(NetworkId::new("test-net").expect("a network id"))
        .identity(key(n))
        .clock(setup.clock.clone())
        .seed(u64::from(n))
        .store(Arc::clone(&setup.store));
    host::alone(builder, "libp2p").await
}

/// A store in memory that closing does not empty, and that can be full.
#[derive(Debug, Default)]
pub(super) struct Disk(MemoryStore, AtomicBool);

impl Disk {
    /// Writes no metadata from now on, or writes it again.
    pub(super) fn fill(&self, full: bool) {
        self.1.store(full, Ordering::Relaxed);
    }
}

#[async_trait]
impl Store for Disk {
    async fn get(&self, cid: &Cid) -> Result<Option<Block>> {
        self.0.get(cid).await
    }

    async fn has(&self, cid: &Cid) -> Result<bool> {
        self.0.has(cid).await
    }

    async fn put(&self, blocks: &[Block]) -> Result<()> {
        self.0.put(blocks).await
    }

    async fn delete(&self, cid: &Cid) -> Result<bool> {
        self.0.delete(cid).await
    }

    fn blocks(&self) -> BoxStream<'_, Result<Cid>> {
        self.0.blocks()
    }

    async fn usage(&self) -> Result<Usage> {
        self.0.usage().await
    }

    async fn pin(&self, pin: &Pin) -> Result<()> {
        self.0.pin(pin).await
    }

    async fn unpin(&self, cid: &Cid, owner: &Owner) -> Result<bool> {
        self.0.unpin(cid, owner).await
    }

    fn pins(&self, owner: Option<&Owner>) -> BoxStream<'_, Result<Pin>> {
        self.0.pins(owner)
    }

    async fn meta(&self, key: &str) -> Result<Option<Bytes>> {
        self.0.meta(key).await
    }

    async fn set_meta(&self, entries: &[(String, Option<Bytes>)]) -> Result<()> {
        match self.1.load(Ordering::Relaxed) {
            true => Err(Error::new(ErrorKind::Full, "set_meta", "the disk is full")),
            false => self.0.set_meta(entries).await,
        }
    }

    fn list_meta(&self, prefix: &str) -> BoxStream<'_, Result<(String, Bytes)>> {
        self.0.list_meta(prefix)
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

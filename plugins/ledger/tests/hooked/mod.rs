//! A store in memory that does what a test wants when it is asked.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::fmt::Debug;
use std::ops::Deref;

use carrick_core::{Block, Bytes, Cid, MemoryStore, Owner, Pin, Result, Store, Usage, async_trait};
use futures::stream::BoxStream;

/// What a test wants.
#[async_trait]
pub(crate) trait Hook: Debug + Send + Sync + 'static {
    /// Before something is asked of the store. An error is the answer.
    async fn before(&self, asked: Asked<'_>) -> Result<()> {
        let _ = asked;
        Ok(())
    }

    /// After metadata was written.
    fn wrote(&self, entries: &[(String, Option<Bytes>)]) {
        let _ = entries;
    }

    /// After a block was deleted.
    fn deleted(&self, cid: &Cid) {
        let _ = cid;
    }

    /// Whether every block is said to be there.
    fn says_it_has_all(&self) -> bool {
        false
    }

    /// Whether it stays open when its node closes.
    fn outlives_its_node(&self) -> bool {
        false
    }
}

/// What is asked of a store.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asked<'a> {
    Get(&'a Cid),
    Has,
    Put,
    Delete,
    Pin,
    Unpin,
    Meta(&'a str),
    SetMeta,
}

/// The store. It is its hook, too.
#[derive(Debug, Default)]
pub(crate) struct Hooked<H> {
    pub(crate) store: MemoryStore,
    hook: H,
}

impl<H> Hooked<H> {
    pub(crate) fn new(hook: H) -> Self {
        Self { store: MemoryStore::default(), hook }
    }
}

impl<H> Deref for Hooked<H> {
    type Target = H;

    fn deref(&self) -> &H {
        &self.hook
    }
}

#[async_trait]
impl<H: Hook> Store for Hooked<H> {
    async fn get(&self, cid: &Cid) -> Result<Option<Block>> {
        self.hook.before(Asked::Get(cid)).await?;
        self.store.get(cid).await
    }

    async fn has(&self, cid: &Cid) -> Result<bool> {
        self.hook.before(Asked::Has).await?;
        Ok(self.hook.says_it_has_all() || self.store.has(cid).await?)
    }

    async fn put(&self, blocks: &[Block]) -> Result<()> {
        self.hook.before(Asked::Put).await?;
        self.store.put(blocks).await
    }

    async fn delete(&self, cid: &Cid) -> Result<bool> {
        self.hook.before(Asked::Delete).await?;
        let deleted = self.store.delete(cid).await?;
        self.hook.deleted(cid);
        Ok(deleted)
    }

    fn blocks(&self) -> BoxStream<'_, Result<Cid>> {
        self.store.blocks()
    }

    async fn usage(&self) -> Result<Usage> {
        self.store.usage().await
    }

    async fn pin(&self, pin: &Pin) -> Result<()> {
        self.hook.before(Asked::Pin).await?;
        self.store.pin(pin).await
    }

    async fn unpin(&self, cid: &Cid, owner: &Owner) -> Result<bool> {
        self.hook.before(Asked::Unpin).await?;
        self.store.unpin(cid, owner).await
    }

    fn pins(&self, owner: Option<&Owner>) -> BoxStream<'_, Result<Pin>> {
        self.store.pins(owner)
    }

    async fn meta(&self, key: &str) -> Result<Option<Bytes>> {
        self.hook.before(Asked::Meta(key)).await?;
        self.store.meta(key).await
    }

    async fn set_meta(&self, entries: &[(String, Option<Bytes>)]) -> Result<()> {
        self.hook.before(Asked::SetMeta).await?;
        self.store.set_meta(entries).await?;
        self.hook.wrote(entries);
        Ok(())
    }

    fn list_meta(&self, prefix: &str) -> BoxStream<'_, Result<(String, Bytes)>> {
        self.store.list_meta(prefix)
    }

    async fn close(&self) -> Result<()> {
        if self.hook.outlives_its_node() { Ok(()) } else { self.store.close().await }
    }
}

//! A store that outlives its node, and can be damaged.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use carrick_core::{
    Block, Bytes, Cid, Error, ErrorKind, MemoryStore, Owner, Pin, Result, Store, Usage, async_trait,
};
use futures::StreamExt as _;
use futures::stream::BoxStream;

/// A store in memory that closing does not empty: a disk, in short. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shared(Arc<State>);

#[derive(Debug, Default)]
struct State {
    store: MemoryStore,
    closed: AtomicUsize,
    damaged: Mutex<Option<Cid>>,
    /// Neither blocks nor metadata are written.
    full: AtomicBool,
    /// Blocks are not read.
    away: AtomicBool,
    /// Nothing works.
    failing: AtomicBool,
    /// How long it takes to delete a block.
    deleting: Mutex<Duration>,
}

impl Shared {
    /// How often it was closed.
    pub(crate) fn closed(&self) -> usize {
        self.0.closed.load(Ordering::Relaxed)
    }

    /// Damages a block, until it is deleted.
    pub(crate) fn damage(&self, cid: Cid) {
        *self.0.damaged.lock().expect("lock") = Some(cid);
    }

    /// Refuses blocks and metadata, or takes them again.
    pub(crate) fn fill(&self, full: bool) {
        self.0.full.store(full, Ordering::Relaxed);
    }

    /// Answers that blocks cannot be reached, or reads them again.
    pub(crate) fn away(&self, away: bool) {
        self.0.away.store(away, Ordering::Relaxed);
    }

    /// Fails whatever it is asked, or works again.
    pub(crate) fn fail(&self, failing: bool) {
        self.0.failing.store(failing, Ordering::Relaxed);
    }

    /// Takes so long to delete a block.
    pub(crate) fn deletes_in(&self, time: Duration) {
        *self.0.deleting.lock().expect("lock") = time;
    }

    fn works(&self, operation: &'static str) -> Result<()> {
        match self.0.failing.load(Ordering::Relaxed) {
            true => Err(Error::new(ErrorKind::Unexpected, operation, "the disk fails")),
            false => Ok(()),
        }
    }

    /// A stream that fails at once where nothing works.
    fn listed<'a, T: Send + 'a>(
        &self,
        operation: &'static str,
        all: BoxStream<'a, Result<T>>,
    ) -> BoxStream<'a, Result<T>> {
        match self.works(operation) {
            Ok(()) => all,
            Err(error) => futures::stream::once(std::future::ready(Err(error))).boxed(),
        }
    }

    fn check_room(&self, operation: &'static str) -> Result<()> {
        self.works(operation)?;
        match self.0.full.load(Ordering::Relaxed) {
            true => Err(Error::new(ErrorKind::Full, operation, "the disk is full")),
            false => Ok(()),
        }
    }

    pub(crate) fn arc(&self) -> Arc<dyn Store> {
        Arc::new(self.clone())
    }
}

#[async_trait]
impl Store for Shared {
    async fn get(&self, cid: &Cid) -> Result<Option<Block>> {
        self.works("get")?;
        if *self.0.damaged.lock().expect("lock") == Some(*cid) {
            return Err(Error::new(ErrorKind::Integrity, "get", format!("{cid} is damaged")));
        }
        if self.0.away.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Unreachable, "get", "the disk is away"));
        }
        self.0.store.get(cid).await
    }

    async fn has(&self, cid: &Cid) -> Result<bool> {
        self.works("has")?;
        self.0.store.has(cid).await
    }

    async fn put(&self, blocks: &[Block]) -> Result<()> {
        self.check_room("put")?;
        self.0.store.put(blocks).await
    }

    async fn delete(&self, cid: &Cid) -> Result<bool> {
        self.works("delete")?;
        self.0.damaged.lock().expect("lock").take_if(|damaged| damaged == cid);
        let time = *self.0.deleting.lock().expect("lock");
        if !time.is_zero() {
            tokio::time::sleep(time).await;
        }
        self.0.store.delete(cid).await
    }

    fn blocks(&self) -> BoxStream<'_, Result<Cid>> {
        self.listed("blocks", self.0.store.blocks())
    }

    async fn usage(&self) -> Result<Usage> {
        self.works("usage")?;
        self.0.store.usage().await
    }

    async fn pin(&self, pin: &Pin) -> Result<()> {
        self.works("pin")?;
        self.0.store.pin(pin).await
    }

    async fn unpin(&self, cid: &Cid, owner: &Owner) -> Result<bool> {
        self.works("unpin")?;
        self.0.store.unpin(cid, owner).await
    }

    fn pins(&self, owner: Option<&Owner>) -> BoxStream<'_, Result<Pin>> {
        self.listed("pins", self.0.store.pins(owner))
    }

    async fn meta(&self, key: &str) -> Result<Option<Bytes>> {
        self.works("meta")?;
        self.0.store.meta(key).await
    }

    async fn set_meta(&self, entries: &[(String, Option<Bytes>)]) -> Result<()> {
        self.check_room("set_meta")?;
        self.0.store.set_meta(entries).await
    }

    fn list_meta(&self, prefix: &str) -> BoxStream<'_, Result<(String, Bytes)>> {
        self.listed("list_meta", self.0.store.list_meta(prefix))
    }

    async fn close(&self) -> Result<()> {
        self.0.closed.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

//! Blocks kept in a daemon alone, so that their bytes lie on the disk once.
//!
//! The daemon has them pinned under the raw name of their hash. Which there are, under which CID, and what it cannot hold at
//! all (pins with owners, metadata), is in an index of the node's own; so everything but a block is answered without it.

mod config;
mod daemon;
mod debt;
mod index;
mod writer;

use std::fmt;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use carrick_core::{Block, Bytes, Cid, Claim, Error, ErrorKind, Owner, Pin, Result, Site, Store, Usage};
use futures::stream::BoxStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::config::IpfsHttpStoreConfig;
use self::daemon::Daemon;
use self::debt::Debt;
use self::index::Index;
use self::writer::{Queue, Write, Writer, parts};
use crate::rpc::calls::{BlockGet, millis, raw};
use crate::shared::lock;

/// A block store in a Kubo daemon. Open one by name through the registry, or with [`IpfsHttpStore::open`].
pub struct IpfsHttpStore {
    index: Arc<Index>,
    daemon: Arc<Daemon>,
    usage: Arc<Mutex<Usage>>,
    queue: Queue,
    tasks: TaskTracker,
    closed: CancellationToken,
}

impl IpfsHttpStore {
    /// Opens the index, and asks the daemon who it is.
    ///
    /// # Errors
    /// `Config` for a key out of range, a secret or certificate that cannot be read, a folder that cannot be used, and a
    /// daemon other than the one that holds the blocks; `Unreachable` and `Timeout` where no daemon answers, `Unauthorized`
    /// where it wants another secret, `Unexpected` where something else answers; `Integrity` when the index is damaged.
    pub async fn open(config: IpfsHttpStoreConfig, site: Site) -> Result<Self> {
        let index = Arc::new(Index::open(&config.path, site).await?);
        let opened = Self::over(&config, Arc::clone(&index)).await;
        if opened.is_err() {
            // Who tries again at once finds the folder free.
            let _ = index.inner.close().await;
        }
        opened
    }

    async fn over(config: &IpfsHttpStoreConfig, index: Arc<Index>) -> Result<Self> {
        let daemon = Arc::new(Daemon::open(&config.access(), &index).await?);
        let usage = Arc::new(Mutex::new(index.usage().await?));
        let debt = Debt::open(&index, &daemon).await?;
        let (queue, writer) =
            Writer::new(Arc::clone(&index), Arc::clone(&daemon), Arc::clone(&usage), config.max_bytes, debt);
        let (tasks, closed) = (TaskTracker::new(), CancellationToken::new());
        tasks.spawn(closed.clone().run_until_cancelled_owned(writer.run()));
        Ok(Self { index, daemon, usage, queue, tasks, closed })
    }

    /// Has the daemon bring a block of so many bytes; `None` when it has it not.
    async fn bring(&self, cid: &Cid, size: u64) -> Result<Option<Bytes>> {
        let rpc = &self.daemon.rpc;
        let within = rpc.patience_for(size);
        let call = BlockGet { arg: raw(cid).to_string(), timeout: millis(within), offline: true };
        match self.closed.run_until_cancelled(rpc.bring(call, within)).await {
            None => Err(closed("get")),
            Some(Err(fault)) if fault.kind == ErrorKind::NotFound => Ok(None),
            Some(brought) => brought.map(Some).map_err(|fault| fault.into_error("get")),
        }
    }

    async fn write(&self, operation: &'static str, write: Write) -> Result<bool> {
        let pending = self.queue.write(write).await;
        pending.done().await.unwrap_or_else(|| Err(closed(operation)))
    }
}

fn closed(operation: &'static str) -> Error {
    Error::new(ErrorKind::Closed, operation, "the store is closed")
}

impl Drop for IpfsHttpStore {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

impl fmt::Debug for IpfsHttpStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IpfsHttpStore({:?})", self.daemon)
    }
}

#[async_trait]
impl Store for IpfsHttpStore {
    async fn get(&self, cid: &Cid) -> Result<Option<Block>> {
        // Once more where it was deleted and put again meanwhile.
        for _ in 0..2 {
            let Some(size) = self.index.size(cid).await? else { return Ok(None) };
            // The daemon is not asked what is in an empty block.
            let bytes = if size == 0 { Some(Bytes::new()) } else { self.bring(cid, size).await? };
            if let Some(bytes) = bytes {
                let mend =
                    "delete it and fetch it again from a peer; a disk that damages files should be replaced";
                return Claim::new(*cid, bytes).check().map(Some).map_err(|damaged| damaged.mend(mend));
            }
            if self.write("get", Write::Lost(*cid)).await? {
                return Ok(None);
            }
        }
        Err(Error::new(ErrorKind::Unexpected, "get", format!("the daemon has {cid}, and does not bring it")))
    }

    async fn has(&self, cid: &Cid) -> Result<bool> {
        Ok(self.index.size(cid).await?.is_some())
    }

    async fn put(&self, blocks: &[Block]) -> Result<()> {
        if self.closed.is_cancelled() {
            return Err(closed("put"));
        }
        let mut pending = Vec::new();
        for part in parts(blocks) {
            pending.push(self.queue.write(Write::Put(part)).await);
        }
        let mut answer = Ok(());
        for part in pending {
            // The first error is told, but only after all parts are settled.
            let settled = part.done().await.unwrap_or_else(|| Err(closed("put")));
            answer = answer.and(settled.map(drop));
        }
        answer
    }

    async fn delete(&self, cid: &Cid) -> Result<bool> {
        self.write("delete", Write::Delete(*cid)).await
    }

    fn blocks(&self) -> BoxStream<'_, Result<Cid>> {
        self.index.blocks()
    }

    async fn usage(&self) -> Result<Usage> {
        if self.closed.is_cancelled() { Err(closed("usage")) } else { Ok(*lock(&self.usage)) }
    }

    async fn pin(&self, pin: &Pin) -> Result<()> {
        self.index.inner.pin(pin).await
    }

    async fn unpin(&self, cid: &Cid, owner: &Owner) -> Result<bool> {
        self.index.inner.unpin(cid, owner).await
    }

    fn pins(&self, owner: Option<&Owner>) -> BoxStream<'_, Result<Pin>> {
        self.index.inner.pins(owner)
    }

    async fn meta(&self, key: &str) -> Result<Option<Bytes>> {
        self.index.meta(key).await
    }

    async fn set_meta(&self, entries: &[(String, Option<Bytes>)]) -> Result<()> {
        self.index.set_meta(entries).await
    }

    fn list_meta(&self, prefix: &str) -> BoxStream<'_, Result<(String, Bytes)>> {
        self.index.list_meta(prefix)
    }

    /// Writes that wait are given up; none of them was confirmed.
    async fn close(&self) -> Result<()> {
        self.closed.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.index.inner.close().await
    }
}

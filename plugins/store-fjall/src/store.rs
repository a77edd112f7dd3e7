//! The store as the contract wants it: checks arguments, reads on blocking threads, hands writes to the writer.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use carrick_core::{
    Block, Bytes, Cid, Claim, Error, ErrorKind, Kept, Owner, Pin, Result, Site, Store, Usage,
};
use fjall::{Guard, UserKey};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use tokio::sync::{RwLock, Semaphore};

use crate::FjallConfig;
use crate::batch::{Named, Pinned, Room, Write, free_bytes};
use crate::database::{Database, Space};
use crate::error::{closed, failed};
use crate::keys;
use crate::writer::{BATCH_BYTES, Writer};

/// Reads at once; more wait. Bounds the threads that reading takes, and with them memory.
const READERS: usize = 8;
/// Keys read at once by the lists.
const PAGE: usize = 512;

/// A durable block store on disk.
///
/// Writes are on disk when they return; writers that come together share one flush. Reading goes on after a failed
/// write, writing does not: open the store again. A list is read in pages: what is written meanwhile may or may not be
/// in it.
pub struct FjallStore {
    folder: PathBuf,
    readers: Arc<Semaphore>,
    /// `None` once closed. Dropped before the writer, whose thread is then the last to let go of the database:
    /// closing it may take a while, which must not be on a thread of the async runtime.
    db: Arc<RwLock<Option<Database>>>,
    writer: Writer,
}

impl FjallStore {
    /// Opens the store that `config` describes, or makes it.
    ///
    /// # Errors
    /// `Config` when the folder cannot be used, is open already, or holds another format; `Integrity` when what is there
    /// is damaged; `Full` when there is no room for a new one.
    ///
    /// # Cancel safety
    /// Dropping the future closes the store again, a moment later.
    pub async fn open(config: FjallConfig, site: Site) -> Result<Self> {
        let folder = site.data_dir.join(&config.path);
        let room = Room { max_bytes: config.max_bytes, reserve_bytes: config.reserve_bytes };
        let opened = tokio::task::spawn_blocking(move || Self::open_blocking(folder, room)).await;
        opened.unwrap_or_else(|panic| Err(gone("open", panic)))
    }

    fn open_blocking(folder: PathBuf, room: Room) -> Result<Self> {
        let db = Database::open(&folder)?;
        let free = free_bytes(&folder);
        if free < room.reserve_bytes {
            let (folder, reserve_bytes) = (folder.display(), room.reserve_bytes);
            tracing::warn!(%folder, free, reserve_bytes, "the disk is nearly full: the store takes no new blocks");
        }
        let writer = Writer::start(db.clone(), room, folder.clone())?;
        let readers = Arc::new(Semaphore::new(READERS));
        Ok(Self { folder, readers, db: Arc::new(RwLock::new(Some(db))), writer })
    }

    /// How often this store has flushed the disk since it was opened. Fewer than the writes, where they came together.
    pub fn flushes(&self) -> u64 {
        self.writer.flushes()
    }

    /// The folder it lives in.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Reads on a blocking thread. The lock is held until it is done, so that `close` waits for it.
    async fn read<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Database) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let permit = self.readers.clone().acquire_owned().await.map_err(|_| closed(operation))?;
        let db = self.db.clone().read_owned().await;
        let working = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work(db.as_ref().ok_or_else(|| closed(operation))?)
        });
        working.await.unwrap_or_else(|panic| Err(gone(operation, panic)))
    }

    async fn write(&self, write: Write) -> Result<bool> {
        self.writer.queue(write).await?.done().await
    }

    /// Lists what begins with `prefix`, page by page: `take` reads an entry, `decode` makes it what is asked for.
    fn list<V: Send + 'static, T: Send + 'static>(
        &self,
        operation: &'static str,
        space: Space,
        prefix: Vec<u8>,
        take: fn(Guard) -> fjall::Result<(UserKey, V)>,
        decode: fn(&[u8], V) -> Result<T>,
    ) -> BoxStream<'_, Result<T>> {
        let page = move |after: Option<UserKey>| {
            let prefix = prefix.clone();
            self.read(operation, move |db| {
                db.page(space, &prefix, after.as_deref(), PAGE, take)
                    .map_err(|source| failed(operation, source))
            })
        };
        let pages = stream::try_unfold(Some(None), move |from: Option<Option<UserKey>>| {
            let reading = from.map(&page);
            async move {
                let Some(reading) = reading else { return Ok(None) };
                let found = reading.await?;
                let next = found.last().map(|(key, _)| Some(key.clone())).filter(|_| found.len() == PAGE);
                Ok(Some((found, next)))
            }
        });
        let entries = pages.map_ok(|found| stream::iter(found.into_iter().map(Ok))).try_flatten();
        entries.and_then(move |(key, value)| async move { decode(&key, value) }).boxed()
    }
}

/// Cuts what one call wants to write into parts that a batch can take.
fn parts(blocks: &[Block]) -> Vec<Vec<Block>> {
    let mut parts = Vec::new();
    let (mut part, mut bytes) = (Vec::new(), 0);
    for block in blocks {
        if bytes + block.size() > BATCH_BYTES && !part.is_empty() {
            parts.push(std::mem::take(&mut part));
            bytes = 0;
        }
        bytes += block.size();
        part.push(block.clone());
    }
    parts.extend(Some(part).filter(|part| !part.is_empty()));
    parts
}

fn pinned(pin: &Pin) -> Result<Pinned> {
    Ok((keys::pin(&pin.cid, &pin.owner)?, pin.depth))
}

fn named(entries: &[(String, Option<Bytes>)]) -> Result<Vec<Named>> {
    entries.iter().map(|(name, value)| Ok((keys::meta(name)?, value.clone()))).collect()
}

/// A reading thread that panicked. The database is meant not to; what it holds is unharmed.
fn gone(operation: &'static str, panic: tokio::task::JoinError) -> Error {
    Error::new(ErrorKind::Unexpected, operation, "a reading thread ended early").from_source(panic)
}

impl fmt::Debug for FjallStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FjallStore({})", self.folder.display())
    }
}

#[async_trait]
impl Store for FjallStore {
    async fn get(&self, cid: &Cid) -> Result<Option<Block>> {
        let cid = *cid;
        self.read("get", move |db| db.block(&cid)).await
    }

    async fn claim(&self, cid: &Cid) -> Result<Option<Claim>> {
        let cid = *cid;
        self.read("get", move |db| db.claim(&cid)).await
    }

    async fn has(&self, cid: &Cid) -> Result<bool> {
        let key = keys::block(cid);
        self.read("has", move |db| {
            db.space(Space::Blocks).contains_key(key).map_err(|source| failed("has", source))
        })
        .await
    }

    async fn put(&self, blocks: &[Block]) -> Result<()> {
        let mut pending = Vec::new();
        for part in parts(blocks) {
            pending.push(self.writer.queue(Write::Put(part)).await?);
        }
        let mut answer = Ok(());
        for part in pending {
            // The first error is told, but only after all parts are settled.
            let settled = part.done().await;
            answer = answer.and(settled.map(drop));
        }
        answer
    }

    async fn delete(&self, cid: &Cid) -> Result<bool> {
        self.write(Write::Delete(*cid)).await
    }

    fn blocks(&self) -> BoxStream<'_, Result<Cid>> {
        let key_alone = |guard: Guard| guard.key().map(|key| (key, ()));
        self.list("blocks", Space::Blocks, vec![], key_alone, |key, ()| keys::read_block(key))
    }

    async fn usage(&self) -> Result<Usage> {
        self.writer.usage("usage")
    }

    async fn pin(&self, pin: &Pin) -> Result<()> {
        self.write(Write::Pin(pinned(pin)?)).await.map(drop)
    }

    async fn unpin(&self, cid: &Cid, owner: &Owner) -> Result<bool> {
        self.write(Write::Unpin(keys::pin(cid, owner)?)).await
    }

    fn pins(&self, owner: Option<&Owner>) -> BoxStream<'_, Result<Pin>> {
        let owner = owner.cloned();
        let all = self
            .list("pins", Space::Pins, vec![], Guard::into_inner, |key, depth| keys::read_pin(key, &depth));
        let wanted = move |pin: &Pin| owner.as_ref().is_none_or(|owner| pin.owner == *owner);
        all.try_filter(move |pin| std::future::ready(wanted(pin))).boxed()
    }

    async fn meta(&self, key: &str) -> Result<Option<Bytes>> {
        let key = keys::meta(key)?;
        self.read("meta", move |db| db.read("meta", Space::Meta, &key)).await
    }

    async fn set_meta(&self, entries: &[(String, Option<Bytes>)]) -> Result<()> {
        self.write(Write::Meta(named(entries)?)).await.map(drop)
    }

    fn list_meta(&self, prefix: &str) -> BoxStream<'_, Result<(String, Bytes)>> {
        let prefix = keys::meta_prefix(prefix);
        self.list("list_meta", Space::Meta, prefix, Guard::into_inner, |key, value| {
            Ok((keys::read_meta(key)?, value.into()))
        })
    }

    async fn keep(&self, kept: &Kept) -> Result<()> {
        let Kept { blocks, pins, meta } = kept;
        let pins = pins.iter().map(pinned).collect::<Result<_>>()?;
        self.write(Write::Keep { blocks: blocks.clone(), pins, meta: named(meta)? }).await.map(drop)
    }

    async fn close(&self) -> Result<()> {
        self.writer.close().await;
        let db = self.db.write().await.take();
        // Here it is the last handle, and closing may take a while.
        let closing = tokio::task::spawn_blocking(move || drop(db));
        closing.await.map_err(|panic| gone("close", panic))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carrick_core::{Limits, RAW};
    use fjall::Slice;
    use std::fs;

    async fn opened(folder: &Path) -> FjallStore {
        let site = Site::new("store", folder, Limits::default());
        FjallStore::open(FjallConfig::default(), site).await.expect("opens")
    }

    async fn database(store: &FjallStore) -> Database {
        store.db.read().await.clone().expect("open")
    }

    #[tokio::test]
    async fn wrong_bytes_in_the_database_are_never_handed_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = opened(folder.path()).await;
        let (block, other) = (Block::new(RAW, vec![1; 5_000]), Block::new(RAW, vec![2; 5_000]));
        let db = database(&store).await;
        db.space(Space::Blocks).insert(keys::block(block.cid()), Slice::new(other.bytes())).expect("written");
        let error = store.get(block.cid()).await.expect_err("damaged");
        assert_eq!(error.kind(), ErrorKind::Integrity);
        assert!(error.detail().contains(&block.cid().to_string()) && error.hint().is_some(), "{error:?}");
    }

    #[tokio::test]
    async fn a_changed_byte_in_a_file_is_noticed() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = opened(folder.path()).await;
        let (hurt, well) = (Block::new(RAW, vec![1; 50_000]), Block::new(RAW, vec![2; 50_000]));
        store.put(&[hurt.clone(), well.clone()]).await.expect("put");
        database(&store).await.space(Space::Blocks).rotate_memtable_and_wait().expect("written to tables");
        assert!(damage(folder.path(), &[1; 1_000]) > 0, "the block is in no file");
        assert_eq!(store.get(hurt.cid()).await.expect_err("damaged").kind(), ErrorKind::Integrity);
        let unhashed = store.claim(hurt.cid()).await.expect_err("the database has a checksum of its own");
        assert_eq!(unhashed.kind(), ErrorKind::Integrity);
        assert_eq!(store.get(well.cid()).await.expect("get"), Some(well));
    }

    #[tokio::test]
    async fn after_a_failed_write_it_reads_and_says_what_to_do() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = opened(folder.path()).await;
        let block = Block::new(RAW, vec![1; 5_000]);
        store.put(std::slice::from_ref(&block)).await.expect("put");
        // The database refuses its own journal once a keyspace of it cannot be cleared.
        let keyspace = database(&store).await.space(Space::Pins).clone();
        fs::remove_dir_all(keyspace.path()).expect("removed");
        keyspace.clear().expect_err("the folder is gone");
        for _ in 0..2 {
            let error = store.put(&[Block::new(RAW, vec![3; 10])]).await.expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::Unexpected);
            assert!(error.hint().is_some_and(|hint| hint.contains("only reads now")), "{error:?}");
        }
        assert_eq!(store.get(block.cid()).await.expect("get"), Some(block));
        store.close().await.expect("close");
    }

    /// Changes one byte in every file that holds `needle`, and answers how many there were.
    fn damage(folder: &Path, needle: &[u8]) -> usize {
        let mut changed = 0;
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                changed += damage(&path, needle);
                continue;
            }
            let mut bytes = fs::read(&path).expect("a file");
            if let Some(at) = bytes.windows(needle.len()).position(|window| window == needle) {
                bytes[at + needle.len() / 2] ^= 1;
                fs::write(&path, bytes).expect("written");
                changed += 1;
            }
        }
        changed
    }
}

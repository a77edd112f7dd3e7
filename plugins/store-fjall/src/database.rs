//! The database on disk: its lock, its format, its keyspaces, and reading from them.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use carrick_core::{Block, Bytes, Cid, Claim, Error, ErrorKind, Result, Usage};
use fjall::{Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode};

use crate::error::{RESTORE, failed, io_kind};
use crate::journal::{self, Torn};
use crate::keys;

/// The only format this version reads and writes: these keyspaces, keys as in [`keys`](crate::keys).
const FORMAT: &[u8] = b"1";
const FORMAT_KEY: &[u8] = b"format";
pub(crate) const USAGE_KEY: &[u8] = b"usage";
/// The keyspace of the store's own memory; the node's metadata is another one, so that no name can collide.
const OWN: &str = "store";

/// Keeps a store small in memory; the database's own defaults take 200 MB.
const BLOCKS_MEMTABLE_BYTES: u64 = 16 << 20;
const META_MEMTABLE_BYTES: u64 = 8 << 20;
const SMALL_MEMTABLE_BYTES: u64 = 2 << 20;
const CACHE_BYTES: u64 = 8 << 20;
/// How much the journals may take on disk before tables are written to make them go. 64 MiB is the least allowed.
const JOURNAL_BYTES: u64 = 128 << 20;
/// Of several the database keeps one for writing tables, and that one passes whatever else there is to do back and forth for
/// as long as another one tidies up: a fifth of the processor time of a large write.
const WORKERS: usize = 1;
const OPEN_FILES: usize = 128;

/// A part of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Space {
    Blocks,
    Pins,
    Meta,
    Own,
}

impl Space {
    /// All of them, in their order.
    pub(crate) const ALL: [Self; 4] = [Self::Blocks, Self::Pins, Self::Meta, Self::Own];

    fn memtable_bytes(self) -> u64 {
        match self {
            Self::Blocks => BLOCKS_MEMTABLE_BYTES,
            // A ledger writes as much here as it writes blocks.
            Self::Meta => META_MEMTABLE_BYTES,
            Self::Pins | Self::Own => SMALL_MEMTABLE_BYTES,
        }
    }
}

/// The open database. Cloning is cheap; the last clone to go closes it, which may take as long as a step of tidying up,
/// so it should not go on a thread of the async runtime.
#[derive(Clone)]
pub(crate) struct Database {
    db: fjall::Database,
    spaces: [Keyspace; 4],
    /// Goes last, so that nobody opens what is still being closed.
    _lock: Arc<File>,
}

impl Database {
    /// Opens the store in `dir`, or makes one.
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        Self::open_with(dir, WORKERS)
    }

    /// With nobody who writes tables.
    #[cfg(test)]
    pub(crate) fn open_without_background(dir: &Path) -> Result<Self> {
        // Made with all that it needs.
        drop(Self::open(dir)?);
        Self::open_with(dir, 0)
    }

    fn open_with(dir: &Path, workers: usize) -> Result<Self> {
        fs::create_dir_all(dir).map_err(|source| unusable(dir, source))?;
        let lock = lock(dir)?;
        let home = dir.join("db");
        if home.exists() {
            drop_torn_write(&home)?;
        } else {
            create(dir, &home)?;
        }
        Self::mount(&home, lock, workers)
    }

    fn mount(home: &Path, lock: Arc<File>, workers: usize) -> Result<Self> {
        let db = open_database(home, workers)?;
        let format = match db.keyspace_exists(OWN) {
            true => space(&db, Space::Own).and_then(|own| own.get(FORMAT_KEY)).map_err(opening)?,
            false => None,
        };
        if format.as_deref() != Some(FORMAT) {
            return Err(unknown_format(home, format.as_deref()));
        }
        let [blocks, pins, meta, own] = Space::ALL.map(|part| space(&db, part).map_err(opening));
        Ok(Self { spaces: [blocks?, pins?, meta?, own?], db, _lock: lock })
    }

    /// A part, by name.
    pub(crate) fn space(&self, space: Space) -> &Keyspace {
        &self.spaces[space as usize]
    }

    /// A batch that is durable once committed, and visible to readers only then.
    pub(crate) fn durable_batch(&self) -> fjall::OwnedWriteBatch {
        self.db.batch().durability(Some(PersistMode::SyncAll))
    }

    /// Fails when an earlier write failed, here or in the background: after that it takes no writes any more.
    fn check_writable(&self) -> fjall::Result<()> {
        self.db.persist(PersistMode::Buffer)
    }

    /// Whether the background keeps up with the writers, so that a write will not wait inside the database: there it
    /// could wait for ever if the background failed meanwhile.
    ///
    /// Begins a new memtable where one is over-full, which the database itself does after a write, but some time later
    /// and not when it was opened with a long journal.
    pub(crate) fn keeps_up(&self) -> fjall::Result<bool> {
        use fjall::AbstractTree;
        self.check_writable()?;
        for part in Space::ALL {
            let space = self.space(part);
            if space.tree.active_memtable().size() >= 2 * part.memtable_bytes() {
                space.rotate_memtable()?;
            }
        }
        let keeps_up = |space: &Keyspace| space.sealed_memtable_count() < 2 && space.tree.l0_run_count() < 16;
        Ok(self.spaces.iter().all(keeps_up))
    }

    /// Reads a block and compares it with its CID.
    pub(crate) fn block(&self, cid: &Cid) -> Result<Option<Block>> {
        let Some(claim) = self.claim(cid)? else { return Ok(None) };
        claim.check().map(Some).map_err(|source| {
            Error::new(source.kind(), "get", format!("the block {cid} is damaged on disk"))
                .mend(
                    "delete it and fetch it again from a peer; a disk that damages files should be replaced",
                )
                .from_source(source)
        })
    }

    /// Reads a block; what the disk damaged fails by the database's checksum over its key and its bytes.
    pub(crate) fn claim(&self, cid: &Cid) -> Result<Option<Claim>> {
        let bytes = self.read("get", Space::Blocks, &keys::block(cid))?;
        Ok(bytes.map(|bytes| Claim::new(*cid, bytes)))
    }

    /// Reads a value.
    pub(crate) fn read(&self, operation: &'static str, space: Space, key: &[u8]) -> Result<Option<Bytes>> {
        let value = self.space(space).get(key).map_err(|source| failed(operation, source))?;
        Ok(value.map(Into::into))
    }

    /// At most `limit` keys that begin with `prefix` and come after `after`, each read by `take`.
    pub(crate) fn page<T>(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        take: impl Fn(fjall::Guard) -> fjall::Result<(fjall::UserKey, T)>,
    ) -> fjall::Result<Vec<(fjall::UserKey, T)>> {
        let start = after.map_or(Bound::Included(prefix), Bound::Excluded);
        let mut found = Vec::new();
        for guard in self.space(space).range::<&[u8], _>((start, Bound::Unbounded)).take(limit) {
            let (key, value) = take(guard)?;
            if !key.starts_with(prefix) {
                break;
            }
            found.push((key, value));
        }
        Ok(found)
    }

    /// The counters as they were last written.
    pub(crate) fn usage(&self) -> Result<Usage> {
        let stored = self.read("open", Space::Own, USAGE_KEY)?;
        stored.map_or(Ok(Usage::default()), |value| keys::read_usage(&value))
    }
}

/// Takes the folder for this process; two stores in one folder would destroy it.
fn lock(dir: &Path) -> Result<Arc<File>> {
    let path = dir.join("lock");
    let opened = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    let file = opened.map_err(|source| unusable(dir, source))?;
    match file.try_lock() {
        Ok(()) => Ok(Arc::new(file)),
        Err(TryLockError::WouldBlock) => {
            let detail = format!("the store in {} is open already", dir.display());
            Err(wrong(detail).mend("stop the other node, or give this one another path"))
        }
        Err(TryLockError::Error(source)) => Err(unusable(dir, source)),
    }
}

/// Makes the database beside its place and moves it there, so that a crash leaves a whole one or none.
fn create(dir: &Path, home: &Path) -> Result<()> {
    let beside = dir.join("db.new");
    let io = |source| unusable(dir, source);
    match fs::remove_dir_all(&beside) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(io(source)),
        _ => {}
    }
    let write = || {
        let db = open_database(&beside, WORKERS)?;
        let mut batch = db.batch().durability(Some(PersistMode::SyncAll));
        for part in Space::ALL {
            space(&db, part).map_err(opening)?;
        }
        batch.insert(&space(&db, Space::Own).map_err(opening)?, FORMAT_KEY, FORMAT);
        batch.commit().map_err(opening)
    };
    write()?;
    fs::rename(&beside, home).map_err(io)?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io)
}

/// Drops the last write where a crash tore it; nobody was told that it is there.
fn drop_torn_write(home: &Path) -> Result<()> {
    let Some(torn) = journal::check(home)? else { return Ok(()) };
    torn.cut().map_err(|source| unusable(home, source))?;
    let Torn { journal, at, bytes } = torn;
    tracing::warn!(
        journal = %journal.display(), at, bytes,
        "the last write to the store was cut off, by a crash or a power loss, before it was confirmed; it is dropped"
    );
    Ok(())
}

fn open_database(path: &Path, workers: usize) -> Result<fjall::Database> {
    let builder = fjall::Database::builder(path)
        .cache_size(CACHE_BYTES)
        .max_journaling_size(JOURNAL_BYTES)
        .max_cached_files(Some(OPEN_FILES));
    let builder = match workers {
        // Only a test has none.
        0 => builder.worker_threads_unchecked(0),
        workers => builder.worker_threads(workers),
    };
    builder.open().map_err(|source| damaged_or_not(path, source))
}

/// A part of the database, made when it is missing. Blocks lie in files of their own, so that tidying up the keys need
/// not move them.
fn space(db: &fjall::Database, space: Space) -> fjall::Result<Keyspace> {
    let options = || KeyspaceCreateOptions::default().max_memtable_size(space.memtable_bytes());
    match space {
        Space::Blocks => {
            db.keyspace("blocks", || options().with_kv_separation(Some(KvSeparationOptions::default())))
        }
        Space::Pins => db.keyspace("pins", options),
        Space::Meta => db.keyspace("meta", options),
        Space::Own => db.keyspace(OWN, options),
    }
}

fn unknown_format(home: &Path, found: Option<&[u8]>) -> Error {
    let ours = String::from_utf8_lossy(FORMAT);
    let detail = match found {
        Some(found) => {
            let found = String::from_utf8_lossy(&found[..found.len().min(16)]);
            format!("the store in {} has format {found:?}; this version reads {ours}", home.display())
        }
        None => format!("{} is a database, but no store of Carrick", home.display()),
    };
    wrong(detail).mend("use the version of Carrick that wrote it, or give the store another path")
}

fn wrong(detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, "open", detail)
}

fn opening(source: fjall::Error) -> Error {
    failed("open", source)
}

/// Where it is damage, says which folder is meant and what can be done.
fn damaged_or_not(path: &Path, source: fjall::Error) -> Error {
    let source = Arc::new(source);
    let error = failed("open", source.clone());
    if error.kind() != ErrorKind::Integrity {
        return error;
    }
    let detail = format!("{}: {}", path.display(), error.detail());
    Error::new(ErrorKind::Integrity, "open", detail).mend(RESTORE).from_source(source)
}

/// A folder that cannot be used is the configuration's fault, unless its disk is full.
fn unusable(dir: &Path, source: io::Error) -> Error {
    let kind = match io_kind(&source) {
        ErrorKind::Full => ErrorKind::Full,
        _ => ErrorKind::Config,
    };
    let detail = format!("the store's folder {} cannot be used: {source}", dir.display());
    Error::new(kind, "open", detail)
        .mend("give the store another path, or this user the right to write there")
        .from_source(source)
}

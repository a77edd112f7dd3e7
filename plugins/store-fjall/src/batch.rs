//! Many writes gathered into one: later ones see the earlier ones, each key is written once.

use std::collections::BTreeMap;
use std::path::Path;

use carrick_core::{Block, Bytes, Cid, Error, ErrorKind, PinDepth, Result, Usage};
use fjall::Slice;

use crate::database::{Database, Space, USAGE_KEY};
use crate::error::failed;
use crate::keys;

/// What pins and metadata leave of the disk; only deleting may go below, because it makes room. A disk with less is full.
pub(crate) const FLOOR_BYTES: u64 = 8 << 20;

/// Blocks of so many bytes are written from where they are.
const LARGE_BYTES: usize = 64 << 10;

/// One write of a caller, who made the keys: what one thread allocates and another frees costs both.
#[derive(Debug)]
pub(crate) enum Write {
    Put(Vec<Block>),
    Delete(Cid),
    Pin(Pinned),
    Unpin(Vec<u8>),
    Meta(Vec<Named>),
    Keep { blocks: Vec<Block>, pins: Vec<Pinned>, meta: Vec<Named> },
}

/// A pin by its key.
pub(crate) type Pinned = (Vec<u8>, PinDepth);
/// Metadata by its key; `None` deletes it.
pub(crate) type Named = (Vec<u8>, Option<Bytes>);

impl Write {
    /// The operation as errors name it.
    pub(crate) fn operation(&self) -> &'static str {
        match self {
            Self::Put(_) => "put",
            Self::Delete(_) => "delete",
            Self::Pin(_) => "pin",
            Self::Unpin(_) => "unpin",
            Self::Meta(_) => "set_meta",
            Self::Keep { .. } => "keep",
        }
    }

    /// About how many bytes it will write.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Put(blocks) => size_of_blocks(blocks),
            Self::Meta(entries) => size_of_meta(entries),
            Self::Keep { blocks, meta, .. } => size_of_blocks(blocks) + size_of_meta(meta),
            Self::Delete(_) | Self::Pin(_) | Self::Unpin(_) => 0,
        }
    }
}

fn size_of_blocks(blocks: &[Block]) -> usize {
    blocks.iter().map(Block::size).sum()
}

fn size_of_meta(entries: &[Named]) -> usize {
    entries.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Bytes::len)).sum()
}

/// How much may be written.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    /// Bytes of blocks in all.
    pub(crate) max_bytes: Option<u64>,
    /// Bytes of the disk that blocks leave free.
    pub(crate) reserve_bytes: u64,
}

/// What a batch left behind.
pub(crate) struct Committed {
    /// How much the store holds now.
    pub(crate) usage: Usage,
    /// Whether the disk was flushed; there may have been nothing to write.
    pub(crate) flushed: bool,
}

/// Writes that become durable together.
pub(crate) struct Batch<'a> {
    db: &'a Database,
    room: &'a Room,
    disk: &'a Path,
    /// Free bytes of the disk, less what this batch takes.
    free: u64,
    usage: Usage,
    /// By the part of the database that they are of.
    changes: [BTreeMap<Vec<u8>, Option<Slice>>; Space::ALL.len()],
}

impl<'a> Batch<'a> {
    /// An empty batch on top of what the database holds.
    pub(crate) fn new(db: &'a Database, room: &'a Room, usage: Usage, disk: &'a Path) -> Self {
        Self { db, room, disk, free: free_bytes(disk), usage, changes: Default::default() }
    }

    /// Adds a write, whole or, on an error, not at all. Answers whether there was something to delete.
    pub(crate) fn add(&mut self, write: Write) -> Result<bool> {
        match write {
            Write::Put(blocks) => self.put(&blocks).map(|()| true),
            Write::Delete(cid) => self.delete(&cid),
            Write::Pin(pin) => {
                self.claim_floor("pin")?;
                self.pin(pin);
                Ok(true)
            }
            Write::Keep { blocks, pins, meta } => {
                // Whatever can fail comes first, so that all of it is added or nothing.
                self.claim_floor("keep")?;
                self.put(&blocks)?;
                pins.into_iter().for_each(|pin| self.pin(pin));
                self.set_meta(meta);
                Ok(true)
            }
            Write::Unpin(key) => self.remove("unpin", Space::Pins, key),
            Write::Meta(entries) => {
                self.claim_floor("set_meta")?;
                self.set_meta(entries);
                Ok(true)
            }
        }
    }

    /// Makes all of it durable and answers the new usage. A batch without changes touches nothing.
    pub(crate) fn commit(mut self) -> fjall::Result<Committed> {
        if self.changes.iter().all(BTreeMap::is_empty) {
            return Ok(Committed { usage: self.usage, flushed: false });
        }
        self.set(Space::Own, USAGE_KEY.to_vec(), Some(Slice::new(&keys::usage(self.usage))));
        let mut batch = self.db.durable_batch();
        for (space, changes) in Space::ALL.into_iter().zip(self.changes) {
            for (key, value) in changes {
                match value {
                    Some(value) => batch.insert(self.db.space(space), key, value),
                    None => batch.remove(self.db.space(space), key),
                }
            }
        }
        batch.commit().map(|()| Committed { usage: self.usage, flushed: true })
    }

    fn pin(&mut self, (key, depth): Pinned) {
        self.set(Space::Pins, key, Some(Slice::new(&keys::pin_depth(depth))));
    }

    fn put(&mut self, blocks: &[Block]) -> Result<()> {
        let mut new: Vec<(Vec<u8>, &Block)> = Vec::with_capacity(blocks.len());
        for block in blocks {
            let key = keys::block(block.cid());
            if !self.holds("put", Space::Blocks, &key)? {
                new.push((key, block));
            }
        }
        new.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        new.dedup_by(|(one, _), (other, _)| one == other);
        let bytes: u64 = new.iter().map(|(_, block)| block.size() as u64).sum();
        self.claim(bytes)?;
        self.usage = Usage::new(self.usage.blocks + new.len() as u64, self.usage.bytes + bytes);
        for (key, block) in new {
            // A small block does not keep the large buffer it was cut from until it is on disk.
            let bytes = match block.size() < LARGE_BYTES {
                true => Slice::new(block.bytes()),
                false => Slice::from(block.bytes().clone()),
            };
            self.set(Space::Blocks, key, Some(bytes));
        }
        Ok(())
    }

    fn delete(&mut self, cid: &Cid) -> Result<bool> {
        let key = keys::block(cid);
        let size = match self.changes[Space::Blocks as usize].get(&key) {
            Some(change) => change.as_ref().map(|value| value.len() as u64),
            None => {
                let stored = self.db.space(Space::Blocks).size_of(&key);
                stored.map_err(|source| failed("delete", source))?.map(u64::from)
            }
        };
        let Some(size) = size else { return Ok(false) };
        self.usage = Usage::new(self.usage.blocks.saturating_sub(1), self.usage.bytes.saturating_sub(size));
        self.set(Space::Blocks, key, None);
        Ok(true)
    }

    fn set_meta(&mut self, entries: Vec<Named>) {
        for (key, value) in entries {
            self.set(Space::Meta, key, value.map(|value| Slice::new(&value)));
        }
    }

    fn remove(&mut self, operation: &'static str, space: Space, key: Vec<u8>) -> Result<bool> {
        let there = self.holds(operation, space, &key)?;
        if there {
            self.set(space, key, None);
        }
        Ok(there)
    }

    fn holds(&self, operation: &'static str, space: Space, key: &[u8]) -> Result<bool> {
        match self.changes[space as usize].get(key) {
            Some(change) => Ok(change.is_some()),
            None => self.db.space(space).contains_key(key).map_err(|source| failed(operation, source)),
        }
    }

    fn set(&mut self, space: Space, key: Vec<u8>, value: Option<Slice>) {
        self.changes[space as usize].insert(key, value);
    }

    /// Takes room for new blocks: of the quota, and of the disk, where they lie twice until the journal goes.
    fn claim(&mut self, bytes: u64) -> Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        let total = self.usage.bytes.saturating_add(bytes);
        if let Some(max) = self.room.max_bytes.filter(|max| total > *max) {
            let detail = format!("the blocks would take {total} bytes; the quota is {max}");
            return Err(
                full("put", detail).mend("raise `max_bytes` of the store, or delete what is not needed")
            );
        }
        let needed = bytes.saturating_mul(2);
        let left = self.free.checked_sub(needed).filter(|left| *left >= self.room.reserve_bytes);
        self.free = left.ok_or_else(|| self.disk_full("put", needed, self.room.reserve_bytes))?;
        Ok(())
    }

    fn claim_floor(&self, operation: &'static str) -> Result<()> {
        let floor = FLOOR_BYTES.min(self.room.reserve_bytes);
        if self.free < floor { Err(self.disk_full(operation, 0, floor)) } else { Ok(()) }
    }

    fn disk_full(&self, operation: &'static str, needed: u64, keep: u64) -> Error {
        let (disk, free) = (self.disk.display(), self.free);
        let needed = if needed == 0 { String::new() } else { format!("; this write may take {needed}") };
        let detail =
            format!("the disk of {disk} has {free} bytes free, of which {keep} are kept back{needed}");
        full(operation, detail).mend("make room on the disk, or lower `reserve_bytes` of the store")
    }
}

fn full(operation: &'static str, detail: String) -> Error {
    Error::new(ErrorKind::Full, operation, detail)
}

/// What an ordinary user may still write to the disk under `path`. Where the system does not tell, the disk is taken to
/// be empty: then a full one shows itself by a failed write.
pub(crate) fn free_bytes(path: &Path) -> u64 {
    rustix::fs::statvfs(path).map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
}

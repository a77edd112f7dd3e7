//! Where a node keeps blocks, pins and its own memory.

use std::fmt::Debug;

use async_trait::async_trait;
use bytes::Bytes;
use cid::Cid;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

use crate::{Block, Claim, Result, Topic};

/// Keeps blocks, pins with owners, and metadata.
///
/// Blocks are named by their CID, so writing one twice is writing it once, and a block is there whole or not at all.
/// Everything written is durable when the call returns; concurrent writers may share one flush. All methods fail with
/// `Closed` after [`close`](Store::close), and none of them waits for peers.
///
/// A store may keep blocks in another program. Where that cannot be reached, `get` and `put` answer `Unreachable`, `Timeout`
/// or `Unauthorized`, and never that a block is not there.
#[async_trait]
pub trait Store: Debug + Send + Sync + 'static {
    /// Reads a block, compared with its CID again: a damaged one is an error, never handed out.
    ///
    /// `None` when it is not there.
    ///
    /// # Errors
    /// `Integrity` when what is stored no longer matches; `Unexpected` when the disk does not read.
    async fn get(&self, cid: &Cid) -> Result<Option<Block>>;

    /// Reads a block without comparing it with its CID, for somebody who does so anyway: a peer that asked for it. A store whose
    /// own checksums find damage saves the hashing so; the others answer what [`get`](Store::get) does.
    ///
    /// `None` when it is not there.
    ///
    /// # Errors
    /// As [`get`](Store::get).
    async fn claim(&self, cid: &Cid) -> Result<Option<Claim>> {
        Ok(self.get(cid).await?.map(Claim::from))
    }

    /// Whether a block is there, without reading it.
    ///
    /// # Errors
    /// `Unexpected` when the disk does not read.
    async fn has(&self, cid: &Cid) -> Result<bool>;

    /// Writes blocks, all of them durable when this returns. Those that are there already cost nothing. A store may keep the bytes
    /// of a large block for a while instead of a copy, and with them whatever they were cut from.
    ///
    /// # Errors
    /// `Full` when the disk or a quota is full: some of the blocks may be written, and what was there before stays
    /// readable. `Unexpected` when the disk does not write.
    ///
    /// # Cancel safety
    /// Dropping the future leaves it open which blocks were written; each is there whole or not at all.
    async fn put(&self, blocks: &[Block]) -> Result<()>;

    /// Deletes a block; `false` when it was not there. Pins are not asked: that is the caller's part, which
    /// [`Node::collect_garbage`](crate::Node::collect_garbage) does.
    ///
    /// # Errors
    /// `Unexpected` when the disk does not write.
    async fn delete(&self, cid: &Cid) -> Result<bool>;

    /// The CIDs of all blocks, in the order of their bytes. What is written or deleted meanwhile may be among them or not.
    fn blocks(&self) -> BoxStream<'_, Result<Cid>>;

    /// How much is stored.
    ///
    /// # Errors
    /// `Unexpected` when the disk does not read.
    async fn usage(&self) -> Result<Usage>;

    /// Pins a block, or all under it, for an owner. Pinning again replaces the depth.
    ///
    /// # Errors
    /// As [`put`](Store::put); `TooLarge` where the store bounds the owner's name, to no less than 1 KiB.
    async fn pin(&self, pin: &Pin) -> Result<()>;

    /// Takes an owner's pin away; `false` when there was none. Other owners' pins stay.
    ///
    /// # Errors
    /// As [`put`](Store::put).
    async fn unpin(&self, cid: &Cid, owner: &Owner) -> Result<bool>;

    /// All pins, or those of one owner, sorted by CID and owner.
    fn pins(&self, owner: Option<&Owner>) -> BoxStream<'_, Result<Pin>>;

    /// Reads a piece of metadata.
    ///
    /// # Errors
    /// `Unexpected` when the disk does not read.
    async fn meta(&self, key: &str) -> Result<Option<Bytes>>;

    /// Writes metadata: `None` deletes. All of them, or after a crash none, are there.
    ///
    /// # Errors
    /// As [`put`](Store::put), and then none is written; `TooLarge` where the store bounds keys, to no less than 1 KiB.
    async fn set_meta(&self, entries: &[(String, Option<Bytes>)]) -> Result<()>;

    /// The metadata whose keys begin with `prefix`, in their order.
    fn list_meta(&self, prefix: &str) -> BoxStream<'_, Result<(String, Bytes)>>;

    /// Writes blocks, pins and metadata that belong together: all of them are durable when this returns. A store that can
    /// writes all or none; others write in this order, so that what was cut off left no pin and no metadata without its block.
    ///
    /// # Errors
    /// As [`put`](Store::put), [`pin`](Store::pin) and [`set_meta`](Store::set_meta).
    ///
    /// # Cancel safety
    /// Dropping the future leaves it open how much of it was written.
    async fn keep(&self, kept: &Kept) -> Result<()> {
        self.put(&kept.blocks).await?;
        for pin in &kept.pins {
            self.pin(pin).await?;
        }
        if kept.meta.is_empty() { Ok(()) } else { self.set_meta(&kept.meta).await }
    }

    /// Flushes and frees everything. Idempotent.
    ///
    /// # Errors
    /// When the last flush fails.
    async fn close(&self) -> Result<()>;
}

/// Who holds a pin: `user`, `topic/readings`, `ledger/sensors`, ….
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Owner(String);

impl Owner {
    /// An owner by name.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The owner of what a person pinned or put.
    pub fn user() -> Self {
        Self::new("user")
    }

    /// The owner of what a topic keeps of its messages.
    pub fn topic(topic: &Topic) -> Self {
        Self(format!("topic/{topic}"))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How far below a block a pin reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PinDepth {
    /// The block alone.
    Block,
    /// All that can be reached from it.
    Recursive,
}

/// A promise to an owner not to collect a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// The block.
    pub cid: Cid,
    /// For whom.
    pub owner: Owner,
    /// How far below it.
    pub depth: PinDepth,
}

impl Pin {
    /// A pin on a block and all under it.
    pub fn recursive(cid: Cid, owner: Owner) -> Self {
        Self { cid, owner, depth: PinDepth::Recursive }
    }
}

/// What is written together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Blocks.
    pub blocks: Vec<Block>,
    /// Pins, of these blocks or of others.
    pub pins: Vec<Pin>,
    /// Metadata; `None` deletes.
    pub meta: Vec<(String, Option<Bytes>)>,
}

/// How much a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Usage {
    /// Number of blocks.
    pub blocks: u64,
    /// The sum of their sizes, in bytes.
    pub bytes: u64,
}

impl Usage {
    /// So many blocks of so many bytes.
    pub fn new(blocks: u64, bytes: u64) -> Self {
        Self { blocks, bytes }
    }
}

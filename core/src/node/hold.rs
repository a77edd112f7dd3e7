//! What no pin holds yet and a garbage collection spares all the same: blocks that are being put or fetched, and what was
//! stored or pinned since it began.
//!
//! A block is known here by a number made of its hash, which takes a tenth of its CID. Two that have the same number are
//! spared together, which costs nothing but their place until the next collection; so are two names of the same bytes, which
//! a backend may keep as one.

use std::collections::HashSet;
use std::collections::hash_map::{HashMap, RandomState};
use std::fmt;
use std::hash::BuildHasher as _;
use std::pin::pin;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use cid::Cid;
use futures::stream::BoxStream;
use tokio::sync::{MutexGuard, Notify};

use super::core::lock;
use crate::{Block, Claim, Kept, Owner, Pin, Result, Store, Usage};

/// A block by its hash.
type Name = u64;

/// Which blocks are held, and by how many.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    state: Mutex<State>,
    names: RandomState,
    /// Woken when what was going is gone.
    gone: Notify,
    /// One collection at a time.
    collecting: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    held: HashMap<Name, u32>,
    /// While a collection runs.
    collection: Option<Spared>,
}

/// What a collection that runs must know.
#[derive(Debug, Default)]
struct Spared {
    /// What was held or found under a pin since it began.
    names: HashSet<Name>,
    /// Pins that nobody has looked under yet.
    pinned: Vec<Pin>,
    /// What is being deleted now.
    going: HashSet<Name>,
}

impl Holds {
    /// One that holds nothing yet.
    pub(crate) fn hold(self: &Arc<Self>) -> Hold {
        Hold { holds: Arc::clone(self), held: Mutex::default() }
    }

    /// Begins a collection, when the one before has ended.
    pub(super) async fn begin(&self) -> Collecting<'_> {
        let alone = self.collecting.lock().await;
        let mut state = lock(&self.state);
        let names = state.held.keys().copied().collect();
        state.collection = Some(Spared { names, ..Spared::default() });
        Collecting { holds: self, _alone: alone }
    }

    fn name(&self, cid: &Cid) -> Name {
        self.names.hash_one(cid.hash())
    }

    /// Tries something until nothing that is being deleted stands against it.
    async fn until_gone(&self, mut attempt: impl FnMut(&mut State) -> bool) {
        loop {
            let mut gone = pin!(self.gone.notified());
            gone.as_mut().enable();
            if attempt(&mut lock(&self.state)) {
                return;
            }
            gone.await;
        }
    }

    /// Tells a collection that runs of a pin. When this returns, nothing under it is deleted any more.
    async fn pinned(&self, pin: &Pin) {
        let mut told = false;
        self.until_gone(|state| {
            let Some(spared) = &mut state.collection else { return true };
            if !std::mem::replace(&mut told, true) {
                spared.pinned.push(pin.clone());
            }
            spared.going.is_empty()
        })
        .await;
    }
}

/// Blocks that no garbage collection takes while this lives, though no pin holds them: for work that stores blocks one after
/// the other and pins their root at the end. Made by [`Node::hold`](crate::Node::hold).
///
/// Takes about 32 bytes of memory for each block.
pub struct Hold {
    holds: Arc<Holds>,
    held: Mutex<HashSet<Name>>,
}

impl Hold {
    /// Holds more blocks, which need not be there yet: add them before they are stored, or before it is asked whether they
    /// are there.
    ///
    /// Where one of them is being deleted at this moment, it waits until that is done.
    ///
    /// # Cancel safety
    /// Dropping the future leaves it open which are held.
    pub async fn add(&self, cids: impl IntoIterator<Item = &Cid>) {
        let names: Vec<Name> = cids.into_iter().map(|cid| self.holds.name(cid)).collect();
        self.holds
            .until_gone(|state| {
                if let Some(spared) = &mut state.collection {
                    if names.iter().any(|name| spared.going.contains(name)) {
                        return false;
                    }
                    spared.names.extend(names.iter().copied());
                }
                let mut held = lock(&self.held);
                names.iter().filter(|name| held.insert(**name)).for_each(|name| {
                    *state.held.entry(*name).or_default() += 1;
                });
                true
            })
            .await;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let held = std::mem::take(&mut *lock(&self.held));
        let mut state = lock(&self.holds.state);
        for name in held {
            if let Some(count) = state.held.get_mut(&name) {
                *count -= 1;
                if *count == 0 {
                    state.held.remove(&name);
                }
            }
        }
        if state.held.is_empty() {
            state.held = HashMap::new();
        }
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hold({} blocks)", lock(&self.held).len())
    }
}

/// A collection that runs; when this is dropped, it has ended.
#[derive(Debug)]
pub(super) struct Collecting<'a> {
    holds: &'a Holds,
    _alone: MutexGuard<'a, ()>,
}

/// Blocks that nobody may put, hold or pin before this is dropped.
pub(super) struct Going<'a>(&'a Holds);

impl<'a> Collecting<'a> {
    /// Spares blocks.
    pub(super) fn spare<'c>(&self, cids: impl IntoIterator<Item = &'c Cid>) {
        if let Some(spared) = &mut lock(&self.holds.state).collection {
            spared.names.extend(cids.into_iter().map(|cid| self.holds.name(cid)));
        }
    }

    /// Chooses those of the blocks that may be deleted now. If something was pinned meanwhile, nothing is chosen: what is under
    /// the pins must be spared first.
    pub(super) fn choose(&self, cids: &[Cid]) -> std::result::Result<(Vec<Cid>, Going<'a>), Vec<Pin>> {
        let mut state = lock(&self.holds.state);
        let mut chosen = Vec::new();
        if let Some(spared) = &mut state.collection {
            if !spared.pinned.is_empty() {
                return Err(std::mem::take(&mut spared.pinned));
            }
            let named = cids.iter().map(|cid| (self.holds.name(cid), *cid));
            for (name, cid) in named.filter(|(name, _)| !spared.names.contains(name)) {
                spared.going.insert(name);
                chosen.push(cid);
            }
        }
        Ok((chosen, Going(self.holds)))
    }
}

impl Drop for Collecting<'_> {
    fn drop(&mut self) {
        lock(&self.holds.state).collection = None;
        self.holds.gone.notify_waiters();
    }
}

impl Drop for Going<'_> {
    fn drop(&mut self) {
        if let Some(spared) = &mut lock(&self.0.state).collection {
            spared.going.clear();
        }
        self.0.gone.notify_waiters();
    }
}

/// The store of a node: a collection that runs learns what is stored and pinned, whoever does it.
#[derive(Debug)]
pub(super) struct Watched {
    store: Arc<dyn Store>,
    holds: Arc<Holds>,
}

impl Watched {
    pub(super) fn new(store: Arc<dyn Store>, holds: Arc<Holds>) -> Self {
        Self { store, holds }
    }
}

#[async_trait]
impl Store for Watched {
    async fn get(&self, cid: &Cid) -> Result<Option<Block>> {
        self.store.get(cid).await
    }

    async fn claim(&self, cid: &Cid) -> Result<Option<Claim>> {
        self.store.claim(cid).await
    }

    async fn has(&self, cid: &Cid) -> Result<bool> {
        self.store.has(cid).await
    }

    async fn put(&self, blocks: &[Block]) -> Result<()> {
        let hold = self.holds.hold();
        hold.add(blocks.iter().map(Block::cid)).await;
        self.store.put(blocks).await
    }

    async fn delete(&self, cid: &Cid) -> Result<bool> {
        self.store.delete(cid).await
    }

    fn blocks(&self) -> BoxStream<'_, Result<Cid>> {
        self.store.blocks()
    }

    async fn usage(&self) -> Result<Usage> {
        self.store.usage().await
    }

    async fn pin(&self, pin: &Pin) -> Result<()> {
        self.store.pin(pin).await?;
        self.holds.pinned(pin).await;
        Ok(())
    }

    async fn unpin(&self, cid: &Cid, owner: &Owner) -> Result<bool> {
        self.store.unpin(cid, owner).await
    }

    fn pins(&self, owner: Option<&Owner>) -> BoxStream<'_, Result<Pin>> {
        self.store.pins(owner)
    }

    async fn meta(&self, key: &str) -> Result<Option<Bytes>> {
        self.store.meta(key).await
    }

    async fn set_meta(&self, entries: &[(String, Option<Bytes>)]) -> Result<()> {
        self.store.set_meta(entries).await
    }

    fn list_meta(&self, prefix: &str) -> BoxStream<'_, Result<(String, Bytes)>> {
        self.store.list_meta(prefix)
    }

    async fn keep(&self, kept: &Kept) -> Result<()> {
        let hold = self.holds.hold();
        hold.add(kept.blocks.iter().map(Block::cid)).await;
        self.store.keep(kept).await?;
        for pin in &kept.pins {
            self.holds.pinned(pin).await;
        }
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        self.store.close().await
    }
}

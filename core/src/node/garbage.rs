//! Garbage collection: what no pin holds is deleted.
//!
//! First all that is under a pin is marked, as far as it is in the store; then the store is gone through, and what has no mark
//! is deleted, a few hundred blocks at a time. It runs beside all else: [`hold`](super::hold) says what it spares.

use std::collections::HashSet;
use std::sync::Arc;

use async_stream::try_stream;
use cid::Cid;
use futures::future::join_all;
use futures::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize};

use super::Node;
use super::hold::Collecting;
use super::router::Router;
use crate::{Error, ErrorKind, Owner, Pin, PinDepth, RAW, Result, dag};

/// How many blocks are deleted at once.
const AT_ONCE: usize = 256;

/// What a garbage collection did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Collected {
    /// Blocks that were looked at and stay.
    pub kept: u64,
    /// Blocks that were deleted.
    pub deleted: u64,
    /// By how many bytes of blocks the store shrank; a little less than those deleted held where something is put at the same
    /// moment.
    pub bytes: u64,
}

impl Node {
    /// Takes an owner's pin away; `false` when there was none. What it held stays until the next
    /// [`collect_garbage`](Self::collect_garbage).
    ///
    /// # Errors
    /// What the store answers, `Closed`.
    pub async fn unpin(&self, cid: &Cid, owner: &Owner) -> Result<bool> {
        self.open("unpin")?;
        self.store().unpin(cid, owner).await
    }

    /// All pins, or those of one owner, sorted by CID and owner. A topic that keeps its messages has one for each, whose owner
    /// is [`Owner::topic`].
    ///
    /// # Errors
    /// In the stream: what the store answers, `Closed`.
    pub fn pins(&self, owner: Option<&Owner>) -> BoxStream<'static, Result<Pin>> {
        let (open, store) = (self.open("pins").map(drop), Arc::clone(self.store()));
        let owner = owner.cloned();
        Box::pin(try_stream! {
            open?;
            let mut pins = store.pins(owner.as_ref());
            while let Some(pin) = pins.try_next().await? {
                yield pin;
            }
        })
    }

    /// Blocks that no collection takes while the answer lives: for work that stores many and pins their root at the end.
    /// [`put`](Self::put) and [`get`](Self::get) have one of their own.
    pub fn hold(&self) -> super::Hold {
        self.core().holds.hold()
    }

    /// Deletes every block that no pin holds: neither one on it, nor a recursive one on something from which links lead to it
    /// through blocks of the store. Nodes never do so by themselves.
    ///
    /// It may run beside anything. What is being put, fetched or [held](Self::hold) is spared, and what is stored or pinned
    /// while it runs; the payload of a message is spared for a minute or so. One runs at a time; a second call waits. It lets
    /// others run after every block that it reads, and a put waits for it only where it puts a block that is being deleted at
    /// that moment.
    ///
    /// It sees what is stored and pinned through this node, [`store`](Self::store) included, and not what is written through a
    /// handle of the store from before the node was opened.
    ///
    /// Transports that serve from a store of their own let go of a block before it is deleted. One that they do not let go
    /// is counted as `withdraw_failed` and stays until the next collection.
    ///
    /// It takes 16 bytes of memory or so for each block under a pin, and 100 for each of them that has links.
    ///
    /// # Errors
    /// What the store answers, `Integrity` for a damaged block under a pin among it, and `Unsupported` for one of a codec whose
    /// links are not known: nothing was deleted then, as it is not known what is under them. What a transport answers that
    /// cannot be reached, or a store that fails to delete: what was deleted until then is gone. `Closed`.
    ///
    /// # Cancel safety
    /// Dropping the future ends it; what was deleted is gone.
    pub async fn collect_garbage(&self) -> Result<Collected> {
        let router = self.open("collect_garbage")?;
        let mut collection = Collection::begin(router).await?;
        collection.sweep(router.core.store.blocks()).await?;
        Ok(collection.done)
    }

    /// Takes an owner's pin away, and deletes what is under the block and held by no other pin. All else stays, garbage or not.
    ///
    /// It marks what all pins hold, as [`collect_garbage`](Self::collect_garbage) does, and takes 100 bytes of memory more for
    /// each block under this one.
    ///
    /// # Errors
    /// `NotFound` when there is neither such a pin nor the block; otherwise as [`collect_garbage`](Self::collect_garbage). The
    /// pin is gone then: the next collection does the rest.
    ///
    /// # Cancel safety
    /// As [`collect_garbage`](Self::collect_garbage).
    pub async fn remove(&self, cid: &Cid, owner: &Owner) -> Result<Collected> {
        let router = self.open("remove")?;
        let under = router.stored_under(cid).await?.0;
        if !self.unpin(cid, owner).await? && under.is_empty() {
            let detail = format!("{cid} is neither in the store nor pinned by {}", owner.as_str());
            return Err(Error::new(ErrorKind::NotFound, "remove", detail)
                .mend("`carrick pin ls` lists what is pinned"));
        }
        let mut collection = Collection::begin(router).await?;
        collection.sweep(stream::iter(under.into_iter().map(Ok)).boxed()).await?;
        Ok(collection.done)
    }

    /// Deletes blocks with their owner's pins, and answers which: those that transports which serve from a store of their own let
    /// go of. The others stay, and are counted as `withdraw_failed`.
    ///
    /// For blocks that a service made for itself, which are pinned by nobody else and to which nothing pinned links: unlike
    /// [`remove`](Self::remove), it does not look for that, and takes no longer in a large store.
    ///
    /// # Errors
    /// What the store answers, and a transport that cannot be reached. What was deleted until then is gone. `Closed`.
    ///
    /// # Cancel safety
    /// Dropping the future ends it; what was deleted is gone.
    pub async fn discard(&self, cids: &[Cid], owner: &Owner) -> Result<Vec<Cid>> {
        let router = self.open("discard")?;
        let mut discarded = Vec::with_capacity(cids.len());
        for some in cids.chunks(AT_ONCE) {
            // What is handed over meanwhile would be there after it was withdrawn.
            let _none = router.handing.write().await;
            for cid in router.withdraw(some.to_vec()).await? {
                router.core.store.unpin(&cid, owner).await?;
                router.core.store.delete(&cid).await?;
                discarded.push(cid);
            }
        }
        Ok(discarded)
    }
}

impl Router {
    /// What is in the store of the DAG under a block, the block among it, and to how many that are not there it links. A block
    /// that is damaged, or of a codec without known links, has nothing under it.
    pub(super) async fn stored_under(&self, root: &Cid) -> Result<(Vec<Cid>, u64)> {
        let (mut seen, mut waiting, mut there) = (HashSet::from([*root]), vec![*root], Vec::new());
        while let Some(cid) = waiting.pop() {
            if !self.core.store.has(&cid).await? {
                continue;
            }
            there.push(cid);
            if cid.codec() != RAW {
                let links = match self.core.store.get(&cid).await {
                    Ok(block) => block.and_then(|block| dag::links(&block).ok()).unwrap_or_default(),
                    Err(error) if error.kind() == ErrorKind::Integrity => vec![],
                    Err(error) => return Err(error),
                };
                waiting.extend(links.into_iter().filter(|link| seen.insert(*link)));
            }
            tokio::task::yield_now().await;
        }
        let missing = (seen.len() - there.len()) as u64;
        Ok((there, missing))
    }
}

/// A collection at work.
struct Collection<'a> {
    router: &'a Router,
    spared: Collecting<'a>,
    /// Blocks with links that were looked under.
    walked: HashSet<Cid>,
    done: Collected,
}

impl<'a> Collection<'a> {
    /// Marks what is under all pins.
    async fn begin(router: &'a Router) -> Result<Self> {
        let spared = router.core.holds.begin().await;
        let mut this = Self { router, spared, walked: HashSet::new(), done: Collected::default() };
        let mut pins = router.core.store.pins(None);
        while let Some(pin) = pins.try_next().await? {
            this.mark(&pin).await?;
        }
        Ok(this)
    }

    async fn mark(&mut self, pin: &Pin) -> Result<()> {
        self.spared.spare([&pin.cid]);
        let mut waiting = Vec::new();
        if pin.depth == PinDepth::Recursive && pin.cid.codec() != RAW && self.walked.insert(pin.cid) {
            waiting.push(pin.cid);
        }
        while let Some(cid) = waiting.pop() {
            let links = self.links(&cid).await.map_err(|error| unknown(error, &cid, pin))?;
            self.spared.spare(&links);
            waiting.extend(links.into_iter().filter(|link| link.codec() != RAW && self.walked.insert(*link)));
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// The links of a block of the store. One that was malformed from the start leads nowhere, for nobody.
    async fn links(&self, cid: &Cid) -> Result<Vec<Cid>> {
        let Some(block) = self.router.core.store.get(cid).await? else { return Ok(vec![]) };
        match dag::links(&block) {
            Err(error) if error.kind() == ErrorKind::Integrity => Ok(vec![]),
            links => links,
        }
    }

    /// Deletes those of the blocks that are not spared.
    async fn sweep(&mut self, blocks: BoxStream<'_, Result<Cid>>) -> Result<()> {
        let mut parts = blocks.try_chunks(AT_ONCE);
        while let Some(part) = parts.next().await {
            self.sweep_some(part.map_err(|failed| failed.1)?).await?;
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn sweep_some(&mut self, part: Vec<Cid>) -> Result<()> {
        let Router { core, handing, .. } = self.router;
        // What is handed over meanwhile would be there after it was withdrawn. Blocks are chosen after the wait for that: those
        // that are going hold up whoever puts or pins.
        let (_none, some, _going) = loop {
            let none = handing.write().await;
            match self.spared.choose(&part) {
                Ok((some, going)) => break (none, some, going),
                Err(pins) => {
                    drop(none);
                    for pin in &pins {
                        self.mark(pin).await?;
                    }
                }
            }
        };
        let some = self.router.withdraw(some).await?;
        let before = core.store.usage().await?;
        let deleted = join_all(some.iter().map(|cid| core.store.delete(cid))).await;
        let after = core.store.usage().await?;
        let count = deleted.iter().filter(|deleted| matches!(deleted, Ok(true))).count();
        self.done.deleted += count as u64;
        self.done.kept += (part.len() - some.len()) as u64;
        self.done.bytes += before.bytes.saturating_sub(after.bytes);
        deleted.into_iter().collect::<Result<Vec<_>>>().map(drop)
    }
}

/// What to do about a block under a pin of which nobody can tell what is under it.
fn unknown(error: Error, cid: &Cid, pin: &Pin) -> Error {
    if !matches!(error.kind(), ErrorKind::Integrity | ErrorKind::Unsupported | ErrorKind::TooLarge) {
        return error;
    }
    let (owner, root) = (pin.owner.as_str(), pin.cid);
    error.mend(format!("nothing is deleted while it is not known what {cid} links to: get it again, or take away the pin of {owner} on {root}"))
}

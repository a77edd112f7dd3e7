//! Serving blocks to peers, within a bound of memory.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use async_stream::try_stream;
use cid::Cid;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, TryAcquireError};

use super::core::Core;
use super::counters::NODE;
use super::host::{Served, ServedStream};
use super::per_remote::PerRemote;
use crate::limits::MAX_ROOTS;
use crate::{Block, CidPolicy, Claim, Error, ErrorKind, Follow, Limits, RAW, Remote, Result, WantDag, dag};

/// Serving memory is shared out in pieces of this many bytes.
const SHARE: usize = 1_024;
/// So many askers it takes to fill it.
const ASKERS: usize = 4;
/// A walk gets room for so many more blocks at a time.
const STEP: usize = 1_024;
/// Blocks read to find out what an asker has. What lies beyond is sent again, which costs only bandwidth.
const MAX_HAVE: usize = 1 << 14;

impl Core {
    pub(crate) async fn serve_block(&self, asker: &Remote, cid: &Cid) -> Result<Option<Served>> {
        if !self.may_have(asker, cid) {
            return Ok(None);
        }
        let whole = self.share(asker, self.limits.block_bytes).await?;
        self.read_for(cid, whole).await
    }

    async fn read_for(&self, cid: &Cid, whole: Share) -> Result<Option<Served>> {
        let Some(claim) = self.store.claim(cid).await? else { return Ok(None) };
        Ok(Some(served(claim, whole)))
    }

    /// A block of a walk. Waits for its share for as long as whoever reads the walk does: it may be writing the last one still.
    async fn serve_next(&self, asker: &Remote, cid: &Cid) -> Result<Option<Served>> {
        if !self.may_have(asker, cid) {
            return Ok(None);
        }
        let share = self.serving.memory.take(asker, self.limits.block_bytes.div_ceil(SHARE)).await;
        let share = share.map_err(|_| self.busy(asker, "serving memory is closed"))?;
        self.read_for(cid, self.noted(share)).await
    }

    pub(crate) async fn serve_has(&self, asker: &Remote, cid: &Cid) -> Result<bool> {
        if !self.may_have(asker, cid) {
            return Ok(false);
        }
        self.store.has(cid).await
    }

    /// The walk of a DAG, breadth first, each block once, nothing that is under `have`. A block whose links cannot be
    /// read is sent like a leaf: the asker may know what hangs under it, and asks for that.
    pub(crate) fn serve_dag(self: Arc<Self>, asker: Remote, want: WantDag) -> ServedStream {
        Box::pin(try_stream! {
            if want.roots.len() > MAX_ROOTS {
                Err(Error::new(ErrorKind::TooLarge, "dag", format!("more than {MAX_ROOTS} roots")))?;
            }
            let mut seen = Seen::new(&self, &asker)?;
            self.see_all_under(&want, &mut seen).await?;
            let mut queue: VecDeque<(Cid, u32)> = VecDeque::new();
            for root in &want.roots {
                if seen.insert(*root)? {
                    queue.push_back((*root, 0));
                }
            }
            let (mut sent, mut full) = (0_u64, None);
            while let Some((cid, depth)) = queue.pop_front() {
                let Some(served) = self.serve_next(&asker, &cid).await? else {
                    Err(Error::new(ErrorKind::NotFound, "dag", format!("{cid} is not here")))?;
                    unreachable!("the line above ends the stream")
                };
                sent += served.bytes().len() as u64;
                if sent > want.limit_bytes {
                    Err(Error::new(ErrorKind::TooLarge, "dag", format!("more than {} bytes", want.limit_bytes)))?;
                }
                // Without room to remember more, what is queued is sent still, so that a walk always brings something.
                if depth < want.depth && full.is_none() {
                    for link in links(&Block::hashed(cid, served.bytes().clone()), want.follow) {
                        match seen.insert(link) {
                            Ok(true) => queue.push_back((link, depth + 1)),
                            Ok(false) => {}
                            Err(error) => {
                                full = Some(error);
                                break;
                            }
                        }
                    }
                }
                yield (cid, served);
            }
            if let Some(full) = full {
                Err(full)?;
            }
        })
    }

    /// What the asker has: everything under `have` that we have too.
    async fn see_all_under(&self, want: &WantDag, seen: &mut Seen) -> Result<()> {
        let mut queue: VecDeque<Cid> = want.have.iter().copied().collect();
        for cid in &want.have {
            seen.insert(*cid)?;
        }
        while let Some(cid) = queue.pop_front() {
            // A leaf has nothing under it, so it need not be read.
            if cid.codec() == RAW || CidPolicy::check(&cid).is_err() {
                continue;
            }
            let Some(block) = self.store.get(&cid).await? else { continue };
            for link in links(&block, want.follow) {
                if seen.cids.len() < MAX_HAVE && seen.insert(link)? {
                    queue.push_back(link);
                }
            }
        }
        Ok(())
    }

    fn may_have(&self, asker: &Remote, cid: &Cid) -> bool {
        self.serves(asker) && CidPolicy::check(cid).is_ok()
    }

    fn serves(&self, asker: &Remote) -> bool {
        let serves = asker.peer().is_none_or(|peer| self.admits(peer)) && !self.reputation.banned(asker);
        if !serves {
            self.counters.count(NODE, "serve_refused");
        }
        serves
    }

    /// A share of serving memory; waits for it, but not for so long that the asker has left before it hears of it.
    pub(crate) async fn share(&self, asker: &Remote, bytes: usize) -> Result<Share> {
        let waiting = self.serving.memory.take(asker, bytes.div_ceil(SHARE));
        match tokio::time::timeout(self.limits.fetch_idle / 2, waiting).await {
            Ok(Ok(share)) => Ok(self.noted(share)),
            _ => Err(self.busy(asker, "serving memory is full")),
        }
    }

    pub(crate) fn has_room_for(&self, asker: &Remote) -> bool {
        self.serving.memory.try_take(asker, self.limits.block_bytes.div_ceil(SHARE)).is_ok()
    }

    /// Notes how much is shared out now.
    fn noted(&self, share: Share) -> Share {
        let limit = self.limits.serving_bytes.div_ceil(SHARE);
        let held = limit.saturating_sub(self.serving.memory.total.available_permits());
        self.peaks.note(NODE, [("serving_bytes", held * SHARE, limit * SHARE)]);
        share
    }

    fn busy(&self, asker: &Remote, why: &'static str) -> Error {
        tracing::debug!(%asker, why, "busy");
        self.counters.count(NODE, "serve_busy");
        Error::new(ErrorKind::Busy, "serve", why)
    }
}

/// What serving may take.
#[derive(Debug)]
pub(crate) struct Serving {
    /// For blocks on their way, in pieces of [`SHARE`] bytes.
    memory: Budget,
    /// For what walks remember, in blocks.
    walks: Budget,
}

impl Serving {
    pub(crate) fn new(limits: &Limits) -> Self {
        let bytes = [limits.serving_bytes, (limits.serving_bytes / ASKERS).max(limits.block_bytes)];
        let [total, of_asker] = bytes.map(|bytes| bytes.div_ceil(SHARE));
        Self {
            memory: Budget::new(total, of_asker),
            walks: Budget::new(limits.walk_blocks, limits.walk_blocks / ASKERS),
        }
    }
}

/// Something that is shared out. One asker gets a part of it, so that some who read slowly or not at all leave room for
/// the others.
#[derive(Debug)]
struct Budget {
    total: Arc<Semaphore>,
    askers: PerRemote,
}

/// A share of a budget. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Share {
    of_asker: OwnedSemaphorePermit,
    of_total: OwnedSemaphorePermit,
}

impl Budget {
    fn new(total: usize, of_asker: usize) -> Self {
        Self { total: Arc::new(Semaphore::new(total)), askers: PerRemote::new(of_asker) }
    }

    async fn take(&self, asker: &Remote, much: usize) -> Result<Share, AcquireError> {
        let much = u32::try_from(much).unwrap_or(u32::MAX);
        let of_asker = self.askers.of(asker).acquire_many_owned(much).await?;
        let of_total = Arc::clone(&self.total).acquire_many_owned(much).await?;
        Ok(Share { of_asker, of_total })
    }

    fn try_take(&self, asker: &Remote, much: usize) -> Result<Share, TryAcquireError> {
        let much = u32::try_from(much).unwrap_or(u32::MAX);
        let of_asker = self.askers.of(asker).try_acquire_many_owned(much)?;
        let of_total = Arc::clone(&self.total).try_acquire_many_owned(much)?;
        Ok(Share { of_asker, of_total })
    }
}

impl Share {
    fn merge(&mut self, other: Self) {
        self.of_asker.merge(other.of_asker);
        self.of_total.merge(other.of_total);
    }

    /// Gives back what is not needed for so many bytes.
    fn shrink(&mut self, bytes: usize) {
        let needs = bytes.div_ceil(SHARE).max(1);
        for part in [&mut self.of_asker, &mut self.of_total] {
            drop(part.split(part.num_permits().saturating_sub(needs)));
        }
    }
}

/// Gives back the part of the share that the block does not need.
fn served(claim: Claim, mut whole: Share) -> Served {
    whole.shrink(claim.size());
    Served { bytes: claim.into_bytes(), _share: whole }
}

/// The blocks that a walk came across, and its share of what all walks may remember.
struct Seen {
    core: Arc<Core>,
    asker: Remote,
    cids: HashSet<Cid>,
    room: usize,
    share: Share,
}

impl Seen {
    fn new(core: &Arc<Core>, asker: &Remote) -> Result<Self> {
        let share = room(core, asker)?;
        Ok(Self { core: Arc::clone(core), asker: asker.clone(), cids: HashSet::new(), room: STEP, share })
    }

    /// Whether it is new.
    fn insert(&mut self, cid: Cid) -> Result<bool> {
        if self.cids.len() == self.room {
            self.share.merge(room(&self.core, &self.asker)?);
            self.room += STEP;
        }
        Ok(self.cids.insert(cid))
    }
}

/// Room for one more step of a walk. Nobody waits for it: those who have it may be long.
fn room(core: &Core, asker: &Remote) -> Result<Share> {
    core.serving
        .walks
        .try_take(asker, STEP)
        .map_err(|_| core.busy(asker, "too many blocks are remembered by the walks being served"))
}

/// The links of a block, as far as they can be read.
fn links(block: &Block, follow: Follow) -> Vec<Cid> {
    dag::follow(block, follow).unwrap_or_default()
}

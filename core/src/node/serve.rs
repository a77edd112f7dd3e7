//! Serving blocks to peers, within a bound of memory.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use async_stream::try_stream;
use cid::Cid;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use super::core::Core;
use super::counters::NODE;
use super::host::{Served, ServedStream};
use super::per_remote::PerRemote;
use crate::limits::MAX_ROOTS;
use crate::{Block, CidPolicy, Error, ErrorKind, Follow, Limits, RAW, Remote, Result, WantDag, dag};

/// Serving memory is shared out in pieces of this many bytes.
const SHARE: usize = 1_024;
/// So many askers it takes to fill it.
const ASKERS: usize = 4;
/// Blocks one walk may visit.
const MAX_WALK: usize = 1 << 20;
/// Blocks read to find out what an asker has. What lies beyond is sent again, which costs only bandwidth.
const MAX_HAVE: usize = 1 << 14;

impl Core {
    pub(crate) async fn serve_block(&self, asker: &Remote, cid: &Cid) -> Result<Option<Served>> {
        if !self.serves(asker) || CidPolicy::check(cid).is_err() {
            return Ok(None);
        }
        let whole = self.share(asker, self.limits.block_bytes).await?;
        let Some(block) = self.store.get(cid).await? else { return Ok(None) };
        Ok(Some(served(block, whole)))
    }

    pub(crate) async fn serve_has(&self, asker: &Remote, cid: &Cid) -> Result<bool> {
        if !self.serves(asker) || CidPolicy::check(cid).is_err() {
            return Ok(false);
        }
        self.store.has(cid).await
    }

    /// The walk of a DAG, breadth first, each block once, nothing that is under `have`.
    pub(crate) fn serve_dag(self: Arc<Self>, asker: Remote, want: WantDag) -> ServedStream {
        Box::pin(try_stream! {
            if want.roots.len() > MAX_ROOTS {
                Err(Error::new(ErrorKind::TooLarge, "dag", format!("more than {MAX_ROOTS} roots")))?;
            }
            let mut seen = self.all_under(&want).await?;
            let mut queue: VecDeque<(Cid, u32)> = VecDeque::new();
            queue.extend(want.roots.iter().filter(|root| seen.insert(**root)).map(|root| (*root, 0)));
            let mut sent = 0_u64;
            while let Some((cid, depth)) = queue.pop_front() {
                let Some(served) = self.serve_block(&asker, &cid).await? else {
                    Err(Error::new(ErrorKind::NotFound, "dag", format!("{cid} is not here")))?;
                    unreachable!("the line above ends the stream")
                };
                sent += served.bytes().len() as u64;
                if sent > want.limit_bytes {
                    Err(Error::new(ErrorKind::TooLarge, "dag", format!("more than {} bytes", want.limit_bytes)))?;
                }
                if depth < want.depth {
                    for link in links(&cid, &served, want.follow)? {
                        if seen.insert(link) {
                            queue.push_back((link, depth + 1));
                        }
                    }
                }
                if seen.len() > MAX_WALK {
                    Err(Error::new(ErrorKind::TooLarge, "dag", format!("more than {MAX_WALK} blocks")))?;
                }
                yield (cid, served);
            }
        })
    }

    /// What the asker has: everything under `have` that we have too.
    async fn all_under(&self, want: &WantDag) -> Result<HashSet<Cid>> {
        let mut seen: HashSet<Cid> = want.have.iter().copied().collect();
        let mut queue: VecDeque<Cid> = want.have.iter().copied().collect();
        while let Some(cid) = queue.pop_front() {
            // A leaf has nothing under it, so it need not be read.
            if cid.codec() == RAW || CidPolicy::check(&cid).is_err() {
                continue;
            }
            let Some(block) = self.store.get(&cid).await? else { continue };
            for link in dag::follow(&block, want.follow)? {
                if seen.len() < MAX_HAVE && seen.insert(link) {
                    queue.push_back(link);
                }
            }
        }
        Ok(seen)
    }

    fn serves(&self, asker: &Remote) -> bool {
        let serves = asker.peer().is_none_or(|peer| self.admits(peer)) && !self.reputation.banned(asker);
        if !serves {
            self.counters.count(NODE, "serve_refused");
        }
        serves
    }

    /// A share of serving memory; waits for it, but not for ever.
    pub(crate) async fn share(&self, asker: &Remote, bytes: usize) -> Result<Share> {
        let waiting = self.serving.take(asker, bytes);
        match tokio::time::timeout(self.limits.handshake, waiting).await {
            Ok(Ok(share)) => Ok(share),
            _ => {
                tracing::debug!(%asker, "serving memory is full");
                self.counters.count(NODE, "serve_busy");
                Err(Error::new(ErrorKind::Busy, "serve", "serving memory is full"))
            }
        }
    }
}

/// The memory for blocks that are being served. One asker gets a part of it, so that some who read slowly or not at all
/// leave room for the others.
#[derive(Debug)]
pub(crate) struct Serving {
    total: Arc<Semaphore>,
    askers: PerRemote,
}

/// A share of it. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Share {
    of_asker: OwnedSemaphorePermit,
    of_total: OwnedSemaphorePermit,
}

impl Serving {
    pub(crate) fn new(limits: &Limits) -> Self {
        let of_asker = (limits.serving_bytes / ASKERS).max(limits.block_bytes);
        Self {
            total: Arc::new(Semaphore::new(limits.serving_bytes.div_ceil(SHARE))),
            askers: PerRemote::new(of_asker.div_ceil(SHARE)),
        }
    }

    async fn take(&self, asker: &Remote, bytes: usize) -> Result<Share, AcquireError> {
        let shares = u32::try_from(bytes.div_ceil(SHARE)).unwrap_or(u32::MAX);
        let of_asker = self.askers.of(asker).acquire_many_owned(shares).await?;
        let of_total = Arc::clone(&self.total).acquire_many_owned(shares).await?;
        Ok(Share { of_asker, of_total })
    }
}

impl Share {
    /// Gives back what is not needed for so many bytes.
    fn shrink(&mut self, bytes: usize) {
        let needs = bytes.div_ceil(SHARE).max(1);
        for part in [&mut self.of_asker, &mut self.of_total] {
            drop(part.split(part.num_permits().saturating_sub(needs)));
        }
    }
}

/// Gives back the part of the share that the block does not need.
fn served(block: Block, mut whole: Share) -> Served {
    whole.shrink(block.size());
    Served { bytes: block.into_bytes(), _share: whole }
}

fn links(cid: &Cid, served: &Served, follow: Follow) -> Result<Vec<Cid>> {
    dag::follow(&Block::hashed(*cid, served.bytes().clone()), follow)
}

//! Blocks for transports that serve from a store of their own: each is handed over when it is put, or soon after it came, and
//! all of them once more when the transport opens, when its store forgot some, each hour, and after a failure.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use cid::Cid;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::core::lock;
use super::host::Host;
use super::router::{Mounted, Router};
use crate::{Block, Error, ErrorKind, Fetch, Result, Serving};

/// How many blocks are handed over at once.
const AT_ONCE: usize = 256;
/// How many blocks may wait for it; where there are more, all are handed over once more.
const WAITING: usize = 65_536;
/// How long the next block may be in coming while others wait to be handed over with it, and how long they wait at most: a
/// fetch has its wire for itself first, and many blocks cost less than each alone.
const LULL: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// How long what was handed over is taken to be there.
const AGAIN: Duration = Duration::from_secs(3600);

/// What a transport has not been given yet.
#[derive(Debug, Default)]
pub(crate) struct Owed {
    waiting: Mutex<Waiting>,
    grew: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    debt: Debt,
    /// Somebody put some of it: then it waits for no more.
    at_once: bool,
}

#[derive(Debug)]
enum Debt {
    All,
    Some(BTreeSet<Cid>),
}

impl Default for Debt {
    fn default() -> Self {
        Self::Some(BTreeSet::new())
    }
}

impl Debt {
    fn add(&mut self, more: &[Cid]) {
        if let Self::Some(cids) = self {
            cids.extend(more);
            if cids.len() > WAITING {
                *self = Self::All;
            }
        }
    }
}

impl Owed {
    /// Asks for all blocks to be handed over once more.
    pub(crate) fn all(&self) {
        lock(&self.waiting).debt = Debt::All;
        self.grew.notify_one();
    }

    /// Asks for some.
    fn some(&self, cids: &[Cid], at_once: bool) {
        let mut waiting = lock(&self.waiting);
        waiting.debt.add(cids);
        waiting.at_once |= at_once;
        self.grew.notify_one();
    }

    /// Waits until there is any, and takes it. After a while it is all: somebody else may have taken away what was given.
    async fn taken(&self) -> Debt {
        if timeout(AGAIN, self.grew.notified()).await.is_err() {
            return Debt::All;
        }
        let until = Instant::now() + LONGEST_WAIT;
        while self.may_wait() && Instant::now() < until && timeout(LULL, self.grew.notified()).await.is_ok() {
        }
        std::mem::take(&mut *lock(&self.waiting)).debt
    }

    fn may_wait(&self) -> bool {
        let waiting = lock(&self.waiting);
        !waiting.at_once && matches!(waiting.debt, Debt::Some(_))
    }
}

impl Mounted {
    /// Its part that fetches, where that serves from a store of its own.
    fn keeper(&self) -> Option<&dyn Fetch> {
        let serving = self.transport.capabilities().fetch?.serving;
        self.transport.fetch().filter(|_| serving == Serving::FromOwnStore)
    }

    /// Notes that these were not all handed over, where it may be otherwise later.
    fn owes(&self, router: &Router, cids: &[Cid], error: &Error) {
        tracing::debug!(%error, transport = %self.mount.name, "blocks were not handed over");
        router.core.counters.count(&self.mount.name, "provide_failed");
        // Among several it is not known which one it was.
        if passes(error) || cids.len() > 1 {
            self.mount.owed.some(cids, true);
        }
    }
}

impl Router {
    /// Hands over blocks that were just stored. Nobody waits for that where another transport serves them already.
    ///
    /// # Errors
    /// What a transport answers, if no other one serves them.
    pub(crate) async fn hand_over(&self, cids: &[Cid]) -> Result<()> {
        if self.fetchers().any(|mounted| mounted.keeper().is_none()) {
            self.keepers().for_each(|(mounted, _)| mounted.mount.owed.some(cids, true));
            return Ok(());
        }
        let (mut served, mut refused) = (false, None);
        for (mounted, keeper) in self.keepers() {
            match self.hand_over_on(mounted, keeper, cids).await {
                Ok(()) => served = true,
                Err(error) => refused = Some(error),
            }
        }
        match refused {
            Some(error) if !served => Err(error),
            _ => Ok(()),
        }
    }

    /// Hands over blocks on one transport; what is left when it fails is owed to it.
    async fn hand_over_on(&self, mounted: &Mounted, keeper: &dyn Fetch, mut cids: &[Cid]) -> Result<()> {
        while !cids.is_empty() {
            let (part, rest) = cids.split_at(AT_ONCE.min(cids.len()));
            let _handing = self.handing.read().await;
            keeper.provide(part).await.inspect_err(|error| mounted.owes(self, cids, error))?;
            cids = rest;
        }
        Ok(())
    }

    /// Stores blocks that came from the network, and hands them over in a while: who fetched them has them, whether or not
    /// others can have them from here yet.
    pub(crate) async fn take_in(&self, blocks: &[Block]) -> Result<()> {
        let cids = self.store_blocks(blocks).await?;
        self.hand_over_later(&cids);
        Ok(())
    }

    /// Hands over blocks in a while.
    pub(crate) fn hand_over_later(&self, cids: &[Cid]) {
        self.keepers().for_each(|(mounted, _)| mounted.mount.owed.some(cids, false));
    }

    /// Transports that serve from a store of their own.
    fn keepers(&self) -> impl Iterator<Item = (&Mounted, &dyn Fetch)> {
        self.fetchers().filter_map(|mounted| Some((mounted, mounted.keeper()?)))
    }

    /// Has every transport that serves from a store of its own let go of blocks that are about to be deleted. Answers those that
    /// all of them let go; for the others it is to be tried again later.
    ///
    /// Before and not after: so a block that is still owed to the world stands in the store, and no list of them is to be kept.
    pub(super) async fn withdraw(&self, mut cids: Vec<Cid>) -> Result<Vec<Cid>> {
        for (mounted, keeper) in self.keepers() {
            match keeper.withdraw(&cids).await {
                Ok(()) => {}
                Err(error) if passes(&error) => {
                    self.core.counters.add(&mounted.mount.name, "withdraw_failed", cids.len() as u64);
                    return Err(error);
                }
                Err(_) => cids = self.withdraw_each(mounted, keeper, cids).await?,
            }
        }
        self.announce_no_more(&cids).await;
        Ok(cids)
    }

    /// Has the transports that serve from the host announce blocks no more. A failure is counted: who asks for one in vain then
    /// asks somebody else. So nobody waits long for it.
    async fn announce_no_more(&self, cids: &[Cid]) {
        for mounted in self.fetchers().filter(|mounted| mounted.keeper().is_none()) {
            let Some(fetch) = mounted.transport.fetch() else { continue };
            let withdrawn = timeout(LULL, fetch.withdraw(cids)).await;
            if !matches!(withdrawn, Ok(Ok(()))) {
                tracing::debug!(?withdrawn, transport = %mounted.mount.name, "blocks were not withdrawn");
                self.core.counters.add(&mounted.mount.name, "withdraw_failed", cids.len() as u64);
            }
        }
    }

    /// One by one, so that one which is not let go keeps no other back.
    async fn withdraw_each(&self, mounted: &Mounted, keeper: &dyn Fetch, cids: Vec<Cid>) -> Result<Vec<Cid>> {
        let mut gone = Vec::new();
        for cid in cids {
            match keeper.withdraw(std::slice::from_ref(&cid)).await {
                Ok(()) => gone.push(cid),
                Err(error) => {
                    tracing::debug!(%error, %cid, "a block was not withdrawn");
                    self.core.counters.count(&mounted.mount.name, "withdraw_failed");
                    if passes(&error) {
                        return Err(error);
                    }
                }
            }
        }
        Ok(gone)
    }

    /// Tells every network that a DAG is to be had here. A failure is counted.
    pub(crate) async fn announce(&self, root: &Cid) {
        for mounted in self.fetchers() {
            let Some(fetch) = mounted.transport.fetch() else { continue };
            if let Err(error) = fetch.announce(root).await {
                tracing::debug!(%error, %root, "announce failed");
                self.core.counters.count(&mounted.mount.name, "announce_failed");
            }
        }
    }

    /// Hands everything over once, and again whenever it is owed.
    pub(crate) fn begin_handing_over(self: &Arc<Self>) {
        for (mounted, _) in self.keepers() {
            mounted.mount.owed.all();
            let keeping = keep_handing_over(
                Arc::downgrade(self),
                Host::new(Arc::clone(&self.core), mounted.mount.clone()),
            );
            self.core.tasks.spawn(keeping);
        }
    }

    /// Hands over what is owed, over one transport.
    async fn settle(&self, mounted: &Mounted, debt: &Debt) -> Result<()> {
        let Some(keeper) = mounted.keeper() else { return Ok(()) };
        let cids = match debt {
            Debt::All => self.core.store.blocks(),
            Debt::Some(cids) => stream::iter(cids).map(|cid| Ok(*cid)).boxed(),
        };
        let mut parts = cids.try_chunks(AT_ONCE);
        while let Some(part) = parts.next().await {
            let part = part.map_err(|failed| failed.1)?;
            let _handing = self.handing.read().await;
            match keeper.provide(&part).await {
                Err(error) if passes(&error) => return Err(error),
                Err(_) => self.hand_over_each(mounted, keeper, &part).await?,
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// One by one, so that a block which cannot be handed over, such as one that was deleted meanwhile, keeps no other back.
    async fn hand_over_each(&self, mounted: &Mounted, keeper: &dyn Fetch, cids: &[Cid]) -> Result<()> {
        for cid in cids {
            match keeper.provide(std::slice::from_ref(cid)).await {
                Err(error) if passes(&error) => return Err(error),
                Err(error) => {
                    tracing::debug!(%error, %cid, "a block was not handed over");
                    self.core.counters.count(&mounted.mount.name, "provide_failed");
                }
                Ok(()) => {}
            }
        }
        Ok(())
    }
}

/// Whether it may be otherwise later: then it is no fault of the block's.
fn passes(error: &Error) -> bool {
    use ErrorKind::{Busy, Closed, Full, Timeout, Unauthorized, Unreachable};
    matches!(error.kind(), Busy | Closed | Full | Timeout | Unauthorized | Unreachable)
}

/// Waits until blocks are owed, and hands them over, for as long as it takes. It holds the router only meanwhile.
async fn keep_handing_over(router: Weak<Router>, host: Host) {
    loop {
        let debt = host.mount.owed.taken().await;
        let mut failures = 0;
        loop {
            let Some(router) = router.upgrade() else { return };
            let Some(mounted) = router.transports.get(usize::from(host.mount.index)) else { return };
            let Err(error) = router.settle(mounted, &debt).await else { break };
            drop(router);
            host.count("provide_failed", 1);
            if failures == 0 {
                tracing::warn!(%error, transport = %host.instance(), "blocks are not handed over; it is tried again");
            }
            tokio::time::sleep(host.backoff(failures)).await;
            failures += 1;
        }
    }
}

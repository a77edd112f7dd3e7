//! What the daemon still holds for nobody. It is released beside the writes, which wait for none of it, and tried again and
//! again where the daemon does not answer.

use std::collections::BTreeSet;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use carrick_core::{Cid, Result};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::time::{Instant, sleep_until};

use super::daemon::Daemon;
use super::index::Index;
use crate::hold;

/// How many are released at once; so a write that needs one of them waits for no more.
const AT_ONCE: usize = 100;
/// Between two tries, at first and in the end.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LAST_PAUSE: Duration = Duration::from_secs(30);

/// Blocks to be released, each by the name under which the daemon has it.
pub(super) struct Debt {
    index: Arc<Index>,
    daemon: Arc<Daemon>,
    owed: BTreeSet<Cid>,
    paying: Option<Paying>,
    /// How long to wait after the next failure, and until when after the last.
    pause: Duration,
    due: Instant,
}

/// A release under way.
struct Paying {
    cids: Vec<Cid>,
    work: BoxFuture<'static, Result<()>>,
}

impl Debt {
    pub(super) async fn open(index: &Arc<Index>, daemon: &Arc<Daemon>) -> Result<Self> {
        Ok(Self {
            owed: index.owed().await?.into_iter().collect(),
            index: Arc::clone(index),
            daemon: Arc::clone(daemon),
            paying: None,
            pause: FIRST_PAUSE,
            due: Instant::now(),
        })
    }

    pub(super) fn owe(&mut self, cid: Cid) {
        self.owed.insert(cid);
    }

    /// Strikes out what is held again.
    pub(super) fn strike(&mut self, cid: &Cid) {
        self.owed.remove(cid);
    }

    /// Waits until none of these is being released: that would take away what is pinned meanwhile.
    pub(super) async fn leave(&mut self, cids: &BTreeSet<Cid>) {
        if self.paying.as_ref().is_some_and(|paying| paying.cids.iter().any(|cid| cids.contains(cid))) {
            self.settle().await;
        }
    }

    /// Releases what is owed, for as long as it is polled; a release under way goes on when it is polled again.
    pub(super) async fn pay(&mut self) {
        loop {
            if self.owed.is_empty() {
                return pending().await;
            }
            if self.paying.is_none() {
                sleep_until(self.due).await;
                self.begin();
            }
            self.settle().await;
        }
    }

    fn begin(&mut self) {
        let cids: Vec<Cid> = self.owed.iter().take(AT_ONCE).copied().collect();
        let (index, daemon, named) = (Arc::clone(&self.index), Arc::clone(&self.daemon), cids.clone());
        let work = async move {
            daemon.is_the_same("delete").await?;
            hold::release(&daemon.rpc, &named).await.map_err(|fault| fault.into_error("delete"))?;
            index.paid(&named).await
        };
        self.paying = Some(Paying { cids, work: work.boxed() });
    }

    /// Waits for the end of the release under way.
    async fn settle(&mut self) {
        let Some(paying) = &mut self.paying else { return };
        let paid = (&mut paying.work).await;
        let cids = self.paying.take().map(|paying| paying.cids).unwrap_or_default();
        match paid {
            Ok(()) => {
                cids.iter().for_each(|cid| self.strike(cid));
                self.pause = FIRST_PAUSE;
            }
            Err(error) => {
                if self.pause == FIRST_PAUSE {
                    let blocks = self.owed.len();
                    tracing::warn!(%error, blocks, "the daemon keeps blocks that were deleted; it is tried again");
                }
                self.due = Instant::now() + self.pause;
                self.pause = (2 * self.pause).min(LAST_PAUSE);
            }
        }
    }
}

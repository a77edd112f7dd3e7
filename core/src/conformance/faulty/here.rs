//! One node, as the faults round its transport see it.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep_until, timeout};

use super::{Faults, Faulty};
use crate::{Claim, Error, ErrorKind, Fetched, Host, Remote, Result, Served};

/// The node at which things arrive.
#[derive(Clone, Debug)]
pub(super) struct Here {
    pub(super) faulty: Faulty,
    /// The host behind.
    pub(super) host: Host,
}

impl Here {
    /// Whether a partition is between this node and a remote.
    pub(super) fn is_parted(&self, remote: &Remote) -> bool {
        self.faulty.parts(&self.host.me(), remote)
    }

    /// When something arrives that set out just now.
    pub(super) fn due(&self, faults: &Faults) -> Instant {
        Instant::now() + in_milliseconds(faults.delay + self.faulty.part_of(faults.jitter))
    }

    /// Waits while messages from a remote are stalled.
    pub(super) async fn until_it_moves(&self, from: &Remote) {
        self.faulty.until(|faulty| !faulty.faults_from(Some(from)).stall).await;
    }

    /// Waits while a request or an answer of a remote cannot move: it is stalled or parted from here.
    async fn until_it_crosses(&self, remote: Option<&Remote>) {
        let crosses = |faulty: &Faulty| {
            let parted = remote.is_some_and(|remote| faulty.parts(&self.host.me(), remote));
            !parted && !faulty.faults_from(remote).stall
        };
        self.faulty.until(crosses).await;
    }

    /// Waits until a request arrives.
    ///
    /// # Errors
    /// `Unreachable`, when the longest that anybody waits for an answer is over.
    pub(super) async fn requested(&self, asker: &Remote) -> Result<()> {
        let faults = self.faulty.faults_from(Some(asker));
        let arrives = async {
            if self.faulty.happens(faults.loss) {
                self.host.count("faulty_lost", 1);
                std::future::pending::<()>().await;
            }
            self.wait(&faults).await;
            self.until_it_crosses(Some(asker)).await;
        };
        timeout(self.host.limits().fetch_deadline, arrives).await.map_err(|_| {
            Error::new(ErrorKind::Unreachable, "serve", format!("a request of {asker} never arrived"))
        })
    }

    /// Waits until the answer of a remote arrives; what `follows` another part of it comes right behind.
    ///
    /// # Errors
    /// `Timeout` when it has not by then.
    pub(super) async fn answered(
        &self,
        operation: &'static str,
        from: Option<&Remote>,
        follows: bool,
        within: Duration,
    ) -> Result<()> {
        let arrives = async {
            if !follows {
                self.wait(&self.faulty.faults_from(from)).await;
            }
            self.until_it_crosses(from).await;
        };
        timeout(within, arrives)
            .await
            .map_err(|_| Error::new(ErrorKind::Timeout, operation, "the answer did not arrive in time"))
    }

    /// Waits while more of an answer cannot leave.
    ///
    /// # Errors
    /// As [`requested`](Self::requested).
    pub(super) async fn goes_on(&self, asker: &Remote) -> Result<()> {
        timeout(self.host.limits().fetch_deadline, self.until_it_crosses(Some(asker))).await.map_err(|_| {
            Error::new(ErrorKind::Unreachable, "serve", format!("an answer to {asker} does not move"))
        })
    }

    async fn wait(&self, faults: &Faults) {
        if !(faults.delay.is_zero() && faults.jitter.is_zero()) {
            sleep_until(self.due(faults)).await;
        }
    }

    /// Bytes with one bit changed, as often as a share says. Of no bytes none can be.
    pub(super) fn corrupted(&self, share: f64, bytes: &Bytes) -> Option<Bytes> {
        if bytes.is_empty() || !self.faulty.happens(share) {
            return None;
        }
        self.host.count("faulty_corrupted", 1);
        let mut changed = bytes.to_vec();
        let at = self.faulty.below(changed.len());
        changed[at] ^= 1 << self.faulty.below(8);
        Some(changed.into())
    }

    /// What came, as it arrives.
    pub(super) fn arrived(&self, fetched: Fetched) -> Fetched {
        let share = self.faulty.faults_from(fetched.from.as_ref()).corrupt;
        // What is wrong already stays as it is.
        let right = (share > 0.0).then(|| fetched.claim.clone().check().ok()).flatten();
        match right.and_then(|block| self.corrupted(share, block.bytes())) {
            Some(bytes) => Fetched { claim: Claim::new(*fetched.claim.cid(), bytes), ..fetched },
            None => fetched,
        }
    }

    /// A block as this end serves it.
    pub(super) fn served(&self, asker: &Remote, served: Served) -> Served {
        let share = self.faulty.faults_from(Some(asker)).corrupt_served;
        match self.corrupted(share, served.bytes()) {
            Some(bytes) => served.with_bytes(bytes),
            None => served,
        }
    }
}

/// Rounded up. Timers have no finer grain, and how they round a part of it is not for the seed to decide.
fn in_milliseconds(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX))
}

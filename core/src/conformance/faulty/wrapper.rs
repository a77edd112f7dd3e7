//! The faults, round one transport.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use async_stream::try_stream;
use async_trait::async_trait;
use cid::Cid;
use futures::future::{BoxFuture, Either, select};
use futures::{FutureExt as _, StreamExt as _};
use tokio::time::{Instant, timeout};

use super::flights::{Flights, Verdict};
use super::here::Here;
use super::{Faults, Faulty};
use crate::conformance::transport::Wrapper;
use crate::{
    Claims, Error, ErrorKind, Fetch, Fetched, Host, Inbound, Notice, PeerAddr, PeerRecord, Relay, Remote,
    Result, Served, ServedStream, Slot, Tap, Transport, Want, WantDag,
};

/// What stands on both sides of one transport.
#[derive(Debug)]
pub(super) struct Round {
    here: Here,
    flights: Arc<Flights>,
    inner: OnceLock<Weak<dyn Transport>>,
}

impl Round {
    /// `host` is the one behind.
    pub(super) fn new(faulty: Faulty, host: Host) -> Self {
        let here = Here { faulty, host };
        Self { flights: Arc::new(Flights::new(here.clone())), here, inner: OnceLock::new() }
    }

    fn inner(&self) -> Option<Arc<dyn Transport>> {
        self.inner.get()?.upgrade()
    }

    /// How long the transport inside holds a message.
    fn hold(&self) -> Duration {
        let caps = self.inner().and_then(|inner| inner.capabilities().broadcast);
        caps.map_or(Duration::from_secs(30), |caps| caps.hold_verdict)
    }

    /// Lets a message set out. Its verdict is waited for as long as the transport holds it.
    fn leave(&self, inbound: Inbound, faults: &Faults) -> Option<Verdict> {
        let keeps_order = !self.here.faulty.happens(faults.reorder);
        let from = inbound.from.clone();
        let Some(told) = self.flights.leave(inbound, self.here.due(faults), keeps_order) else {
            self.here.host.notice(Notice::Dropped { remote: from, count: 1 });
            return None;
        };
        self.here.host.count("faulty_delayed", 1);
        let held = timeout(self.hold(), async {
            match told.await {
                Ok(verdict) => verdict.await,
                Err(_) => Relay::Ignore,
            }
        });
        Some(held.map(|verdict| verdict.unwrap_or(Relay::Ignore)).boxed())
    }

    /// Those who must not be asked, and those who cannot be.
    async fn avoiding(&self, avoid: &[Remote]) -> Vec<Remote> {
        let mut avoid = avoid.to_vec();
        if let (true, Some(inner)) = (self.here.faulty.is_parted(), self.inner()) {
            let linked = inner.peers().await.unwrap_or_default().into_iter().map(|info| info.remote);
            avoid.extend(linked.filter(|remote| self.here.is_parted(remote)));
        }
        avoid
    }
}

impl Tap for Round {
    fn relays_to(&self, host: &Host, remote: &Remote) -> bool {
        !self.here.is_parted(remote) && host.relays_to(remote)
    }

    fn deliver(&self, slot: Slot, inbound: Inbound) -> BoxFuture<'static, Relay> {
        let Here { faulty, host } = &self.here;
        let faults = faulty.faults_from(Some(&inbound.from));
        let lost = match self.here.is_parted(&inbound.from) {
            true => Some("faulty_parted"),
            false => faulty.happens(faults.loss).then_some("faulty_lost"),
        };
        if let Some(lost) = lost {
            host.count(lost, 1);
            return ignored();
        }
        let inbound = match self.here.corrupted(faults.corrupt, &inbound.bytes) {
            Some(bytes) => Inbound { bytes, ..inbound },
            None => inbound,
        };
        let again = faulty.happens(faults.duplicate).then(|| inbound.clone());
        // What is delivered here and now passes the first stages before this returns, as it would without faults.
        let is_prompt = faults.delay.is_zero() && faults.jitter.is_zero() && !faults.stall;
        let first = if is_prompt && self.flights.is_clear(&inbound.from) {
            slot.deliver(inbound).boxed()
        } else {
            drop(slot);
            self.leave(inbound, &faults).unwrap_or_else(ignored)
        };
        match again.and_then(|again| self.leave(again, &faults)) {
            Some(second) => {
                host.count("faulty_duplicated", 1);
                either(first, second).boxed()
            }
            None => first,
        }
    }

    fn learn(&self, host: &Host, from: &Remote, record: PeerRecord) -> bool {
        !self.here.is_parted(from) && host.learn(from, record)
    }

    fn block<'a>(
        &'a self,
        host: &'a Host,
        asker: &'a Remote,
        cid: &'a Cid,
    ) -> BoxFuture<'a, Result<Option<Served>>> {
        async move {
            self.here.requested(asker).await?;
            let served = host.block(asker, cid).await?;
            Ok(served.map(|served| self.here.served(asker, served)))
        }
        .boxed()
    }

    fn has<'a>(&'a self, host: &'a Host, asker: &'a Remote, cid: &'a Cid) -> BoxFuture<'a, Result<bool>> {
        async move {
            self.here.requested(asker).await?;
            host.has(asker, cid).await
        }
        .boxed()
    }

    fn dag(&self, host: &Host, asker: Remote, want: WantDag) -> ServedStream {
        let (here, host) = (self.here.clone(), host.clone());
        Box::pin(try_stream! {
            here.requested(&asker).await?;
            let mut walk = host.dag(asker.clone(), want);
            while let Some(step) = walk.next().await {
                let (cid, served) = step?;
                here.goes_on(&asker).await?;
                yield (cid, here.served(&asker, served));
            }
        })
    }

    fn notice(&self, host: &Host, notice: Notice) {
        if let Notice::Down(remote) = &notice {
            let lost = self.flights.end(remote);
            if lost > 0 {
                host.count("faulty_lost", lost as u64);
            }
        }
        host.notice(notice);
    }
}

#[async_trait]
impl Wrapper for Round {
    fn opened(&self, inner: &Arc<dyn Transport>) {
        // Told once.
        let _ = self.inner.set(Arc::downgrade(inner));
    }

    async fn dial(&self, inner: &Arc<dyn Transport>, peer: &PeerAddr) -> Result<Remote> {
        match peer.peer.map(Remote::Peer) {
            Some(remote) if self.here.is_parted(&remote) => Err(Error::new(
                ErrorKind::Unreachable,
                "dial",
                format!("{remote} is on the other side of a partition"),
            )
            .on(self.here.host.instance().to_owned())),
            _ => inner.dial(peer).await,
        }
    }

    async fn fetch_block(&self, inner: &dyn Fetch, want: &Want) -> Result<Fetched> {
        let began = Instant::now();
        let want = Want { avoid: self.avoiding(&want.avoid).await, ..want.clone() };
        let fetched = inner.block(&want).await?;
        let left = want.timeout.saturating_sub(began.elapsed());
        self.here.answered("block", fetched.from.as_ref(), false, left).await?;
        Ok(self.here.arrived(fetched))
    }

    async fn fetch_dag(&self, inner: &dyn Fetch, want: &WantDag) -> Result<Claims> {
        let want = WantDag { avoid: self.avoiding(&want.avoid).await, ..want.clone() };
        let mut claims = inner.dag(&want).await?;
        let here = self.here.clone();
        Ok(Box::pin(try_stream! {
            let mut follows = false;
            while let Some(claim) = claims.next().await {
                let fetched = claim?;
                here.answered("dag", fetched.from.as_ref(), follows, want.timeout).await?;
                follows = true;
                yield here.arrived(fetched);
            }
        }))
    }

    async fn providers(&self, inner: &dyn Fetch, cid: &Cid, limit: usize) -> Result<Vec<PeerAddr>> {
        let mut found = inner.providers(cid, limit).await?;
        found.retain(|found| !found.peer.is_some_and(|peer| self.here.is_parted(&Remote::Peer(peer))));
        Ok(found)
    }
}

fn ignored() -> Verdict {
    std::future::ready(Relay::Ignore).boxed()
}

/// The answer to a message that came twice: whichever of the two is told to relay does.
async fn either(first: Verdict, second: Verdict) -> Relay {
    let (Either::Left((relay, other)) | Either::Right((relay, other))) = select(first, second).await;
    if relay == Relay::Accept { relay } else { other.await }
}

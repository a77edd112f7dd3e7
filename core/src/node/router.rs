//! The transports of a node and its routes: which of them carry broadcast, and which fetch, in which order.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;

use cid::Cid;

use super::core::Core;
use super::fetch::Flights;
use super::host::Mount;
use super::publish::Pen;
use super::subscriptions::Interest;
use crate::{
    Block, Discovery, Error, ErrorKind, Identity, Lane, Outgoing, PeerAddr, Remote, Result, Skip, Topic,
    Transport,
};

/// All transports, opened. The gate holds it weakly, so that dropping the node frees it.
pub(crate) struct Router {
    pub(crate) core: Arc<Core>,
    pub(crate) transports: Vec<Mounted>,
    /// Places in `transports`.
    pub(crate) broadcast: Vec<usize>,
    /// Places in `transports`, the first asked first.
    pub(crate) fetch: Vec<usize>,
    pub(crate) flights: Flights,
    pub(crate) pen: Pen,
    /// The topics that were joined on every broadcast transport. Joining and leaving are one at a time, so that the last
    /// word of both is the same.
    pub(crate) joined: tokio::sync::Mutex<BTreeSet<Topic>>,
    /// Read while blocks are handed over, written while some are withdrawn and deleted.
    pub(crate) handing: tokio::sync::RwLock<()>,
}

/// A transport and the name it is mounted under.
pub(crate) struct Mounted {
    pub(crate) mount: Mount,
    pub(crate) transport: Arc<dyn Transport>,
}

/// How far a message went over all transports.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    pub(crate) sent_to: Option<u32>,
    pub(crate) skipped: Vec<(Skip, u32)>,
    pub(crate) any_ok: bool,
    pub(crate) error: Option<Error>,
    /// A wire that does not tell took it.
    unknown: bool,
}

impl Reach {
    /// Whether it went, or may have gone, to anybody.
    pub(crate) fn reached(&self) -> bool {
        self.unknown || self.sent_to.is_some_and(|n| n > 0)
    }
}

impl Mounted {
    /// Whether its wire finds where a peer listens, and dials it there. One of daemons knows them by names of their own.
    fn routes(&self) -> bool {
        let caps = self.transport.capabilities();
        let routing = caps.fetch.is_some_and(|fetch| fetch.discovery == Discovery::Routing);
        routing && caps.dials && caps.identity == Identity::Peer
    }
}

impl Router {
    pub(crate) fn broadcasters(&self) -> impl Iterator<Item = &Mounted> {
        self.broadcast.iter().filter_map(|at| self.transports.get(*at))
    }

    pub(crate) fn fetchers(&self) -> impl Iterator<Item = &Mounted> {
        self.fetch.iter().filter_map(|at| self.transports.get(*at))
    }

    pub(crate) fn broadcast_bits(&self) -> u64 {
        self.broadcasters().fold(0, |bits, mounted| bits | mounted.mount.bit())
    }

    pub(crate) fn carries_raw(&self) -> bool {
        self.broadcasters().any(|m| m.transport.capabilities().broadcast.is_some_and(|caps| caps.raw_topics))
    }

    /// Hands a message of our own to every broadcast transport.
    pub(crate) async fn broadcast(&self, outgoing: &Outgoing) -> Reach {
        let mut reach = Reach::default();
        let (mut counted, mut skipped) = (0, BTreeMap::<Skip, u32>::new());
        for mounted in self.broadcasters() {
            let Some(broadcast) = mounted.transport.broadcast() else { continue };
            match broadcast.publish(outgoing).await {
                Ok(receipt) => {
                    reach.any_ok = true;
                    counted += receipt.sent_to.unwrap_or_default();
                    reach.unknown |= receipt.sent_to.is_none();
                    for (why, n) in receipt.skipped {
                        *skipped.entry(why).or_default() += n;
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "publish failed");
                    self.core.counters.count(&mounted.mount.name, "publish_failed");
                    reach.error = Some(error);
                }
            }
        }
        reach.sent_to = (!reach.unknown).then_some(counted);
        reach.skipped = skipped.into_iter().collect();
        reach
    }

    /// Passes an accepted message on over the transports of `bits`.
    pub(crate) async fn relay(&self, outgoing: &Outgoing, bits: u64) {
        debug_assert_eq!(outgoing.lane, Lane::Relay, "our own go through broadcast");
        for mounted in self.broadcasters().filter(|mounted| bits & mounted.mount.bit() != 0) {
            let Some(broadcast) = mounted.transport.broadcast() else { continue };
            if let Err(error) = broadcast.publish(outgoing).await {
                tracing::debug!(%error, "relay failed");
                self.core.counters.count(&mounted.mount.name, "relay_failed");
            }
        }
    }

    /// Joins a topic on every broadcast transport for one more reader.
    pub(crate) async fn gain_interest(&self, topic: &Topic) -> Result<Interest> {
        let mut joined = self.joined.lock().await;
        self.core.topics.more(topic);
        // From here on whoever drops it, this future included, gives the interest back.
        let interest = Interest { core: Arc::downgrade(&self.core), topic: topic.clone() };
        // Not only for the first: the joining for an earlier reader may have failed or been given up.
        if !joined.contains(topic) {
            for mounted in self.broadcasters() {
                let Some(broadcast) = mounted.transport.broadcast() else { continue };
                broadcast.join(topic).await?;
            }
            joined.insert(topic.clone());
        }
        Ok(interest)
    }

    /// Leaves a topic when its last reader is gone.
    pub(crate) async fn lose_interest(&self, topic: &Topic) {
        let mut joined = self.joined.lock().await;
        if self.core.topics.fewer(topic) {
            joined.remove(topic);
            self.leave(topic).await;
        }
    }

    pub(crate) async fn leave(&self, topic: &Topic) {
        for mounted in self.broadcasters() {
            let Some(broadcast) = mounted.transport.broadcast() else { continue };
            if let Err(error) = broadcast.leave(topic).await {
                tracing::debug!(%error, %topic, "leave failed");
            }
        }
    }

    /// Dials a peer over the first transport that can reach it.
    pub(crate) async fn connect(&self, addr: &PeerAddr) -> Result<Remote> {
        let mut addr = addr.clone();
        if let (Some(peer), true) = (&addr.peer, addr.addrs.is_empty()) {
            addr.addrs = self.core.book.addresses(peer);
            // A routing system may know more.
            if addr.addrs.is_empty() && !self.transports.iter().any(Mounted::routes) {
                let detail = format!("no address of {peer} is known");
                return Err(Error::new(ErrorKind::NotFound, "connect", detail)
                    .mend("write the whole address, as `carrick up` prints it on the other machine"));
            }
        }
        let mut failed = None;
        for mounted in self.transports.iter().filter(|mounted| mounted.transport.capabilities().dials) {
            match mounted.transport.dial(&addr).await {
                Ok(remote) => return Ok(remote),
                // An address of another transport is that one's business; its answer counts more.
                Err(error) if error.kind() == ErrorKind::Config && failed.is_some() => {}
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or_else(|| {
            Error::new(ErrorKind::Unsupported, "connect", "no transport of this node dials")
                .mend("name one that does in [node], such as quic")
        }))
    }

    pub(crate) async fn disconnect_everywhere(&self, remote: &Remote) {
        for mounted in self.transports.iter().filter(|mounted| mounted.transport.capabilities().disconnects) {
            if let Err(error) = mounted.transport.disconnect(remote).await {
                tracing::debug!(%error, %remote, "disconnect failed");
            }
        }
    }

    /// Stores blocks, and hands them to transports that serve from a store of their own.
    pub(crate) async fn put_blocks(&self, blocks: &[Block]) -> Result<()> {
        let cids = self.store_blocks(blocks).await?;
        self.hand_over(&cids).await
    }

    /// Stores blocks, and tells transports on which others may wait for them. Answers their names.
    pub(crate) async fn store_blocks(&self, blocks: &[Block]) -> Result<Vec<Cid>> {
        if let Some(block) = blocks.iter().find(|block| block.size() > self.core.limits.block_bytes) {
            let detail = format!(
                "{} is {} bytes; the limit is {}",
                block.cid(),
                block.size(),
                self.core.limits.block_bytes
            );
            return Err(Error::new(ErrorKind::TooLarge, "put", detail));
        }
        self.core.store.put(blocks).await?;
        let cids: Vec<Cid> = blocks.iter().map(|block| *block.cid()).collect();
        self.tell_stored(&cids);
        Ok(cids)
    }

    /// Tells transports on which others may wait for blocks that they are here.
    pub(crate) fn tell_stored(&self, cids: &[Cid]) {
        for fetch in self.fetchers().filter_map(|mounted| mounted.transport.fetch()) {
            fetch.stored(cids);
        }
    }

    /// Waits until so many peers take part in a topic.
    pub(crate) async fn ready(&self, topic: &Topic, peers: usize) -> Result<()> {
        use futures::StreamExt as _;
        let mut events = self.core.events.listen();
        let waiting = async {
            while self.core.links.in_topic(topic) < peers {
                let event = events.next().await;
                event.ok_or_else(|| Error::new(ErrorKind::Closed, "ready", "the node closed"))?;
            }
            Ok(())
        };
        tokio::select! {
            biased;
            ready = waiting => ready,
            never = self.look_at(topic) => match never {},
        }
    }

    /// Has the transports look who is on a topic, again and again: of one that is not joined they know nothing else.
    async fn look_at(&self, topic: &Topic) -> Infallible {
        loop {
            for mounted in self.broadcasters() {
                if let Some(broadcast) = mounted.transport.broadcast()
                    && let Err(error) = broadcast.topic_peers(topic).await
                {
                    tracing::debug!(%error, transport = %mounted.mount.name, "who is on a topic is not known");
                }
            }
            tokio::time::sleep(self.core.limits.outbox_time / 2).await;
        }
    }
}

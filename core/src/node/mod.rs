//! A running Carrick: it keeps the promises of the contract, whatever carries the bytes.
//!
//! Who holds whom: [`Node`] → router → transports → [`Host`] → gate and store; the gate reaches the router weakly. So
//! dropping the last `Node` without [`Node::close`] frees sockets and store.

mod answer;
mod behind;
mod book;
mod builder;
mod checks;
mod content;
mod core;
mod counters;
mod download;
mod events;
mod facts;
mod feed;
mod fetch;
mod garbage;
mod gate;
mod handover;
mod hearsay;
mod hold;
mod host;
pub mod identity;
mod kept;
mod links;
mod lock;
mod mend;
mod outbox;
mod patience;
mod peaks;
mod per_remote;
mod publish;
mod remembered;
mod reputation;
mod router;
mod saver;
mod scoped;
mod serve;
mod shelf;
mod stat;
mod status;
mod subscriptions;
mod tap;
mod tasks;

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use cid::Cid;
use libp2p_identity::PeerId;
use multiaddr::{Multiaddr, Protocol};

pub use self::builder::NodeBuilder;
pub use self::content::{Content, NodeSource};
use self::core::{Core, lock};
pub use self::download::{Blocks, Get, GetOptions, Got, Progress, Received};
pub use self::events::{Event, Events, Gap};
pub use self::garbage::Collected;
pub use self::gate::SignatureMemo;
#[cfg(feature = "fuzzing")]
pub(crate) use self::gate::{NUMBERS_PREFIX, Numbers};
pub use self::hold::Hold;
pub use self::host::{Host, Inbound, Misdeed, Notice, Relay, Served, ServedStream, Slot};
pub use self::lock::DataDirLock;
pub use self::peaks::Peak;
pub use self::publish::Published;
use self::router::Router;
pub use self::stat::Stat;
pub use self::status::{Peer, Status, TransportInfo};
pub use self::subscriptions::{Delivery, Subscription};
pub use self::tap::Tap;
use crate::{
    Block, Error, ErrorKind, Limits, Membership, Message, MessageId, NetworkId, Owner, PeerAddr, Pin, Remote,
    Result, Service, Store, Topic, TopicRules, Verdict, WantDag,
};

/// How long closing one part may take.
const CLOSING: Duration = Duration::from_secs(1);

/// A running node. Cloning is cheap; all clones are the same node.
#[derive(Clone)]
pub struct Node(Arc<NodeInner>);

/// A node that its holder does not keep open: for a service, which the node itself holds.
#[derive(Clone, Debug, Default)]
pub struct WeakNode(Weak<NodeInner>);

impl WeakNode {
    /// The node, unless the last handle of it was dropped.
    pub fn upgrade(&self) -> Option<Node> {
        self.0.upgrade().map(Node)
    }
}

struct NodeInner {
    core: Arc<Core>,
    router: Arc<Router>,
    services: Mutex<Vec<(String, Arc<dyn Service>)>>,
    closed: AtomicBool,
    /// One closes at a time; set when it is done.
    closing: tokio::sync::Mutex<bool>,
    /// Holds the lock on the data folder for as long as the node lives.
    data: Mutex<Option<DataDirLock>>,
}

impl NodeInner {
    fn new(
        core: Arc<Core>,
        router: Arc<Router>,
        services: Vec<(String, Arc<dyn Service>)>,
        data: Option<DataDirLock>,
    ) -> Self {
        // Set once: the core was made for this node.
        let _ = core.router.set(Arc::downgrade(&router));
        router.begin_handing_over();
        Self {
            core,
            router,
            services: Mutex::new(services),
            closed: AtomicBool::new(false),
            closing: tokio::sync::Mutex::default(),
            data: Mutex::new(data),
        }
    }
}

impl Drop for NodeInner {
    fn drop(&mut self) {
        self.core.tasks.cancel();
        // Whoever reads these may be at work for a service, and hold what is to be freed.
        self.core.subscriptions.end();
        self.core.events.end();
    }
}

impl Node {
    /// Chooses what a node is made of.
    pub fn builder() -> NodeBuilder {
        NodeBuilder::default()
    }

    /// A handle that does not keep the node open.
    pub fn downgrade(&self) -> WeakNode {
        WeakNode(Arc::downgrade(&self.0))
    }

    fn core(&self) -> &Arc<Core> {
        &self.0.core
    }

    fn open(&self, operation: &'static str) -> Result<&Arc<Router>> {
        if self.0.closed.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Closed, operation, "the node is closed"));
        }
        Ok(&self.0.router)
    }

    async fn start_services(&self) -> Result<()> {
        let services = lock(&self.0.services).clone();
        for (_, service) in services {
            if let Err(error) = service.start(self.clone()).await {
                // The error that matters is the service's own.
                let _ = self.close().await;
                return Err(error);
            }
        }
        Ok(())
    }

    /// The node's own id.
    pub fn peer_id(&self) -> PeerId {
        self.core().me
    }

    /// The network it belongs to.
    pub fn network(&self) -> &NetworkId {
        &self.core().network
    }

    /// The limits it keeps.
    pub fn limits(&self) -> &Limits {
        &self.core().limits
    }

    /// A service by its type and the name of its instance, such as a ledger that the configuration opened. `None` where there
    /// is none, and once the node is closing.
    pub fn service<S: Service>(&self, name: &str) -> Option<Arc<S>> {
        let services = lock(&self.0.services);
        let mut named = services.iter().filter(|(instance, _)| instance == name);
        named.find_map(|(_, service)| (Arc::clone(service) as Arc<dyn Any + Send + Sync>).downcast().ok())
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.core().store
    }

    /// Where others can dial it, with `/p2p/` and its id, over all transports.
    pub fn listen_addrs(&self) -> Vec<Multiaddr> {
        let own = Protocol::P2p(self.peer_id());
        let addrs = self.0.router.transports.iter().flat_map(|mounted| mounted.transport.listen_addrs());
        addrs.map(|addr| addr.with(own.clone())).collect()
    }

    /// Connects to a peer. `Ok` means that both ends admitted each other.
    ///
    /// # Errors
    /// `Unreachable`, `Unauthorized` with the reason, `Config` for an address that no transport dials or the node's own,
    /// `NotFound` for a bare peer id whose addresses are not known, `Closed`.
    ///
    /// # Cancel safety
    /// Dropping the future gives the attempt up.
    pub async fn connect(&self, addr: &PeerAddr) -> Result<Remote> {
        self.open("connect")?.connect(addr).await
    }

    /// Ends the links to a remote on all transports; they are not restored until either end dials again.
    ///
    /// # Errors
    /// `Closed`.
    pub async fn disconnect(&self, remote: &Remote) -> Result<()> {
        self.open("disconnect")?.disconnect_everywhere(remote).await;
        Ok(())
    }

    /// Disconnects a remote and keeps it out for an hour, or until [`forgive`](Self::forgive).
    pub fn ban(&self, remote: &Remote) {
        self.core().reputation.ban(remote);
        self.core().banned(remote);
    }

    /// Forgets everything a remote did.
    pub fn forgive(&self, remote: &Remote) {
        self.core().reputation.forgive(remote);
    }

    /// Replaces who may connect and publish, as a ledger does at an epoch. Peers that are no longer admitted are
    /// disconnected.
    ///
    /// # Errors
    /// `Closed`.
    pub async fn set_membership(&self, membership: Arc<dyn Membership>) -> Result<()> {
        let router = self.open("membership")?;
        *self.core().membership.write().unwrap_or_else(PoisonError::into_inner) = membership;
        let mut remotes = self.core().links.remotes();
        for mounted in &router.transports {
            // One that cannot tell whom it has told us of their links.
            let peers = mounted.transport.peers().await.unwrap_or_default();
            remotes.extend(peers.into_iter().map(|peer| peer.remote));
        }
        for remote in remotes {
            if remote.peer().is_some_and(|id| !self.core().admits(id)) {
                router.disconnect_everywhere(&remote).await;
            }
        }
        Ok(())
    }

    /// Publishes a payload on a topic. One at a time for a topic; a second call waits.
    ///
    /// `Ok` means that our own validators accepted it and the transports took it; [`Published`] tells how far it went. When
    /// nobody is there it is kept for a while and sent to the first who joins.
    ///
    /// # Errors
    /// `TooLarge` above the block limit, `Rejected` when our own validators refuse it, `Unsupported` without a broadcast
    /// transport, `Closed`; what a transport answers when none took it.
    ///
    /// # Cancel safety
    /// Dropping the future leaves it open whether it was published.
    pub async fn publish(&self, topic: &Topic, payload: impl Into<Bytes> + Send) -> Result<Published> {
        self.open("publish")?.publish(topic, payload.into(), None).await
    }

    /// As [`publish`](Self::publish), for a message that follows others than its author's previous one: at most 64, in any
    /// order, and none at all where it begins something. On a ledger these are the heads that its author knows.
    ///
    /// # Errors
    /// As [`publish`](Self::publish); `TooLarge` above 64 of them, `Rejected` where one is no message id.
    ///
    /// # Cancel safety
    /// Dropping the future leaves it open whether it was published.
    pub async fn publish_following(
        &self,
        topic: &Topic,
        payload: impl Into<Bytes> + Send,
        parents: Vec<Cid>,
    ) -> Result<Published> {
        self.open("publish")?.publish(topic, payload.into(), Some(parents)).await
    }

    /// Reads the messages of a topic that are accepted from now on.
    ///
    /// # Errors
    /// What a transport answers to the joining, `Closed`.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn subscribe(&self, topic: &Topic) -> Result<Subscription> {
        let router = self.open("subscribe")?;
        let reader = self.core().subscriptions.add(self.core(), topic);
        Ok(Subscription::new(reader, router.gain_interest(topic).await?))
    }

    /// Waits until so many peers take part in a topic, joined here or not. Give it a deadline with `tokio::time::timeout`.
    ///
    /// # Errors
    /// `Closed`.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn ready(&self, topic: &Topic, peers: usize) -> Result<()> {
        self.open("ready")?.ready(topic, peers).await
    }

    /// The remotes that take part in a topic, over all broadcast transports.
    ///
    /// # Errors
    /// What a transport answers, `Closed`.
    pub async fn topic_peers(&self, topic: &Topic) -> Result<Vec<Remote>> {
        let mut remotes = Vec::new();
        for mounted in self.open("topic_peers")?.broadcasters() {
            if let Some(broadcast) = mounted.transport.broadcast() {
                remotes.extend(broadcast.topic_peers(topic).await?);
            }
        }
        remotes.sort_unstable();
        remotes.dedup();
        Ok(remotes)
    }

    /// Sets the rules of a topic; for whoever owns it, before it is used. Rules that [`TopicRules::check`] refuses count as far
    /// as they go together.
    ///
    /// Where bounds of what is kept are new, what the topic keeps is looked through in the background.
    pub fn set_rules(&self, topic: Topic, rules: TopicRules) {
        self.core().topics.set(topic.clone(), rules);
        self.core().rules_changed(topic, rules);
    }

    /// Passes a message that was fetched later through the gate. It is neither relayed nor is its clock checked.
    ///
    /// Never answers `Defer`: what it waits for is fetched, or it ends as `Ignore`.
    ///
    /// The future does not keep the node open.
    ///
    /// # Cancel safety
    /// Dropping the future cancels nothing.
    pub fn admit(
        &self,
        topic: &Topic,
        bytes: Bytes,
        from: Option<Remote>,
    ) -> impl Future<Output = Verdict> + Send + use<> {
        let (core, topic) = (Arc::clone(self.core()), topic.clone());
        async move { core.admit(&topic, bytes, from, None).await }
    }

    /// What happens to the node from now on.
    pub fn events(&self) -> Events {
        self.core().events.listen()
    }

    /// Tells everybody of two messages that one author signed with one number on one topic, as [`Event::Equivocation`]; nothing
    /// where the second was told before, as when the node found out itself, or where they are no such two. For whoever knows
    /// more messages than the node remembers, as a ledger does.
    pub fn tell_equivocation(&self, first: &Message, second: &Message) {
        let names = |message: &Message| (message.author().copied(), message.topic().clone(), message.seqno());
        if first.author().is_some() && first.id() != second.id() && names(first) == names(second) {
            self.core().equivocation(first, second);
        }
    }

    /// Stores blocks, durable when this returns, and hands them to transports that serve from a store of their own; where
    /// another transport serves them, it does not wait for that.
    ///
    /// They stay until the next [`collect_garbage`](Self::collect_garbage), unless something holds them: pin their root first
    /// and put all of them in one call, or [`hold`](Self::hold) them until it is pinned.
    ///
    /// # Errors
    /// `TooLarge` above the block limit, `Full`, `Closed`. Where transports that serve from a store of their own refuse a
    /// block, and no other one serves it, what one of them answers, such as `Unreachable` or `Full`: all blocks are stored
    /// then, and the node hands them over as soon as it can.
    ///
    /// # Cancel safety
    /// Dropping the future leaves it open which were stored; each is there whole or not at all.
    pub async fn put_blocks(&self, blocks: &[Block]) -> Result<()> {
        self.open("put")?.put_blocks(blocks).await
    }

    /// Pins a block and all under it, and announces it where the transport announces.
    ///
    /// # Errors
    /// What the store answers, `Closed`.
    pub async fn pin(&self, cid: &Cid, owner: Owner) -> Result<()> {
        let router = self.open("pin")?;
        self.store().pin(&Pin::recursive(*cid, owner)).await?;
        router.announce(cid).await;
        Ok(())
    }

    /// One block: from the store, or fetched, checked, judged and stored. `hints` are peers that probably have it.
    ///
    /// # Errors
    /// The stage that failed: `NoPeers`, `NotFound` (no provider), `Unreachable` (dial), `Timeout` (stalled), `Integrity`
    /// (wrong bytes from all); `Rejected` for a CID that proves nothing or a block that a validator refuses; `Closed`.
    ///
    /// # Cancel safety
    /// Safe; the transfer ends when nobody waits for it any more.
    pub async fn block(&self, cid: &Cid, hints: Vec<PeerId>) -> Result<Block> {
        let router = self.open("block")?;
        Ok(router.block(cid, hints, self.limits().fetch_deadline).await?.0)
    }

    /// One block as [`block`](Self::block) finds it, with whoever sent it; hashed, but neither judged nor stored. For what has to
    /// pass the gate first: a message. The future does not keep the node open.
    ///
    /// # Errors
    /// As [`block`](Self::block), without `Rejected` by a validator.
    ///
    /// # Cancel safety
    /// Safe; the transfer ends when nobody waits for it any more.
    pub fn fetch(
        &self,
        cid: &Cid,
        hints: Vec<PeerId>,
    ) -> impl Future<Output = Result<Received>> + Send + use<> {
        let (router, cid) = (self.open("fetch").cloned(), *cid);
        async move {
            let router = router?;
            let (deadline, limit) = (router.core.limits.fetch_deadline, router.core.limits.block_bytes);
            let (block, from) = router.fetch_unstored(&cid, hints, deadline, limit).await?;
            Ok(Received { block, from })
        }
    }

    /// A message that was kept, from the store alone, with its linked payload; `None` where it is not there. Its form and its
    /// signature are checked again: the store also holds blocks that never passed the gate.
    ///
    /// # Errors
    /// `Integrity` where the block is no message of this network, or its author did not sign it; what the store answers.
    pub async fn message(&self, id: &MessageId) -> Result<Option<Message>> {
        self.core().kept(id).await
    }

    /// Fetches a DAG block by block as it lands, each checked and judged, none of them stored. Neither the future nor the stream
    /// keeps the node open.
    ///
    /// # Errors
    /// `Unsupported` when no transport brings a DAG in one request, `NoPeers`, `NotFound`, `Closed`.
    ///
    /// # Cancel safety
    /// Dropping the future or the stream cancels the transfer.
    pub fn fetch_dag(&self, want: WantDag) -> impl Future<Output = Result<Blocks>> + Send + use<> {
        let router = self.open("fetch_dag").cloned();
        async move { router?.fetch_dag(want).await }
    }

    /// Fetches everything under a CID that is not in the store yet, into the store.
    pub fn get(&self, cid: &Cid, options: GetOptions) -> Get {
        Get::begin(self.open("get").cloned(), *cid, options)
    }

    /// Ends everything in order: services, topics, transports, tasks, store. Takes a few seconds at most. Idempotent.
    ///
    /// # Errors
    /// What could not be ended cleanly; the node is closed all the same.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the node half closed; call it again to go on. Whoever calls it meanwhile waits for the
    /// first.
    pub async fn close(&self) -> Result<()> {
        self.0.closed.store(true, Ordering::Release);
        let mut done = self.0.closing.lock().await;
        if *done {
            return Ok(());
        }
        let mut failed = None;
        let services = std::mem::take(&mut *lock(&self.0.services));
        for (_, service) in services.iter().rev() {
            note(&mut failed, "stop a service", tokio::time::timeout(CLOSING, service.stop()).await);
        }
        let leaving = async {
            for topic in self.core().topics.joined() {
                self.0.router.leave(&topic).await;
            }
            Ok(())
        };
        note(&mut failed, "leave the topics", tokio::time::timeout(CLOSING, leaving).await);
        let closing = self.0.router.transports.iter().map(|mounted| mounted.transport.close());
        let closing = async { futures::future::join_all(closing).await.into_iter().collect::<Result<()>>() };
        note(&mut failed, "close the transports", tokio::time::timeout(CLOSING, closing).await);
        let left = self.core().tasks.end(CLOSING).await;
        if left > 0 {
            tracing::warn!(left, "tasks did not end in time");
        }
        self.core().subscriptions.end();
        self.core().events.end();
        let storing = async {
            self.core().save().await;
            self.store().close().await
        };
        note(&mut failed, "close the store", tokio::time::timeout(CLOSING, storing).await);
        lock(&self.0.data).take();
        *done = true;
        failed.map_or(Ok(()), Err)
    }
}

/// Keeps the first failure of closing.
fn note(
    failed: &mut Option<Error>,
    what: &'static str,
    closed: Result<Result<()>, tokio::time::error::Elapsed>,
) {
    let error = match closed {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error,
        Err(_) => Error::new(ErrorKind::Timeout, "close", format!("could not {what} in time")),
    };
    tracing::warn!(%error, "closing");
    failed.get_or_insert(error);
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({} in {})", self.peer_id(), self.network())
    }
}

//! What a node shows one transport.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use cid::Cid;
use futures::FutureExt as _;
use futures::future::Either;
use futures::stream::BoxStream;
use libp2p_identity::{Keypair, PeerId};
use multiaddr::Multiaddr;

use super::core::Core;
use super::gate::Ticket;
use super::handover::Owed;
use super::serve::Share;
use super::tap::Tap;
use crate::{
    BroadcastCaps, Capabilities, Limits, NetworkId, PeerRecord, RelayGate, Remote, Result, Time, Topic,
    WantDag,
};

/// The node's side of the contract: one handle for each transport instance, so the node knows who asks.
///
/// Every rule (signature, content hash, membership, validation, duplicate, limit, reputation) is behind it, written
/// once. Cloning is cheap.
#[derive(Clone)]
pub struct Host {
    pub(super) core: Arc<Core>,
    pub(super) mount: Mount,
    tap: Option<Arc<(Host, Arc<dyn Tap>)>>,
}

/// A transport instance, as the gate and the counters know it.
#[derive(Clone, Debug)]
pub(crate) struct Mount {
    pub(crate) name: Arc<str>,
    /// Its place among the node's transports; at most 64 of them.
    pub(crate) index: u8,
    /// Known once it is open.
    pub(crate) capabilities: Arc<OnceLock<Capabilities>>,
    /// Blocks that are to be handed over to it.
    pub(crate) owed: Arc<Owed>,
    /// Whether the message in hand came from somebody who need not judge what he passes on.
    pub(crate) unjudged: bool,
}

impl Mount {
    pub(crate) fn new(name: &str, index: u8) -> Self {
        Self { name: name.into(), index, capabilities: Arc::default(), owed: Arc::default(), unjudged: false }
    }

    /// Its place as a bit.
    pub(crate) fn bit(&self) -> u64 {
        1 << self.index
    }

    fn broadcast(&self) -> Option<&BroadcastCaps> {
        self.capabilities.get()?.broadcast.as_ref()
    }

    /// How long it holds a message while the gate judges.
    pub(crate) fn hold(&self) -> Duration {
        self.broadcast().map_or(Duration::from_secs(30), |caps| caps.hold_verdict)
    }

    /// Whether whoever sends us a message over it passes it on only after that was judged.
    pub(crate) fn relays_after_verdict(&self) -> bool {
        self.broadcast().is_none_or(|caps| caps.relay == RelayGate::AfterVerdict)
    }

    /// Whether whoever sent us the message in hand had to judge it first, and is to blame for it.
    pub(crate) fn had_to_judge(&self) -> bool {
        self.relays_after_verdict() && !self.unjudged
    }
}

/// A message as it arrived.
#[derive(Clone, Debug)]
pub struct Inbound {
    /// The link it came over.
    pub from: Remote,
    /// The topic the wire says it is on; the one inside the envelope must be the same.
    pub topic: Topic,
    /// The envelope, or on a raw topic the payload.
    pub bytes: Bytes,
    /// The wire's own number for it, where it has one.
    pub wire_id: Option<Bytes>,
}

/// What a transport is told to do with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Relay {
    /// Pass it on. Answered once for each message and transport.
    Accept,
    /// This transport relayed it already.
    Duplicate,
    /// Drop it, nobody is to blame; or the answer comes too late to hold it for.
    Ignore,
    /// Drop it; the node has taken note of who sent it.
    Reject,
}

/// What a remote did wrong, as a transport sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Misdeed {
    /// Frames that break the wire format.
    Malformed,
    /// Bytes that do not match their address.
    WrongBytes,
    /// More than anybody needs.
    Spam,
    /// Harmless once, such as joining a topic and leaving it again. A remote has 1,024 of it free, or four for
    /// each of [`topics_per_peer`](Limits::topics_per_peer), later 32 more each second and one more for each message that is
    /// accepted; beyond that it counts as [`Spam`](Self::Spam).
    Needless,
    /// It said it would and did not.
    BrokenPromise,
    /// It stopped in the middle, or kept a request waiting for [`fetch_idle`](Limits::fetch_idle). Blamed once in that time,
    /// however many requests wait. Not for what our own part of the wire, or a way that is dead, may have held up; nor for
    /// messages that it does not take, because its gate may be full.
    Stalled,
}

impl Misdeed {
    pub(crate) fn counter(self) -> &'static str {
        match self {
            Self::Malformed => "misdeed_malformed",
            Self::WrongBytes => "misdeed_wrong_bytes",
            Self::Spam => "misdeed_spam",
            Self::Needless => "needless",
            Self::BrokenPromise => "misdeed_broken_promise",
            Self::Stalled => "misdeed_stalled",
        }
    }
}

/// What a transport tells its node.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Notice {
    /// A remote is connected and admitted.
    Up(Remote, Vec<Multiaddr>),
    /// It is not any more.
    Down(Remote),
    /// A remote takes part in a topic.
    Joined(Remote, Topic),
    /// It does not any more.
    Left(Remote, Topic),
    /// The wire lost messages of a topic, or of all.
    Gap {
        /// Which topic; `None` for all.
        topic: Option<Topic>,
        /// How many, where known.
        missed: Option<u64>,
    },
    /// The addresses it listens on changed.
    Listening(Vec<Multiaddr>),
    /// Messages from or to a remote were dropped in this process.
    Dropped {
        /// The link.
        remote: Remote,
        /// How many.
        count: u64,
    },
    /// A backend that serves from a store of its own may have lost blocks: the node provides all that it keeps again.
    Forgot,
    /// Something else that `status` shows changed.
    Changed,
}

/// Room in the gate for one message. Take it before reading the next frame, so that a full gate slows the sender down.
///
/// Dropping it gives the room back.
#[derive(Debug)]
pub struct Slot {
    pub(super) host: Host,
    pub(super) ticket: Ticket,
    unjudged: bool,
}

impl Slot {
    /// The host whose gate it is room in.
    #[cfg(any(test, feature = "conformance"))]
    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    /// One that takes no room: what a broken transport delivers with that asked for none.
    #[cfg(any(test, feature = "conformance"))]
    pub(crate) fn forged(host: &Host) -> Option<Self> {
        Some(Self { ticket: Ticket::forged()?, host: host.clone(), unjudged: false })
    }

    /// The same room for a message whose sender judges nothing that he passes on, such as somebody else's program on the wire: he
    /// is not blamed for what is refused. A forged or bad message is its proven author's fault alone.
    pub fn unjudged(self) -> Self {
        Self { unjudged: true, ..self }
    }

    /// Hands a message to the gate and waits for the verdict, at most as long as the transport's
    /// [`hold_verdict`](crate::BroadcastCaps::hold_verdict); after that it answers `Ignore`, and the node publishes the
    /// message with [`Lane::Relay`](crate::Lane::Relay) if it is accepted later.
    ///
    /// Messages of one author on one topic are handed out in the order in which `deliver` was called, so call it in the
    /// order of arrival; the futures may be awaited in any order, and concurrently.
    ///
    /// # Cancel safety
    /// Safe: the node goes on without the caller.
    pub fn deliver(self, inbound: Inbound) -> impl Future<Output = Relay> + Send + Unpin + 'static {
        match self.host.tap() {
            Some((behind, tap)) => {
                let slot = Self { host: behind.clone(), ..self };
                Either::Left(tap.deliver(slot, inbound))
            }
            None => {
                let mount = Mount { unjudged: self.unjudged, ..self.host.mount.clone() };
                Either::Right(self.host.core.clone().deliver(mount, self.ticket, inbound))
            }
        }
    }
}

/// A block on its way to a peer. Holds its share of serving memory until it is dropped: keep it until the bytes left, or
/// hand [its bytes](Served::into_bytes) to a wire that keeps them itself.
#[derive(Debug)]
pub struct Served {
    pub(super) bytes: Bytes,
    pub(super) _share: Share,
}

impl Served {
    /// What to send.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The bytes, which hold the share until the last copy of them is dropped: for a wire that keeps them until the far
    /// end has them.
    pub fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }

    /// Other bytes under the same share.
    #[cfg(any(test, feature = "conformance"))]
    pub(crate) fn with_bytes(self, bytes: Bytes) -> Self {
        Self { bytes, ..self }
    }
}

impl AsRef<[u8]> for Served {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The blocks of a DAG on their way to a peer, breadth first.
pub type ServedStream = BoxStream<'static, Result<(Cid, Served)>>;

impl Host {
    pub(super) fn new(core: Arc<Core>, mount: Mount) -> Self {
        Self { core, mount, tap: None }
    }

    /// The same host with something in between: what is done with it is told to `tap` first.
    pub fn tapped(&self, tap: Arc<dyn Tap>) -> Self {
        Self { tap: Some(Arc::new((self.clone(), tap))), ..self.clone() }
    }

    /// The host behind, and what stands before it.
    fn tap(&self) -> Option<(&Self, &dyn Tap)> {
        self.tap.as_deref().map(|(host, tap)| (host, &**tap))
    }

    /// The node's identity key. For handshakes; a transport signs nothing else with it.
    pub fn keypair(&self) -> &Keypair {
        &self.core.key
    }

    /// The node's own id.
    pub fn me(&self) -> PeerId {
        self.core.me
    }

    /// The network; peers of another one never get past the handshake.
    pub fn network(&self) -> &NetworkId {
        self.tap().map_or(&self.core.network, |(host, tap)| tap.network(host))
    }

    /// The node's limits.
    pub fn limits(&self) -> &Limits {
        self.tap().map_or(&self.core.limits, |(host, tap)| tap.limits(host))
    }

    /// The name of the transport instance that holds this handle.
    pub fn instance(&self) -> &str {
        &self.mount.name
    }

    /// The time, from the node's clock.
    pub fn now(&self) -> Time {
        self.core.clock.now()
    }

    /// Whether there is serving memory for one more block of an asker.
    pub(crate) fn has_room_for(&self, asker: &Remote) -> bool {
        self.core.has_room_for(asker)
    }

    /// A number from the node's generator, which a seeded run repeats: for jitter and choices, never for secrets.
    pub fn random(&self) -> u64 {
        self.core.random()
    }

    /// Whether payloads travel bare on a topic. A message of such a topic is named by what its wire calls it, so that to publish
    /// it again makes another one.
    pub fn is_raw(&self, topic: &Topic) -> bool {
        self.core.topics.is_raw(topic)
    }

    /// Whether a peer may be connected: membership and bans. Not async, because TLS asks inside the handshake.
    pub fn admits(&self, peer: &PeerId) -> bool {
        self.tap().map_or_else(|| self.core.admits(peer), |(host, tap)| tap.admits(host, peer))
    }

    /// Whether messages go to a remote and are taken from it: false when its reputation is low.
    pub fn relays_to(&self, remote: &Remote) -> bool {
        let judge = || self.core.reputation.relays(remote);
        self.tap().map_or_else(judge, |(host, tap)| tap.relays_to(host, remote))
    }

    /// Waits for room in the gate. Take it before reading the next frame.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn slot(&self, from: &Remote) -> Slot {
        let ticket = match self.tap() {
            Some((host, tap)) => tap.slot(host, from).await.ticket,
            None => self.core.gate.ticket(from).await,
        };
        Slot { ticket, host: self.clone(), unjudged: false }
    }

    /// Room in the gate if there is some now: for wires that cannot wait. `None` is counted as shed.
    pub fn try_slot(&self, from: &Remote) -> Option<Slot> {
        if let Some((host, tap)) = self.tap() {
            let ticket = tap.try_slot(host, from)?.ticket;
            return Some(Slot { ticket, host: self.clone(), unjudged: false });
        }
        let ticket = self.core.gate.try_ticket(from);
        if ticket.is_none() {
            self.core.counters.count(&self.mount.name, "shed");
        }
        Some(Slot { ticket: ticket?, host: self.clone(), unjudged: false })
    }

    /// Our own signed record, for the handshake.
    pub fn record(&self) -> PeerRecord {
        self.core.record()
    }

    /// A record of another peer, and whose link it came over. The newest of each admitted peer is kept: its own from itself
    /// within one bound, what others passed on within another, both [`Limits::known_peers`].
    ///
    /// Answers whether it was news and is kept: then it is worth passing on.
    pub fn learn(&self, from: &Remote, record: PeerRecord) -> bool {
        match self.tap() {
            Some((host, tap)) => tap.learn(host, from, record),
            None => self.core.learn(from, record),
        }
    }

    /// Where a peer listens, as any transport learnt it.
    pub fn addresses(&self, peer: &PeerId) -> Vec<Multiaddr> {
        self.core.book.addresses(peer)
    }

    /// Records of other peers, at most `limit`, to pass on: of those that gave us their own first, then what others passed
    /// on; of either the most recent first.
    pub fn records(&self, limit: usize) -> Vec<PeerRecord> {
        self.core.book.records(limit)
    }

    /// A block for a peer that asks for it; waits for serving memory. `None` when we have it not.
    ///
    /// # Errors
    /// What the store answers; `Busy` when serving memory stayed full for half of
    /// [`fetch_idle`](Limits::fetch_idle).
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn block(&self, asker: &Remote, cid: &Cid) -> Result<Option<Served>> {
        match self.tap() {
            Some((host, tap)) => tap.block(host, asker, cid).await,
            None => self.core.serve_block(asker, cid).await,
        }
    }

    /// Whether we have a block.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn has(&self, asker: &Remote, cid: &Cid) -> Result<bool> {
        match self.tap() {
            Some((host, tap)) => tap.has(host, asker, cid).await,
            None => self.core.serve_has(asker, cid).await,
        }
    }

    /// The walk of a DAG for a peer that asks for it: breadth first, each block once, nothing that is under `have`.
    ///
    /// Ends with `NotFound` at a block that we have not, with `TooLarge` at `limit_bytes`, and with `Busy` when serving
    /// memory stayed full or the walks remember as many blocks as they may. A block whose links cannot be read is sent
    /// like a leaf.
    pub fn dag(&self, asker: Remote, want: WantDag) -> ServedStream {
        match self.tap() {
            Some((host, tap)) => tap.dag(host, asker, want),
            None => self.core.clone().serve_dag(asker, want),
        }
    }

    /// Blames a remote: its reputation falls by the weight of the misdeed.
    pub fn report(&self, who: &Remote, misdeed: Misdeed) {
        match self.tap() {
            Some((host, tap)) => tap.report(host, who, misdeed),
            None => self.core.report(&self.mount, who, misdeed),
        }
    }

    /// Tells the node what happened on the wire.
    pub fn notice(&self, notice: Notice) {
        match self.tap() {
            Some((host, tap)) => tap.notice(host, notice),
            None => self.core.notice(&self.mount, notice),
        }
    }

    /// Counts `n` events under this instance's name, for `status`.
    pub fn count(&self, what: &'static str, n: u64) {
        self.core.counters.add(&self.mount.name, what, n);
    }

    /// Notes how much is in a bounded queue of this instance now, for `status`: the most is remembered.
    pub fn peak(&self, what: &'static str, held: usize, limit: usize) {
        self.core.peaks.note(&self.mount.name, [(what, held, limit)]);
    }

    /// Notes what was found out about what is behind this instance, for `status`: a name such as `version`, and at most 300
    /// characters. What was known under that name before goes.
    pub fn fact(&self, what: &'static str, value: &str) {
        self.core.facts.note(&self.mount.name, what, value);
    }

    /// Runs a task that the node tracks and cancels together with all others.
    ///
    /// A task must not hold the transport itself, or the last handle never goes.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        match self.tap() {
            Some((host, tap)) => tap.spawn(host, task.boxed()),
            None => self.core.tasks.spawn(task),
        }
    }

    /// How long to wait before the `attempt`-th try of something that failed: from 0.5 s, doubling to 30 s, with jitter.
    pub fn backoff(&self, attempt: u32) -> Duration {
        let ceiling =
            Duration::from_millis(500).saturating_mul(1 << attempt.min(6)).min(Duration::from_secs(30));
        let half = ceiling / 2;
        // In whole milliseconds, as timers are: a seeded run repeats exactly.
        half + Duration::from_millis(self.random() % (half.as_millis() as u64 + 1))
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Host({} on {})", self.mount.name, self.core.me)
    }
}

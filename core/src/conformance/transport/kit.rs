//! The wire that is tried, and nodes on it.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use libp2p_identity::Keypair;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};

use super::foe::{Gutted, StandIn};
use super::member::{Member, absent_parts};
use super::probe::Probe;
use super::{Fixture, RawWire, Setup, Wrapped, Wrapper};
use crate::types::{Body, Draft};
use crate::{
    Block, Clock, ErrorKind, Event, Events, Identity, Inbound, Lane, Limits, Message, Multiaddr, NetworkId,
    Node, NodeBuilder, Outgoing, PeerAddr, PeerRecord, Receipt, Relay, Result, Slot, Subscription, Tap, Time,
    Topic, Transport,
};

/// A wire and the nodes opened on it, for one case.
#[derive(Debug)]
pub struct Kit {
    pub(super) fixture: Arc<dyn Fixture>,
    network: NetworkId,
    seed: u64,
    began: Instant,
    opened: AtomicU8,
    by_hand: bool,
    /// Every transport that the fixture gave; none may be given again.
    given: Mutex<Vec<Weak<dyn Transport>>>,
}

/// When every case begins.
const DAY: Time = Time(1_700_000_000_000);

/// Real or paused time, from a fixed day on.
#[derive(Debug)]
struct Day(Instant);

impl Clock for Day {
    fn now(&self) -> Time {
        Time(DAY.as_millis() + self.0.elapsed().as_millis() as u64)
    }
}

/// What a transport delivers, in the order in which it does.
pub(super) type Overheard = mpsc::UnboundedReceiver<Inbound>;

/// Tells what is delivered, and lets it through.
#[derive(Debug)]
struct Ear(mpsc::UnboundedSender<Inbound>);

impl Tap for Ear {
    fn deliver(&self, slot: Slot, inbound: Inbound) -> BoxFuture<'static, Relay> {
        // Fails where the case is done with listening.
        let _ = self.0.send(inbound.clone());
        slot.deliver(inbound).boxed()
    }
}

impl Wrapper for Ear {}

impl Kit {
    pub(super) fn begin(fixture: impl Fixture, seed: u64) -> Self {
        // Daemons may be shared by cases: what they carry must not mix.
        let network = NetworkId::new(format!("kit-{:016x}", rand::random::<u64>())).expect("a network");
        Self {
            fixture: Arc::new(fixture),
            network,
            seed,
            began: Instant::now(),
            opened: AtomicU8::new(0),
            by_hand: false,
            given: Mutex::default(),
        }
    }

    /// As this one, for nodes that are [linked by hand](Setup::by_hand).
    pub(super) fn by_hand(&self) -> Self {
        Self {
            fixture: Arc::clone(&self.fixture),
            network: self.network.clone(),
            // Their keys are not those of nodes of this one, which may run still.
            opened: AtomicU8::new(128),
            by_hand: true,
            given: Mutex::default(),
            ..*self
        }
    }

    fn number(&self) -> u8 {
        self.opened.fetch_add(1, Ordering::Relaxed)
    }

    fn key(&self, number: u8) -> Keypair {
        let mut secret = [number + 1; 32];
        secret[..8].copy_from_slice(&self.seed.to_be_bytes());
        Keypair::ed25519_from_bytes(secret).expect("32 bytes are a key")
    }

    fn builder_of(&self, number: u8) -> NodeBuilder {
        let seed = self.seed.wrapping_add(number.into());
        let builder = Node::builder().network(self.network.clone()).identity(self.key(number));
        builder.seed(seed).clock(Day(self.began))
    }

    /// What a node of this wire is made of, if nothing about it is special.
    pub(super) fn builder(&self) -> NodeBuilder {
        self.builder_of(self.number())
    }

    /// As [`builder`](Self::builder), for a node that is opened again and again with one key.
    pub(super) fn lives(&self) -> impl Fn() -> NodeBuilder {
        let number = self.number();
        move || self.builder_of(number)
    }

    /// A message whose author is on no wire, to be handed to a transport past its node.
    pub(super) fn envelope(&self, topic: &Topic, payload: &'static str) -> Outgoing {
        let draft = Draft {
            network: &self.network,
            topic,
            seqno: 1,
            time: DAY,
            parents: vec![],
            body: Body::Inline(payload.into()),
        };
        let message = draft.sign(&self.key(self.number())).expect("a key signs");
        let bytes = message.encoded().clone();
        Outgoing { id: *message.id(), topic: topic.clone(), bytes, lane: Lane::Own }
    }

    /// A node that nobody is connected to.
    pub(super) async fn node(&self) -> Member {
        self.open(self.builder(), Setup::default()).await
    }

    /// As [`node`](Self::node), with something special about it.
    pub(super) async fn node_with(&self, change: impl FnOnce(NodeBuilder) -> NodeBuilder) -> Member {
        self.open(change(self.builder()), Setup::default()).await
    }

    /// A node, and what its transport delivers to it.
    pub(super) async fn overheard(&self) -> (Member, Overheard) {
        let (tell, overheard) = mpsc::unbounded_channel();
        (self.node_wrapped(Ear(tell)).await, overheard)
    }

    /// A node that nobody is connected to, with a wrapper round its transport.
    pub(super) async fn node_wrapped(&self, wrapper: impl Wrapper) -> Member {
        self.open_wrapped(self.builder(), wrapper).await
    }

    /// As [`node_wrapped`](Self::node_wrapped), with something special about the node too.
    pub(super) async fn open_wrapped(&self, builder: NodeBuilder, wrapper: impl Wrapper) -> Member {
        let wrapper: Arc<dyn Wrapper> = Arc::new(wrapper);
        opened(self.mount(builder, Setup::default(), Some(wrapper)).await)
    }

    /// As [`node_with`](Self::node_with), with a probe at its transport.
    pub(super) async fn probed(
        &self,
        probe: &Probe,
        change: impl FnOnce(NodeBuilder) -> NodeBuilder,
    ) -> Member {
        self.open_wrapped(change(self.builder()), probe.clone()).await
    }

    /// Opens a node over the wire.
    pub(super) async fn open(&self, builder: NodeBuilder, setup: Setup) -> Member {
        opened(self.mount(builder, setup, None).await)
    }

    async fn mount(
        &self,
        builder: NodeBuilder,
        setup: Setup,
        wrapper: Option<Arc<dyn Wrapper>>,
    ) -> Result<Member> {
        let fixture = Arc::clone(&self.fixture);
        let setup = Setup { by_hand: self.by_hand, ..setup };
        let (tell, told) = oneshot::channel();
        let mounted = builder.mount_dyn("tried", move |host| async move {
            let transport: Arc<dyn Transport> = match wrapper {
                None => fixture.open(host, setup).await?,
                Some(wrapper) => {
                    Arc::new(Wrapped::open(wrapper, host, |host| fixture.open(host, setup)).await?)
                }
            };
            // Nobody listens where the node fails to open for another reason.
            let _ = tell.send(Arc::clone(&transport));
            Ok(transport)
        });
        let node = mounted.open().await?;
        let transport = told.await.expect("it was mounted");
        self.check_new(&transport);
        Ok(Member { node, transport })
    }

    fn check_new(&self, transport: &Arc<dyn Transport>) {
        let weak = Arc::downgrade(transport);
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(
            !given.iter().any(|before| before.ptr_eq(&weak)),
            "the fixture opened fewer nodes than asked: it gave one transport to two of them"
        );
        given.push(weak);
        let absent = absent_parts(&**transport);
        assert!(absent.is_empty(), "the capabilities contradict themselves: {}", absent.join("; "));
    }

    /// Opens a node where an earlier one listened, as soon as that is possible.
    pub(super) async fn reopen(&self, life: impl Fn() -> NodeBuilder, listen: &[Multiaddr]) -> Member {
        let opening = async {
            loop {
                let setup = Setup { listen: listen.to_vec(), ..Setup::default() };
                match self.mount(life(), setup, None).await {
                    Ok(member) => return member,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Config, "{error}"),
                }
                sleep(Duration::from_millis(1)).await;
            }
        };
        self.soon("that an address is free again", opening).await
    }

    /// Has backends take away what nobody holds there any more.
    pub(super) async fn collect_garbage(&self) {
        self.fixture.collect_garbage().await;
    }

    /// A node that dials another one by itself; both know of the link.
    pub(super) async fn bootstrapped(&self, far: &Member) -> Member {
        let mut of_far = far.events();
        let setup = Setup { bootstrap: vec![far.addr()], ..Setup::default() };
        let near = self.open(self.builder(), setup).await;
        let mut of_near = near.events();
        if near.caps().identity == Identity::Peer {
            self.until_linked(&mut of_near, &near, far).await;
            self.until_linked(&mut of_far, far, &near).await;
        } else {
            self.fixture.settle().await;
        }
        near
    }

    /// One node on two wires, as each of them sees it.
    pub(super) async fn bridge(&self) -> [Member; 2] {
        let mut transports = Vec::new();
        let mut builder = self.builder();
        for name in ["one", "other"] {
            let fixture = Arc::clone(&self.fixture);
            let setup = Setup { by_hand: self.by_hand, ..Setup::default() };
            let (tell, told) = oneshot::channel();
            builder = builder.mount_dyn(name, move |host| async move {
                let transport = fixture.open(host, setup).await?;
                let _ = tell.send(Arc::clone(&transport));
                Ok(transport)
            });
            transports.push(told);
        }
        let node = builder.open().await.unwrap_or_else(|error| panic!("the fixture opened no node: {error}"));
        let mut members = Vec::new();
        for told in transports {
            let transport = told.await.expect("it was mounted");
            self.check_new(&transport);
            members.push(Member { node: node.clone(), transport });
        }
        members.try_into().expect("two are two")
    }

    /// Breaks the link between two nodes from outside, if the fixture can.
    pub(super) async fn cut(&self, one: &Member, other: &Member) -> bool {
        self.fixture.cut(&one.peer_id(), &other.peer_id()).await
    }

    /// A key of nobody who is on the wire.
    pub(super) fn stranger(&self) -> Keypair {
        self.key(self.number())
    }

    /// The record of a peer that does not exist, by its number.
    pub(super) fn invented(&self, number: u64) -> PeerRecord {
        let secret = [self.seed.to_be_bytes(), number.to_be_bytes()].concat().repeat(2);
        let key = Keypair::ed25519_from_bytes(secret).expect("32 bytes are a key");
        PeerRecord::sign(&key, &self.network, 1, vec![], vec![]).expect("it names no address, so it is short")
    }

    /// A peer that a node takes for honest, unless it refuses it: the fixture's own, else a stand-in.
    pub(super) async fn hostile(&self, to: &Member, key: &Keypair) -> Result<Box<dyn RawWire>> {
        let addr = to.addr();
        let own = self.soon("a hostile peer", self.fixture.hostile(&addr, &self.network, key)).await;
        match own {
            Err(error) if error.kind() == ErrorKind::Unsupported => {}
            own => return own,
        }
        let limits = Limits { topics_per_peer: 4 * to.limits().topics_per_peer, ..Limits::default() };
        let builder = Node::builder().network(self.network.clone()).identity(key.clone()).limits(limits);
        let builder = builder.clock(Day(self.began));
        let member = self.mount(builder, Setup::default(), Some(Arc::new(Gutted))).await?;
        let link = self.soon("a hostile peer", member.transport.dial(&addr)).await?;
        Ok(Box::new(StandIn::new(member, link, self.quiet())))
    }

    /// As [`hostile`](Self::hostile), of whom a node knows nothing bad: `None` where the wire lets nobody speak for a peer.
    pub(super) async fn foe(&self, to: &Member, key: &Keypair) -> Option<Box<dyn RawWire>> {
        match self.hostile(to, key).await {
            Err(error) if error.kind() == ErrorKind::Unsupported => None,
            foe => Some(foe.expect("a stranger is taken")),
        }
    }

    /// A peer that connects and says nothing, if the fixture has one.
    pub(super) async fn half_open(&self, to: &Member) -> Result<Box<dyn RawWire>> {
        let (addr, key) = (to.addr(), self.stranger());
        self.soon("a connection", self.fixture.half_open(&addr, &key)).await
    }

    /// A well-formed address at which nobody answers.
    pub(super) fn nowhere(&self) -> PeerAddr {
        self.fixture.nowhere()
    }

    /// Whether the transport says that it carries no broadcast; then it is asserted to carry none.
    pub(super) async fn lacks_broadcast(&self) -> bool {
        let member = self.node().await;
        let lacks = member.caps().broadcast.is_none();
        if lacks {
            assert_eq!(refusal(member.publish(&topic(), "nowhere").await), ErrorKind::Unsupported);
        }
        lacks
    }

    /// So many nodes, each linked with the next; where nothing is relayed, with all before it.
    pub(super) async fn line(&self, n: usize) -> Vec<Member> {
        let mut members: Vec<Member> = Vec::with_capacity(n);
        for at in 0..n {
            let next = self.node().await;
            let first = if next.never_relays() { 0 } else { at.saturating_sub(1) };
            for before in &members[first..] {
                self.link(before, &next).await;
            }
            members.push(next);
        }
        members
    }

    /// Two nodes that are linked.
    pub(super) async fn pair(&self) -> [Member; 2] {
        self.line(2).await.try_into().expect("two are two")
    }

    /// So many nodes, each linked with each.
    pub(super) async fn mesh(&self, n: usize) -> Vec<Member> {
        let members = self.line(n).await;
        for (at, one) in members.iter().enumerate() {
            for other in members.iter().skip(at + 2) {
                if !one.never_relays() {
                    self.link(one, other).await;
                }
            }
        }
        members
    }

    /// Links two nodes; returns when both know. Where transports do not dial, the wire has linked them.
    pub(super) async fn link(&self, one: &Member, other: &Member) {
        let caps = one.caps();
        if !caps.dials {
            return self.fixture.settle().await;
        }
        let (mut of_one, mut of_other) = (one.events(), other.events());
        let dialled = self.soon("a dial", one.connect(&other.addr())).await;
        if let Err(error) = dialled {
            panic!(
                "a node in reach could not be dialled: {error} (does the fixture open each transport with the host \
                 that it is given, and on one wire?)"
            );
        }
        if caps.identity == Identity::Peer {
            self.until_linked(&mut of_one, one, other).await;
            self.until_linked(&mut of_other, other, one).await;
        } else {
            self.until_any_link(&mut of_one, one).await;
            self.until_any_link(&mut of_other, other).await;
        }
    }

    async fn until_linked(&self, events: &mut Events, near: &Member, far: &Member) {
        let what = format!("a link to {}", far.peer_id());
        self.soon(&what, async {
            while !near.is_linked(&far.peer_id()).await {
                events.next().await.expect("the node is open");
            }
        })
        .await;
    }

    /// Waits until a node has a link: whose it is, none proves.
    async fn until_any_link(&self, events: &mut Events, near: &Member) {
        self.soon("a link", async {
            while near.transport.peers().await.expect("peers").is_empty() {
                events.next().await.expect("the node is open");
            }
        })
        .await;
    }

    /// Waits until a node knows of so many others that they joined a topic.
    pub(super) async fn joined(&self, member: &Member, topic: &Topic, others: usize) {
        // A link that proves no peer may stand for none of them or for many.
        if member.caps().identity != Identity::Peer {
            return self.fixture.settle().await;
        }
        let what = format!("that {others} joined {topic}");
        self.soon(&what, member.ready(topic, others)).await.expect("the node is open");
    }

    /// Waits until a node heard that another left a topic.
    pub(super) async fn left(&self, member: &Member, events: &mut Events) {
        if member.caps().identity != Identity::Peer {
            return self.fixture.settle().await;
        }
        self.event("that one left the topic", events, |event| matches!(event, Event::Left { .. })).await;
    }

    /// Waits until a node has no link to another.
    pub(super) async fn unlinked(&self, near: &Member, far: &Member) {
        let mut events = near.events();
        self.soon("the end of a link", async {
            while near.is_linked(&far.peer_id()).await {
                events.next().await.expect("the node is open");
            }
        })
        .await;
    }

    /// Subscribes every one of them, and waits until each knows of all its neighbours that they did.
    pub(super) async fn subscribe(&self, members: &[Member], topic: &Topic) -> Vec<Subscription> {
        let mut subscriptions = Vec::with_capacity(members.len());
        for member in members {
            subscriptions.push(member.node.subscribe(topic).await.expect("a topic is joined"));
        }
        for member in members.iter().filter(|member| member.caps().broadcast.is_some()) {
            self.all_joined(member, topic).await;
        }
        subscriptions
    }

    /// Waits until a node has heard of all its neighbours that they joined a topic; links may come and go meanwhile.
    async fn all_joined(&self, member: &Member, topic: &Topic) {
        let mut events = member.events();
        let all = async {
            loop {
                let neighbours = member.peers().await.expect("peers").len();
                tokio::select! {
                    () = self.joined(member, topic, neighbours) => return,
                    event = events.next() => drop(event.expect("the node is open")),
                }
            }
        };
        self.soon(&format!("that all neighbours joined {topic}"), all).await;
    }

    /// A message of an author who runs no node; `n` is its number. It follows no other, and is the same each time.
    pub(super) fn letter(&self, n: u64, payload: impl Into<Bytes>) -> Message {
        self.write(n, Body::Inline(payload.into()))
    }

    /// As [`letter`](Self::letter), with its payload in a block of its own.
    pub(super) fn letter_about(&self, n: u64, payload: Block) -> Message {
        self.write(n, Body::Linked(payload))
    }

    fn write(&self, n: u64, body: Body) -> Message {
        let key = Keypair::ed25519_from_bytes([255; 32]).expect("32 bytes are a key");
        let (network, topic) = (&self.network, &topic());
        let draft = Draft { network, topic, seqno: n, time: DAY, parents: vec![], body };
        draft.sign(&key).expect("signs")
    }

    /// Hands a message to a transport past its node, which any message may be, any number of times.
    pub(super) async fn post(&self, member: &Member, message: &Message) -> Receipt {
        let (topic, bytes) = (message.topic().clone(), message.encoded().clone());
        let outgoing = Outgoing { id: *message.id(), topic, bytes, lane: Lane::Own };
        self.soon("publishing", member.broadcast().publish(&outgoing)).await.expect("publishes")
    }
}

/// The node that was to be opened.
fn opened(member: Result<Member>) -> Member {
    member.unwrap_or_else(|error| panic!("the fixture opened no node: {error}"))
}

pub(super) fn topic() -> Topic {
    Topic::new("readings").expect("a topic")
}

pub(super) fn other_topic() -> Topic {
    Topic::new("orders").expect("a topic")
}

/// Why it was refused.
#[track_caller]
pub(super) fn refusal<T>(answer: Result<T>) -> ErrorKind {
    match answer {
        Err(error) => error.kind(),
        Ok(_) => panic!("this had to be refused, and was not"),
    }
}

//! A node of the simulation: it may crash and come back, with what it stored or without.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::iter::from_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use carrick::{
    Block, Clock, Context, Delivery, Event, Events, Keypair, Limits, MemoryStore, MemoryStoreConfig, Message,
    MessageId, Need, NetworkId, Node, PeerAddr, PeerId, Result, SignatureMemo, Store, Subscription, Time,
    Topic, TopicRules, Validator, Verdict, async_trait,
};
use carrick_transport_memory::{MemoryConfig, MemoryNetwork};
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use tokio::time::{Duration, Instant, sleep};

use crate::flaw::Flaw;
use crate::judging::Judging;
use crate::run::Plan;

/// What everybody keeps.
pub(crate) fn log() -> Topic {
    Topic::new("log").expect("a topic")
}

/// What is heard or missed.
pub(crate) fn news() -> Topic {
    Topic::new("news").expect("a topic")
}

/// A clock that can be off.
#[derive(Clone, Debug)]
pub(crate) struct SimClock {
    began: Instant,
    offset: Arc<AtomicI64>,
}

impl SimClock {
    /// Sets by how many milliseconds it is off.
    pub(crate) fn set_off(&self, milliseconds: i64) {
        self.offset.store(milliseconds, Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Time {
        let right = 1_700_000_000_000 + self.began.elapsed().as_millis() as u64;
        Time(right.saturating_add_signed(self.offset.load(Ordering::Relaxed)))
    }
}

/// Messages in the gate of a node: so few that there are often as many.
const GATE: usize = 6;
/// Those of one link.
const GATE_OF_LINK: usize = 2;
/// Messages that a subscriber may lag behind.
const UNREAD: usize = 1_024;
/// How long a message is judged, so that others come meanwhile.
const JUDGING: Duration = Duration::from_millis(20);

/// The rules of the log: nothing that calls itself bad, and nothing before what it follows.
#[derive(Debug)]
struct LogRules(Arc<Judging>);

#[async_trait]
impl Validator for LogRules {
    async fn message(&self, cx: &Context<'_>, message: &Message) -> Verdict {
        let judged = self.0.begin(cx, message);
        if judged.is_some() {
            sleep(JUDGING).await;
        }
        if message.payload().starts_with(b"bad") {
            return Verdict::Reject("it says so".into());
        }
        if *message.topic() != log() {
            return Verdict::Accept;
        }
        let mut missing = Vec::new();
        for parent in message.parents() {
            match cx.store.has(parent).await {
                Ok(true) => {}
                Ok(false) => missing.push(Need::Message(*parent)),
                Err(error) => return Verdict::Ignore(error.to_string().into()),
            }
        }
        if missing.is_empty() { Verdict::Accept } else { Verdict::Defer(missing) }
    }

    async fn block(&self, _: &Context<'_>, _: &Block) -> Verdict {
        Verdict::Accept
    }

    async fn accepted(&self, _: &Context<'_>, _: &Message) -> Result<()> {
        Ok(())
    }
}

/// The key of a node.
pub(crate) fn key(at: u64, seed: u64) -> Keypair {
    let mut secret = [at as u8; 32];
    secret[..8].copy_from_slice(&seed.to_be_bytes());
    Keypair::ed25519_from_bytes(secret).expect("32 bytes are a key")
}

/// A node, in all its lives.
pub(crate) struct Member {
    pub(crate) at: u64,
    key: Keypair,
    /// Whether it follows the rules; one that does not publishes what others reject.
    pub(crate) honest: bool,
    flaw: Option<Flaw>,
    memo: Option<SignatureMemo>,
    bootstrap: Vec<PeerAddr>,
    pub(crate) clock: SimClock,
    store: Arc<MemoryStore>,
    life: Option<Life>,
    /// What was put here and acknowledged since the store was new.
    pub(crate) put: Vec<Block>,
    /// The messages of the log that it said or heard since the store was new.
    pub(crate) known: BTreeSet<MessageId>,
}

struct Life {
    node: Node,
    subscriptions: Vec<Subscription>,
    events: Events,
    judging: Arc<Judging>,
    /// What was handed out.
    heard: BTreeSet<MessageId>,
    said: u64,
}

impl Member {
    /// The last of a plan's nodes is the dishonest one.
    pub(crate) fn new(at: u64, seed: u64, plan: &Plan, bootstrap: &[u64]) -> Self {
        Self {
            at,
            key: key(at, seed),
            honest: at != plan.nodes,
            flaw: plan.flaw,
            memo: plan.memo.clone(),
            bootstrap: bootstrap
                .iter()
                .map(|to| format!("/memory/{to}").parse().expect("an address"))
                .collect(),
            clock: SimClock { began: Instant::now(), offset: Arc::default() },
            store: empty(),
            life: None,
            put: Vec::new(),
            known: BTreeSet::new(),
        }
    }

    pub(crate) fn peer(&self) -> PeerId {
        self.key.public().to_peer_id()
    }

    /// The node, while it is up.
    pub(crate) fn node(&self) -> Option<&Node> {
        self.life.as_ref().map(|life| &life.node)
    }

    pub(crate) fn store(&self) -> &MemoryStore {
        &self.store
    }

    pub(crate) async fn start(&mut self, wire: &MemoryNetwork, seed: u64) {
        let mut config = MemoryConfig::default();
        config.listen = format!("/memory/{}", self.at).parse().expect("an address");
        config.bootstrap = self.bootstrap.clone();
        let mut builder = Node::builder()
            .network(NetworkId::new("sim").expect("a network"))
            .identity(self.key.clone())
            .seed(seed ^ self.at)
            .clock(self.clock.clone())
            .store(self.store.clone())
            .topic(log(), TopicRules::kept())
            .limits(self.limits())
            .mount("memory", wire.transport_with(config));
        if let Some(memo) = &self.memo {
            builder = builder.signature_memo(memo);
        }
        let judging = Arc::new(Judging::default());
        if self.honest && self.flaw != Some(Flaw::Credulous) {
            builder = builder.validator(Arc::new(LogRules(Arc::clone(&judging))));
        }
        let node = builder.open().await.expect("it opens");
        let events = node.events();
        let mut subscriptions = Vec::new();
        let twice = (self.flaw == Some(Flaw::Twice)).then(news);
        for topic in [log(), news()].into_iter().chain(twice) {
            subscriptions.push(node.subscribe(&topic).await.expect("subscribes"));
        }
        self.life = Some(Life { node, subscriptions, events, judging, heard: BTreeSet::new(), said: 0 });
    }

    fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        (limits.gate_total, limits.gate_per_remote, limits.subscriber_messages) =
            (GATE, GATE_OF_LINK, UNREAD);
        match self.flaw {
            Some(Flaw::Slow) => limits.subscriber_messages = 1,
            Some(Flaw::Overfull) => limits.gate_per_remote = GATE,
            _ => {}
        }
        limits
    }

    /// Publishes something; answers its id, or why not.
    pub(crate) async fn say(&mut self, topic: &Topic, payload: String) -> Result<MessageId> {
        let life = self.life.as_mut().expect("it is up");
        let id = life.node.publish(topic, payload).await?.id;
        life.said += 1;
        if *topic == log() {
            self.known.insert(id);
        }
        Ok(id)
    }

    /// Ends it in the middle of whatever it does.
    pub(crate) fn crash(&mut self, with_store: bool) {
        self.adds_up();
        self.life = None;
        if !with_store {
            self.store = empty();
            self.put.clear();
            self.known.clear();
        }
    }

    pub(crate) async fn close(&mut self) {
        if let Some(life) = self.life.take() {
            life.node.close().await.expect("closes");
        }
    }

    /// Whether a message was handed out in this life.
    pub(crate) fn heard(&self, id: &MessageId) -> bool {
        self.life.as_ref().is_some_and(|life| life.heard.contains(id))
    }

    /// What came since it was asked last.
    ///
    /// # Panics
    /// When something was handed out that must not be, or twice, or was missed.
    pub(crate) fn hear(&mut self) -> Vec<Message> {
        let Some(life) = &mut self.life else { return Vec::new() };
        let read = if self.flaw == Some(Flaw::Deaf) { 1 } else { life.subscriptions.len() };
        let mut messages = Vec::new();
        for subscription in &mut life.subscriptions[..read] {
            while let Some(Some(delivery)) = subscription.next().now_or_never() {
                match delivery {
                    Delivery::Message(message) => messages.push(message),
                    Delivery::Lagged(n) => panic!("node {}: a subscriber missed {n} messages", self.at),
                    _ => {}
                }
            }
        }
        assert!(messages.len() <= UNREAD * read, "node {}: a subscriber's queue above its bound", self.at);
        for message in &messages {
            let text = String::from_utf8_lossy(message.payload());
            let bad = self.honest && text.starts_with("bad");
            assert!(!bad, "node {}: {text:?} was handed out, though it is bad", self.at);
            assert!(life.heard.insert(*message.id()), "node {}: {text:?} was handed out twice", self.at);
            if *message.topic() == log() {
                self.known.insert(*message.id());
            }
        }
        messages
    }

    /// What happened to it since it was asked last, but that it heard something.
    pub(crate) fn events(&mut self) -> Vec<Event> {
        let events = self.life.as_mut().map(|life| &mut life.events);
        events.into_iter().flat_map(|events| from_fn(|| events.next().now_or_never().flatten())).collect()
    }

    /// All that it counted in this life.
    pub(crate) async fn counters(&self) -> impl Debug + use<> {
        match self.node() {
            Some(node) => Some(node.status().await.expect("it is up").counters),
            None => None,
        }
    }

    /// Checks a life at its end: all that was accepted was handed out, and no queue was ever overfull.
    ///
    /// # Panics
    /// Otherwise.
    pub(crate) fn adds_up(&self) {
        let Some(life) = &self.life else { return };
        let (accepted, heard) = (life.node.counter("accepted"), life.heard.len() as u64);
        assert_eq!(life.said + heard, accepted, "node {} did not hand out all that it accepted", self.at);
        let most = life.judging.most();
        assert!(
            most.0 <= GATE && most.1 <= GATE_OF_LINK,
            "node {}: the gate above its bound: {most:?} at once",
            self.at
        );
        for (scope, peaks) in life.node.peaks() {
            for (name, peak) in peaks {
                assert!(
                    peak.most <= peak.limit,
                    "node {}: {scope}: {name} above its bound: {peak:?}",
                    self.at
                );
            }
        }
    }

    /// The messages of the log that it keeps.
    pub(crate) async fn kept(&self) -> BTreeSet<MessageId> {
        let cids: Vec<_> = self.store.blocks().try_collect().await.expect("lists");
        let messages = cids.into_iter().filter(|cid| cid.codec() == carrick::DAG_CBOR);
        messages.map(MessageId::from_cid).collect()
    }
}

fn empty() -> Arc<MemoryStore> {
    Arc::new(MemoryStore::new(MemoryStoreConfig::new(None)))
}

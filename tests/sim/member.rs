//! A node of the simulation: it may crash and come back, with what it stored or without.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use carrick::{
    Block, Clock, Context, Delivery, Keypair, MemoryStore, MemoryStoreConfig, Message, MessageId, Need,
    NetworkId, Node, PeerAddr, PeerId, Result, Store, Subscription, Time, Topic, TopicRules, Validator,
    Verdict, async_trait,
};
use carrick_transport_memory::{MemoryConfig, MemoryNetwork};
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use tokio::time::Instant;

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

/// The rules of the log: nothing that calls itself bad, and nothing before what it follows.
#[derive(Debug)]
struct LogRules;

#[async_trait]
impl Validator for LogRules {
    async fn message(&self, cx: &Context<'_>, message: &Message) -> Verdict {
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

/// A node, in all its lives.
pub(crate) struct Member {
    pub(crate) at: u64,
    key: Keypair,
    /// Whether it follows the rules; one that does not publishes what others reject.
    pub(crate) honest: bool,
    bootstrap: Vec<PeerAddr>,
    pub(crate) clock: SimClock,
    store: Arc<MemoryStore>,
    life: Option<Life>,
    /// What was put here and acknowledged since the store was new.
    pub(crate) put: Vec<Block>,
    /// The ids heard on the topic that is not kept, in this life.
    heard: BTreeSet<MessageId>,
}

struct Life {
    node: Node,
    subscriptions: Vec<Subscription>,
}

impl Member {
    pub(crate) fn new(at: u64, seed: u64, honest: bool, bootstrap: &[u64]) -> Self {
        let mut secret = [at as u8; 32];
        secret[..8].copy_from_slice(&seed.to_be_bytes());
        Self {
            at,
            key: Keypair::ed25519_from_bytes(secret).expect("32 bytes are a key"),
            honest,
            bootstrap: bootstrap
                .iter()
                .map(|to| format!("/memory/{to}").parse().expect("an address"))
                .collect(),
            clock: SimClock { began: Instant::now(), offset: Arc::default() },
            store: empty(),
            life: None,
            put: Vec::new(),
            heard: BTreeSet::new(),
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
            .mount("memory", wire.transport_with(config));
        if self.honest {
            builder = builder.validator(Arc::new(LogRules));
        }
        let node = builder.open().await.expect("it opens");
        let mut subscriptions = Vec::new();
        for topic in [log(), news()] {
            subscriptions.push(node.subscribe(&topic).await.expect("subscribes"));
        }
        self.heard.clear();
        self.life = Some(Life { node, subscriptions });
    }

    /// Ends it in the middle of whatever it does.
    pub(crate) fn crash(&mut self, with_store: bool) {
        self.life = None;
        if !with_store {
            self.store = empty();
            self.put.clear();
        }
    }

    pub(crate) async fn close(&mut self) {
        if let Some(life) = self.life.take() {
            life.node.close().await.expect("closes");
        }
    }

    /// What came since it was asked last.
    ///
    /// # Panics
    /// When something was handed out that must not be.
    pub(crate) fn hear(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        let subscriptions = self.life.iter_mut().flat_map(|life| &mut life.subscriptions);
        for subscription in subscriptions {
            while let Some(Some(delivery)) = subscription.next().now_or_never() {
                if let Delivery::Message(message) = delivery {
                    messages.push(message);
                }
            }
        }
        for message in &messages {
            let text = String::from_utf8_lossy(message.payload());
            assert!(!self.honest || !text.starts_with("bad"), "{}: {text:?} was handed out", self.at);
            assert!(self.heard.insert(*message.id()), "{}: {text:?} was handed out twice", self.at);
        }
        messages
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

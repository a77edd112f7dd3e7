//! An author, a reader, and between them the node that is attacked.

use std::alloc::System;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use cap::Cap;
use carrick_core::{
    Delivery, Event, Keypair, Limits, NetworkId, Node, PeerAddr, PeerId, Remote, Subscription, Topic,
};
use carrick_transport_libp2p::{Libp2p, Libp2pConfig};
use futures::StreamExt as _;
use libp2p::swarm::Stream;
use tokio::sync::{Mutex, MutexGuard};

use crate::raw::rpc::{Rpc, named};
use crate::raw::{GOSSIP, Raw};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// So that one attack is measured at a time.
static ALONE: LazyLock<Mutex<()>> = LazyLock::new(Mutex::default);

/// What any attack may take, all four ends of it together: far below what it sends, and above what a machine that is busy
/// leaves lying for a moment.
const CEILING: usize = 48 << 20;
/// Honest messages that arrive beside an attack, at least.
const MESSAGES: u64 = 50;

/// Fails a test that waits for what never comes.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), what).await.expect("it never happened")
}

pub(crate) fn config() -> Libp2pConfig {
    let mut config = Libp2pConfig::default();
    config.neighbours = 0;
    config.listen = Some(vec!["/ip4/127.0.0.1/tcp/0".parse().expect("an address")]);
    config
}

pub(crate) fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.handshake = Duration::from_secs(2);
    limits.fetch_idle = Duration::from_secs(1);
    limits
}

pub(crate) fn topic() -> Topic {
    Topic::new("readings").expect("a topic")
}

pub(crate) async fn node(network: &NetworkId, limits: Limits, config: Libp2pConfig) -> Node {
    let open = |host| Libp2p::open(config, host);
    let builder = Node::builder().network(network.clone()).limits(limits).mount("libp2p", open);
    builder.open().await.expect("opens")
}

pub(crate) fn addr(node: &Node) -> PeerAddr {
    PeerAddr::new(node.peer_id(), node.listen_addrs())
}

/// What is told apart by nothing but its name.
pub(crate) fn network() -> NetworkId {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NetworkId::new(format!("hostile-{}", NEXT.fetch_add(1, Ordering::Relaxed))).expect("a network")
}

/// The three.
pub(crate) struct Stage {
    pub(crate) network: NetworkId,
    pub(crate) author: Node,
    pub(crate) attacked: Node,
    _reader: Node,
    at_reader: Subscription,
    _others: Vec<Subscription>,
    published: u64,
    before: usize,
    peak: AtomicUsize,
    _alone: MutexGuard<'static, ()>,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::with(limits(), config()).await
    }

    /// With something special about the node in the middle.
    pub(crate) async fn with(special: Limits, config: Libp2pConfig) -> Self {
        let alone = ALONE.lock().await;
        let network = network();
        let author = node(&network, limits(), self::config()).await;
        let reader = node(&network, limits(), self::config()).await;
        let attacked = node(&network, special, config).await;
        let mut subscriptions = Vec::new();
        for node in [&author, &attacked, &reader] {
            subscriptions.push(node.subscribe(&topic()).await.expect("subscribes"));
        }
        soon(author.connect(&addr(&attacked))).await.expect("connects");
        soon(attacked.connect(&addr(&reader))).await.expect("connects");
        soon(attacked.ready(&topic(), 2)).await.expect("ready");
        soon(author.ready(&topic(), 1)).await.expect("ready");
        let at_reader = subscriptions.pop().expect("its own");
        let mut stage = Self {
            network,
            author,
            attacked,
            _reader: reader,
            at_reader,
            _others: subscriptions,
            published: 0,
            before: 0,
            peak: AtomicUsize::new(0),
            _alone: alone,
        };
        stage.deliver().await;
        stage.before = ALLOCATOR.allocated();
        stage
    }

    /// A message goes from end to end.
    async fn deliver(&mut self) {
        self.published += 1;
        let text = format!("honest {}", self.published);
        self.author.publish(&topic(), text.clone()).await.expect("publishes");
        let arriving = async {
            while let Some(delivery) = self.at_reader.next().await {
                match delivery {
                    Delivery::Message(message) if message.payload() == text.as_bytes() => return,
                    Delivery::Message(_) => {}
                    other => panic!("{other:?} before {text}"),
                }
            }
        };
        soon(arriving).await;
        self.peak.fetch_max(ALLOCATOR.allocated(), Ordering::Relaxed);
    }

    /// Every honest message arrives beside an attack, and after it; and memory is bounded meanwhile.
    pub(crate) async fn under<T>(&mut self, attack: impl Future<Output = T>) -> T {
        let mut attack = std::pin::pin!(attack);
        let mut result = None;
        let mut delivered = 0;
        while delivered < MESSAGES || result.is_none() {
            let honest = std::pin::pin!(self.deliver());
            let mut honest = honest;
            loop {
                tokio::select! {
                    biased;
                    done = &mut attack, if result.is_none() => result = Some(done),
                    () = &mut honest => break,
                }
            }
            delivered += 1;
        }
        self.deliver().await;
        let grown = self.peak.load(Ordering::Relaxed).saturating_sub(self.before);
        assert!(grown <= CEILING, "{grown} bytes more were allocated");
        result.expect("it ended")
    }

    /// As a node of this network: its link stands.
    pub(crate) async fn foe(&self) -> Foe {
        let key = Keypair::generate_ed25519();
        let (raw, link) =
            soon(Raw::node(&addr(&self.attacked), &self.network, &key)).await.expect("is taken");
        let gossip = soon(raw.open(GOSSIP)).await.expect("opens");
        Foe { raw, link, gossip, network: self.network.clone() }
    }

    pub(crate) fn counted(&self, name: &str) -> u64 {
        self.attacked.counter(name)
    }

    /// Waits until something was counted.
    pub(crate) async fn counts(&self, name: &str, least: u64) {
        soon(async {
            while self.counted(name) < least {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
    }

    /// Whether the node bans a peer, now or soon.
    pub(crate) fn ban_of(&self, peer: PeerId) -> impl Future<Output = ()> + use<> {
        let mut events = self.attacked.events();
        async move {
            let banned = async {
                while let Some(event) = events.next().await {
                    if matches!(&event, Event::Banned { remote: Remote::Peer(who) } if *who == peer) {
                        return;
                    }
                }
            };
            soon(banned).await;
        }
    }

    /// Waits until a peer is linked.
    pub(crate) async fn links(&self, peer: &PeerId) {
        soon(async {
            while !self.linked().await.contains(peer) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
    }

    /// The peers that are linked.
    pub(crate) async fn linked(&self) -> Vec<PeerId> {
        let peers = self.attacked.peers().await.expect("peers");
        peers.iter().filter_map(|info| info.remote.peer().copied()).collect()
    }

    /// A foe offends until it is banned; then its connection ends, and it does not come in again.
    pub(crate) async fn casts_out(&mut self, mut foe: Foe, mut offend: impl AsyncFnMut(&mut Foe, u64)) {
        let (banned, to) = (self.ban_of(foe.id()), addr(&self.attacked));
        let network = self.network.clone();
        let attack = async move {
            let offending = async {
                for n in 0.. {
                    offend(&mut foe, n).await;
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                biased;
                () = banned => {}
                () = offending => {}
            }
            soon(foe.raw.ended()).await;
            let again = Raw::node(&to, &network, &foe.raw.key).await;
            assert!(again.is_err(), "it is refused from now on");
        };
        self.under(attack).await;
        assert_eq!(self.linked().await.len(), 2, "the two others are left");
    }
}

/// A peer that was taken for a node.
pub(crate) struct Foe {
    pub(crate) raw: Raw,
    pub(crate) link: Stream,
    gossip: Stream,
    network: NetworkId,
}

impl Foe {
    pub(crate) fn id(&self) -> PeerId {
        self.raw.key.public().to_peer_id()
    }

    pub(crate) fn named(&self, topic: &str) -> String {
        named(&self.network, topic)
    }

    /// Sends a packet of gossipsub, for as long as there is a connection.
    pub(crate) async fn gossip(&mut self, rpc: &Rpc) -> bool {
        self.raw.write(&mut self.gossip, &rpc.framed()).await
    }

    /// Sends bytes on a stream of gossipsub of its own; `false` where the far end does not take them.
    pub(crate) async fn raw_gossip(&mut self, bytes: &[u8]) -> bool {
        let Ok(mut stream) = self.raw.open(GOSSIP).await else { return false };
        self.raw.write(&mut stream, bytes).await
    }

    /// Says something on the link.
    pub(crate) async fn say(&mut self, bytes: &[u8]) -> bool {
        self.raw.write(&mut self.link, bytes).await
    }
}

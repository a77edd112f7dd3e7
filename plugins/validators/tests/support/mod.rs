//! What the tests of the validators share: nodes on the memory transport, and a clock in the test's hand.
#![allow(dead_code, unused_imports, reason = "each test file uses a part of it")]

mod envelope;
mod live;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use carrick_core::{
    Clock, Delivery, Keypair, Message, NetworkId, Node, NodeBuilder, PeerAddr, PeerId, Remote, Subscription,
    Time, Topic, TopicPattern,
};
use carrick_transport_memory::MemoryNetwork;
use futures::StreamExt as _;

pub(crate) use self::envelope::Envelope;
pub(crate) use self::live::Live;

/// What the clocks show at first.
pub(crate) const NOW: u64 = 1_700_000_000_000;

/// A clock that moves when it is told to. Clones are the same clock.
#[derive(Clone, Debug)]
pub(crate) struct Hands(Arc<AtomicU64>);

impl Hands {
    /// One that shows `ms` milliseconds after [`NOW`].
    pub(crate) fn at(ms: i64) -> Self {
        let hands = Self(Arc::default());
        hands.set(ms);
        hands
    }

    pub(crate) fn set(&self, ms: i64) {
        self.0.store(NOW.saturating_add_signed(ms), Ordering::Relaxed);
    }
}

impl Clock for Hands {
    fn now(&self) -> Time {
        Time(self.0.load(Ordering::Relaxed))
    }
}

/// The key of a number; the same in every run.
pub(crate) fn key(n: u8) -> Keypair {
    Keypair::ed25519_from_bytes([n; 32]).expect("32 bytes are a key")
}

pub(crate) fn peer(n: u8) -> PeerId {
    key(n).public().to_peer_id()
}

pub(crate) fn network() -> NetworkId {
    NetworkId::new("test").expect("a network")
}

pub(crate) fn topic(name: &str) -> Topic {
    Topic::new(name).expect("a topic")
}

/// The topics that the validators of the tests guard.
pub(crate) fn guarded() -> [TopicPattern; 1] {
    [TopicPattern::new("guarded/*").expect("a pattern")]
}

/// A node with the key of a number, on a wire, at [`NOW`].
pub(crate) fn node(wire: &MemoryNetwork, n: u8) -> NodeBuilder {
    let builder = Node::builder().network(network()).identity(key(n)).seed(n.into());
    builder.clock(Hands::at(0)).mount("memory", wire.transport())
}

/// Connects nodes in a line, and waits until each knows of one on the topic: the next one, which has subscribed.
pub(crate) async fn line(topic: &Topic, nodes: &[&Node]) {
    for pair in nodes.windows(2) {
        pair[0].connect(&PeerAddr::from(pair[1].listen_addrs().remove(0))).await.expect("connects");
        within(pair[0].ready(topic, 1)).await.expect("ready");
    }
}

/// The next message; other deliveries are passed over.
pub(crate) async fn message(subscription: &mut Subscription) -> Message {
    loop {
        let delivery = within(subscription.next()).await.expect("the subscription goes on");
        if let Delivery::Message(message) = delivery {
            return message;
        }
    }
}

/// Its payload.
pub(crate) async fn next(subscription: &mut Subscription) -> String {
    String::from_utf8_lossy(message(subscription).await.payload()).into_owned()
}

/// Whether nothing more is delivered, however long one waits.
pub(crate) async fn is_silent(subscription: &mut Subscription) -> bool {
    let next = tokio::time::timeout(Duration::from_secs(60), async {
        while !matches!(subscription.next().await, Some(Delivery::Message(_))) {}
    });
    next.await.is_err()
}

/// What a node thinks of a peer that it is connected to.
pub(crate) async fn reputation(of: &Node, whom: &Node) -> f64 {
    let whom = Remote::Peer(whom.peer_id());
    let peers = of.peers().await.expect("peers");
    peers.iter().find(|peer| peer.remote == whom).expect("connected").reputation
}

/// Fails the test where it would hang. The clock of the tests is paused, so this takes no time.
pub(crate) async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(600), work).await.expect("it hangs")
}

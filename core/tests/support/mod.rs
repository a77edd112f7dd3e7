//! What the tests of the node share: a transport in the test's hand, a clock, hostile envelopes, scripted validators.

mod cbor;
mod envelope;
mod judge;
mod store;
mod wire;

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use carrick_core::{
    Block, Bytes, Cid, Clock, Delivery, Event, Events, Keypair, Limits, MemoryStore, NetworkId, Node,
    NodeBuilder, PeerId, Remote, Store, Subscription, Time, Topic,
};
use futures::{FutureExt as _, Stream, StreamExt as _};

pub(crate) use self::cbor::{head, map as cbor_map, text, value_bytes};
pub(crate) use self::envelope::Envelope;
pub(crate) use self::judge::{Asked, Judge};
pub(crate) use self::store::Shared;
pub(crate) use self::wire::{Call, Does, End, Opened, Wire};

/// The network of all tests.
pub(crate) const NETWORK: &str = "test-net";
/// What the clock shows at first.
pub(crate) const NOW: u64 = 1_700_000_000_000;

/// A clock that moves when it is told to.
#[derive(Clone, Debug)]
pub(crate) struct Hands(Arc<AtomicU64>);

impl Hands {
    pub(crate) fn at(now: u64) -> Self {
        Self(Arc::new(AtomicU64::new(now)))
    }

    pub(crate) fn set(&self, now: u64) {
        self.0.store(now, Ordering::Relaxed);
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

/// The id of [`key`].
pub(crate) fn peer(n: u8) -> PeerId {
    key(n).public().to_peer_id()
}

/// The remote of a number.
pub(crate) fn remote(n: u8) -> Remote {
    Remote::Peer(peer(n))
}

/// A remote that has no key of ours; there are many of them.
pub(crate) fn foreign(n: usize) -> Remote {
    Remote::Foreign(format!("stranger-{n}").into())
}

pub(crate) fn topic() -> Topic {
    Topic::new("readings").expect("a topic")
}

/// The limits, changed.
pub(crate) fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    change(&mut limits);
    limits
}

/// The network of every node here.
pub(crate) fn network() -> NetworkId {
    NetworkId::new(NETWORK).expect("a network id")
}

/// A node with key 0 and a clock at [`NOW`], on these wires.
pub(crate) fn on_wires(wires: &[(&str, &Wire)]) -> NodeBuilder {
    let builder = Node::builder().network(network()).identity(key(0)).clock(Hands::at(NOW)).seed(1);
    wires.iter().fold(builder, |builder, (name, wire)| {
        let wire = (*wire).clone();
        builder.mount(name, move |host| async move { Ok(wire.open(host)) })
    })
}

/// As [`on_wires`], on one.
pub(crate) fn on(wire: &Wire) -> NodeBuilder {
    on_wires(&[("wire", wire)])
}

/// A node on one wire, and its subscription to [`topic`].
pub(crate) async fn open(builder: NodeBuilder) -> (Node, Subscription) {
    let node = builder.open().await.expect("opens");
    let subscription = node.subscribe(&topic()).await.expect("subscribes");
    (node, subscription)
}

/// What is there now, without waiting.
pub(crate) fn ready<S: Stream + Unpin>(stream: &mut S) -> Vec<S::Item> {
    let mut items = Vec::new();
    while let Some(Some(item)) = stream.next().now_or_never() {
        items.push(item);
    }
    items
}

/// The payloads of the messages that are there now; other deliveries fail the test.
pub(crate) fn payloads(subscription: &mut Subscription) -> Vec<String> {
    ready(subscription).into_iter().map(payload).collect()
}

/// The payloads of the messages that are there now; what is told of gaps beside them does not count.
pub(crate) fn payloads_beside_gaps(subscription: &mut Subscription) -> Vec<String> {
    let no_gap = |delivery: &Delivery| !matches!(delivery, Delivery::Gap(_));
    ready(subscription).into_iter().filter(no_gap).map(payload).collect()
}

fn payload(delivery: Delivery) -> String {
    match delivery {
        Delivery::Message(message) => String::from_utf8_lossy(message.payload()).into_owned(),
        other => panic!("no message: {other:?}"),
    }
}

/// The payload of the next message.
pub(crate) async fn next_payload(subscription: &mut Subscription) -> String {
    payload(within(subscription.next()).await.expect("the subscription goes on"))
}

/// Waits for an event that the test looks for.
pub(crate) async fn event<T>(events: &mut Events, look: impl Fn(&Event) -> Option<T>) -> T {
    within(async {
        loop {
            let event = events.next().await.expect("events go on");
            if let Some(found) = look(&event) {
                return found;
            }
        }
    })
    .await
}

/// Fails the test where it would hang. The clock of the tests is paused, so this takes no time.
pub(crate) async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(600), work).await.expect("it hangs")
}

/// Lets every task that can run do so until nothing moves.
pub(crate) async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

/// A raw block.
pub(crate) fn raw(content: impl Into<Bytes>) -> Block {
    Block::new(carrick_core::RAW, content)
}

/// A dag-cbor block that links to others.
pub(crate) fn linking(name: &str, links: &[Cid]) -> Block {
    use ipld_core::ipld::Ipld;
    let links = links.iter().copied().map(Ipld::Link).collect();
    let value =
        Ipld::Map([("links".into(), Ipld::List(links)), ("name".into(), Ipld::String(name.into()))].into());
    Block::new(carrick_core::DAG_CBOR, serde_ipld_dagcbor::to_vec(&value).expect("encodes"))
}

/// Which blocks a store has.
pub(crate) async fn stored(store: &dyn Store) -> BTreeSet<Cid> {
    store.blocks().map(|cid| cid.expect("lists")).collect().await
}

/// A new store in memory.
pub(crate) fn memory() -> Arc<MemoryStore> {
    Arc::new(MemoryStore::default())
}

//! What these tests share.

use std::sync::Arc;
use std::time::Duration;

use carrick_core::node::{Delivery, Event, Events, NodeBuilder, Subscription};
use carrick_core::{Clock, Error, ErrorKind, Keypair, NetworkId, Node, PeerAddr, Time, Topic, Transport};
use carrick_transport_memory::{Memory, MemoryConfig, MemoryNetwork};
use futures::StreamExt;

/// Longer than anything here takes; the clock is paused, so waiting costs nothing.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A node and its place on the network.
pub(crate) struct Joined {
    pub(crate) node: Node,
    pub(crate) memory: Arc<Memory>,
}

impl Joined {
    pub(crate) fn addr(&self) -> PeerAddr {
        self.node.listen_addrs().remove(0).into()
    }

    pub(crate) async fn dial(&self, other: &Self) {
        self.memory.dial(&other.addr()).await.expect("dials");
    }
}

#[derive(Debug)]
struct NoonForEver;

impl Clock for NoonForEver {
    fn now(&self) -> Time {
        Time(1_700_000_000_000)
    }
}

/// A node with the key of a number, in the network `test`.
pub(crate) fn builder(number: u8) -> NodeBuilder {
    let key = Keypair::ed25519_from_bytes([number; 32]).expect("32 bytes are a key");
    let network = NetworkId::new("test").expect("a network");
    Node::builder().network(network).identity(key).seed(number.into()).clock(NoonForEver)
}

/// Opens a node on a network.
pub(crate) async fn open(wire: &MemoryNetwork, builder: NodeBuilder) -> Joined {
    open_with(wire, MemoryConfig::default(), builder).await.expect("opens")
}

pub(crate) async fn open_with(
    wire: &MemoryNetwork,
    config: MemoryConfig,
    builder: NodeBuilder,
) -> Result<Joined, Error> {
    let (tell, told) = std::sync::mpsc::channel();
    let transport = wire.transport_with(config);
    let node = builder
        .mount_dyn("memory", move |host| async move {
            let memory = Arc::new(transport(host).await?);
            tell.send(memory.clone()).expect("somebody listens");
            Ok(memory as Arc<dyn Transport>)
        })
        .open()
        .await?;
    Ok(Joined { node, memory: told.recv().expect("mounted") })
}

/// Nodes 1 to `n`, each linked with the next.
pub(crate) async fn line(wire: &MemoryNetwork, n: u8) -> Vec<Joined> {
    let mut nodes: Vec<Joined> = Vec::new();
    for number in 1..=n {
        let joined = open(wire, builder(number)).await;
        if let Some(last) = nodes.last() {
            joined.dial(last).await;
        }
        nodes.push(joined);
    }
    nodes
}

pub(crate) fn topic() -> Topic {
    Topic::new("readings").expect("a topic")
}

/// The next message, as text. That messages before it are missing is told too, and passed over here.
pub(crate) async fn next(subscription: &mut Subscription) -> String {
    loop {
        let delivery = tokio::time::timeout(PATIENCE, subscription.next()).await;
        match delivery.expect("in time").expect("the node is open") {
            Delivery::Message(message) => break String::from_utf8_lossy(message.payload()).into_owned(),
            Delivery::Gap(_) => {}
            other => panic!("{other:?} instead of a message"),
        }
    }
}

/// Asserts that nothing more comes, for as long as anything could still be on its way.
pub(crate) async fn silence(subscription: &mut Subscription) {
    let more = tokio::time::timeout(PATIENCE, subscription.next()).await;
    assert!(more.is_err(), "{more:?}");
}

/// Waits for an event that `wanted` recognises.
pub(crate) async fn event(events: &mut Events, wanted: impl Fn(&Event) -> bool) {
    let waiting = async { while !wanted(&events.next().await.expect("the node is open")) {} };
    tokio::time::timeout(PATIENCE, waiting).await.expect("in time");
}

pub(crate) fn kind<T: std::fmt::Debug>(answer: Result<T, Error>) -> ErrorKind {
    answer.expect_err("an error").kind()
}

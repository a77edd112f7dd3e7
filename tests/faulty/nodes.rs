//! Nodes on a wire, with faults round some of them.

use std::time::Duration;

use carrick::conformance::faulty::Faulty;
use carrick::memory::MemoryNetwork;
use carrick::quic::{Quic, QuicConfig};
use carrick::{
    Clock, Delivery, Keypair, Limits, NetworkId, Node, NodeBuilder, PeerAddr, Subscription, Time, Topic,
};
use futures::StreamExt as _;
use tokio::runtime::Builder;

/// Longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the nodes of a test are on.
pub(crate) enum Wire {
    Memory(MemoryNetwork),
    Quic,
}

/// Runs a test in paused time on `memory`, and in real time on `quic`.
pub(crate) fn on_both(test: impl AsyncFn(&Wire)) {
    on_memory(&test);
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(test(&Wire::Quic));
}

pub(crate) fn on_memory<T>(test: impl AsyncFn(&Wire) -> T) -> T {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(test(&Wire::Memory(MemoryNetwork::new(1))))
}

#[derive(Debug)]
struct NoonForEver;

impl Clock for NoonForEver {
    fn now(&self) -> Time {
        Time(1_700_000_000_000)
    }
}

impl Wire {
    /// A node with the key of a number. It gives a fetch up early.
    pub(crate) fn builder(&self, number: u8) -> NodeBuilder {
        let mut limits = Limits::default();
        (limits.fetch_idle, limits.fetch_deadline) = (Duration::from_millis(1_500), Duration::from_secs(3));
        let key = Keypair::ed25519_from_bytes([number; 32]).expect("32 bytes are a key");
        let builder = Node::builder().network(NetworkId::new("faulty").expect("a network")).identity(key);
        let builder = builder.seed(number.into()).clock(NoonForEver).limits(limits);
        match self {
            Self::Memory(network) => builder.mount("memory", network.transport()),
            Self::Quic => builder.mount("quic", |host| {
                let mut config = QuicConfig::default();
                config.listen = vec!["/ip4/127.0.0.1/udp/0/quic-v1".parse().expect("an address")];
                config.neighbours = 0;
                Quic::open(config, host)
            }),
        }
    }

    pub(crate) async fn plain(&self, number: u8) -> Node {
        self.builder(number).open().await.expect("opens")
    }

    pub(crate) async fn faulty(&self, number: u8, faulty: &Faulty) -> Node {
        faulty.round(self.builder(number)).open().await.expect("opens")
    }

    /// Two linked nodes with the same faults round both.
    pub(crate) async fn pair(&self, faulty: &Faulty) -> [Node; 2] {
        let nodes = [self.faulty(1, faulty).await, self.faulty(2, faulty).await];
        link(&nodes[0], &nodes[1]).await;
        nodes
    }
}

pub(crate) fn addr(of: &Node) -> PeerAddr {
    of.listen_addrs().remove(0).into()
}

pub(crate) async fn link(one: &Node, other: &Node) {
    one.connect(&addr(other)).await.expect("connects");
}

pub(crate) fn topic() -> Topic {
    Topic::new("readings").expect("a topic")
}

/// Lets a node read; returns when those that write know.
pub(crate) async fn reads(reader: &Node, writers: &[&Node]) -> Subscription {
    let subscription = reader.subscribe(&topic()).await.expect("subscribes");
    for writer in writers {
        writer.ready(&topic(), 1).await.expect("they are linked");
    }
    subscription
}

pub(crate) async fn publish(from: &Node, payloads: impl IntoIterator<Item = &str>) {
    for payload in payloads {
        from.publish(&topic(), payload.to_owned()).await.expect("publishes");
    }
}

/// The next message. What is missing before it is told too, and passed over here.
pub(crate) async fn next(subscription: &mut Subscription) -> String {
    let message = async {
        loop {
            if let Delivery::Message(message) = subscription.next().await.expect("the node is open") {
                return String::from_utf8_lossy(message.payload()).into_owned();
            }
        }
    };
    tokio::time::timeout(PATIENCE, message).await.expect("a message comes")
}

/// Waits until something was counted so often.
pub(crate) async fn counted(node: &Node, name: &str, at_least: u64) {
    let counted = async {
        while node.counter(name) < at_least {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, counted)
        .await
        .unwrap_or_else(|_| panic!("{name} is {}", node.counter(name)));
}

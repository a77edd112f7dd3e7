//! Nodes to test with.

use std::future::Future;
use std::time::Duration;

use carrick_core::{
    Delivery, Event, Events, Keypair, Limits, NetworkId, Node, NodeBuilder, PeerAddr, PeerId, Remote,
    Subscription, Topic,
};
use carrick_transport_quic::{Quic, QuicConfig};
use futures::StreamExt;

/// Longer than anything takes that works, so that what hangs fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// Fails a test that waits for what never comes.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it never happened")
}

/// A network of its own for each test.
pub(crate) fn network(name: &str) -> NetworkId {
    NetworkId::new(name).expect("a network id")
}

pub(crate) fn topic() -> Topic {
    Topic::new("readings").expect("a topic")
}

/// Listens on loopback, on a free port, and looks for nobody by itself.
pub(crate) fn quiet() -> QuicConfig {
    let mut config = QuicConfig::default();
    config.listen = vec!["/ip4/127.0.0.1/udp/0/quic-v1".parse().expect("an address")];
    config.neighbours = 0;
    config
}

pub(crate) fn builder(network: &NetworkId, config: QuicConfig) -> NodeBuilder {
    Node::builder().network(network.clone()).mount("quic", |host| Quic::open(config, host))
}

pub(crate) async fn node(network: &NetworkId) -> Node {
    builder(network, quiet()).open().await.expect("opens")
}

pub(crate) fn short_limits() -> Limits {
    let mut limits = Limits::default();
    limits.handshake = Duration::from_secs(1);
    limits.fetch_idle = Duration::from_millis(500);
    limits
}

/// Where a node is, with its id.
pub(crate) fn addr_of(node: &Node) -> PeerAddr {
    let listen = node.transports()[0].listen.clone();
    assert!(!listen.is_empty(), "it listens");
    PeerAddr::new(node.peer_id(), listen)
}

pub(crate) async fn connect(from: &Node, to: &Node) {
    let remote = soon(from.connect(&addr_of(to))).await.expect("connects");
    assert_eq!(remote, Remote::Peer(to.peer_id()));
}

/// The ids of those connected, sorted.
pub(crate) async fn peers(node: &Node) -> Vec<PeerId> {
    let peers = node.peers().await.expect("peers");
    peers.iter().filter_map(|peer| peer.remote.peer().copied()).collect()
}

/// Waits for the first event that `is`.
pub(crate) async fn event(events: &mut Events, is: impl Fn(&Event) -> bool) -> Event {
    soon(async {
        loop {
            let event = events.next().await.expect("the node is open");
            if is(&event) {
                return event;
            }
        }
    })
    .await
}

/// Waits until a node has a link to a peer.
pub(crate) async fn linked(events: &mut Events, node: &Node, peer: &PeerId) {
    while !peers(node).await.contains(peer) {
        event(events, |event| matches!(event, Event::Up { .. })).await;
    }
}

/// The payload of the next message.
pub(crate) async fn next(subscription: &mut Subscription) -> String {
    soon(async {
        loop {
            if let Delivery::Message(message) = subscription.next().await.expect("the node is open") {
                return String::from_utf8(message.payload().to_vec()).expect("text");
            }
        }
    })
    .await
}

pub(crate) fn key() -> Keypair {
    Keypair::generate_ed25519()
}

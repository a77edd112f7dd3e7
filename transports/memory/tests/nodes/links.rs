//! Links: who may have one, how it ends, what closing leaves.

use std::collections::BTreeSet;
use std::sync::Arc;

use carrick_core::node::Event;
use carrick_core::{
    Direction, ErrorKind, Kind, Limits, Membership, NetworkId, Node, PeerAddr, PeerId, Registry, Remote,
    Topic, Transport,
};
use carrick_transport_memory::{MemoryConfig, MemoryNetwork};

use crate::common::{builder, event, kind, line, open, open_with};

#[derive(Debug)]
struct Only(BTreeSet<PeerId>);

impl Membership for Only {
    fn admits(&self, peer: &PeerId) -> bool {
        self.0.contains(peer)
    }

    fn may_publish(&self, author: &PeerId, _: &Topic) -> bool {
        self.admits(author)
    }
}

#[tokio::test(start_paused = true)]
async fn a_link_is_seen_from_both_ends() {
    let wire = MemoryNetwork::new(1);
    let (a, b) = (open(&wire, builder(1)).await, open(&wire, builder(2)).await);
    let mut events = b.node.events();
    let remote = a.node.connect(&b.addr()).await.expect("dials");
    assert_eq!(remote, Remote::Peer(b.node.peer_id()));
    event(&mut events, |event| matches!(event, Event::Up { .. })).await;
    let (from_a, from_b) = (a.memory.peers().await.expect("peers"), b.memory.peers().await.expect("peers"));
    assert_eq!(from_a[0].remote, remote);
    assert_eq!(from_a[0].addrs, b.memory.listen_addrs());
    assert_eq!(from_a[0].direction, Some(Direction::Outbound));
    assert_eq!(from_b[0].direction, Some(Direction::Inbound));
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_cannot_succeed_says_why() {
    let wire = MemoryNetwork::new(1);
    let (a, b) = (open(&wire, builder(1)).await, open(&wire, builder(2)).await);
    let other = NetworkId::new("other").expect("a network");
    let elsewhere = open(&wire, builder(3).network(other)).await;
    let refusing = open(&wire, builder(4).membership(Arc::new(Only(BTreeSet::new())))).await;
    let dial = async |addr: &PeerAddr| a.memory.dial(addr).await.expect_err("refused");

    let dead: PeerAddr = "/memory/99".parse().expect("an address");
    assert_eq!(dial(&dead).await.kind(), ErrorKind::Unreachable);
    let quic: PeerAddr = "/ip4/10.0.0.7/udp/4600/quic-v1".parse().expect("an address");
    assert_eq!(dial(&quic).await.kind(), ErrorKind::Config);
    assert_eq!(dial(&a.addr()).await.kind(), ErrorKind::Config);
    let itself = PeerAddr { peer: None, addrs: a.memory.listen_addrs() };
    assert_eq!(dial(&itself).await.kind(), ErrorKind::Config);

    let wrong_key = PeerAddr::new(refusing.node.peer_id(), b.memory.listen_addrs());
    for (addr, reason) in [
        (wrong_key, "answered, not"),
        (elsewhere.addr(), "another network"),
        (refusing.addr(), "does not admit this node"),
    ] {
        let error = dial(&addr).await;
        assert_eq!(error.kind(), ErrorKind::Unauthorized);
        assert!(error.detail().contains(reason), "{error}");
        assert_eq!(error.transport(), Some("memory"));
    }
    assert!(a.memory.peers().await.expect("peers").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_second_node_with_the_same_key_cannot_take_a_link_over() {
    let wire = MemoryNetwork::new(1);
    let nodes = line(&wire, 2).await;
    let twin = open(&wire, builder(1)).await;
    assert_eq!(kind(twin.memory.dial(&nodes[1].addr()).await), ErrorKind::Unauthorized);
    assert_eq!(kind(twin.memory.dial(&nodes[0].addr()).await), ErrorKind::Config);
    assert_eq!(nodes[1].memory.peers().await.expect("peers")[0].addrs, nodes[0].memory.listen_addrs());
}

#[tokio::test(start_paused = true)]
async fn a_bootstrap_peer_whose_ban_is_over_is_dialled_again() {
    let wire = MemoryNetwork::new(1);
    let a = open(&wire, builder(1)).await;
    let mut config = MemoryConfig::default();
    config.bootstrap = vec![a.addr()];
    let b = open_with(&wire, config, builder(2)).await.expect("opens");
    let mut events = b.node.events();
    event(&mut events, |event| matches!(event, Event::Up { .. })).await;
    let remote = Remote::Peer(a.node.peer_id());
    b.node.ban(&remote);
    event(&mut events, |event| matches!(event, Event::Down { .. })).await;
    b.node.forgive(&remote);
    event(&mut events, |event| matches!(event, Event::Up { .. })).await;
}

#[tokio::test(start_paused = true)]
async fn the_connection_limit_holds_for_both_ends() {
    let wire = MemoryNetwork::new(1);
    let mut limits = Limits::default();
    limits.connections = 1;
    let small = open(&wire, builder(1).limits(limits)).await;
    let (b, c) = (open(&wire, builder(2)).await, open(&wire, builder(3)).await);
    small.dial(&b).await;
    assert_eq!(kind(c.memory.dial(&small.addr()).await), ErrorKind::Busy);
    assert_eq!(kind(small.memory.dial(&c.addr()).await), ErrorKind::Busy);
    small.dial(&b).await;
}

#[tokio::test(start_paused = true)]
async fn a_bootstrap_peer_that_comes_late_or_again_is_found() {
    let wire = MemoryNetwork::new(1);
    let mut config = MemoryConfig::default();
    config.bootstrap = vec!["/memory/50".parse().expect("an address")];
    let b = open_with(&wire, config.clone(), builder(2)).await.expect("opens");
    let mut events = b.node.events();
    config.listen = "/memory/50".parse().expect("an address");
    for _ in 0..2 {
        // It names itself among its bootstrap peers, as when all nodes share one configuration.
        let a = open_with(&wire, config.clone(), builder(1)).await.expect("opens");
        event(&mut events, |event| matches!(event, Event::Up { .. })).await;
        a.node.close().await.expect("closes");
        event(&mut events, |event| matches!(event, Event::Down { .. })).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_address_has_one_owner_until_it_goes() {
    let wire = MemoryNetwork::new(1);
    let mut config = MemoryConfig::default();
    config.listen = "/memory/7".parse().expect("an address");
    let first = open_with(&wire, config.clone(), builder(1)).await.expect("free");
    let taken = open_with(&wire, config.clone(), builder(2)).await.map(|joined| joined.node);
    assert_eq!(kind(taken), ErrorKind::Config);
    first.node.close().await.expect("closes");
    open_with(&wire, config, builder(2)).await.expect("free again");
}

#[tokio::test(start_paused = true)]
async fn dropping_the_network_first_changes_nothing() {
    let wire = MemoryNetwork::new(1);
    let nodes = line(&wire, 2).await;
    drop(wire);
    assert_eq!(nodes[0].memory.peers().await.expect("peers").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn nodes_meet_on_a_network_by_name() {
    let named = |name: &str, number| {
        let mut config = MemoryConfig::default();
        config.network = name.into();
        builder(number).mount("memory", |host| carrick_transport_memory::Memory::open(config, host)).open()
    };
    let a = named("by-name", 1).await.expect("opens");
    let b = named("by-name", 2).await.expect("opens");
    let c = named("another", 3).await.expect("opens");
    let addr = |node: &Node| PeerAddr::from(node.listen_addrs().remove(0));
    assert_eq!(b.connect(&addr(&a)).await.expect("dials"), Remote::Peer(a.peer_id()));
    assert!(c.connect(&addr(&b)).await.is_err(), "the other network has another numbering");
}

#[test]
fn it_is_registered_under_its_name() {
    let registry = Registry::linked().expect("no name twice");
    let entry = registry.find(Kind::Transport, "memory").expect("linked");
    assert_eq!(entry.package, "carrick-transport-memory");
}

//! Dialling, refusing, parting, healing.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use carrick_core::{ErrorKind, Event, Membership, Node, PeerAddr, PeerId, Remote, Topic};

use crate::common::*;

#[tokio::test(flavor = "multi_thread")]
async fn both_ends_know_each_other_when_dial_returns() {
    let network = network("links-dial");
    let (a, b) = (node(&network).await, node(&network).await);
    let subscription = b.subscribe(&topic()).await.expect("subscribes");
    connect(&a, &b).await;
    assert_eq!(peers(&a).await, [b.peer_id()]);
    assert_eq!(peers(&b).await, [a.peer_id()]);
    assert_eq!(a.topic_peers(&topic()).await.expect("peers"), [Remote::Peer(b.peer_id())]);
    // A second dial finds the link there is.
    connect(&a, &b).await;
    connect(&b, &a).await;
    assert_eq!(peers(&a).await, [b.peer_id()]);
    drop(subscription);
}

#[tokio::test(flavor = "multi_thread")]
async fn ipv6_works_as_well() {
    let network = network("links-ipv6");
    let mut config = quiet();
    config.listen = vec!["/ip6/::1/udp/0/quic-v1".parse().expect("an address")];
    let a = node(&network).await;
    let b = builder(&network, config).open().await.expect("opens");
    connect(&a, &b).await;
    assert_eq!(peers(&b).await, [a.peer_id()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_answers_is_taken_when_no_id_is_given() {
    let network = network("links-anybody");
    let (a, b) = (node(&network).await, node(&network).await);
    let anybody = PeerAddr { peer: None, ..addr_of(&b) };
    let remote = soon(a.connect(&anybody)).await.expect("connects");
    assert_eq!(remote, Remote::Peer(b.peer_id()));
    let again = soon(a.connect(&anybody)).await.expect("finds the link");
    assert_eq!(again, remote);
    assert_eq!(peers(&b).await, [a.peer_id()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_key_than_the_one_dialled_is_refused() {
    let network = network("links-key");
    let (a, b) = (node(&network).await, node(&network).await);
    let expected = key().public().to_peer_id();
    let error =
        soon(a.connect(&PeerAddr { peer: Some(expected), ..addr_of(&b) })).await.expect_err("another key");
    assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
    assert!(error.detail().contains(&format!("another key: it is {}", b.peer_id())), "{error}");
    assert!(peers(&b).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_network_is_refused_with_the_reason() {
    let (a, b) = (node(&network("links-net-a")).await, node(&network("links-net-b")).await);
    let error = soon(a.connect(&addr_of(&b))).await.expect_err("another network");
    assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
    assert!(error.detail().ends_with("refused: it belongs to another network"), "{error}");
    assert!(error.hint().is_some());
    assert!(peers(&a).await.is_empty() && peers(&b).await.is_empty());
}

/// Lets only some in.
#[derive(Debug, Default)]
struct Only(Mutex<BTreeSet<PeerId>>);

impl Membership for Only {
    fn admits(&self, peer: &PeerId) -> bool {
        self.0.lock().expect("no panic").contains(peer)
    }

    fn may_publish(&self, author: &PeerId, _: &Topic) -> bool {
        self.admits(author)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_refused_at_either_end() {
    let network = network("links-stranger");
    let closed =
        builder(&network, quiet()).membership(Arc::new(Only::default())).open().await.expect("opens");
    let stranger = node(&network).await;
    let error = soon(stranger.connect(&addr_of(&closed))).await.expect_err("not admitted there");
    assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
    assert!(error.detail().ends_with("refused: this peer is not admitted"), "{error}");
    let error = soon(closed.connect(&addr_of(&stranger))).await.expect_err("not admitted here");
    assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
    assert!(error.detail().ends_with("is not admitted here"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_does_not_dial_itself() {
    let a = node(&network("links-self")).await;
    for addr in [addr_of(&a), PeerAddr { peer: None, ..addr_of(&a) }] {
        let error = soon(a.connect(&addr)).await.expect_err("itself");
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert!(error.detail().ends_with("is this node itself"), "{error}");
    }
    assert!(peers(&a).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_at_the_address_is_unreachable_within_the_deadline() {
    let network = network("links-dead");
    let a = builder(&network, quiet()).limits(short_limits()).open().await.expect("opens");
    // Bound and never answered: nothing but silence comes back.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("binds");
    let port = silent.local_addr().expect("bound").port();
    let addr: PeerAddr = format!("/ip4/127.0.0.1/udp/{port}/quic-v1").parse().expect("an address");
    let began = std::time::Instant::now();
    let error = soon(a.connect(&addr)).await.expect_err("silent");
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    assert!(error.detail().ends_with("did not answer within 1 s"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_of_another_transport_is_refused_with_the_form_to_use() {
    let a = node(&network("links-form")).await;
    let addr: PeerAddr = "/ip4/127.0.0.1/tcp/4600".parse().expect("an address");
    let error = soon(a.connect(&addr)).await.expect_err("no QUIC");
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("/quic-v1/")));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_dial_each_other_keep_one_connection() {
    let network = network("links-double");
    for _ in 0..10 {
        let (a, b) = (node(&network).await, node(&network).await);
        let (mut from_a, mut from_b) = (a.events(), b.events());
        let (to_b, to_a) = (addr_of(&b), addr_of(&a));
        let (one, two) = soon(async { tokio::join!(a.connect(&to_b), b.connect(&to_a)) }).await;
        assert_eq!(one.expect("connects"), Remote::Peer(b.peer_id()));
        assert_eq!(two.expect("connects"), Remote::Peer(a.peer_id()));
        assert_eq!(peers(&a).await, [b.peer_id()]);
        assert_eq!(peers(&b).await, [a.peer_id()]);
        // What is published now arrives, whichever connection it was put on.
        let mut subscription = b.subscribe(&topic()).await.expect("subscribes");
        soon(a.ready(&topic(), 1)).await.expect("ready");
        a.publish(&topic(), "hello").await.expect("publishes");
        assert_eq!(next(&mut subscription).await, "hello");
        let is_up = |event: &Event| matches!(event, Event::Up { .. });
        event(&mut from_a, is_up).await;
        event(&mut from_b, is_up).await;
        drop(subscription);
        a.close().await.expect("closes");
        let mut ups = 0;
        while let Some(event) = soon(futures::StreamExt::next(&mut from_a)).await {
            ups += usize::from(is_up(&event));
        }
        assert_eq!(ups, 0, "told once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_leads_to_the_whole_network() {
    let network = network("links-meet");
    let mut config = quiet();
    config.neighbours = 8;
    let first = builder(&network, config.clone()).open().await.expect("opens");
    let mut nodes = vec![first];
    for _ in 0..3 {
        // Each knows the one before alone.
        let mut config = config.clone();
        config.bootstrap = vec![addr_of(&nodes[nodes.len() - 1])];
        nodes.push(builder(&network, config).open().await.expect("opens"));
    }
    for node in &nodes {
        let mut events = node.events();
        for other in nodes.iter().filter(|other| other.peer_id() != node.peer_id()) {
            linked(&mut events, node, &other.peer_id()).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named() {
    let network = network("links-port");
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").expect("binds");
    let port = taken.local_addr().expect("bound").port();
    let mut config = quiet();
    config.listen = vec![format!("/ip4/127.0.0.1/udp/{port}/quic-v1").parse().expect("an address")];
    let error = builder(&network, config).open().await.expect_err("in use");
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(error.detail().contains(&format!("/udp/{port}/quic-v1 is in use")), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("listen")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wildcard_is_told_as_addresses_that_work() {
    let network = network("links-wildcard");
    let mut config = quiet();
    config.listen = vec!["/ip4/0.0.0.0/udp/0/quic-v1".parse().expect("an address")];
    let a = builder(&network, config).open().await.expect("opens");
    let listen = a.transports()[0].listen.clone();
    assert!(!listen.is_empty());
    assert!(listen.iter().all(|addr| !addr.to_string().contains("0.0.0.0")), "{listen:?}");
    let b = builder(&network, {
        let mut config = quiet();
        config.listen = vec![];
        config
    });
    let b: Node = b.open().await.expect("opens");
    connect(&b, &a).await;
}

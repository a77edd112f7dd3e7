//! Connecting, over TCP and QUIC, whoever dials; and what each tells the other of itself.

use carrick_core::{Direction, Node};
use carrick_interop::{Helia, Kubo, OldKubo};
use futures::StreamExt as _;
use serde_json::Value;

use super::{
    APART, aside, builder, config, connect, lan, open, ours, raw, remote, soon, theirs, timeout, until, up,
};

const WAYS: [&str; 2] = ["/tcp/", "/quic-v1"];

/// How a node sees its only peer.
async fn only_peer(node: &Node) -> (String, Option<Direction>) {
    let peers = node.peers().await.expect("peers");
    let [peer] = &peers[..] else { panic!("not one: {peers:?}") };
    (peer.addr.as_ref().expect("an address").to_string(), peer.direction)
}

/// Nodes meet a peer over each way, in each direction. `dial` has it dial an address.
async fn meets(id: &str, addr: impl Fn(&str) -> String, mut dial: impl FnMut(&str)) {
    let them = remote(id);
    for way in WAYS {
        let node = open(config()).await;
        let mut events = node.events();
        assert_eq!(connect(&node, &addr(way)).await, them);
        up(&mut events, &them).await;
        let (at, direction) = only_peer(&node).await;
        assert!(at.contains(way) && direction == Some(Direction::Outbound), "{at}, {direction:?}");
        node.close().await.expect("closes");

        let node = open(config()).await;
        let mut events = node.events();
        aside(|| dial(&ours(&node, way)));
        up(&mut events, &them).await;
        let (at, direction) = only_peer(&node).await;
        let udp = at.contains("/udp/");
        assert!(udp == (way == "/quic-v1") && direction == Some(Direction::Inbound), "{at}, {direction:?}");
        node.close().await.expect("closes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubo_is_met_over_tcp_and_quic_whoever_dials() {
    let kubo = aside(|| Kubo::run(1, &APART)).expect("a daemon");
    let daemon = &kubo.daemons()[0];
    let dial = |addr: &str| drop(daemon.ipfs(&["swarm", "connect", addr]).expect("connects"));
    meets(&daemon.id, |way| theirs(daemon, way).to_owned(), dial).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn helia_is_met_over_tcp_and_quic_whoever_dials() {
    let mut helia = aside(|| Helia::run(&[])).expect("a peer");
    let (id, tcp, quic) = (helia.id().to_owned(), helia.tcp().to_owned(), helia.quic().to_owned());
    let addr = |way: &str| if way == "/tcp/" { tcp.clone() } else { quic.clone() };
    meets(&id, addr, |addr| helia.connect(addr).expect("connects")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_kubo_with_an_rsa_key_is_met_over_tcp_and_quic_whoever_dials() {
    let mut old = aside(|| OldKubo::run(&[])).expect("a peer");
    let (id, tcp, quic) = (old.id().to_owned(), old.tcp().to_owned(), old.quic().to_owned());
    assert!(id.starts_with("Qm"), "{id} is of no RSA key");
    let addr = |way: &str| if way == "/tcp/" { tcp.clone() } else { quic.clone() };
    meets(&id, addr, |addr| old.connect(addr).expect("connects")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubo_prints_who_we_are() {
    let kubo = aside(|| Kubo::run(1, &[])).expect("a daemon");
    let node = open(lan()).await;
    connect(&node, theirs(&kubo.daemons()[0], "/tcp/")).await;
    let id = node.peer_id().to_string();
    let mut printed = Value::Null;
    // It is told by a stream of its own, in its time.
    until("that Kubo knows us", || {
        let answer = kubo.ipfs(0, &["id", &id]).expect("answers");
        printed = serde_json::from_slice(&answer).expect("JSON");
        !printed["AgentVersion"].as_str().unwrap_or_default().is_empty()
    })
    .await;
    assert_eq!(printed["ID"], id);
    assert_eq!(printed["AgentVersion"], concat!("carrick/", env!("CARGO_PKG_VERSION")));
    let protocols: Vec<&str> =
        printed["Protocols"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    for protocol in [
        "/ipfs/id/1.0.0",
        "/ipfs/ping/1.0.0",
        "/ipfs/bitswap/1.2.0",
        "/meshsub/1.1.0",
        "/meshsub/1.2.0",
        "/ipfs/lan/kad/1.0.0",
        "/carrick/link/1.0.0",
        "/carrick/dag/1.0.0",
    ] {
        assert!(protocols.contains(&protocol), "{protocol} is not among {protocols:?}");
    }
    let told: Vec<&str> =
        printed["Addresses"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    for way in WAYS {
        assert!(told.contains(&ours(&node, way).as_str()), "{told:?}");
    }
    let pinged = aside(|| kubo.ipfs(0, &["ping", "-n", "2", &id])).expect("pings");
    assert!(String::from_utf8_lossy(&pinged).contains("Average latency"), "{pinged:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn helia_is_told_who_we_are() {
    let mut helia = aside(|| Helia::run(&[])).expect("a peer");
    let node = open(config()).await;
    let id = node.peer_id().to_string();
    aside(|| helia.connect(&ours(&node, "/tcp/"))).expect("connects");
    let told = aside(|| helia.identify(&id)).expect("identifies");
    assert_eq!(told.agent.as_deref(), Some(concat!("carrick/", env!("CARGO_PKG_VERSION"))));
    assert_eq!(told.protocol_version.as_deref(), Some("ipfs/0.1.0"));
    assert!(told.protocols.iter().any(|protocol| protocol == "/ipfs/bitswap/1.2.0"), "{told:?}");
    assert!(!told.protocols.iter().any(|protocol| protocol.contains("/kad/")), "no table: {told:?}");
    aside(|| helia.ping(&ours(&node, "/quic-v1"))).expect("pings");
}

/// A peer that leaves is told to have left, and may come again.
#[tokio::test(flavor = "multi_thread")]
async fn kubo_leaves_and_comes_back() {
    use carrick_core::Event;
    let kubo = aside(|| Kubo::run(1, &APART)).expect("a daemon");
    let daemon = &kubo.daemons()[0];
    let node = builder(config()).open().await.expect("opens");
    let _on = node.subscribe(&raw()).await.expect("subscribes");
    let mut events = node.events();
    let them = connect(&node, theirs(daemon, "/tcp/")).await;
    up(&mut events, &them).await;
    let addr = ours(&node, "/tcp/");
    aside(|| daemon.ipfs(&["swarm", "disconnect", &format!("/p2p/{}", node.peer_id())])).expect("parts");
    let down =
        async { while !matches!(events.next().await, Some(Event::Down { remote, .. }) if remote == them) {} };
    soon("that it left", down).await;
    aside(|| daemon.ipfs(&["swarm", "connect", &addr])).expect("connects");
    up(&mut events, &them).await;
    node.disconnect(&them).await.expect("parts");
    let id = node.peer_id().to_string();
    until("that Kubo sees it", || !line(daemon.ipfs(&["swarm", "peers"]).expect("answers")).contains(&id))
        .await;
    assert!(
        timeout(std::time::Duration::ZERO, node.ready(&raw(), 1)).await.is_err(),
        "nobody is on the topic"
    );
}

use super::line;

//! A node that nobody can dial is reached through a relay.

use std::time::Duration;

use carrick_core::dag::Layout;
use carrick_core::{Delivery, ErrorKind, Multiaddr, NetworkId, Node, PeerAddr, Protocol, Topic};
use carrick_transport_libp2p::{Libp2p, Libp2pConfig};
use futures::StreamExt as _;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{SwarmBuilder, identify, noise, relay, tcp, yamux};
use tokio::time::timeout;

/// Longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(NetworkBehaviour)]
struct Relaying {
    relay: relay::Behaviour,
    identify: identify::Behaviour,
}

/// A relay of somebody else; where it is dialled.
async fn relay() -> Multiaddr {
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .expect("TCP")
        .with_behaviour(|key| Relaying {
            relay: relay::Behaviour::new(key.public().to_peer_id(), relay::Config::default()),
            identify: identify::Behaviour::new(identify::Config::new("relay/1".into(), key.public())),
        })
        .expect("a relay")
        .build();
    swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().expect("an address")).expect("listens");
    let addr = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            break address;
        }
    };
    swarm.add_external_address(addr.clone());
    let whole = addr.with(Protocol::P2p(*swarm.local_peer_id()));
    tokio::spawn(async move {
        loop {
            swarm.select_next_some().await;
        }
    });
    whole
}

async fn node(listen: Vec<Multiaddr>) -> Node {
    let mut config = Libp2pConfig::default();
    config.listen = Some(listen);
    config.relay_client = true;
    config.neighbours = 0;
    let builder = Node::builder().network(NetworkId::new("relayed").expect("a network"));
    builder.mount("libp2p", move |host| Libp2p::open(config.clone(), host)).open().await.expect("opens")
}

/// Waits until a node can be dialled through a relay, and answers where.
async fn relayed_addr(node: &Node) -> Multiaddr {
    let mut events = node.events();
    loop {
        let addrs = node.listen_addrs();
        if let Some(addr) =
            addrs.into_iter().find(|addr| addr.iter().any(|part| part == Protocol::P2pCircuit))
        {
            return addr;
        }
        timeout(PATIENCE, events.next()).await.expect("a place at the relay").expect("open");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_behind_a_relay_has_messages_and_content() {
    let relay = relay().await;
    let hidden = node(vec![relay.with(Protocol::P2pCircuit)]).await;
    let addr = timeout(PATIENCE, relayed_addr(&hidden)).await.expect("in time");
    let far = node(vec![]).await;
    let dialled = PeerAddr::new(hidden.peer_id(), vec![addr]);
    timeout(PATIENCE, far.connect(&dialled)).await.expect("in time").expect("connects");

    let topic = Topic::new("readings").expect("a topic");
    let mut heard = hidden.subscribe(&topic).await.expect("subscribes");
    timeout(PATIENCE, far.ready(&topic, 1)).await.expect("in time").expect("ready");
    far.publish(&topic, "over the relay").await.expect("publishes");
    let Ok(Some(Delivery::Message(message))) = timeout(PATIENCE, heard.next()).await else {
        panic!("nothing was heard")
    };
    assert_eq!(message.payload(), "over the relay".as_bytes());

    let content = hidden.put(&b"behind the relay"[..], Layout::default()).await.expect("puts").cid;
    let block = timeout(PATIENCE, far.block(&content, vec![])).await.expect("in time").expect("comes");
    assert_eq!(block.bytes(), "behind the relay".as_bytes());
    for node in [far, hidden] {
        node.close().await.expect("closes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_client_no_relay_is_dialled() {
    let relay = relay().await;
    let hidden = node(vec![relay.clone().with(Protocol::P2pCircuit)]).await;
    let addr = timeout(PATIENCE, relayed_addr(&hidden)).await.expect("in time");
    let mut config = Libp2pConfig::default();
    config.listen = Some(vec![]);
    let builder = Node::builder().network(NetworkId::new("relayed").expect("a network"));
    let plain =
        builder.mount("libp2p", move |host| Libp2p::open(config.clone(), host)).open().await.expect("opens");
    let error = plain.connect(&PeerAddr::new(hidden.peer_id(), vec![addr])).await.expect_err("no way");
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
}

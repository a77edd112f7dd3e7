//! Connecting to a node, and asking it for content at once.

use std::time::Duration;

use carrick_core::dag::Layout;
use carrick_core::{GetOptions, NetworkId, Node, PeerAddr};
use carrick_transport_libp2p::{Libp2p, Libp2pConfig, Routing};
use tokio::time::timeout;

/// Longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(30);

async fn node(dag: bool) -> Node {
    let mut config = Libp2pConfig::default();
    config.listen = Some(vec!["/ip4/127.0.0.1/tcp/0".parse().expect("an address")]);
    config.neighbours = 0;
    config.routing = Routing::None;
    config.dag = dag;
    let builder = Node::builder().network(NetworkId::new("at-once").expect("a network"));
    builder.mount("libp2p", move |host| Libp2p::open(config, host)).open().await.expect("opens")
}

/// Also where it asks nodes by bitswap, which identify tells of some time after the link stands.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_asked_as_soon_as_it_is_connected() {
    let server = node(true).await;
    let root = server.put(&b"content"[..], Layout::default()).await.expect("puts").cid;
    let addr = server.listen_addrs().first().cloned().expect("it listens").into();
    for dag in [true, false].repeat(8) {
        let client = node(dag).await;
        timeout(PATIENCE, client.connect(&addr)).await.expect("in time").expect("connects");
        let got = timeout(PATIENCE, client.get(&root, GetOptions::default())).await.expect("in time");
        assert_eq!(got.expect("gets").blocks, 1, "dag = {dag}");
        client.close().await.expect("closes");
    }
}

/// By a name that the system knows without asking anybody.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_dialled_by_its_name() {
    let (server, client) = (node(true).await, node(true).await);
    let addr = server.listen_addrs().first().expect("it listens").to_string();
    let named = addr.replace("/ip4/127.0.0.1/", "/dns4/localhost/");
    assert_ne!(addr, named);
    let named = named.parse::<PeerAddr>().expect("an address");
    timeout(PATIENCE, client.connect(&named)).await.expect("in time").expect("connects");
}

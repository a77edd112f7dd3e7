//! Content found through the table of a local network, by who knows one node that has it not.

use carrick_core::Node;
use carrick_core::dag::Layout;
use carrick_interop::{Daemon, Helia, Kubo};
use carrick_transport_libp2p::Libp2pConfig;

use super::{PATIENCE, aside, connect, content, got, lan, line, open, put, remote, soon, theirs, until};

/// A node of which all are told an address where nobody listens: whom it is connected to it has dialled itself.
fn hidden() -> Libp2pConfig {
    let mut config = lan();
    config.announce = vec!["/ip4/127.0.0.1/tcp/9".parse().expect("an address")];
    config
}

async fn is_connected(node: &Node, id: &str) -> bool {
    node.peers().await.expect("peers").iter().any(|peer| peer.remote == remote(id))
}

/// Waits until a daemon finds who provides something.
pub(super) async fn finds(daemon: &Daemon, cid: &str, provider: &str) {
    until("that the provider is found", || {
        let found = daemon.ipfs(&["routing", "findprovs", "-n", "5", cid]).expect("answers");
        line(found).lines().any(|id| id == provider)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubo_finds_what_we_put_through_a_daemon_that_has_it_not() {
    let kubo = aside(|| Kubo::run(2, &["--connect"])).expect("daemons");
    let [between, asker] = kubo.daemons() else { panic!("two") };
    let node = open(lan()).await;
    connect(&node, theirs(between, "/tcp/")).await;
    let content = content(3 << 20);
    let cid = put(&node, &content, Layout::default()).await.to_string();
    let id = node.peer_id().to_string();
    finds(asker, &cid, &id).await;
    assert!(aside(|| asker.ipfs(&["cat", &cid])).expect("cat") == content);
    let found = aside(|| asker.ipfs(&["routing", "findpeer", &id])).expect("finds");
    assert!(String::from_utf8_lossy(&found).contains("/ip4/127.0.0.1/"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn we_find_what_only_a_third_daemon_has() {
    let kubo = aside(|| Kubo::run(2, &["--connect"])).expect("daemons");
    let [between, far] = kubo.daemons() else { panic!("two") };
    let content = content(3 << 20);
    let add = ["add", "-Q", "--cid-version=1"];
    let cid = line(aside(|| far.ipfs_with(&add, &content)).expect("adds"));
    aside(|| far.ipfs(&["routing", "provide", &cid])).expect("provides");
    let node = open(hidden()).await;
    connect(&node, theirs(between, "/tcp/")).await;
    assert!(!is_connected(&node, &far.id).await);
    assert!(got(&node, &cid).await == content);
    assert!(is_connected(&node, &far.id).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_gets_what_a_node_has_that_it_does_not_know_through_a_daemon() {
    let kubo = aside(|| Kubo::run(1, &[])).expect("a daemon");
    let between = &kubo.daemons()[0];
    let (has, asks) = (open(lan()).await, open(hidden()).await);
    let content = content(3 << 20);
    connect(&has, theirs(between, "/tcp/")).await;
    let cid = put(&has, &content, Layout::default()).await.to_string();
    finds(between, &cid, &has.peer_id().to_string()).await;
    connect(&asks, theirs(between, "/quic-v1")).await;
    assert!(got(&asks, &cid).await == content);
    assert!(is_connected(&asks, &has.peer_id().to_string()).await);
}

/// As in the first test, the other way round: what was put before anybody was there is announced once somebody is.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_put_alone_is_announced_when_a_daemon_comes() {
    let node = open(lan()).await;
    let content = content(1 << 20);
    let cid = put(&node, &content, Layout::default()).await.to_string();
    let kubo = aside(|| Kubo::run(2, &["--connect"])).expect("daemons");
    let [between, asker] = kubo.daemons() else { panic!("two") };
    connect(&node, theirs(between, "/tcp/")).await;
    finds(asker, &cid, &node.peer_id().to_string()).await;
    assert!(aside(|| asker.ipfs(&["cat", &cid])).expect("cat") == content);
}

#[tokio::test(flavor = "multi_thread")]
async fn helia_finds_what_we_put_and_we_what_it_provides() {
    let mut helia = aside(|| Helia::run(&["--dht"])).expect("a peer");
    let kubo = aside(|| Kubo::run(1, &[])).expect("a daemon");
    let between = theirs(&kubo.daemons()[0], "/tcp/");
    let node = open(lan()).await;
    connect(&node, between).await;
    aside(|| helia.connect(between)).expect("connects");
    let mine = put(&node, &content(1 << 20), Layout::default()).await.to_string();
    let id = node.peer_id().to_string();
    until("that Helia finds us", || helia.find_providers(&mine, 1, PATIENCE).expect("asks").contains(&id))
        .await;
    let yours = aside(|| helia.add(b"of Helia", carrick_interop::Chunks::Small)).expect("adds");
    aside(|| helia.provide(&yours)).expect("provides");
    assert!(soon("a get", got(&node, &yours)).await == b"of Helia");
}

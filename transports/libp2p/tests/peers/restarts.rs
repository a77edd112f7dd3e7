//! A node that is started again, with what it kept on the disk.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use carrick_core::dag::Layout;
use carrick_core::{Clock, Keypair, Node, Store, SystemClock, Time};
use carrick_interop::Kubo;
use carrick_plugin_store_fjall::{FjallConfig, FjallStore};
use carrick_transport_libp2p::Libp2pConfig;

use super::{APART, aside, builder, connect, content, dht, lan, put, remote, theirs, up};

/// A clock that goes fast by so much.
#[derive(Debug)]
struct Later(Duration);

impl Clock for Later {
    fn now(&self) -> Time {
        Time(SystemClock.now().0 + self.0.as_millis() as u64)
    }
}

/// A life of a node: the same key, the same folder.
async fn life(key: &Keypair, dir: &Path, config: Libp2pConfig, later: Duration) -> Node {
    builder(config)
        .identity(key.clone())
        .data_dir(dir)
        .clock(Later(later))
        .store_at(|site| async move {
            Ok(Arc::new(FjallStore::open(FjallConfig::default(), site).await?) as Arc<dyn Store>)
        })
        .open()
        .await
        .expect("opens")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_put_is_announced_again_when_its_time_has_come() {
    let (dir, key) = (tempfile::tempdir().expect("a folder"), Keypair::generate_ed25519());
    let kubo = aside(|| Kubo::run(1, &[])).expect("a daemon");
    let node = life(&key, dir.path(), lan(), Duration::ZERO).await;
    connect(&node, theirs(&kubo.daemons()[0], "/tcp/")).await;
    let content = content(1 << 20);
    let cid = put(&node, &content, Layout::default()).await.to_string();
    let id = node.peer_id().to_string();
    dht::finds(&kubo.daemons()[0], &cid, &id).await;
    node.close().await.expect("closes");

    // Daemons that never heard of it, a day later.
    let others = aside(|| Kubo::run(2, &["--connect"])).expect("daemons");
    let node = life(&key, dir.path(), lan(), Duration::from_secs(23 * 3_600)).await;
    connect(&node, theirs(&others.daemons()[0], "/tcp/")).await;
    dht::finds(&others.daemons()[1], &cid, &id).await;
    assert!(aside(|| others.ipfs(1, &["cat", &cid])).expect("cat") == content);
    node.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_it_met_it_finds_again() {
    let (dir, key) = (tempfile::tempdir().expect("a folder"), Keypair::generate_ed25519());
    let kubo = aside(|| Kubo::run(1, &APART)).expect("a daemon");
    let daemon = &kubo.daemons()[0];
    let config = || {
        let mut config = lan();
        config.neighbours = 8;
        config
    };
    let node = life(&key, dir.path(), config(), Duration::ZERO).await;
    let mut events = node.events();
    connect(&node, theirs(daemon, "/tcp/")).await;
    up(&mut events, &remote(&daemon.id)).await;
    node.close().await.expect("closes");
    // Nobody tells it where to dial.
    let node = life(&key, dir.path(), config(), Duration::ZERO).await;
    let mut events = node.events();
    if node.peers().await.expect("peers").is_empty() {
        up(&mut events, &remote(&daemon.id)).await;
    }
    node.close().await.expect("closes");
}

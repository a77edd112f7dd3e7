//! A node whose store and transport are the same daemon: both let go of what it deletes, and neither of what it puts again.

use std::slice::from_ref;
use std::sync::Arc;

use carrick_core::dag::Layout;
use carrick_core::{Block, DAG_CBOR, NetworkId, Node, Owner, RAW};
use carrick_interop::{Daemon, Kubo};
use carrick_transport_ipfs_http::{IpfsHttp, IpfsHttpConfig};

use crate::{block, config, open, pinned};

async fn node(daemon: &Daemon, folder: &std::path::Path) -> Node {
    let store = open(config(daemon), folder).await.expect("opens");
    let mut transport = IpfsHttpConfig::default();
    transport.api = daemon.api.parse().expect("an address");
    let network = NetworkId::new("collects").expect("a network");
    let mount = async move |host| IpfsHttp::open(transport, host).await;
    Node::builder()
        .network(network)
        .store(Arc::new(store))
        .mount("ipfs-http", mount)
        .open()
        .await
        .expect("opens")
}

#[tokio::test]
async fn what_is_deleted_goes_and_what_is_put_again_stays() {
    let kubo = Kubo::run(1, &[]).expect("a daemon");
    let daemon = &kubo.daemons()[0];
    let folder = tempfile::tempdir().expect("a folder");
    let node = node(daemon, folder.path()).await;
    let has =
        |block: &Block| daemon.post(&format!("block/stat?offline=true&arg={}", block.cid()), None).is_ok();
    let garbage: Vec<Block> = (0..300).map(|n| block(n, 1_000)).collect();
    node.put_blocks(&garbage).await.expect("puts");
    let file = node.put(&b"a file"[..], Layout::default()).await.expect("puts");
    // Other names of bytes that are kept: the daemon has one pin for both.
    let (kept, other) = (Block::new(DAG_CBOR, &b"\x82\x01\x02"[..]), Block::new(RAW, &b"\x82\x01\x02"[..]));
    node.put_blocks(&[kept.clone(), other]).await.expect("puts");
    node.pin(kept.cid(), Owner::user()).await.expect("pins");

    let collected = node.collect_garbage().await.expect("collects");
    assert_eq!((collected.kept, collected.deleted, collected.bytes), (3, 300, 300_000));
    // Once another write is answered, what was deleted before it is released.
    node.put_blocks(&garbage[..1]).await.expect("puts again");
    assert_eq!(pinned(daemon, "direct").len(), 3);
    daemon.post("repo/gc", None).expect("collects");
    assert_eq!(garbage.iter().filter(|block| has(block)).count(), 1);
    assert!(has(&garbage[0]), "what was put again is gone");
    assert_eq!(node.store().get(kept.cid()).await.expect("gets"), Some(kept));

    node.remove(&file.cid, &Owner::user()).await.expect("removes");
    node.put_blocks(from_ref(&garbage[1])).await.expect("puts");
    daemon.post("repo/gc", None).expect("collects");
    assert!(daemon.post(&format!("block/stat?offline=true&arg={}", file.cid), None).is_err());
    assert!(has(&garbage[0]) && has(&garbage[1]));
}

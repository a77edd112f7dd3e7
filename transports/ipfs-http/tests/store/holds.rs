//! What the daemon holds, and for how long.

use std::slice::from_ref;

use carrick_core::{Block, Bytes, Cid, DAG_CBOR, Owner, Pin, RAW, Store, Usage};
use carrick_interop::Kubo;
use futures::future::join_all;
use futures::stream::TryStreamExt as _;

use crate::{block, config, open, pinned, until};

#[tokio::test]
async fn a_garbage_collection_and_a_restart_lose_nothing() {
    let mut kubo = Kubo::run(1, &["--durable"]).expect("a daemon");
    let daemon = kubo.daemons()[0].clone();
    let folder = tempfile::tempdir().expect("a folder");
    let blocks: Vec<Block> = (0..40).map(|n| block(n, 100 << (n % 14))).collect();
    let pin = Pin::recursive(*blocks[0].cid(), Owner::user());
    let store = open(config(&daemon), folder.path()).await.expect("opens");
    store.put(&blocks).await.expect("put");
    store.pin(&pin).await.expect("pin");
    store.set_meta(&[("key".into(), Some(Bytes::from_static(b"value")))]).await.expect("set");
    let usage = store.usage().await.expect("usage");
    store.close().await.expect("close");

    daemon.post("repo/gc", None).expect("collects");
    kubo.kill(0).expect("dies");
    kubo.start(0).expect("starts");
    let store = open(config(&daemon), folder.path()).await.expect("opens");
    assert_eq!(store.usage().await.expect("usage"), usage);
    for block in &blocks {
        assert_eq!(store.get(block.cid()).await.expect("get").as_ref(), Some(block));
    }
    assert_eq!(store.pins(None).try_collect::<Vec<_>>().await.expect("pins"), [pin]);
    assert_eq!(store.meta("key").await.expect("meta"), Some(Bytes::from_static(b"value")));
    // The bytes lie in the daemon alone.
    let here = size_of(folder.path());
    assert!(here < usage.bytes / 2, "{here} bytes here, of {} in the daemon", usage.bytes);
}

fn size_of(folder: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry"));
    let sizes = entries.map(|entry| {
        let path = entry.path();
        // Of a file that is long before it is full, what it takes.
        let taken =
            |path| std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(path).expect("there")) * 512;
        if path.is_dir() { size_of(&path) } else { taken(path) }
    });
    sizes.sum()
}

#[tokio::test]
async fn what_is_deleted_goes_from_the_daemon_unless_somebody_counts_on_it() {
    let kubo = Kubo::run(1, &[]).expect("a daemon");
    let daemon = &kubo.daemons()[0];
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(config(daemon), folder.path()).await.expect("opens");
    let bytes = b"\x82\x01\x02";
    let (under_one, under_another) = (Block::new(RAW, &bytes[..]), Block::new(DAG_CBOR, &bytes[..]));
    let (gone, theirs) = (block(1, 1_000), block(2, 1_000));
    store.put(&[under_one.clone(), under_another.clone(), gone.clone(), theirs.clone()]).await.expect("put");
    assert_eq!(pinned(daemon, "direct").len(), 3, "the same bytes are held once");
    // Somebody else pins one of them, as people do.
    daemon.post(&format!("pin/rm?recursive=false&arg={}", theirs.cid()), None).expect("unpins");
    daemon.post(&format!("pin/add?arg={}", theirs.cid()), None).expect("pins");
    for block in [&gone, &under_one, &theirs] {
        assert!(store.delete(block.cid()).await.expect("delete"));
    }
    until(|| !pinned(daemon, "direct").contains(&gone.cid().to_string())).await;
    assert!(pinned(daemon, "recursive").contains(&theirs.cid().to_string()), "their pin is gone");
    daemon.post("repo/gc", None).expect("collects");
    assert!(
        daemon.post(&format!("block/stat?offline=true&arg={}", gone.cid()), None).is_err(),
        "it is there still"
    );
    assert_eq!(store.get(under_another.cid()).await.expect("get"), Some(under_another));
    assert_eq!(store.get(under_one.cid()).await.expect("get"), None);
}

/// Its release is under way, or is to come: neither may take away what is held since.
#[tokio::test]
async fn a_block_that_is_put_again_while_it_is_released_stays() {
    let kubo = Kubo::run(1, &[]).expect("a daemon");
    let daemon = &kubo.daemons()[0];
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(config(daemon), folder.path()).await.expect("opens");
    let (again, other) = (block(1, 1_000), block(2, 1_000));
    for _ in 0..50 {
        store.put(&[again.clone(), other.clone()]).await.expect("put");
        for block in [&again, &other] {
            assert!(store.delete(block.cid()).await.expect("delete"));
        }
        // A write between gives the release time to begin.
        assert!(!store.delete(other.cid()).await.expect("delete"));
    }
    store.put(from_ref(&again)).await.expect("put");
    until(|| pinned(daemon, "direct") == [again.cid().to_string()]).await;
    daemon.post("repo/gc", None).expect("collects");
    assert_eq!(store.get(again.cid()).await.expect("get"), Some(again));
}

/// What others pin is held by them, and put all the same.
#[tokio::test]
async fn what_somebody_has_pinned_already_can_be_put() {
    let kubo = Kubo::run(1, &[]).expect("a daemon");
    let daemon = &kubo.daemons()[0];
    let added = daemon.post("add?cid-version=1&quieter=true", Some(b"theirs")).expect("adds");
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(config(daemon), folder.path()).await.expect("opens");
    let blocks = [Block::new(RAW, &b"theirs"[..]), block(1, 10), block(2, 10)];
    assert!(String::from_utf8_lossy(&added).contains(&blocks[0].cid().to_string()));
    store.put(&blocks).await.expect("put");
    daemon.post("repo/gc", None).expect("collects");
    for block in &blocks {
        assert_eq!(store.get(block.cid()).await.expect("get").as_ref(), Some(block));
    }
}

#[tokio::test]
async fn blocks_that_daemons_do_not_exchange_are_stored_too() {
    let kubo = Kubo::run(1, &[]).expect("a daemon");
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(config(&kubo.daemons()[0]), folder.path()).await.expect("opens");
    let blocks = [block(1, 8 << 20), block(2, (2 << 20) + 1), block(3, 2 << 20), block(4, 1)];
    store.put(&blocks).await.expect("put");
    for block in &blocks {
        assert_eq!(store.get(block.cid()).await.expect("get").as_ref(), Some(block));
    }
}

/// As the node does when it fetches: many small puts, which the daemon gets together.
#[tokio::test]
async fn many_puts_at_once_are_held_each() {
    let kubo = Kubo::run(1, &[]).expect("a daemon");
    let daemon = &kubo.daemons()[0];
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(config(daemon), folder.path()).await.expect("opens");
    let blocks: Vec<Block> = (0..300).map(|n| block(n, 1_000)).collect();
    let puts = blocks.iter().map(|block| store.put(from_ref(block)));
    for put in join_all(puts).await {
        put.expect("put");
    }
    assert_eq!(store.usage().await.expect("usage"), Usage::new(300, 300_000));
    assert_eq!(pinned(daemon, "direct").len(), 300);
    let mut listed: Vec<Cid> = store.blocks().try_collect().await.expect("blocks");
    listed.retain(|cid| blocks.iter().all(|block| block.cid() != cid));
    assert_eq!(listed, []);
}

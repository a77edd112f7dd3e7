//! What is special to a store on disk.

mod common;

use std::fs;
use std::path::Path;
use std::slice::from_ref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use carrick_core::{Block, Bytes, ErrorKind, Owner, Pin, Store, Usage};
use carrick_plugin_store_fjall::{FjallConfig, FjallStore};
use common::{block, open};
use futures::future::join_all;
use futures::stream::TryStreamExt;

async fn opened(folder: &Path) -> FjallStore {
    open(folder, FjallConfig::default()).await.expect("opens")
}

async fn config_error(folder: &Path) -> carrick_core::Error {
    let error = open(folder, FjallConfig::default()).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(error.hint().is_some(), "{error:?}");
    error
}

#[tokio::test]
async fn everything_is_there_after_reopening() {
    let folder = tempfile::tempdir().expect("a folder");
    let blocks: Vec<Block> = (0..20).map(|n| block(n, 100 << n.min(14))).collect();
    let pin = Pin::recursive(*blocks[0].cid(), Owner::user());
    let store = opened(folder.path()).await;
    store.put(&blocks).await.expect("put");
    assert!(store.delete(blocks[1].cid()).await.expect("delete"));
    store.pin(&pin).await.expect("pin");
    store.set_meta(&[("key".into(), Some(Bytes::from_static(b"value")))]).await.expect("set");
    let usage = store.usage().await.expect("usage");
    store.close().await.expect("close");

    let store = opened(folder.path()).await;
    assert_eq!(store.usage().await.expect("usage"), usage);
    assert_eq!(store.get(blocks[1].cid()).await.expect("get"), None);
    for block in blocks.iter().filter(|block| *block != &blocks[1]) {
        assert_eq!(store.get(block.cid()).await.expect("get").as_ref(), Some(block));
    }
    assert_eq!(store.pins(None).try_collect::<Vec<_>>().await.expect("pins"), [pin]);
    assert_eq!(store.meta("key").await.expect("meta"), Some(Bytes::from_static(b"value")));
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_that_come_together_share_flushes() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Arc::new(opened(folder.path()).await);
    let writes = (0..500).map(|n| {
        let store = store.clone();
        tokio::spawn(async move { store.put(&[block(n, 1_000)]).await })
    });
    for written in join_all(writes.collect::<Vec<_>>()).await {
        written.expect("no panic").expect("put");
    }
    assert_eq!(store.usage().await.expect("usage"), Usage::new(500, 500_000));
    let flushes = store.flushes();
    assert!(flushes < 250, "{flushes} flushes for 500 concurrent writes");
}

#[tokio::test]
async fn what_is_there_already_touches_no_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = opened(folder.path()).await;
    let block = block(1, 1_000);
    store.put(from_ref(&block)).await.expect("put");
    let flushes = store.flushes();
    store.put(from_ref(&block)).await.expect("put again");
    assert!(!store.unpin(block.cid(), &Owner::user()).await.expect("no pin"));
    assert_eq!(store.flushes(), flushes);
}

#[tokio::test]
async fn a_large_put_is_cut_into_batches() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = opened(folder.path()).await;
    let blocks: Vec<Block> = (0..48).map(|n| block(n, 1 << 20)).collect();
    store.put(&blocks).await.expect("put");
    assert_eq!(store.usage().await.expect("usage"), Usage::new(48, 48 << 20));
    for block in &blocks {
        assert_eq!(store.get(block.cid()).await.expect("get").as_ref(), Some(block));
    }
}

#[tokio::test]
async fn a_disk_that_is_nearly_full_refuses_blocks_and_lets_delete() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = opened(folder.path()).await;
    let (there, new) = (block(1, 1_000), block(2, 1_000));
    store.put(from_ref(&there)).await.expect("put");
    store.close().await.expect("close");

    let mut config = FjallConfig::default();
    config.reserve_bytes = u64::MAX;
    let store = open(folder.path(), config).await.expect("opens");
    let refused = store.put(&[new]).await.expect_err("no room");
    assert_eq!(refused.kind(), ErrorKind::Full);
    assert!(refused.hint().is_some_and(|hint| hint.contains("reserve_bytes")), "{refused:?}");
    store.put(from_ref(&there)).await.expect("what is there needs no room");
    assert_eq!(store.get(there.cid()).await.expect("get").as_ref(), Some(&there));
    store.pin(&Pin::recursive(*there.cid(), Owner::user())).await.expect("pins may use the reserve");
    assert!(store.delete(there.cid()).await.expect("delete"));
}

#[tokio::test]
async fn a_store_that_is_open_cannot_be_opened_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = opened(folder.path()).await;
    assert!(config_error(folder.path()).await.detail().contains("open already"));
    store.close().await.expect("close");
    opened(folder.path()).await;
}

#[tokio::test]
async fn dropping_without_close_lets_go_of_the_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = opened(folder.path()).await;
    store.put(&[block(1, 1_000)]).await.expect("put");
    drop(store);
    let started = Instant::now();
    loop {
        match open(folder.path(), FjallConfig::default()).await {
            Ok(store) => break assert_eq!(store.usage().await.expect("usage").blocks, 1),
            Err(error) if started.elapsed() < Duration::from_secs(10) => {
                assert_eq!(error.kind(), ErrorKind::Config);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(error) => panic!("still held after 10 s: {error}"),
        }
    }
}

#[tokio::test]
async fn close_answers_who_waits_and_may_be_called_by_many() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Arc::new(opened(folder.path()).await);
    let writes: Vec<_> = (0..50)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { store.put(&[block(n, 10_000)]).await })
        })
        .collect();
    tokio::task::yield_now().await;
    let (first, second) = tokio::join!(store.close(), store.close());
    first.and(second).expect("close");
    let mut written = 0;
    for answer in join_all(writes).await {
        match answer.expect("no panic") {
            Ok(()) => written += 1,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Closed),
        }
    }
    assert_eq!(opened(folder.path()).await.usage().await.expect("usage").blocks, written);
}

#[tokio::test]
async fn an_interrupted_creation_is_begun_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let half_made = folder.path().join("blocks/db.new/keyspaces");
    fs::create_dir_all(&half_made).expect("made");
    fs::write(folder.path().join("blocks/db.new/0.jnl"), b"half").expect("written");
    opened(folder.path()).await.put(&[block(1, 10)]).await.expect("put");
    assert!(!folder.path().join("blocks/db.new").exists());
}

#[tokio::test]
async fn a_path_that_is_no_folder_is_a_configuration_error() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("blocks"), b"a file").expect("written");
    assert!(config_error(folder.path()).await.detail().contains("cannot be used"));
}

#[tokio::test]
async fn a_database_of_another_kind_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(fjall::Database::builder(folder.path().join("blocks/db")).open().expect("made"));
    assert!(config_error(folder.path()).await.detail().contains("no store of Carrick"));
}

#[tokio::test]
async fn an_unknown_format_is_refused_and_named() {
    let folder = tempfile::tempdir().expect("a folder");
    opened(folder.path()).await.close().await.expect("close");
    let db = fjall::Database::builder(folder.path().join("blocks/db")).open().expect("opens");
    let own = db.keyspace("store", fjall::KeyspaceCreateOptions::default).expect("there");
    own.insert("format", "2").expect("written");
    drop((own, db));
    assert!(config_error(folder.path()).await.detail().contains("has format \"2\"; this version reads 1"));
}

#[tokio::test]
async fn names_above_the_limit_are_too_large_and_harm_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = opened(folder.path()).await;
    let long = "x".repeat(100_000);
    let entries = [("short".to_string(), Some(Bytes::new())), (long.clone(), Some(Bytes::new()))];
    let error = store.set_meta(&entries).await.expect_err("too long");
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert_eq!(store.meta("short").await.expect("meta"), None, "all or nothing");
    let pin = Pin::recursive(*block(1, 1).cid(), Owner::new(long));
    assert_eq!(store.pin(&pin).await.expect_err("too long").kind(), ErrorKind::TooLarge);
    store.put(&[block(1, 10)]).await.expect("still writes");
}

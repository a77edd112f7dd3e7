//! Daemons that are away, die, forget, or are others.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::slice::from_ref;
use std::sync::Arc;

use carrick_core::{Block, ErrorKind, Store, Usage};
use carrick_interop::{Daemon, Kubo};
use carrick_transport_ipfs_http::{Auth, Scheme};

use crate::{block, config, open, pinned, until};

fn forget(daemon: &Daemon, block: &Block) {
    daemon.post(&format!("pin/rm?recursive=false&arg={}", block.cid()), None).expect("unpins");
    daemon.post(&format!("block/rm?arg={}", block.cid()), None).expect("removes");
}

#[tokio::test]
async fn a_daemon_that_is_away_is_told_and_hides_nothing() {
    let mut kubo = Kubo::run(1, &["--durable"]).expect("a daemon");
    let daemon = kubo.daemons()[0].clone();
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(config(&daemon), folder.path()).await.expect("opens");
    let (kept, deleted, later) = (block(1, 1_000), block(2, 1_000), block(3, 1_000));
    store.put(&[kept.clone(), deleted.clone()]).await.expect("put");
    kubo.kill(0).expect("dies");
    let refused = store.get(kept.cid()).await.expect_err("it is away");
    assert_eq!(refused.kind(), ErrorKind::Unreachable, "{refused}");
    assert!(refused.hint().is_some_and(|hint| hint.contains("ipfs daemon")), "{refused:?}");
    let refused = store.put(from_ref(&later)).await.expect_err("it is away");
    assert_eq!(refused.kind(), ErrorKind::Unreachable, "{refused}");
    // What needs no bytes is answered, and what is deleted is gone from here.
    assert!(store.has(kept.cid()).await.expect("has") && !store.has(later.cid()).await.expect("has"));
    assert!(store.delete(deleted.cid()).await.expect("delete"));
    assert_eq!(store.usage().await.expect("usage"), Usage::new(1, 1_000));
    drop(store.close().await);
    let refused = open(config(&daemon), folder.path()).await.expect_err("it is away");
    assert_eq!(refused.kind(), ErrorKind::Unreachable, "{refused}");

    kubo.start(0).expect("starts");
    let store = open(config(&daemon), folder.path()).await.expect("opens");
    assert_eq!(store.get(kept.cid()).await.expect("get"), Some(kept));
    store.put(from_ref(&later)).await.expect("put");
    // The daemon is told what was deleted while it was away.
    until(|| !pinned(&daemon, "direct").contains(&deleted.cid().to_string())).await;
    daemon.post("repo/gc", None).expect("collects");
    let stat = daemon.post(&format!("block/stat?offline=true&arg={}", deleted.cid()), None);
    assert!(stat.is_err(), "it is there still");
}

/// Nobody has to write anything for it.
#[tokio::test]
async fn what_was_deleted_while_the_daemon_was_away_is_released_when_it_is_back() {
    let mut kubo = Kubo::run(1, &["--durable"]).expect("a daemon");
    let daemon = kubo.daemons()[0].clone();
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(config(&daemon), folder.path()).await.expect("opens");
    let blocks: Vec<Block> = (0..250).map(|n| block(n, 100)).collect();
    store.put(&blocks).await.expect("put");
    kubo.kill(0).expect("dies");
    for block in &blocks {
        assert!(store.delete(block.cid()).await.expect("delete"));
    }
    kubo.start(0).expect("starts");
    until(|| pinned(&daemon, "direct").is_empty()).await;
}

/// Killed at any moment of many puts: what was confirmed is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_killed_during_a_put_loses_nothing_that_was_confirmed() {
    let mut kubo = Kubo::run(1, &["--durable"]).expect("a daemon");
    let folder = tempfile::tempdir().expect("a folder");
    let store = Arc::new(open(config(&kubo.daemons()[0]), folder.path()).await.expect("opens"));
    let mut confirmed: Vec<Block> = Vec::new();
    for round in 0..3 {
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let putting = Arc::clone(&store);
        let puts = tokio::spawn(async move {
            for n in 0.. {
                let block = block(round << 32 | n, 1 + (n as usize * 37_711) % 300_000);
                if let Err(error) = putting.put(from_ref(&block)).await {
                    return error;
                }
                let _ = tell.send(block);
            }
            unreachable!("there are always more")
        });
        for _ in 0..5 + 7 * round {
            confirmed.extend(told.recv().await);
        }
        kubo.kill(0).expect("dies");
        let error = puts.await.expect("no panic");
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
        while let Some(block) = told.recv().await {
            confirmed.push(block);
        }
        kubo.start(0).expect("starts");
        kubo.daemons()[0].post("repo/gc", None).expect("collects");
        for block in &confirmed {
            assert_eq!(store.get(block.cid()).await.expect("get").as_ref(), Some(block), "round {round}");
        }
    }
}

#[tokio::test]
async fn a_block_that_the_daemon_lost_is_absent_and_can_be_put_again() {
    let kubo = Kubo::run(1, &[]).expect("a daemon");
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(config(&kubo.daemons()[0]), folder.path()).await.expect("opens");
    let (lost, kept) = (block(1, 1_000), block(2, 1_000));
    store.put(&[lost.clone(), kept.clone()]).await.expect("put");
    forget(&kubo.daemons()[0], &lost);
    assert_eq!(store.get(lost.cid()).await.expect("get"), None);
    assert!(!store.has(lost.cid()).await.expect("has"));
    assert_eq!(store.usage().await.expect("usage"), Usage::new(1, 1_000));
    store.put(from_ref(&lost)).await.expect("put");
    assert_eq!(store.get(lost.cid()).await.expect("get"), Some(lost));
}

/// One that took the place of ours has lost nothing: it never had it.
#[tokio::test]
async fn another_daemon_is_not_mistaken_for_the_one_that_holds_the_blocks() {
    let kubo = Kubo::run(2, &[]).expect("daemons");
    let [ours, other] = [&kubo.daemons()[0], &kubo.daemons()[1]];
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(config(ours), folder.path()).await.expect("opens");
    store.close().await.expect("close");
    // As long as there is nothing in it, any daemon will do.
    for daemon in [other, ours] {
        open(config(daemon), folder.path()).await.expect("opens").close().await.expect("close");
    }
    let store = open(config(ours), folder.path()).await.expect("opens");
    let kept = block(1, 1_000);
    store.put(from_ref(&kept)).await.expect("put");
    store.close().await.expect("close");
    let refused = open(config(other), folder.path()).await.expect_err("another daemon");
    assert_eq!(refused.kind(), ErrorKind::Config, "{refused}");
    assert!(refused.detail().contains(&ours.id) && refused.detail().contains(&other.id), "{refused}");
    assert!(refused.hint().is_some_and(|hint| hint.contains("`api`")), "{refused:?}");
    let store = open(config(ours), folder.path()).await.expect("opens");
    assert_eq!(store.get(kept.cid()).await.expect("get"), Some(kept));
}

#[tokio::test]
async fn a_wrong_token_and_another_program_are_told_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let kubo = Kubo::run(1, &["--bearer", "s3cret"]).expect("a daemon");
    let mut named = config(&kubo.daemons()[0]);
    let file = tempfile::NamedTempFile::new().expect("a file");
    named.auth = Some(Auth { scheme: Scheme::Bearer, file: Some(file.path().into()), env: None });
    std::fs::write(file.path(), "another").expect("written");
    let refused = open(named.clone(), folder.path()).await.expect_err("another token");
    assert_eq!(refused.kind(), ErrorKind::Unauthorized, "{refused}");
    assert!(refused.hint().is_some_and(|hint| hint.contains("`auth`")), "{refused:?}");
    std::fs::write(file.path(), "s3cret").expect("written");
    open(named.clone(), folder.path()).await.expect("with it").close().await.expect("close");

    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    named.api = format!("http://{}", listener.local_addr().expect("bound")).parse().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>");
        }
    });
    let refused = open(named, folder.path()).await.expect_err("another program");
    assert_eq!(refused.kind(), ErrorKind::Unexpected, "{refused}");
    assert!(refused.hint().is_some_and(|hint| hint.contains("`api`")), "{refused:?}");
}

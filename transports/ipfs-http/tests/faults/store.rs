//! The store in a daemon that is full, or does not bring what it took.

use std::path::Path;
use std::slice::from_ref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use carrick_core::dag::Layout;
use carrick_core::{Block, ErrorKind, Limits, RAW, Site, Store, Usage};
use carrick_transport_ipfs_http::{IpfsHttpStore, IpfsHttpStoreConfig, Seconds};
use tokio::time::timeout;

use super::puts::{FULL, STORED};
use super::{PATIENCE, builder, config, node, right};
use crate::server::{ABSENT, Answer, Server};

const PINNED: &str = r#"{"Pins":["bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"]}"#;

/// After which time a daemon that says nothing is given up.
const HANGS: Duration = Duration::from_secs(5);

/// A store in the daemon that the server is.
async fn store(server: &Server, data_dir: &Path) -> IpfsHttpStore {
    let mut config = IpfsHttpStoreConfig::default();
    config.api = server.api.parse().expect("an address");
    config.request_timeout = Seconds(HANGS);
    let site = Site::new("ipfs-http", data_dir, Limits::default());
    IpfsHttpStore::open(config, site).await.expect("opens")
}

fn taken() -> [(&'static str, Vec<Answer>); 2] {
    [("block/put", vec![Answer::Good(STORED)]), ("pin/add", vec![Answer::Good(PINNED)])]
}

/// What a store in the daemon reads, where the daemon answers so.
async fn read(
    said: impl IntoIterator<Item = (&'static str, Vec<Answer>)>,
) -> carrick_core::Result<Option<Block>> {
    let server = Server::start(taken().into_iter().chain(said)).await;
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(&server, folder.path()).await;
    store.put(from_ref(&right())).await.expect("put");
    timeout(PATIENCE, store.get(right().cid())).await.expect("it ends")
}

#[tokio::test]
async fn a_full_daemon_is_told_by_the_store_and_what_was_there_is_read() {
    let full = Answer::Status(500, "Content-Type: application/json\r\n", FULL);
    let [(put, stored), pins] = taken();
    let said = [(put, [stored, vec![full]].concat()), pins, ("block/get", vec![Answer::Good("hello world")])];
    let server = Server::start(said).await;
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(&server, folder.path()).await;
    store.put(from_ref(&right())).await.expect("put");
    let more = Block::new(RAW, &b"more"[..]);
    let error = store.put(from_ref(&more)).await.expect_err("it is full");
    assert_eq!(error.kind(), ErrorKind::Full, "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("make room")), "{error:?}");
    assert_eq!(store.usage().await.expect("usage"), Usage::new(1, 11));
    assert_eq!(store.get(right().cid()).await.expect("get"), Some(right()));
    assert_eq!(store.get(more.cid()).await.expect("get"), None);
}

#[tokio::test]
async fn other_bytes_than_were_stored_are_never_handed_out() {
    for bytes in ["hello w0rld", "", "hello world and more"] {
        let error = read([("block/get", vec![Answer::Good(bytes)])]).await.expect_err("damaged");
        assert_eq!(error.kind(), ErrorKind::Integrity, "{error}");
        assert!(error.hint().is_some(), "{error:?}");
    }
}

#[tokio::test]
async fn a_block_is_lost_only_where_the_daemon_says_so_twice() {
    let absent = || vec![Answer::Status(500, "Content-Type: application/json\r\n", ABSENT)];
    assert_eq!(read([("block/get", absent()), ("block/stat", absent())]).await.expect("it is lost"), None);
    let said = [("block/get", absent()), ("block/stat", vec![Answer::Good(STORED)])];
    assert_eq!(read(said).await.expect_err("it is there").kind(), ErrorKind::Unexpected);
    let broken = vec![Answer::Cut(b"hello")];
    assert_eq!(read([("block/get", broken)]).await.expect_err("it broke").kind(), ErrorKind::Unreachable);
}

#[tokio::test]
async fn a_transport_on_the_same_daemon_uploads_nothing_again() {
    let server = Server::start(taken()).await;
    let folder = tempfile::tempdir().expect("a folder");
    let store = Arc::new(store(&server, folder.path()).await);
    let (node, _) = node::over(builder().store(store), config(&server)).await.expect("opens");
    let put = node.put(&b"hello world"[..], Layout::default());
    timeout(PATIENCE, put).await.expect("it ends").expect("it is put");
    node.close().await.expect("closes");
    let uploads =
        server.asked().into_iter().filter(|(command, _)| command == "block/put" || command == "dag/import");
    assert_eq!(uploads.count(), 1);
}

/// A large block on a slow line takes longer than an answer may take to begin.
#[tokio::test]
async fn what_is_brought_may_take_its_time_as_long_as_it_goes_on() {
    let text: &'static str = "x".repeat(600_000).leak();
    let block = Block::new(RAW, text.as_bytes());
    let stored = format!(r#"{{"Key":"{}","Size":600000}}"#, block.cid()).leak();
    let server = Server::start([
        ("block/put", vec![Answer::Good(stored)]),
        ("pin/add", vec![Answer::Pinned]),
        ("block/get", vec![Answer::Trickle(text)]),
    ])
    .await;
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(&server, folder.path()).await;
    store.put(from_ref(&block)).await.expect("put");
    let got = timeout(PATIENCE, store.get(block.cid())).await.expect("it ends");
    assert_eq!(got.expect("it is slow, and goes on"), Some(block));
}

/// What is deleted is gone from here at once, and goes from the daemon once that is itself again.
#[tokio::test]
async fn a_daemon_that_hangs_holds_up_no_write_that_needs_it_not_and_is_asked_again() {
    let released = vec![Answer::Silence, Answer::Good(PINNED)];
    let server = Server::start(taken().into_iter().chain([("pin/rm", released)])).await;
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(&server, folder.path()).await;
    store.put(from_ref(&right())).await.expect("put");
    assert!(store.delete(right().cid()).await.expect("delete"));
    timeout(PATIENCE, server.until_asked("pin/rm", 1)).await.expect("it is asked");
    // The daemon is not needed for an empty one.
    let empty = Block::new(RAW, &b""[..]);
    for _ in 0..5 {
        store.put(from_ref(&empty)).await.expect("put");
        assert!(store.delete(empty.cid()).await.expect("delete"));
    }
    let asked = server.asked().into_iter().filter(|(command, _)| command == "pin/rm").count();
    assert_eq!(asked, 1, "writes waited for it");
    timeout(PATIENCE, server.until_asked("pin/rm", 2)).await.expect("it is asked again");
}

/// Else the release, which the daemon may do whenever it likes, would take away what was just pinned.
#[tokio::test]
async fn what_is_put_again_waits_until_its_release_has_ended() {
    let server = Server::start(taken().into_iter().chain([("pin/rm", vec![Answer::Silence])])).await;
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(&server, folder.path()).await;
    store.put(from_ref(&right())).await.expect("put");
    assert!(store.delete(right().cid()).await.expect("delete"));
    timeout(PATIENCE, server.until_asked("pin/rm", 1)).await.expect("it is asked");
    let began = Instant::now();
    store.put(from_ref(&right())).await.expect("put");
    assert!(began.elapsed() > HANGS - Duration::from_secs(1), "it was given while the release went on");
    let asked = server.asked().into_iter().filter(|(command, _)| command == "pin/rm").count();
    assert_eq!(asked, 1, "it is held again");
}

/// One that took the place of ours has lost nothing, and what it is given is not where it will be looked for.
#[tokio::test]
async fn another_daemon_in_the_place_of_ours_is_noticed_while_the_store_is_open() {
    let ours = || Answer::Good(r#"{"ID":"12D3KooWJWoaqZhDaoEFshF7Rh1bpY9ohihFhzcW6d69Lr2NASuq"}"#);
    let other = || Answer::Good(r#"{"ID":"12D3KooWRm8J3iL796zPFi2EtGGtUJn58AG67gcRzQ4FENEemvoK"}"#);
    let absent = Answer::Status(500, "Content-Type: application/json\r\n", ABSENT);
    let said = [("block/get", vec![absent.clone()]), ("block/stat", vec![absent])];
    // At the start, at the first put, and when a block is missing; then at the second put.
    let said = said.into_iter().chain([("id", vec![ours(), ours(), other()])]);
    let server = Server::start(taken().into_iter().chain(said)).await;
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(&server, folder.path()).await;
    store.put(from_ref(&right())).await.expect("put");
    let refused = store.get(right().cid()).await.expect_err("another daemon");
    assert_eq!(refused.kind(), ErrorKind::Config, "{refused}");
    assert!(store.has(right().cid()).await.expect("has"), "it was taken for lost");
    assert!(store.delete(right().cid()).await.expect("delete"));
    let refused = store.put(from_ref(&right())).await.expect_err("another daemon");
    assert_eq!(refused.kind(), ErrorKind::Config, "{refused}");
    assert!(!store.has(right().cid()).await.expect("has"));
}

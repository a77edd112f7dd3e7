//! A daemon that takes no block: who puts learns it, and loses nothing.

use carrick_core::dag::Layout;
use carrick_core::{ErrorKind, GetOptions};
use tokio::time::timeout;

use super::{PATIENCE, config, open, right};
use crate::server::{Answer, Server};

const FULL: &str =
    r#"{"Message":"put: write /repo/blocks/x: no space left on device","Code":0,"Type":"error"}"#;
const STORED: &str = r#"{"Key":"bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e","Size":11}"#;

#[tokio::test]
async fn a_full_disk_of_the_daemon_is_told_and_the_node_keeps_what_was_put() {
    let full = Answer::Status(500, "Content-Type: application/json\r\n", FULL);
    let server = Server::start([("block/put", vec![full, Answer::Good(STORED)])]).await;
    let (node, _) = open(config(&server)).await.expect("opens");
    let put = node.put(&b"hello world"[..], Layout::default());
    let error = timeout(PATIENCE, put).await.expect("it ends").expect_err("it is full");
    assert_eq!(error.kind(), ErrorKind::Full, "{error}");
    assert!(error.to_string().contains("no space left on device"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("make room")), "{error:?}");
    let got = node.get(right().cid(), GetOptions::default()).await.expect("the node has it");
    assert_eq!(got.bytes, 0, "it had to be fetched");
    // There is room again: the same put hands it over.
    let put = node.put(&b"hello world"[..], Layout::default());
    timeout(PATIENCE, put).await.expect("it ends").expect("it is put");
}

#[tokio::test]
async fn what_was_fetched_is_there_though_the_daemon_keeps_it_not() {
    let full = Answer::Status(500, "Content-Type: application/json\r\n", FULL);
    let server =
        Server::start([("block/put", vec![full]), ("block/get", vec![Answer::Good("hello world")])]).await;
    let (node, transport) = open(config(&server)).await.expect("opens");
    transport.peers().await.expect("peers");
    let block =
        timeout(PATIENCE, node.block(right().cid(), vec![])).await.expect("it ends").expect("it comes");
    assert_eq!(block.cid(), right().cid());
    let counters = node.status().await.expect("status").counters;
    assert_eq!(counters["ipfs-http"]["provide_failed"], 1);
}

//! A daemon that takes no block: who puts learns it, and loses nothing.

use carrick_core::dag::Layout;
use carrick_core::{Block, ErrorKind, GetOptions, Owner, RAW};
use carrick_transport_ipfs_http::Seconds;
use futures::future::join_all;
use tokio::time::timeout;

use super::{PATIENCE, config, open, right};
use crate::node::until;
use crate::server::{ABSENT, Answer, Server};
use crate::starts::told;

pub(super) const FULL: &str =
    r#"{"Message":"put: write /repo/blocks/x: no space left on device","Code":0,"Type":"error"}"#;
pub(super) const STORED: &str =
    r#"{"Key":"bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e","Size":11}"#;

#[tokio::test]
async fn a_full_disk_of_the_daemon_is_told_and_the_node_keeps_what_was_put() {
    let full = Answer::Status(500, "Content-Type: application/json\r\n", FULL);
    let absent = || Answer::Status(500, "", ABSENT);
    let server = Server::start([
        ("block/put", vec![full, Answer::Good(STORED)]),
        ("pin/add", vec![absent(), absent(), Answer::Pinned]),
    ])
    .await;
    let (node, _) = open(config(&server)).await.expect("opens");
    let put = node.put(&b"hello world"[..], Layout::default());
    let error = timeout(PATIENCE, put).await.expect("it ends").expect_err("it is full");
    assert_eq!(error.kind(), ErrorKind::Full, "{error}");
    assert!(error.to_string().contains("no space left on device"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("make room")), "{error:?}");
    let got = node.get(right().cid(), GetOptions::default()).await.expect("the node has it");
    assert_eq!(got.bytes, 0, "it had to be fetched");
    // There is room again: it is handed over, and pinned, without another put.
    timeout(PATIENCE, server.until_asked("pin/add", 3)).await.expect("it is pinned");
    let commands = server.asked();
    assert_eq!(commands.iter().filter(|(command, _)| command == "block/put").count(), 2, "{commands:?}");
}

/// It takes away what was given, and is not pinned yet.
#[tokio::test]
async fn a_garbage_collection_between_giving_and_pinning_fails_no_put() {
    let absent = || Answer::Status(500, "", ABSENT);
    let server = Server::start([
        ("block/put", vec![Answer::Good(STORED)]),
        ("pin/add", vec![absent(), absent(), absent(), Answer::Pinned]),
    ])
    .await;
    let (node, _) = open(config(&server)).await.expect("opens");
    let put = node.put(&b"hello world"[..], Layout::default());
    timeout(PATIENCE, put).await.expect("it ends").expect("it is given again");
    let commands = server.asked();
    assert_eq!(commands.iter().filter(|(command, _)| command == "block/put").count(), 3, "{commands:?}");
}

/// What else answers 200: a page, nothing, Kubo cut short by a proxy that drops trailers, or about something else.
#[tokio::test]
async fn a_good_answer_that_is_not_about_the_block_has_pinned_nothing() {
    const NOT_THIS: [&str; 5] = [
        "<html>welcome</html>",
        "",
        "{}",
        r#"{"Pins":[]}"#,
        r#"{"Pins":["bafkreidwslb22nkaxoadyaqlhlxgntmiq4jdenhkbrxhcq6avxlt75br5u"]}"#,
    ];
    for said in NOT_THIS {
        let server =
            Server::start(["pin/add", "pin/rm"].map(|command| (command, vec![Answer::Good(said)]))).await;
        let (node, transport) = open(config(&server)).await.expect("opens");
        let put = node.put(&b"hello world"[..], Layout::default());
        let error = timeout(PATIENCE, put).await.expect("it ends").expect_err(said);
        told(&error, ErrorKind::Unexpected, "pin/add at http://127.0.0.1:", "`api`");
        let withdrawn = transport.fetch().expect("it fetches").withdraw(&[*right().cid()]).await;
        told(&withdrawn.expect_err(said), ErrorKind::Unexpected, "pin/rm at http://127.0.0.1:", "`api`");
    }
}

/// A daemon that was just started is connected to nobody whom it could tell.
#[tokio::test]
async fn a_root_is_announced_again_until_somebody_hears_of_it() {
    let alone = r#"{"Message":"cannot provide, no connected peers","Code":0,"Type":"error"}"#;
    let alone = Answer::Status(500, "", alone);
    let server = Server::start([
        ("block/put", vec![Answer::Good(STORED)]),
        ("routing/provide", vec![alone.clone(), alone, Answer::Good("")]),
    ])
    .await;
    let (node, _) = open(config(&server)).await.expect("opens");
    let put = node.put(&b"hello world"[..], Layout::default()).await.expect("puts");
    node.pin(&put.cid, Owner::user()).await.expect("pins");
    timeout(PATIENCE, server.until_asked("routing/provide", 3)).await.expect("it is told");
}

/// The search goes on for longer than anybody waits for it.
#[tokio::test]
async fn providers_that_were_found_count_though_the_search_breaks_off() {
    const FOUND: &[u8] =
        br#"{"Type":4,"Responses":[{"ID":"12D3KooWRm8J3iL796zPFi2EtGGtUJn58AG67gcRzQ4FENEemvoK"}]}
"#;
    let (failed, sought) = (Answer::Failed(FOUND, "context deadline exceeded"), right());
    for broken in [Answer::Stall(FOUND), Answer::Cut(FOUND), failed] {
        let server = Server::start([("routing/findprovs", vec![broken])]).await;
        let (_node, transport) = open(config(&server)).await.expect("opens");
        let searching = transport.fetch().expect("it fetches").providers(sought.cid(), 20);
        let found = timeout(PATIENCE, searching).await.expect("it ends").expect("one is found");
        assert_eq!(found.len(), 1);
    }
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
    // It is handed over in the background, again and again.
    let refused = until(async || node.counter("provide_failed") > 0);
    timeout(PATIENCE, refused).await.expect("it is counted");
}

/// Each needs several blocks at once, and room to read one more.
#[tokio::test]
async fn puts_beside_each_other_do_not_wait_for_each_other() {
    let absent = vec![Answer::Status(500, "", ABSENT)];
    let taken = vec![Answer::Good(TAKEN)];
    let server = Server::start([("block/stat", absent), ("dag/import", taken)]).await;
    let mut config = config(&server);
    config.pin = false;
    let (node, _) = open(config).await.expect("opens");
    let putting = join_all((0..8).map(async |put| node.put_blocks(&imported(put)).await));
    for put in timeout(PATIENCE, putting).await.expect("they end") {
        put.expect("it is put");
    }
}

/// The daemon takes what it is given, and does not say so.
#[tokio::test]
async fn what_is_sent_holds_up_nothing_else() {
    let server = Server::start([("block/put", vec![Answer::Silence])]).await;
    let mut config = config(&server);
    config.concurrency = 1;
    config.request_timeout = Seconds(PATIENCE);
    let (node, transport) = open(config).await.expect("opens");
    let putting = node.put(&b"hello world"[..], Layout::default());
    let looking = async {
        server.until_asked("block/put", 1).await;
        transport.peers().await
    };
    let peers = tokio::select! {
        biased;
        _ = putting => panic!("it waited for the put"),
        peers = looking => peers,
    };
    assert_eq!(peers.expect("it answers").len(), 1);
}

/// The secret need not open `pin` where it is set to do without.
#[tokio::test]
async fn without_pins_there_is_none_to_take_away() {
    let closed = Answer::Status(403, "", "Kubo RPC Access Denied");
    let missing = Answer::Status(404, "", "404 page not found");
    for answer in [closed, missing] {
        let server =
            Server::start(["pin/add?", "pin/rm"].map(|command| (command, vec![answer.clone()]))).await;
        let mut config = config(&server);
        config.pin = false;
        let (_node, transport) = open(config).await.expect("opens");
        let fetch = transport.fetch().expect("it fetches");
        fetch.withdraw(&[*right().cid()]).await.expect("there is none");
    }
}

/// 4 MiB, in as many blocks as are given in one call.
fn imported(put: u8) -> Vec<Block> {
    (0..20).map(|fill| Block::new(RAW, vec![20 * put + fill; (4 << 20) / 20])).collect()
}

/// The answer to it.
const TAKEN: &str = r#"{"Stats":{"BlockCount":20}}"#;

/// A daemon that takes it so.
fn taking(answer: Answer) -> [(&'static str, Vec<Answer>); 2] {
    [("block/stat", vec![Answer::Status(500, "", ABSENT)]), ("dag/import", vec![answer])]
}

/// What a put of it ends with.
async fn put_large(server: &Server) -> carrick_core::Result<()> {
    let mut config = config(server);
    config.pin = false;
    let (node, _) = open(config).await.expect("opens");
    timeout(PATIENCE, node.put_blocks(&imported(0))).await.expect("it ends")
}

/// It takes longer than an answer may.
#[tokio::test]
async fn what_is_sent_may_take_its_time_as_long_as_it_goes_on() {
    let slow = || taking(Answer::Slow(TAKEN));
    let folder = tempfile::tempdir().expect("a folder");
    let socket = Server::start_on_socket(&folder.path().join("api"), slow());
    for server in [socket, Server::start(slow()).await] {
        put_large(&server).await.expect("it is slow, and goes on");
    }
}

#[tokio::test]
async fn what_is_sent_and_not_taken_is_given_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = Server::start_on_socket(&folder.path().join("api"), taking(Answer::Deaf));
    for server in [socket, Server::start(taking(Answer::Deaf)).await] {
        let error = put_large(&server).await.expect_err("it is not taken");
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        let words = "nothing more was taken of what is sent within 2 s";
        assert!(error.to_string().contains(words), "{error}");
    }
}

//! Daemons that die or stop in the middle of what they give.

use std::time::{Duration, Instant};

use carrick_core::{Cid, ErrorKind, GetOptions, Got, Node, Result};
use carrick_interop::Kubo;
use tokio::task::JoinHandle;

use super::{APART, aside, config, connect, content, line, open, peer, remote, soon, theirs, timed};

const FILE: u32 = 64 << 20;
/// When it happens.
const MIDDLE: u64 = 4 << 20;

/// Daemons that all have a file.
fn with_file(count: usize) -> (Kubo, Cid) {
    let kubo = Kubo::run(count, &APART).expect("daemons");
    let content = content(FILE);
    let add = ["add", "-Q", "--cid-version=1"];
    let cids: Vec<String> =
        kubo.daemons().iter().map(|daemon| line(daemon.ipfs_with(&add, &content).expect("adds"))).collect();
    (kubo, cids[0].parse().expect("a CID"))
}

/// A node that is in the middle of a get, from the first daemon.
async fn in_the_middle(kubo: &Kubo, cid: Cid) -> (Node, JoinHandle<Result<Got>>) {
    let node = open(config()).await;
    let options = GetOptions { hints: vec![peer(&kubo.daemons()[0].id)], ..GetOptions::default() };
    connect(&node, theirs(&kubo.daemons()[0], "/tcp/")).await;
    for daemon in &kubo.daemons()[1..] {
        connect(&node, theirs(daemon, "/tcp/")).await;
    }
    let get = node.get(&cid, options);
    let mut progress = get.progress();
    let getting = tokio::spawn(get);
    soon("the middle", progress.wait_for(|progress| progress.bytes > MIDDLE)).await.expect("it goes on");
    (node, getting)
}

/// All came, from each of them some.
async fn came_from_all(kubo: &Kubo, cid: Cid, node: &Node, getting: JoinHandle<Result<Got>>, what: &str) {
    let began = Instant::now();
    let got = soon("the rest", getting).await.expect("no panic").expect("gets");
    timed(&format!("the rest after one {what}"), got.bytes as usize, began);
    for daemon in kubo.daemons() {
        let from = got.sources.iter().find(|(from, _)| *from == remote(&daemon.id));
        assert!(from.is_some_and(|(_, bytes)| *bytes > 0), "{:?}", got.sources);
    }
    assert!(got.bytes >= u64::from(FILE), "{} bytes", got.bytes);
    assert!(node.store().has(&cid).await.expect("has"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_is_killed_and_another_one_gives_the_rest() {
    let (mut kubo, cid) = aside(|| with_file(2));
    let (node, getting) = in_the_middle(&kubo, cid).await;
    aside(|| kubo.kill(0)).expect("dies");
    came_from_all(&kubo, cid, &node, getting, "died").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_stops_and_another_one_gives_the_rest() {
    let (mut kubo, cid) = aside(|| with_file(2));
    let (node, getting) = in_the_middle(&kubo, cid).await;
    aside(|| kubo.freeze(0)).expect("stops");
    came_from_all(&kubo, cid, &node, getting, "stopped").await;
}

/// The only one: an error long before the deadline, and what came stays.
#[tokio::test(flavor = "multi_thread")]
async fn the_only_daemon_is_killed_and_the_get_fails_and_goes_on_when_it_is_back() {
    let (mut kubo, cid) = aside(|| with_file(1));
    let (node, getting) = in_the_middle(&kubo, cid).await;
    aside(|| kubo.kill(0)).expect("dies");
    let began = Instant::now();
    let failed = soon("an end", getting).await.expect("no panic").expect_err("nobody else has it");
    timed("the error after the only one died", 0, began);
    let kinds = [ErrorKind::Unreachable, ErrorKind::NotFound, ErrorKind::NoPeers, ErrorKind::Timeout];
    assert!(kinds.contains(&failed.kind()), "{failed}");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    aside(|| kubo.start(0)).expect("starts");
    connect(&node, theirs(&kubo.daemons()[0], "/tcp/")).await;
    let rest = soon("the rest", node.get(&cid, GetOptions::default())).await.expect("gets");
    assert!(rest.bytes > 0 && rest.bytes < u64::from(FILE), "{} bytes came again", rest.bytes);
}

//! Content: asked for by its address, served by whoever has it.

use std::time::Duration;

use carrick_core::{
    Block, Cid, Error, ErrorKind, Fetch, Fetched, Limits, PeerId, RAW, Remote, Transport, Want, WantDag,
};
use carrick_transport_memory::MemoryNetwork;
use futures::{StreamExt, TryStreamExt};

use crate::common::{Joined, builder, kind, line, open};

const WAIT: Duration = Duration::from_secs(5);

fn fetch(joined: &Joined) -> &dyn Fetch {
    joined.memory.fetch().expect("has it")
}

async fn put(joined: &Joined, bytes: &'static [u8]) -> Block {
    let block = Block::new(RAW, bytes);
    joined.node.put_blocks(std::slice::from_ref(&block)).await.expect("puts");
    block
}

/// A file of so many blocks of 1 MiB, no two of them equal, and its root.
async fn put_file(joined: &Joined, blocks: u8) -> Cid {
    let content: Vec<u8> = (0..blocks).flat_map(|n| vec![n; 1 << 20]).collect();
    joined.node.put(&content[..], Default::default()).await.expect("puts").cid
}

fn from(fetched: &Fetched) -> Option<Remote> {
    fetched.from.clone()
}

#[tokio::test(start_paused = true)]
async fn a_block_comes_from_a_neighbour_that_is_named() {
    let wire = MemoryNetwork::new(1);
    let nodes = line(&wire, 3).await;
    let block = put(&nodes[2], b"content").await;
    let fetched = fetch(&nodes[1]).block(&Want::new(*block.cid(), WAIT)).await.expect("found");
    assert_eq!(from(&fetched), Some(Remote::Peer(nodes[2].node.peer_id())));
    let bytes = fetched.claim.check().expect("the right bytes").into_bytes();
    assert_eq!(bytes, block.bytes());
    assert_ne!(
        bytes.as_ptr(),
        nodes[2].node.store().get(block.cid()).await.expect("get").expect("there").bytes().as_ptr()
    );
    // Only neighbours are asked.
    assert_eq!(kind(fetch(&nodes[0]).block(&Want::new(*block.cid(), WAIT)).await), ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn hints_go_first_and_the_avoided_are_not_asked() {
    let wire = MemoryNetwork::new(1);
    let centre = open(&wire, builder(9)).await;
    let mut nodes = Vec::new();
    for number in 1..=5 {
        let joined = open(&wire, builder(number)).await;
        joined.dial(&centre).await;
        put(&joined, b"content").await;
        nodes.push(joined);
    }
    let around: Vec<PeerId> = nodes.iter().map(|joined| joined.node.peer_id()).collect();
    let cid = *Block::new(RAW, &b"content"[..]).cid();
    for hinted in &around {
        let mut want = Want::new(cid, WAIT);
        want.hints = vec![*hinted];
        let fetched = fetch(&centre).block(&want).await.expect("found");
        assert_eq!(from(&fetched), Some(Remote::Peer(*hinted)));
    }
    let mut want = Want::new(cid, WAIT);
    want.avoid = around[1..].iter().map(|peer| Remote::Peer(*peer)).collect();
    assert_eq!(from(&fetch(&centre).block(&want).await.expect("found")), Some(Remote::Peer(around[0])));
    want.avoid.push(Remote::Peer(around[0]));
    assert_eq!(kind(fetch(&centre).block(&want).await), ErrorKind::NoPeers);
}

#[tokio::test(start_paused = true)]
async fn who_has_a_block_is_told_with_an_address() {
    let wire = MemoryNetwork::new(1);
    let nodes = line(&wire, 3).await;
    let block = put(&nodes[0], b"content").await;
    put(&nodes[2], b"content").await;
    let found = fetch(&nodes[1]).providers(block.cid(), 10).await.expect("asks");
    assert_eq!(found.len(), 2);
    assert!(found.contains(&nodes[0].addr()) && found.contains(&nodes[2].addr()), "{found:?}");
    assert_eq!(fetch(&nodes[1]).providers(block.cid(), 1).await.expect("asks").len(), 1);
    assert!(fetch(&nodes[0]).providers(block.cid(), 10).await.expect("asks").is_empty());
}

#[tokio::test(start_paused = true)]
async fn alone_there_is_nobody_to_ask() {
    let wire = MemoryNetwork::new(1);
    let a = open(&wire, builder(1)).await;
    let cid = *Block::new(RAW, &b"content"[..]).cid();
    assert_eq!(kind(fetch(&a).block(&Want::new(cid, WAIT)).await), ErrorKind::NoPeers);
    assert_eq!(kind(fetch(&a).dag(&WantDag::new(cid, WAIT)).await.map(drop)), ErrorKind::NoPeers);
    assert!(fetch(&a).providers(&cid, 10).await.expect("asks").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_whole_dag_comes_in_one_request_but_for_what_is_there() {
    let wire = MemoryNetwork::new(1);
    let nodes = line(&wire, 3).await;
    let root = put_file(&nodes[2], 5).await;
    // The first neighbour asked may be the one that has nothing.
    let claims = fetch(&nodes[1]).dag(&WantDag::new(root, WAIT)).await.expect("found");
    let all: Vec<Fetched> = claims.try_collect().await.expect("whole");
    assert_eq!(all[0].claim.cid(), &root);
    assert_eq!(all.len(), 6);
    for fetched in &all {
        assert_eq!(from(fetched), Some(Remote::Peer(nodes[2].node.peer_id())));
        fetched.claim.clone().check().expect("the right bytes");
    }
    let mut want = WantDag::new(root, WAIT);
    want.have = vec![root];
    let rest: Vec<Fetched> =
        fetch(&nodes[1]).dag(&want).await.expect("found").try_collect().await.expect("whole");
    assert!(rest.is_empty());
    let absent = *Block::new(RAW, &b"absent"[..]).cid();
    assert_eq!(kind(fetch(&nodes[1]).dag(&WantDag::new(absent, WAIT)).await.map(drop)), ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn a_dag_stops_at_its_limit() {
    let wire = MemoryNetwork::new(1);
    let nodes = line(&wire, 2).await;
    let root = put_file(&nodes[1], 5).await;
    let mut want = WantDag::new(root, WAIT);
    want.limit_bytes = 2 << 20;
    let claims: Vec<Result<Fetched, Error>> =
        fetch(&nodes[0]).dag(&want).await.expect("begins").collect().await;
    let (last, before) = claims.split_last().expect("an error at least");
    assert_eq!(last.as_ref().map(from).expect_err("too large").kind(), ErrorKind::TooLarge);
    assert_eq!(before.iter().filter(|claim| claim.is_ok()).count(), 2, "the root and one block fit");
}

#[tokio::test(start_paused = true)]
async fn a_link_that_ends_ends_the_dag_with_an_error() {
    let wire = MemoryNetwork::new(1);
    let mut nodes = line(&wire, 2).await;
    let root = put_file(&nodes[1], 5).await;
    let mut claims = fetch(&nodes[0]).dag(&WantDag::new(root, WAIT)).await.expect("begins");
    claims.next().await.expect("a block").expect("the root");
    let store = std::sync::Arc::downgrade(nodes[1].node.store());
    drop(nodes.pop());
    let rest: Vec<Result<Fetched, Error>> = claims.by_ref().collect().await;
    assert_eq!(
        rest.last().expect("an end").as_ref().map(from).expect_err("cut").kind(),
        ErrorKind::Unreachable
    );
    // Even a stream that nobody drops holds nothing of the node.
    while store.strong_count() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(claims);
}

#[tokio::test(start_paused = true)]
async fn a_block_above_the_askers_limit_is_refused() {
    let wire = MemoryNetwork::new(1);
    let mut limits = Limits::default();
    limits.block_bytes = 64 << 10;
    limits.payload_bytes = 1 << 10;
    let small = open(&wire, builder(1).limits(limits)).await;
    let large = open(&wire, builder(2)).await;
    small.dial(&large).await;
    let block = Block::new(RAW, vec![7; (64 << 10) + 1]);
    large.node.put_blocks(std::slice::from_ref(&block)).await.expect("puts");
    assert_eq!(kind(fetch(&small).block(&Want::new(*block.cid(), WAIT)).await), ErrorKind::TooLarge);
}

#[tokio::test(start_paused = true)]
async fn a_block_larger_than_wanted_does_not_come() {
    let wire = MemoryNetwork::new(1);
    let nodes = line(&wire, 2).await;
    let block = Block::new(RAW, vec![7; 1_001]);
    nodes[0].node.put_blocks(std::slice::from_ref(&block)).await.expect("puts");
    let mut want = Want::new(*block.cid(), WAIT);
    want.limit_bytes = 1_000;
    assert_eq!(kind(fetch(&nodes[1]).block(&want).await), ErrorKind::TooLarge);
    want.limit_bytes = 1_001;
    fetch(&nodes[1]).block(&want).await.expect("it is not larger");
}

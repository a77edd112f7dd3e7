//! Content: asked for by its address, served by whoever has it.

use std::time::Duration;

use carrick_core::{Block, Cid, Error, ErrorKind, Fetch, Fetched, RAW, Remote, Transport, Want, WantDag};
use carrick_transport_memory::MemoryNetwork;
use futures::StreamExt;

use crate::common::{Joined, kind, line};

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
async fn a_block_is_a_copy_of_a_neighbours() {
    let wire = MemoryNetwork::new(1);
    let nodes = line(&wire, 3).await;
    let block = put(&nodes[2], b"content").await;
    let fetched = fetch(&nodes[1]).block(&Want::new(*block.cid(), WAIT)).await.expect("found");
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

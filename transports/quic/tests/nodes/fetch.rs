//! Blocks and DAGs from other nodes.

use std::time::Duration;

use carrick_core::{Block, DAG_CBOR, ErrorKind, GetOptions, Node, RAW, WantDag};
use futures::StreamExt;
use serde::Serialize;

use crate::common::*;

/// A block with links, as dag-cbor.
fn linking(links: &[&Block], salt: u64) -> Block {
    #[derive(Serialize)]
    struct Body {
        links: Vec<carrick_core::Cid>,
        salt: u64,
    }
    let body = Body { links: links.iter().map(|block| *block.cid()).collect(), salt };
    Block::new(DAG_CBOR, serde_ipld_dagcbor::to_vec(&body).expect("encodes"))
}

async fn pair(name: &str) -> (Node, Node) {
    let network = network(name);
    let (a, b) = (node(&network).await, node(&network).await);
    connect(&a, &b).await;
    (a, b)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_is_fetched_from_whoever_has_it() {
    let network = network("fetch-block");
    let (a, b, c) = (node(&network).await, node(&network).await, node(&network).await);
    connect(&a, &b).await;
    connect(&a, &c).await;
    for size in [0, 1, 100_000, a.limits().block_bytes] {
        let block = Block::new(RAW, vec![7; size]);
        c.put_blocks(std::slice::from_ref(&block)).await.expect("stores");
        assert_eq!(soon(a.block(block.cid(), vec![])).await.expect("comes"), block);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_has_is_not_found_at_once() {
    let (a, b) = pair("fetch-absent").await;
    let absent = Block::new(RAW, &b"nowhere"[..]);
    let error = soon(a.block(absent.cid(), vec![b.peer_id()])).await.expect_err("nobody has it");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    let alone = node(&network("fetch-alone")).await;
    let error = soon(alone.block(absent.cid(), vec![])).await.expect_err("nobody is there");
    assert_eq!(error.kind(), ErrorKind::NoPeers, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_five_hundred_comes_in_one_request() {
    let (a, b) = pair("fetch-chain").await;
    let mut chain = vec![linking(&[], 0)];
    for n in 1..500 {
        chain.push(linking(&[&chain[chain.len() - 1]], n));
    }
    b.put_blocks(&chain).await.expect("stores");
    let want = WantDag::new(*chain[499].cid(), Duration::from_secs(10));
    let mut blocks = soon(a.fetch_dag(want)).await.expect("begins");
    for expected in chain.iter().rev() {
        let received = soon(blocks.next()).await.expect("not the end").expect("comes");
        assert_eq!(received.block, *expected);
    }
    assert!(soon(blocks.next()).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_missing_comes() {
    let (a, b) = pair("fetch-have").await;
    let old = linking(&[], 1);
    let middle = linking(&[&old], 2);
    let new = linking(&[&middle], 3);
    b.put_blocks(&[old.clone(), middle.clone(), new.clone()]).await.expect("stores");
    let mut want = WantDag::new(*new.cid(), Duration::from_secs(10));
    want.have = vec![*middle.cid()];
    let blocks: Vec<_> = soon(soon(a.fetch_dag(want)).await.expect("begins").collect()).await;
    let cids: Vec<_> = blocks.into_iter().map(|block| *block.expect("comes").block.cid()).collect();
    assert_eq!(cids, [*new.cid()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_bytes_and_depth_are_kept() {
    let (a, b) = pair("fetch-limit").await;
    let leaves: Vec<_> = (0..4_u8).map(|n| Block::new(RAW, vec![n; 1_000])).collect();
    let root = linking(&leaves.iter().collect::<Vec<_>>(), 0);
    b.put_blocks(&leaves).await.expect("stores");
    b.put_blocks(std::slice::from_ref(&root)).await.expect("stores");
    let mut want = WantDag::new(*root.cid(), Duration::from_secs(10));
    want.depth = 0;
    let blocks: Vec<_> = soon(soon(a.fetch_dag(want.clone())).await.expect("begins").collect()).await;
    assert_eq!(blocks.len(), 1);
    want.depth = 1;
    want.limit_bytes = root.size() as u64 + 2_500;
    let blocks: Vec<_> = soon(soon(a.fetch_dag(want)).await.expect("begins").collect()).await;
    assert_eq!(blocks.len(), 4);
    let error = blocks[3].as_ref().expect_err("above the limit");
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rest_comes_from_the_next_provider() {
    let network = network("fetch-rest");
    let (a, b, c) = (node(&network).await, node(&network).await, node(&network).await);
    let leaves: Vec<_> = (0..8_u8).map(|n| Block::new(RAW, vec![n; 1_000])).collect();
    let root = linking(&leaves.iter().collect::<Vec<_>>(), 0);
    // Neither has all, both together do.
    b.put_blocks(&[&[root.clone()][..], &leaves[..4]].concat()).await.expect("stores");
    c.put_blocks(&[&[root.clone()][..], &leaves[4..]].concat()).await.expect("stores");
    connect(&a, &b).await;
    connect(&a, &c).await;
    let mut want = WantDag::new(*root.cid(), Duration::from_secs(10));
    want.hints = vec![b.peer_id()];
    let blocks: Vec<_> = soon(soon(a.fetch_dag(want)).await.expect("begins").collect()).await;
    let came: Vec<_> = blocks.into_iter().map(|block| block.expect("comes").block).collect();
    assert_eq!(came.len(), 9, "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_goes_away_half_way_is_replaced() {
    let network = network("fetch-away");
    let (a, b, c) = (node(&network).await, node(&network).await, node(&network).await);
    let leaves: Vec<_> = (0..64_u8).map(|n| Block::new(RAW, vec![n; 256 << 10])).collect();
    let root = linking(&leaves.iter().collect::<Vec<_>>(), 0);
    for node in [&b, &c] {
        node.put_blocks(&leaves).await.expect("stores");
        node.put_blocks(std::slice::from_ref(&root)).await.expect("stores");
        connect(&a, node).await;
    }
    let mut want = WantDag::new(*root.cid(), Duration::from_secs(10));
    want.hints = vec![b.peer_id()];
    let mut blocks = soon(a.fetch_dag(want)).await.expect("begins");
    let mut came = 0;
    while let Some(block) = soon(blocks.next()).await {
        block.expect("comes");
        came += 1;
        if came == 8 {
            b.close().await.expect("closes");
        }
    }
    assert_eq!(came, 65);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_get_fills_the_store() {
    let (a, b) = pair("fetch-get").await;
    let leaves: Vec<_> = (0..16_u8).map(|n| Block::new(RAW, vec![n; 1 << 20])).collect();
    let root = linking(&leaves.iter().collect::<Vec<_>>(), 0);
    b.put_blocks(&leaves).await.expect("stores");
    b.put_blocks(std::slice::from_ref(&root)).await.expect("stores");
    let got = soon(a.get(root.cid(), GetOptions::default())).await.expect("comes");
    assert_eq!(got.blocks, 17);
    assert!(a.store().has(leaves[15].cid()).await.expect("store"));
}

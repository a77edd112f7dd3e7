//! Blocks and DAGs from other nodes.

use std::time::Duration;

use carrick_core::{Block, DAG_CBOR, RAW, WantDag};
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

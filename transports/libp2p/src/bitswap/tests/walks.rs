//! DAGs gone through block by block.

use std::sync::Arc;
use std::time::Duration;

use carrick_core::{Block, Cid, DAG_CBOR, ErrorKind, Result, WantDag};
use futures::StreamExt as _;

use super::super::frontier::WINDOW;
use super::mesh::{Member, Mesh, soon, until};
use super::raw;

fn node(links: &[&Block], text: &str) -> Block {
    let links: Vec<Cid> = links.iter().map(|block| *block.cid()).collect();
    Block::new(DAG_CBOR, serde_ipld_dagcbor::to_vec(&(links, text)).expect("links"))
}

/// A node without anything, and one with these blocks.
async fn two(blocks: &[Block]) -> (Member, Member) {
    let mesh = Arc::new(Mesh::default());
    let (here, there) = (mesh.member().await, mesh.member().await);
    there.put(blocks).await;
    here.connect(&there);
    (here, there)
}

fn want(root: &Block) -> WantDag {
    WantDag::new(*root.cid(), Duration::from_secs(30))
}

/// All that comes, and how it ends.
async fn walk(here: &Member, want: &WantDag) -> (Vec<Block>, Option<ErrorKind>) {
    let mut came = vec![];
    let mut claims = match soon(here.bitswap.dag(want)).await {
        Ok(claims) => claims,
        Err(error) => return (came, Some(error.kind())),
    };
    while let Some(fetched) = soon(claims.next()).await {
        match fetched.and_then(|fetched| fetched.claim.check()) as Result<Block> {
            Ok(block) => came.push(block),
            Err(error) => return (came, Some(error.kind())),
        }
    }
    (came, None)
}

#[tokio::test(start_paused = true)]
async fn a_dag_comes_breadth_first_each_block_once() {
    let leaves: Vec<_> = (0..4_u8).map(|n| raw([n])).collect();
    let left = node(&[&leaves[0], &leaves[1]], "left");
    let right = node(&[&leaves[1], &leaves[2], &leaves[3]], "right");
    let root = node(&[&left, &right, &left], "root");
    let all = [vec![root.clone(), left.clone(), right.clone()], leaves.clone()].concat();
    let (here, _there) = two(&all).await;
    assert_eq!(walk(&here, &want(&root)).await, (all.clone(), None));

    let mut shallow = want(&root);
    shallow.depth = 1;
    assert_eq!(walk(&here, &shallow).await, (all[..3].to_vec(), None));
    let mut rest = want(&root);
    rest.have = vec![*right.cid()];
    let without = [&all[..2], &leaves[..2]].concat();
    assert_eq!(walk(&here, &rest).await, (without, None));
    let mut little = want(&root);
    little.limit_bytes = (root.size() + left.size()) as u64;
    assert_eq!(walk(&here, &little).await, (all[..2].to_vec(), Some(ErrorKind::TooLarge)));
    assert!(here.bitswap.is_idle());
}

#[tokio::test(start_paused = true)]
async fn a_chain_comes_whole() {
    let mut chain = vec![node(&[], "first")];
    for n in 1..300 {
        chain.push(node(&[&chain[n - 1]], "next"));
    }
    let (here, _there) = two(&chain).await;
    chain.reverse();
    assert_eq!(walk(&here, &want(&chain[0])).await, (chain, None));
}

#[tokio::test(start_paused = true)]
async fn a_block_that_is_missing_ends_the_walk() {
    let (here_is, missing) = (raw("here"), raw("missing"));
    let root = node(&[&here_is, &missing], "root");
    let (here, _there) = two(&[root.clone(), here_is.clone()]).await;
    assert_eq!(walk(&here, &want(&root)).await, (vec![root, here_is], Some(ErrorKind::NotFound)));
    assert_eq!(walk(&here, &want(&missing)).await, (vec![], Some(ErrorKind::NotFound)));
    assert!(here.bitswap.is_idle());
}

#[tokio::test(start_paused = true)]
async fn no_roots_and_too_many_are_refused() {
    let (here, _there) = two(&[]).await;
    for roots in [0, 65] {
        let mut want = want(&raw("x"));
        want.roots = vec![*raw("x").cid(); roots];
        assert_eq!(walk(&here, &want).await.1, Some(ErrorKind::Config));
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_a_leaf() {
    let broken = Block::new(DAG_CBOR, &b"\xff\xff"[..]);
    let root = node(&[&broken], "root");
    let (here, _there) = two(&[root.clone(), broken.clone()]).await;
    assert_eq!(walk(&here, &want(&root)).await, (vec![root, broken], None));
}

#[tokio::test(start_paused = true)]
async fn a_slow_caller_holds_up_the_rest() {
    // Small ones first, so that much is asked for, then large ones.
    let small: Vec<_> = (0..2_000_u32).map(|n| raw(n.to_be_bytes())).collect();
    let large: Vec<_> = (0..200_u8).map(|n| raw(vec![n; 400_000])).collect();
    let all: Vec<_> = small.iter().chain(&large).collect();
    let root = node(&all, "root");
    let blocks: Vec<_> = std::iter::once(root.clone()).chain(small.clone()).chain(large.clone()).collect();
    let (here, there) = two(&blocks).await;
    let mut claims = soon(here.bitswap.dag(&want(&root))).await.expect("a walk");
    let mut came = vec![];
    for _ in 0..1_500 {
        came.push(
            soon(claims.next()).await.expect("a block").expect("a block").claim.check().expect("its bytes"),
        );
    }
    // Nothing is taken now; what was asked for comes, and no more.
    until(|| there.bitswap.outstanding() == 0).await;
    let asked = here.counter("bitswap_blocks") as usize;
    assert!(asked <= 1_500 + WINDOW, "{asked} blocks came");
    while let Some(fetched) = soon(claims.next()).await {
        came.push(fetched.expect("a block").claim.check().expect("its bytes"));
    }
    assert_eq!(came, blocks);
    drop(claims);
    assert!(here.bitswap.is_idle());
}

#[tokio::test(start_paused = true)]
async fn dropping_a_walk_cancels_it() {
    let leaves: Vec<_> = (0..200_u8).map(|n| raw(vec![n; 300_000])).collect();
    let all: Vec<_> = leaves.iter().collect();
    let root = node(&all, "root");
    let (here, there) = two(&[vec![root.clone()], leaves.clone()].concat()).await;
    let mut claims = soon(here.bitswap.dag(&want(&root))).await.expect("a walk");
    let _ = soon(claims.next()).await;
    drop(claims);
    assert!(here.bitswap.is_idle());
    until(|| there.bitswap.wantlist(&here.id()) == 0 && there.bitswap.outstanding() == 0).await;
}

//! Whole nodes: blocks go from one to the other.

use std::sync::Arc;
use std::time::Duration;

use carrick_core::{Block, Cid, Claim, ErrorKind, Limits, RAW, Remote, Want, WantDag};
use futures::StreamExt as _;
use futures::future::{Either, select};

use super::super::frame::Version;
use super::mesh::{Mesh, soon, until};
use super::{peer, raw};

fn wanted(block: &Block) -> Want {
    Want::new(*block.cid(), Duration::from_secs(60))
}

#[tokio::test(start_paused = true)]
async fn a_block_comes_from_a_peer() {
    let mesh = Arc::new(Mesh::default());
    let (here, there) = (mesh.member().await, mesh.member().await);
    let block = raw(vec![1; 1 << 20]);
    there.put(std::slice::from_ref(&block)).await;
    here.connect(&there);
    let fetched = soon(here.bitswap.block(&wanted(&block))).await.expect("the block");
    assert_eq!(fetched.from, Some(Remote::Peer(there.id())));
    assert_eq!(fetched.claim.check().expect("its bytes"), block);
    assert!(here.bitswap.is_idle());
}

#[tokio::test(start_paused = true)]
async fn nobody_and_nobody_who_has_it_differ() {
    let mesh = Arc::new(Mesh::default());
    let (here, there) = (mesh.member().await, mesh.member().await);
    let error = soon(here.bitswap.block(&wanted(&raw("x")))).await.expect_err("nobody is there");
    assert_eq!(error.kind(), ErrorKind::NoPeers);
    here.connect(&there);
    let error = soon(here.bitswap.block(&wanted(&raw("x")))).await.expect_err("nobody has it");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(here.bitswap.is_idle());
}

#[tokio::test(start_paused = true)]
async fn the_finder_is_asked_when_no_connected_peer_has_it() {
    let mesh = Arc::new(Mesh::default());
    let (here, other, there) = (mesh.member().await, mesh.member().await, mesh.member().await);
    let block = raw("far away");
    there.put(std::slice::from_ref(&block)).await;
    here.connect(&other);
    mesh.providers.lock().expect("unpoisoned").insert(*block.cid(), vec![there.id()]);
    let want = wanted(&block);
    let fetching = here.bitswap.block(&want);
    let connecting = async {
        until(|| here.bitswap.is_finding()).await;
        here.connect(&there);
    };
    let (fetched, ()) = soon(futures::future::join(fetching, connecting)).await;
    assert_eq!(fetched.expect("the block").from, Some(Remote::Peer(there.id())));
    assert!(here.bitswap.is_idle());
}

#[tokio::test(start_paused = true)]
async fn limits_of_the_caller_hold() {
    let mesh = Arc::new(Mesh::default());
    let (here, there) = (mesh.member().await, mesh.member().await);
    let block = raw(vec![1; 1_000]);
    there.put(std::slice::from_ref(&block)).await;
    here.connect(&there);
    let mut want = wanted(&block);
    want.limit_bytes = 999;
    let error = soon(here.bitswap.block(&want)).await.expect_err("too large");
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    let mut want = wanted(&block);
    want.avoid = vec![Remote::Peer(there.id())];
    let error = soon(here.bitswap.block(&want)).await.expect_err("the only one is avoided");
    assert_eq!(error.kind(), ErrorKind::NoPeers);
}

#[tokio::test(start_paused = true)]
async fn a_block_above_the_nodes_limit_is_not_taken() {
    let mesh = Arc::new(Mesh::default());
    let mut limits = Limits::default();
    limits.block_bytes = 64 << 10;
    let (here, there) = (mesh.member_with(Version::V1_2, limits).await, mesh.member().await);
    let [fits, above] = [64 << 10, (64 << 10) + 1].map(|size| raw(vec![1; size]));
    there.put(&[fits.clone(), above.clone()]).await;
    here.connect(&there);
    assert!(soon(here.bitswap.block(&wanted(&fits))).await.is_ok());
    let error = soon(here.bitswap.block(&wanted(&above))).await.expect_err("too large");
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(here.bitswap.is_idle());
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_costs_the_time_that_was_given() {
    let mesh = Arc::new(Mesh::default());
    let here = mesh.member().await;
    let _streams = mesh.stranger(peer(9));
    here.bitswap.connected(peer(9));
    let began = tokio::time::Instant::now();
    let want = Want::new(*raw("x").cid(), Duration::from_secs(3));
    let error = soon(here.bitswap.block(&want)).await.expect_err("it never comes");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(began.elapsed().as_secs(), 3);
    assert!(here.bitswap.is_idle());
}

#[tokio::test(start_paused = true)]
async fn a_peer_to_which_no_stream_opens_is_left_alone_for_a_while_and_not_for_ever() {
    let mesh = Arc::new(Mesh::default());
    let (here, there) = (mesh.member().await, mesh.member().await);
    let block = raw("x");
    there.put(std::slice::from_ref(&block)).await;
    here.connect(&there);
    mesh.cut(&there);
    soon(here.bitswap.block(&wanted(&block))).await.expect_err("nobody can be asked");
    assert_eq!(here.counter("bitswap_mute"), 1);
    mesh.mend(&there);
    soon(here.bitswap.block(&wanted(&block))).await.expect_err("it is left alone");
    tokio::time::sleep(Duration::from_secs(61)).await;
    let fetched = soon(here.bitswap.block(&wanted(&block))).await.expect("it is asked again");
    assert_eq!(fetched.claim.cid(), block.cid());
}

#[tokio::test(start_paused = true)]
async fn old_versions_are_answered_with_blocks() {
    for version in [Version::V1_0, Version::V1_1] {
        let mesh = Arc::new(Mesh::default());
        let (old, new) = (mesh.member_that_speaks(version).await, mesh.member_that_speaks(version).await);
        let old_block = |n: u8| {
            let block = Block::new(0x70, vec![0x0a, 1, n]);
            let cid = Cid::new_v0(*block.cid().hash()).expect("sha2-256");
            Claim::new(cid, block.into_bytes()).check().expect("its bytes")
        };
        let blocks: Vec<_> = (0..50).map(old_block).collect();
        new.put(&blocks).await;
        old.connect(&new);
        for block in &blocks {
            let fetched = soon(old.bitswap.block(&wanted(block))).await.expect("the block");
            assert_eq!(fetched.claim.check().expect("its bytes"), *block);
        }
        let absent = soon(old.bitswap.block(&wanted(&raw("nobody has it")))).await.expect_err("not there");
        assert_eq!(absent.kind(), ErrorKind::Timeout, "it cannot say that it has it not");
    }
}

#[tokio::test(start_paused = true)]
async fn what_one_node_lacks_comes_when_it_has_it() {
    let mesh = Arc::new(Mesh::default());
    let (here, there) = (mesh.member().await, mesh.member().await);
    let block = raw("late");
    let silent = peer(9);
    let _streams = mesh.stranger(silent);
    here.bitswap.connected(silent);
    here.connect(&there);
    // One that never answers keeps the search open.
    let want = wanted(&block);
    let fetching = here.bitswap.block(&want);
    let putting = async {
        until(|| there.bitswap.waiting() > 0).await;
        there.put(std::slice::from_ref(&block)).await;
        there.bitswap.arrived(&[*block.cid()]);
    };
    let (fetched, ()) = soon(futures::future::join(fetching, putting)).await;
    assert_eq!(fetched.expect("the block").from, Some(Remote::Peer(there.id())));
}

#[tokio::test(start_paused = true)]
async fn those_who_have_a_block_are_found() {
    let mesh = Arc::new(Mesh::default());
    let here = mesh.member().await;
    let block = raw(vec![1; 5_000]);
    let mut having = vec![];
    for n in 0..4 {
        let other = mesh.member().await;
        if n % 2 == 0 {
            other.put(std::slice::from_ref(&block)).await;
            having.push(other.id());
        }
        here.connect(&other);
        // The node must live as long as the test.
        std::mem::forget(other);
    }
    let mut found = soon(here.bitswap.having(*block.cid(), 10)).await;
    found.sort();
    having.sort();
    assert_eq!(found, having);
    assert_eq!(soon(here.bitswap.having(*block.cid(), 1)).await.len(), 1);
    assert!(soon(here.bitswap.having(*raw("nobody has it").cid(), 1)).await.is_empty());
    assert!(here.bitswap.is_idle());
}

#[tokio::test(start_paused = true)]
async fn dropping_a_fetch_cancels_it_at_both_ends() {
    let mesh = Arc::new(Mesh::default());
    let (here, there) = (mesh.member().await, mesh.member().await);
    let _streams = mesh.stranger(peer(9));
    here.bitswap.connected(peer(9));
    here.connect(&there);
    let want = wanted(&raw("nobody has it"));
    let mut fetching = Box::pin(here.bitswap.block(&want));
    let waiting = Box::pin(until(|| there.bitswap.waiting() > 0));
    assert!(matches!(soon(select(&mut fetching, waiting)).await, Either::Right(_)));
    drop(fetching);
    soon(until(|| there.bitswap.waiting() == 0)).await;
    assert!(here.bitswap.is_idle());
}

#[tokio::test(start_paused = true)]
async fn a_thousand_blocks_come_from_several_peers() {
    let mesh = Arc::new(Mesh::default());
    let here = mesh.member().await;
    let leaves: Vec<_> = (0..1_000_u32).map(|n| raw([&n.to_be_bytes()[..], &[7; 20_000]].concat())).collect();
    let links: Vec<_> = leaves.iter().map(|leaf| *leaf.cid()).collect();
    let root = Block::new(carrick_core::DAG_CBOR, serde_ipld_dagcbor::to_vec(&links).expect("links"));
    let mut others = vec![];
    for _ in 0..3 {
        let other = mesh.member().await;
        other.put(&leaves).await;
        other.put(std::slice::from_ref(&root)).await;
        here.connect(&other);
        others.push(other);
    }
    let mut claims =
        soon(here.bitswap.dag(&WantDag::new(*root.cid(), Duration::from_secs(30)))).await.expect("a walk");
    let (mut came, mut from) = (vec![], std::collections::BTreeMap::new());
    while let Some(fetched) = soon(claims.next()).await {
        let fetched = fetched.expect("a block");
        *from.entry(fetched.from).or_insert(0) += 1;
        came.push(fetched.claim.check().expect("its bytes"));
    }
    let whole: Vec<_> = std::iter::once(root).chain(leaves).collect();
    assert_eq!(came, whole);
    assert_eq!(here.counter("bitswap_duplicates"), 0);
    drop(claims);
    assert!(here.bitswap.is_idle());
    assert!(came.iter().all(|block| block.cid().codec() != RAW || block.size() == 20_004));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_breaks_frees_both_ends() {
    let mesh = Arc::new(Mesh::default());
    let (here, there) = (mesh.member().await, mesh.member().await);
    here.connect(&there);
    let want = wanted(&raw("nobody has it"));
    let _ = soon(here.bitswap.block(&want)).await;
    here.disconnect(&there);
    assert!(here.bitswap.is_empty() && there.bitswap.is_empty());
}

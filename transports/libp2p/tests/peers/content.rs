//! Content, both ways: large files in small and large chunks, very many small blocks, and a long chain.

use std::time::Instant;

use carrick_core::dag::{Layout, export_car};
use carrick_core::{Block, Cid, DAG_CBOR, GetOptions, Node, RAW};
use carrick_interop::{Chunks, Daemon, Helia, Kubo, OldKubo};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};

use super::{
    APART, PATIENCE, aside, config, connect, content, got, line, open, ours, put, soon, theirs, timed,
};

/// What `ipfs add` and a node call the same.
const LAYOUTS: [(Layout, &[&str]); 3] = [
    (Layout::KuboCidV1, &["--cid-version=1"]),
    (Layout::UnixfsV1_2025, &["--cid-version=1", "--chunker=size-1048576", "--max-file-links=1024"]),
    (Layout::UnixfsV0_2015, &[]),
];
const FILE: u32 = 64 << 20;
/// Many small blocks.
const MANY: usize = 10_000;
const CHAIN: u64 = 1_000;

/// A node and a daemon, connected.
async fn with_kubo(way: &str) -> (Node, Kubo) {
    let kubo = aside(|| Kubo::run(1, &APART)).expect("a daemon");
    let node = open(config()).await;
    connect(&node, theirs(&kubo.daemons()[0], way)).await;
    (node, kubo)
}

/// A node that Helia dialled.
async fn with_helia(way: &str) -> (Node, Helia) {
    let mut helia = aside(|| Helia::run(&[])).expect("a peer");
    let node = open(config()).await;
    aside(|| helia.connect(&ours(&node, way))).expect("connects");
    soon("a link", node.connect(&helia.tcp().parse().expect("an address"))).await.expect("linked");
    (node, helia)
}

/// The file has the same name in both, and goes from each to the other.
async fn file_both_ways(node: &Node, daemon: &Daemon, layout: usize) {
    let (layout, options) = LAYOUTS[layout];
    let (mine, yours) = (content(FILE), content(FILE + 4)[4..].to_vec());
    let cid = put(node, &mine, layout).await;
    let began = Instant::now();
    let seen = aside(|| daemon.ipfs(&["cat", &cid.to_string()])).expect("cat");
    timed(&format!("ipfs cat, {layout}"), mine.len(), began);
    assert!(seen == mine, "Kubo read other bytes");
    let named = line(
        aside(|| daemon.ipfs_with(&[&["add", "-Q", "--only-hash"], options].concat(), &mine)).expect("named"),
    );
    assert_eq!(named, cid.to_string());
    let added = line(aside(|| daemon.ipfs_with(&[&["add", "-Q"], options].concat(), &yours)).expect("adds"));
    let began = Instant::now();
    let came = got(node, &added).await;
    timed(&format!("get from Kubo, {layout}"), yours.len(), began);
    assert!(came == yours, "we read other bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_in_small_chunks_goes_to_kubo_and_back() {
    let (node, kubo) = with_kubo("/tcp/").await;
    file_both_ways(&node, &kubo.daemons()[0], 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_in_large_chunks_goes_to_kubo_and_back() {
    let (node, kubo) = with_kubo("/tcp/").await;
    file_both_ways(&node, &kubo.daemons()[0], 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_in_chunks_of_old_goes_to_kubo_and_back_over_quic() {
    let (node, kubo) = with_kubo("/quic-v1").await;
    file_both_ways(&node, &kubo.daemons()[0], 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_to_helia_and_back() {
    let (node, mut helia) = with_helia("/tcp/").await;
    for (chunks, layout) in [(Chunks::Small, Layout::KuboCidV1), (Chunks::Large, Layout::UnixfsV1_2025)] {
        let (mine, yours) = (content(FILE), content(FILE + 4)[4..].to_vec());
        let cid = put(&node, &mine, layout).await;
        let began = Instant::now();
        let seen = aside(|| helia.get(&cid.to_string(), PATIENCE)).expect("gets");
        timed(&format!("Helia's get, {layout}"), mine.len(), began);
        assert!(seen == mine, "Helia read other bytes");
        let added = aside(|| helia.add(&yours, chunks)).expect("adds");
        let began = Instant::now();
        let came = got(&node, &added).await;
        timed(&format!("get from Helia, {layout}"), yours.len(), began);
        assert!(came == yours, "we read other bytes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_to_an_old_kubo_and_back() {
    let mut old = aside(|| OldKubo::run(&[])).expect("a peer");
    let node = open(config()).await;
    connect(&node, old.tcp()).await;
    // It makes none but small chunks itself, so that what it has of the first node is fetched back by another one.
    let other = open(config()).await;
    connect(&other, old.tcp()).await;
    for (layout, _) in LAYOUTS {
        let mine = content(FILE);
        let cid = put(&node, &mine, layout).await;
        let began = Instant::now();
        let seen = aside(|| old.get(&cid.to_string(), PATIENCE)).expect("gets");
        timed(&format!("the old Kubo's get, {layout}"), mine.len(), began);
        assert!(seen == mine, "the old Kubo read other bytes");
        let began = Instant::now();
        let came = got(&other, &cid.to_string()).await;
        timed(&format!("get from the old Kubo, {layout}"), mine.len(), began);
        assert!(came == mine, "we read other bytes");
    }
    let yours = content(FILE + 4)[4..].to_vec();
    let added = aside(|| old.add(&yours)).expect("adds");
    let began = Instant::now();
    let came = got(&node, &added).await;
    timed("get from the old Kubo", yours.len(), began);
    assert!(came == yours, "we read other bytes");
}

/// Small blocks under one root.
fn many(of: &str) -> (Cid, Vec<Block>) {
    let mut blocks: Vec<Block> =
        (0..MANY).map(|n| Block::new(RAW, format!("{n} {of}").into_bytes())).collect();
    let cids: Vec<Cid> = blocks.iter().map(|block| *block.cid()).collect();
    let root = Block::new(DAG_CBOR, serde_ipld_dagcbor::to_vec(&cids).expect("encodes"));
    let cid = *root.cid();
    blocks.push(root);
    (cid, blocks)
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_small_blocks_go_to_kubo_and_back() {
    let (node, kubo) = with_kubo("/tcp/").await;
    let daemon = &kubo.daemons()[0];
    let (root, blocks) = many("of ours");
    node.put_blocks(&blocks).await.expect("puts");
    let began = Instant::now();
    aside(|| daemon.ipfs(&["pin", "add", &root.to_string()])).expect("pins");
    timed("Kubo pins 10,000 blocks", MANY * 16, began);
    let there = line(aside(|| daemon.ipfs(&["refs", "local"])).expect("refs"));
    assert!(there.lines().count() > MANY, "{} blocks", there.lines().count());

    let file = content(MANY as u32 * 100);
    let add = ["add", "-Q", "--cid-version=1", "--chunker=size-100"];
    let added = line(aside(|| daemon.ipfs_with(&add, &file)).expect("adds"));
    let began = Instant::now();
    assert!(got(&node, &added).await == file);
    timed("get of 10,000 blocks from Kubo", file.len(), began);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_small_blocks_go_to_helia_and_back() {
    let (node, mut helia) = with_helia("/tcp/").await;
    let (_, blocks) = many("of ours");
    node.put_blocks(&blocks).await.expect("puts");
    let cids: Vec<String> = blocks[..MANY].iter().map(|block| block.cid().to_string()).collect();
    let began = Instant::now();
    let bytes = aside(|| helia.blocks_get(&cids, PATIENCE)).expect("gets");
    timed("Helia gets 10,000 blocks", bytes as usize, began);
    assert_eq!(bytes, blocks[..MANY].iter().map(|block| block.size() as u64).sum::<u64>());

    let cids = aside(|| helia.blocks_put(MANY, 100)).expect("puts");
    let began = Instant::now();
    let getting = stream::iter(&cids).map(|cid| {
        let cid: Cid = cid.parse().expect("a CID");
        let node = &node;
        async move { node.block(&cid, vec![]).await.map(|block| block.size()) }
    });
    let sizes: Vec<usize> =
        soon("the blocks", getting.buffer_unordered(64).try_collect()).await.expect("gets");
    timed("10,000 blocks from Helia", MANY * 100, began);
    assert_eq!((sizes.len(), sizes.iter().sum()), (MANY, MANY * 100));
}

#[derive(Serialize, Deserialize)]
struct Part {
    n: u64,
    next: Option<Cid>,
}

/// Each block names the one before it; the last is the head.
fn chain(length: u64) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for n in 0..length {
        let next = blocks.last().map(|block| *block.cid());
        blocks.push(Block::new(DAG_CBOR, serde_ipld_dagcbor::to_vec(&Part { n, next }).expect("encodes")));
    }
    blocks
}

fn head(blocks: &[Block]) -> Cid {
    *blocks.last().expect("there is one").cid()
}

/// How long the chain is that a node has.
async fn walked(node: &Node, head: Cid) -> u64 {
    let (mut length, mut at) = (0, Some(head));
    while let Some(cid) = at {
        let block = node.store().get(&cid).await.expect("reads").expect("it came");
        at = serde_ipld_dagcbor::from_slice::<Part>(block.bytes()).expect("a part").next;
        length += 1;
    }
    length
}

/// A chain that Kubo alone has.
async fn given_to(daemon: &Daemon, blocks: &[Block]) -> Cid {
    let (source, mut car) = (open(config()).await, Vec::new());
    source.put_blocks(blocks).await.expect("puts");
    export_car(&source.source(), &[head(blocks)], &mut car).await.expect("exports");
    aside(|| daemon.post("dag/import?pin-roots=true", Some(&car))).expect("imports");
    head(blocks)
}

/// A node that has nothing fetches a chain of so many.
async fn chain_from(addr: &str, head: Cid, length: u64, whom: &str) {
    let asker = open(config()).await;
    connect(&asker, addr).await;
    let began = Instant::now();
    let _held = soon("a get", asker.get(&head, GetOptions::default())).await.expect("gets");
    timed(&format!("get of a chain of 1,000 from {whom}"), 0, began);
    assert_eq!(walked(&asker, head).await, length);
}

/// Both walk at the same time: Kubo takes 20 ms a block, from anybody, and Helia 10 ms.
#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_a_thousand_goes_to_kubo_and_to_helia_and_back() {
    let (node, kubo) = with_kubo("/tcp/").await;
    let mut helia = aside(|| Helia::run(&[])).expect("a peer");
    connect(&node, helia.tcp()).await;
    let daemon = kubo.daemons()[0].clone();
    let blocks = chain(CHAIN);
    node.put_blocks(&blocks).await.expect("puts");
    let root = head(&blocks).to_string();
    let (pinning, at) = (daemon.clone(), root.clone());
    let kubo_walks = tokio::task::spawn_blocking(move || {
        let began = Instant::now();
        pinning.ipfs(&["pin", "add", &at]).expect("pins");
        timed("Kubo pins a chain of 1,000", 0, began);
        line(pinning.ipfs(&["refs", "-r", "--offline", &at]).expect("refs")).lines().count()
    });
    let began = Instant::now();
    let walked = aside(|| helia.chain_walk(&root, PATIENCE)).expect("walks");
    timed("Helia walks a chain of 1,000", 0, began);
    let below = soon("Kubo", kubo_walks).await.expect("no panic");
    assert_eq!((walked as u64, below as u64), (CHAIN, CHAIN - 1));

    // Longer, so that they have other heads.
    let longer = given_to(&daemon, &chain(CHAIN + 1)).await;
    chain_from(theirs(&daemon, "/tcp/"), longer, CHAIN + 1, "Kubo").await;
    let longest = aside(|| helia.chain_put(CHAIN as usize + 2)).expect("puts");
    chain_from(helia.tcp(), longest.parse().expect("a CID"), CHAIN + 2, "Helia").await;
}

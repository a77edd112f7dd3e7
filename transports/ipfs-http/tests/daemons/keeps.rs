//! What the daemon keeps for the node, and what it keeps for others.

use std::sync::Arc;

use carrick_core::dag::{DAG_PB, Layout, NullSink, add_file};
use carrick_core::{Block, Cid, DAG_CBOR, ErrorKind, GetOptions, MemoryStore, Owner, RAW, Store};
use carrick_interop::{Daemon, Kubo};
use futures::{StreamExt as _, TryStreamExt as _};

use super::node::until;
use super::{builder, config, content, node, open, soon};

fn says(daemon: &Daemon, command: &str) -> String {
    let answer = daemon.post(command, None);
    answer.map_or_else(|error| error.to_string(), |answer| String::from_utf8_lossy(&answer).into_owned())
}

/// A store with the same blocks.
async fn copy(store: &dyn Store) -> MemoryStore {
    let copy = MemoryStore::default();
    let mut cids = store.blocks();
    while let Some(cid) = cids.next().await {
        let block = store.get(&cid.expect("reads")).await.expect("reads").expect("it is there");
        copy.put(&[block]).await.expect("writes");
    }
    copy
}

/// Takes away all that is pinned directly, as an administrator may, and lets the garbage collection take the blocks.
fn forget(daemon: &Daemon) {
    let pins: serde_json::Value = serde_json::from_str(&says(daemon, "pin/ls?type=direct")).expect("JSON");
    let pins = pins["Keys"].as_object().into_iter().flatten().map(|(cid, _)| format!("&arg={cid}"));
    says(daemon, &format!("pin/rm?recursive=false{}", pins.collect::<String>()));
    says(daemon, "repo/gc?quiet=true");
}

// To look at the daemon blocks a thread.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_daemon_forgot_is_handed_to_it_again_when_it_is_back_and_when_the_node_is() {
    let mut kubo = Kubo::run(1, &[]).expect("a daemon");
    let daemon = kubo.daemons()[0].clone();
    let content = content(3 << 20);
    let (node, transport) = open(config(&daemon)).await.expect("opens");
    let put = soon("a put", node.put(&content[..], Layout::default())).await.expect("puts");
    let there =
        || daemon.post(&format!("cat?arg={}&offline=true", put.cid), None).is_ok_and(|seen| seen == content);
    let handed_over = || until(async || there());
    assert!(there());
    says(&daemon, "repo/gc?quiet=true");
    assert!(there(), "the garbage collection takes nothing that is kept");
    forget(&daemon);
    assert!(!there());
    kubo.kill(0).expect("dies");
    soon("that it is noticed", until(async || transport.peers().await.is_err())).await;
    kubo.start(0).expect("starts");
    soon("that it is handed over", handed_over()).await;
    let kept = copy(&**node.store()).await;
    node.close().await.expect("closes");
    forget(&daemon);
    assert!(!there());
    let _again = node::over(builder().store(Arc::new(kept)), config(&daemon)).await.expect("opens");
    soon("that it is handed over", handed_over()).await;
}

#[tokio::test]
async fn what_somebody_else_pinned_stays_when_the_node_withdraws_it() {
    let kubo = Kubo::run(1, &[]).expect("a daemon");
    let daemon = &kubo.daemons()[0];
    let (node, transport) = open(config(daemon)).await.expect("opens");
    let blocks = ["of both", "of the node"].map(|content| Block::new(RAW, content.as_bytes()));
    daemon.post("add?cid-version=1", Some(blocks[0].bytes())).expect("adds");
    node.put_blocks(&blocks).await.expect("puts");
    let has =
        |block: &Block| daemon.post(&format!("block/stat?offline=true&arg={}", block.cid()), None).is_ok();
    assert!(blocks.iter().all(has));
    let cids = blocks.each_ref().map(|block| *block.cid());
    transport.fetch().expect("it fetches").withdraw(&cids).await.expect("withdraws");
    says(daemon, "repo/gc?quiet=true");
    assert_eq!(blocks.each_ref().map(has), [true, false]);
}

/// Files that share blocks, one of them pinned by somebody else too: only what nobody counts on goes.
#[tokio::test]
async fn what_the_node_deletes_goes_from_the_daemon_unless_somebody_counts_on_it() {
    let mut kubo = Kubo::run(1, &[]).expect("a daemon");
    let daemon = kubo.daemons()[0].clone();
    let (node, transport) = open(config(&daemon)).await.expect("opens");
    let long = content(5 << 20);
    let (short, theirs) = (long[..3 << 20].to_vec(), b"theirs".repeat(1_000));
    let mut roots = Vec::new();
    for content in [&long, &short, &theirs] {
        roots.push(node.put(&content[..], Layout::default()).await.expect("puts").cid);
    }
    daemon.post(&format!("pin/add?arg={}", roots[2]), None).expect("somebody pins it");
    let has = |content: &[u8], root: &Cid| {
        daemon.post(&format!("cat?arg={root}&offline=true"), None).is_ok_and(|seen| seen == content)
    };
    let removed = soon("a removal", node.remove(&roots[0], &Owner::user())).await.expect("removes");
    assert_eq!((removed.kept, removed.deleted), (3, 3), "two leaves and the root are its own");
    says(&daemon, "repo/gc?quiet=true");
    assert!(!has(&long, &roots[0]) && has(&short, &roots[1]));
    node.unpin(&roots[1], &Owner::user()).await.expect("unpins");
    node.unpin(&roots[2], &Owner::user()).await.expect("unpins");
    says(&daemon, "repo/gc?quiet=true");
    assert!(has(&short, &roots[1]), "the node has it still");

    kubo.kill(0).expect("dies");
    soon("that it is noticed", until(async || transport.peers().await.is_err())).await;
    let error = soon("a collection", node.collect_garbage()).await.expect_err("it cannot be told");
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(node.store().has(&roots[1]).await.expect("has"), "what it was not told stays");
    kubo.start(0).expect("starts");
    soon("that it is noticed", until(async || transport.peers().await.is_ok())).await;
    soon("a collection", node.collect_garbage()).await.expect("collects");
    assert_eq!(node.store().usage().await.expect("usage").blocks, 0);
    says(&daemon, "repo/gc?quiet=true");
    assert!(!has(&short, &roots[1]) && has(&theirs, &roots[2]), "what somebody else pinned stays");

    node.put(&short[..], Layout::default()).await.expect("puts");
    says(&daemon, "repo/gc?quiet=true");
    assert!(has(&short, &roots[1]), "what is put again stays");
}

/// A file of somebody else is held by a pin on its root alone, under other names than ours. Of either version: the node knows
/// its blocks by the names of the other one.
#[tokio::test]
async fn a_file_of_somebody_else_stays_whole_when_the_node_withdraws_its_blocks() {
    let kubo = Kubo::run(1, &[]).expect("a daemon");
    let daemon = &kubo.daemons()[0];
    let (node, transport) = open(config(daemon)).await.expect("opens");
    let content = content(700_000);
    for version in ["cid-version=1", "cid-version=0"] {
        let added = daemon.post(&format!("add?{version}&quieter=true"), Some(&content)).expect("adds");
        let added: serde_json::Value = serde_json::from_slice(&added).expect("JSON");
        let root = added["Hash"].as_str().expect("a CID").to_owned();
        let got = node.get(&root.parse().expect("a CID"), GetOptions::default());
        soon("a get", got).await.expect("gets");
        let kept: Vec<Cid> = node.store().blocks().try_collect().await.expect("reads");
        let fetch = transport.fetch().expect("it fetches");
        fetch.provide(&kept).await.expect("provides");
        fetch.withdraw(&kept).await.expect("withdraws");
        says(daemon, "repo/gc?quiet=true");
        let whole = daemon.post(&format!("cat?arg={root}&offline=true"), None);
        assert!(whole.is_ok_and(|seen| seen == content), "{version}: it lacks blocks");
    }
}

/// A second daemon asks for a block; the first one has to bring it by itself, since it is asked again only after 30 s.
async fn waits_for(kubo: &Kubo, cid: &Cid) -> impl Future<Output = Vec<u8>> {
    let [gives, waits] = [0, 1].map(|at| kubo.daemons()[at].clone());
    let asked = format!("bitswap/wantlist?peer={}", waits.id);
    let command = format!("block/get?arg={cid}&timeout=20s");
    let got = tokio::task::spawn_blocking(move || waits.post(&command, None).expect("it comes in time"));
    soon("that it is asked for", until(async || says(&gives, &asked).contains(&cid.to_string()))).await;
    async move { got.await.expect("no panic") }
}

// To look at the daemon blocks a thread.
#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_block_has_it_as_soon_as_it_is_put() {
    let kubo = Kubo::run(2, &["--connect", "--set", "Routing.Type=\"none\""]).expect("two daemons");
    let (node, transport) = open(config(&kubo.daemons()[0])).await.expect("opens");
    for layout in ["unixfs-v1-2025", "unixfs-v0-2015"] {
        let layout: Layout = layout.parse().expect("a layout");
        let content = content(3 << 20);
        let root = add_file(&content[..], layout, &mut NullSink).await.expect("computed").cid;
        let comes = waits_for(&kubo, &root).await;
        soon("a put", node.put(&content[..], layout)).await.expect("puts");
        assert_eq!(Block::new(root.codec(), comes.await).cid().hash(), root.hash());
    }
    // As messages and files of one block are given, alone and together.
    let blocks = [(DAG_CBOR, &b"\xa0"[..]), (RAW, b"a leaf"), (RAW, b"another")];
    let blocks = blocks.map(|(codec, bytes)| Block::new(codec, bytes));
    node.store().put(&blocks).await.expect("stored");
    let fetch = transport.fetch().expect("it fetches");
    for some in [&blocks[..1], &blocks[1..]] {
        let comes = waits_for(&kubo, some[0].cid()).await;
        let cids: Vec<Cid> = some.iter().map(|block| *block.cid()).collect();
        fetch.provide(&cids).await.expect("provided");
        assert!(comes.await == *some[0].bytes());
    }
}

/// What a block calls itself is no reason not to keep it.
#[tokio::test]
async fn a_block_that_a_daemon_cannot_read_keeps_no_other_back() {
    let kubo = Kubo::run(1, &[]).expect("a daemon");
    let (node, transport) = open(config(&kubo.daemons()[0])).await.expect("opens");
    let codecs = [RAW, DAG_PB, DAG_CBOR, 0x0129, 0x00ff_ffff];
    let blocks = codecs.map(|codec| Block::new(codec, format!("junk as {codec:x}")));
    node.store().put(&blocks).await.expect("stored");
    let cids = blocks.each_ref().map(|block| *block.cid());
    transport.fetch().expect("it fetches").provide(&cids).await.expect("provided");
    let held = says(&kubo.daemons()[0], "pin/ls?type=direct");
    for cid in cids {
        let raw = Cid::new_v1(RAW, *cid.hash()).to_string();
        assert!(held.contains(&raw), "{cid} is not in {held}");
    }
}

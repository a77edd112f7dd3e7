//! Peers that are asked and answer wrongly, late, half or too much.

use carrick_core::links::exchange::{AskBlock, Kind, block_head};
use carrick_core::links::frames::frame;
use carrick_core::{Block, Cid, DAG_CBOR, ErrorKind, RAW, WantDag};
use futures::StreamExt;
use serde::Serialize;

use super::*;

/// A node that asks, a neighbour that has the block, and a foe that is asked first.
struct Stage {
    good: Good,
    neighbour: Good,
    foe: Foe,
    _control: Control,
    block: Block,
}

async fn stage(network: &str) -> Stage {
    let (good, neighbour) = (Good::new(network).await, Good::new(network).await);
    good.connect(&neighbour).await;
    let block = Block::new(RAW, vec![3; 300_000]);
    neighbour.node.put_blocks(std::slice::from_ref(&block)).await.expect("stores");
    let foe = Foe::against(&good).await;
    let control = foe.enter(&[]).await;
    Stage { good, neighbour, foe, _control: control, block }
}

impl Stage {
    /// Fetches while the foe answers with `bytes`, and ends the stream or holds it open.
    async fn fetch(&self, answer: &[u8], finish: bool) -> Block {
        let hints = vec![*self.foe.remote().peer().expect("a peer")];
        let foe = async {
            let (mut send, recv) = self.foe.request().await;
            let mut reader = Reader::new(Recv(recv), &self.foe.lender.shared.host);
            let head = reader.expect(&[Kind::AskBlock]).await.expect("reads");
            let ask = AskBlock::decode(&reader.body(head.length).await.expect("reads")).expect("a request");
            assert_eq!(ask.cid, *self.block.cid());
            // The asker may be gone before all is written.
            let _ = send.write_all(answer).await;
            if finish {
                let _ = send.finish();
            }
            let _ = send.stopped().await;
        };
        let (block, ()) =
            soon(async { tokio::join!(self.good.node.block(self.block.cid(), hints), foe) }).await;
        block.expect("the neighbour has it")
    }

    fn blamed(&self, misdeed: &str) {
        assert_eq!(self.good.node.counter(misdeed), 1, "{misdeed}");
    }
}

/// A block frame that claims `length` bytes and brings `bytes`.
fn block_frame(cid: &Cid, length: usize, bytes: &[u8]) -> Vec<u8> {
    [&block_head(cid, length)[..], bytes].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bytes_are_blamed_and_fetched_elsewhere() {
    let stage = stage("foe-wrong").await;
    let answer = block_frame(stage.block.cid(), 5, b"wrong");
    assert_eq!(stage.fetch(&answer, true).await, stage.block);
    stage.blamed("misdeed_wrong_bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_block_is_malformed() {
    let stage = stage("foe-other").await;
    let other = Block::new(RAW, &b"other"[..]);
    let answer = block_frame(other.cid(), 5, b"other");
    assert_eq!(stage.fetch(&answer, true).await, stage.block);
    stage.blamed("misdeed_malformed");
    assert_eq!(stage.foe.closed().await, Reason::Malformed);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_bytes_than_a_block_may_have_are_malformed() {
    let stage = stage("foe-large").await;
    let limit = stage.good.node.limits().block_bytes;
    let answer = block_frame(stage.block.cid(), limit + 1, b"");
    assert_eq!(stage.fetch(&answer, false).await, stage.block);
    stage.blamed("misdeed_malformed");
    assert_eq!(stage.foe.closed().await, Reason::Malformed);
    assert_eq!(stage.good.linked().await, [stage.neighbour.node.peer_id()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_of_4_gib_is_malformed() {
    let stage = stage("foe-4g-answer").await;
    let answer = [0xff, 0xff, 0xff, 0xff, Kind::Block as u8];
    assert_eq!(stage.fetch(&answer, false).await, stage.block);
    stage.blamed("misdeed_malformed");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_was_asked_for_is_not_even_read() {
    let stage = stage("foe-more").await;
    let mut answer = block_frame(stage.block.cid(), stage.block.size(), stage.block.bytes());
    answer.extend(vec![0; 10 << 20]);
    assert_eq!(stage.fetch(&answer, false).await, stage.block);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stall_in_the_middle_is_blamed_and_fetched_elsewhere() {
    let stage = stage("foe-stall").await;
    let answer = block_frame(stage.block.cid(), stage.block.size(), &stage.block.bytes()[..1_000]);
    assert_eq!(stage.fetch(&answer, false).await, stage.block);
    stage.blamed("misdeed_stalled");
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_is_left_for_the_next() {
    let stage = stage("foe-silence").await;
    assert_eq!(stage.fetch(&[], false).await, stage.block);
    assert_eq!(stage.good.linked().await.len(), 2, "slow is no crime");
}

#[tokio::test(flavor = "multi_thread")]
async fn half_an_answer_is_left_for_the_next() {
    let stage = stage("foe-half").await;
    let answer = block_frame(stage.block.cid(), stage.block.size(), &stage.block.bytes()[..1_000]);
    assert_eq!(stage.fetch(&answer, true).await, stage.block);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_nothing_is_left_for_the_next() {
    let stage = stage("foe-nothing").await;
    assert_eq!(stage.fetch(&[], true).await, stage.block);
}

#[tokio::test(flavor = "multi_thread")]
async fn giving_up_stops_the_sender() {
    let stage = stage("foe-cancel").await;
    let hints = vec![*stage.foe.remote().peer().expect("a peer")];
    let want = Block::new(RAW, vec![9; 1 << 20]);
    let node = stage.good.node.clone();
    let cid = *want.cid();
    let fetching = tokio::spawn(async move { node.block(&cid, hints).await });
    let (mut send, _recv) = stage.foe.request().await;
    send.write_all(&block_head(want.cid(), want.size())).await.expect("writes");
    fetching.abort();
    assert!(soon(send.stopped()).await.expect("connected").is_some(), "it was told to stop");
}

pub(super) fn linking(links: &[&Block]) -> Block {
    #[derive(Serialize)]
    struct Body {
        links: Vec<Cid>,
    }
    let body = Body { links: links.iter().map(|block| *block.cid()).collect() };
    Block::new(DAG_CBOR, serde_ipld_dagcbor::to_vec(&body).expect("encodes"))
}

/// Asks the foe for a DAG of a root and eight leaves, which the neighbour has.
async fn dag(stage: &Stage) -> (Vec<Block>, carrick_core::Blocks, SendStream) {
    let leaves: Vec<_> = (0..8_u8).map(|n| Block::new(RAW, vec![n; 10_000])).collect();
    let root = linking(&leaves.iter().collect::<Vec<_>>());
    let blocks = [vec![root.clone()], leaves].concat();
    stage.neighbour.node.put_blocks(&blocks).await.expect("stores");
    let mut want = WantDag::new(*root.cid(), Duration::from_secs(10));
    want.hints = vec![*stage.foe.remote().peer().expect("a peer")];
    let coming = soon(stage.good.node.fetch_dag(want)).await.expect("begins");
    let (send, _recv) = stage.foe.request().await;
    (blocks, coming, send)
}

async fn all(coming: carrick_core::Blocks) -> Vec<Block> {
    let came: Vec<_> = soon(coming.collect::<Vec<_>>()).await;
    came.into_iter().map(|received| received.expect("comes").block).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rest_of_a_dag_comes_from_another_when_the_first_stalls() {
    let stage = stage("foe-dag-stall").await;
    let (blocks, coming, mut send) = dag(&stage).await;
    for block in &blocks[..3] {
        send.write_all(&block_frame(block.cid(), block.size(), block.bytes())).await.expect("writes");
    }
    assert_eq!(all(coming).await.len(), blocks.len(), "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rest_of_a_dag_comes_from_another_when_the_first_lies() {
    let stage = stage("foe-dag-lie").await;
    let (blocks, coming, mut send) = dag(&stage).await;
    let root = &blocks[0];
    send.write_all(&block_frame(root.cid(), root.size(), root.bytes())).await.expect("writes");
    send.write_all(&block_frame(blocks[1].cid(), 5, b"wrong")).await.expect("writes");
    assert_eq!(all(coming).await.len(), blocks.len(), "each once");
    stage.blamed("misdeed_wrong_bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_block_for_ever_is_left_for_the_next() {
    let stage = stage("foe-dag-ever").await;
    let (blocks, coming, mut send) = dag(&stage).await;
    let frame = block_frame(blocks[0].cid(), blocks[0].size(), blocks[0].bytes());
    let foe = async { while send.write_all(&frame).await.is_ok() {} };
    let (came, ()) = soon(async { tokio::join!(all(coming), foe) }).await;
    assert_eq!(came.len(), blocks.len());
    stage.blamed("misdeed_broken_promise");
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_a_dag_stops_the_sender() {
    let stage = stage("foe-dag-drop").await;
    let (blocks, mut coming, mut send) = dag(&stage).await;
    let root = &blocks[0];
    send.write_all(&block_frame(root.cid(), root.size(), root.bytes())).await.expect("writes");
    soon(coming.next()).await.expect("not the end").expect("comes");
    drop(coming);
    assert!(soon(send.stopped()).await.expect("connected").is_some(), "it was told to stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dag_that_nobody_has_whole_ends_in_not_found() {
    let good = Good::new("foe-dag-nobody").await;
    let neighbour = Good::new("foe-dag-nobody").await;
    good.connect(&neighbour).await;
    let leaf = Block::new(RAW, &b"missing"[..]);
    let root = linking(&[&leaf]);
    neighbour.node.put_blocks(std::slice::from_ref(&root)).await.expect("stores");
    let want = WantDag::new(*root.cid(), Duration::from_secs(10));
    let mut coming = soon(good.node.fetch_dag(want)).await.expect("begins");
    soon(coming.next()).await.expect("not the end").expect("the root comes");
    let error = soon(coming.next()).await.expect("not the end").expect_err("the leaf does not");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_provider_is_left_for_the_next_and_not_said_to_be_gone() {
    let stage = stage("foe-busy").await;
    assert_eq!(stage.fetch(&frame(Kind::Busy, &[]), true).await, stage.block);
    let (_, mut coming, mut send) = dag(&stage).await;
    // Nobody else is left.
    stage.neighbour.node.close().await.expect("closes");
    send.write_all(&frame(Kind::Busy, &[])).await.expect("writes");
    let error = soon(coming.next()).await.expect("not the end").expect_err("nothing came");
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    assert!(error.to_string().contains("are busy"), "{error}");
    assert_eq!(stage.good.linked().await, [*stage.foe.remote().peer().expect("a peer")]);
}

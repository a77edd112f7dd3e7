//! Peers that ask and do not take the answer.

use carrick_core::links::exchange::{AskBlock, AskDag, Kind, ask_has_frame};
use carrick_core::{Block, RAW, WantDag};
use futures::StreamExt;
use quinn::VarInt;

use super::*;

async fn stage(network: &str) -> (Good, Foe, Control, Block) {
    let good = Good::new(network).await;
    // Larger than a stream's window: it cannot be written at once.
    let block = Block::new(RAW, vec![1; good.node.limits().block_bytes]);
    good.node.put_blocks(std::slice::from_ref(&block)).await.expect("stores");
    let foe = Foe::against(&good).await;
    let control = foe.enter(&[]).await;
    (good, foe, control, block)
}

async fn ask(foe: &Foe, frame: &[u8]) -> RecvStream {
    let (mut send, recv) = foe.connection.open_bi().await.expect("opens");
    send.write_all(frame).await.expect("writes");
    send.finish().expect("open");
    recv
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_read_is_given_up() {
    let (good, foe, _control, block) = stage("foe-asker").await;
    let frame = AskBlock { cid: *block.cid(), max_bytes: u32::MAX, priority: 0 }.encode();
    let mut unread = ask(&foe, &frame).await;
    assert_eq!(soon(unread.received_reset()).await.expect("connected"), Some(VarInt::from_u32(8)));
    // And whoever reads is served as before.
    let mut reader = Reader::new(Recv(ask(&foe, &ask_has_frame(block.cid())).await), &foe.lender.shared.host);
    assert_eq!(soon(reader.expect(&[Kind::Present])).await.expect("an answer").length, 0);
    drop(good);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_the_asker_takes_is_not_sent() {
    let (_good, foe, _control, block) = stage("foe-max").await;
    let frame = AskBlock { cid: *block.cid(), max_bytes: 1_000, priority: 0 }.encode();
    let mut reader = Reader::new(Recv(ask(&foe, &frame).await), &foe.lender.shared.host);
    soon(reader.expect(&[Kind::Limit])).await.expect("an answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_unread_answers_do_not_keep_others_from_being_served() {
    let (good, foe, _control, block) = stage("foe-hundreds").await;
    let want = WantDag::new(*block.cid(), Duration::from_secs(1));
    let frame = AskDag::new(&want).encode();
    let mut unread = Vec::new();
    for _ in 0..good.node.limits().streams_per_peer - 1 {
        unread.push(ask(&foe, &frame).await);
    }
    // None of it is ever read: all are refused or given up, and then there is room for others.
    let neighbour = Good::new("foe-hundreds").await;
    neighbour.connect(&good).await;
    let came = soon(async {
        loop {
            if let Ok(came) = neighbour.node.block(block.cid(), vec![]).await {
                return came;
            }
        }
    })
    .await;
    assert_eq!(came.size(), block.size());
    drop(unread);
}

#[tokio::test(flavor = "multi_thread")]
async fn those_that_say_they_have_a_block_are_named() {
    let (good, foe, _control, block) = stage("foe-providers").await;
    let asker = Good::new("foe-providers").await;
    let empty = Good::new("foe-providers").await;
    asker.connect(&good).await;
    asker.connect(&empty).await;
    let found = soon(asker.shared.find_providers(block.cid(), 8)).await.expect("asks");
    assert_eq!(found, [good.addr()]);
    assert!(soon(asker.shared.find_providers(block.cid(), 0)).await.expect("asks").is_empty());
    drop(foe);
}

/// A foe that asks for a block and then neither reads nor acknowledges anything: its thread stands still from
/// the first bytes of the answer until the test ends.
fn frozen(
    good: PeerAddr,
    network: String,
    ask: Bytes,
) -> (oneshot::Receiver<()>, std::sync::mpsc::Sender<()>) {
    let (asked, wait) = oneshot::channel();
    let (thaw, frozen) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let foe = Foe::dialling(&network, &good).await;
            let _control = foe.enter(&[]).await;
            let mut answer = self::ask(&foe, &ask).await;
            soon(answer.read_exact(&mut [0])).await.expect("an answer");
            asked.send(()).expect("the test waits");
            // Blocks the runtime on purpose, and with it the foe's half of QUIC.
            let _ = frozen.recv();
        });
    });
    (wait, thaw)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_and_not_acknowledged_counts_as_served_until_it_is_given_up() {
    let mut few = limits();
    few.block_bytes = 1 << 20;
    few.serving_bytes = 4 << 20;
    let good = Good::with("foe-frozen", few.clone()).await;
    // Within all windows: QUIC takes the whole answer at once.
    let block = Block::new(RAW, vec![1; few.block_bytes]);
    good.node.put_blocks(std::slice::from_ref(&block)).await.expect("stores");
    let frame = AskBlock { cid: *block.cid(), max_bytes: u32::MAX, priority: 0 }.encode();
    let network = good.node.network().as_str();
    let foes: Vec<_> = (0..4).map(|_| frozen(good.addr(), network.to_owned(), frame.clone())).collect();
    let mut thaw = Vec::new();
    for (asked, foe) in foes {
        soon(asked).await.expect("served");
        thaw.push(foe);
    }
    // All serving memory is taken, so a neighbour is served once a foe was given up, and not before.
    let neighbour = Good::with("foe-frozen", few).await;
    neighbour.connect(&good).await;
    let came = soon(async {
        loop {
            if let Ok(came) = neighbour.node.block(block.cid(), vec![]).await {
                return came;
            }
        }
    })
    .await;
    assert_eq!(came.size(), block.size());
    assert!(good.node.counter("serve_stalled") > 0, "it was served beyond the promise");
}

/// Leaves of 1 MiB, `which` tells those of one DAG from those of another, and a root before them.
fn large(which: u8) -> Vec<Block> {
    let leaves: Vec<_> =
        (0..16_u8).map(|n| Block::new(RAW, [vec![which, n], vec![0; 1 << 20]].concat())).collect();
    let root = super::providers::linking(&leaves.iter().collect::<Vec<_>>());
    [vec![root], leaves].concat()
}

async fn begin(good: &Good, root: &Block) -> carrick_core::Blocks {
    let want = WantDag::new(*root.cid(), Duration::from_secs(10));
    let mut blocks = soon(good.node.fetch_dag(want)).await.expect("begins");
    assert_eq!(soon(blocks.next()).await.expect("not the end").expect("comes").block, *root);
    blocks
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_pauses_gets_the_rest_and_nobody_is_blamed() {
    let (good, provider) = (Good::new("foe-pause").await, Good::new("foe-pause").await);
    good.connect(&provider).await;
    let dag = large(0);
    provider.node.put_blocks(&dag).await.expect("stores");
    let blocks = begin(&good, &dag[0]).await;
    // Until the provider has given up.
    provider.counts("serve_stalled", 1).await;
    let came: Vec<_> = soon(blocks.map(|came| came.expect("comes").block).collect()).await;
    assert_eq!(came, dag[1..]);
    assert_eq!(good.node.counter("misdeed_stalled") + good.node.counter("misdeed_broken_promise"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_that_pause_do_not_hold_up_messages() {
    let mut patient = limits();
    patient.fetch_idle = Duration::from_secs(600);
    let good = Good::with("foe-pauses", patient.clone()).await;
    let provider = Good::with("foe-pauses", patient).await;
    good.connect(&provider).await;
    let mut at_good = good.node.subscribe(&topic()).await.expect("subscribes");
    soon(provider.node.ready(&topic(), 1)).await.expect("ready");
    let mut paused = vec![];
    for which in 0..3 {
        let dag = large(which);
        provider.node.put_blocks(&dag).await.expect("stores");
        paused.push(begin(&good, &dag[0]).await);
    }
    // More than the window of a connection.
    for _ in 0..64 {
        let payload = vec![0; good.node.limits().payload_bytes];
        provider.node.publish(&topic(), payload).await.expect("publishes");
        soon(at_good.next()).await.expect("arrives");
    }
    drop(paused);
}

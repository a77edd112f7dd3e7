//! Peers that break the rules, on whole nodes: what they do is bounded and counted, and others are served all the same.

use std::sync::Arc;
use std::time::Duration;

use carrick_core::{Block, Bytes, Cid, PeerId, Want};
use futures::future::join;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::super::frame::{Outgoing, Version};
use super::super::limits;
use super::super::message::{Ask, Message};
use super::mesh::{Member, Mesh, soon, until};
use super::{peer, question, raw, want};

fn bytes(out: Outgoing<Bytes>) -> Vec<u8> {
    out.encode(Version::V1_2).iter().flat_map(|part| part.as_ref().to_vec()).collect()
}

fn asks(asks: Vec<Ask>) -> Vec<u8> {
    bytes(Outgoing { asks, ..Outgoing::default() })
}

/// The next message that a node sends to a stranger.
async fn message(stream: &mut DuplexStream) -> Message {
    next(stream).await.expect("a message")
}

/// The same, if the stream does not end.
async fn next(stream: &mut DuplexStream) -> Option<Message> {
    let (mut length, mut shift) = (0_usize, 0);
    loop {
        let byte = stream.read_u8().await.ok()?;
        length |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Message::decode(body.into()).expect("a good one"))
}

/// A node with some blocks, a good peer of it, and a stranger that is connected.
struct Stage {
    mesh: Arc<Mesh>,
    node: Member,
    good: Member,
    blocks: Vec<Block>,
    bad: PeerId,
}

impl Stage {
    async fn new() -> Self {
        let mesh = Arc::new(Mesh::default());
        let (node, good) = (mesh.member().await, mesh.member().await);
        let blocks: Vec<_> = (0..20_u8).map(|n| raw(vec![n; 100_000])).collect();
        node.put(&blocks).await;
        node.connect(&good);
        let bad = peer(200);
        node.bitswap.connected(bad);
        Self { mesh, node, good, blocks, bad }
    }

    /// The good peer gets all blocks.
    async fn good_is_served(&self) {
        for block in &self.blocks {
            let want = Want::new(*block.cid(), Duration::from_secs(60));
            let fetched = soon(self.good.bitswap.block(&want)).await.expect("the block");
            assert_eq!(fetched.claim.check().expect("its bytes"), *block);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_of_16_mib_is_refused_by_its_length() {
    let stage = Stage::new().await;
    let mut stream = stage.node.accept(stage.bad);
    let mut length = unsigned_varint::encode::usize_buffer();
    stream.write_all(unsigned_varint::encode::usize(16 << 20, &mut length)).await.expect("written");
    assert_eq!(stream.read(&mut [0]).await.expect("reset"), 0, "the stream ends");
    until(|| stage.node.counter("misdeed_malformed") == 1).await;
    stage.good_is_served().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_no_message_ends_the_stream_only() {
    let stage = Stage::new().await;
    for broken in
        [&[5, 0xff, 0xff, 0xff, 0xff, 0xff][..], &[0x80, 0x80, 0x80, 0x80, 0x80], &[4, 0x0a, 2, 0x0a, 9]]
    {
        let mut stream = stage.node.accept(stage.bad);
        stream.write_all(broken).await.expect("written");
        assert_eq!(stream.read(&mut [0]).await.expect("reset"), 0);
    }
    until(|| stage.node.counter("misdeed_malformed") == 3).await;
    stage.good_is_served().await;
}

#[tokio::test(start_paused = true)]
async fn those_who_drip_large_messages_hold_up_nobody_who_is_asked() {
    let stage = Stage::new().await;
    // As many as all the room that there is for messages.
    let drip = |n| {
        let bad = peer(n);
        stage.node.bitswap.connected(bad);
        let mut stream = stage.node.accept(bad);
        tokio::spawn(async move {
            stream.write_all(&[0x80, 0x80, 0x80, 0x02]).await.expect("4 MiB are announced");
            while stream.write_all(&[0]).await.is_ok() {
                tokio::time::sleep(Duration::from_secs(9)).await;
            }
        })
    };
    let dripping: Vec<_> = (100..120).map(drip).collect();
    let (node, good) = (&stage.node, &stage.good);
    let large: Vec<_> = (0..20_u8).map(|n| raw(vec![100 + n; 1_000_000])).collect();
    good.put(&large).await;
    let began = tokio::time::Instant::now();
    for block in &large {
        let fetched = soon(node.bitswap.block(&Want::new(*block.cid(), Duration::from_secs(60)))).await;
        assert_eq!(fetched.expect("the block").claim.cid(), block.cid());
    }
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
    assert_eq!(node.counter("misdeed_broken_promise"), 0);
    for task in dripping {
        soon(task).await.expect("its stream was reset");
    }
    assert!(node.counter("misdeed_stalled") >= 16, "{}", node.counter("misdeed_stalled"));
}

#[tokio::test(start_paused = true)]
async fn half_a_message_is_waited_for_only_so_long() {
    let stage = Stage::new().await;
    let mut stream = stage.node.accept(stage.bad);
    stream.write_all(&[0x80, 0x80, 0x40, 1, 2, 3]).await.expect("written");
    assert_eq!(stream.read(&mut [0]).await.expect("reset"), 0);
    assert_eq!(stage.node.counter("bitswap_read_stalled"), 1);
}

#[tokio::test(start_paused = true)]
async fn wants_for_a_million_absent_blocks_cost_their_sender() {
    let stage = Stage::new().await;
    let mut stream = stage.node.accept(stage.bad);
    let mut answers = stage.mesh.stranger(stage.bad);
    // It reads what it is told, so that nothing but the node's own bounds hold it up.
    tokio::spawn(async move {
        let mut stream = answers.recv().await.expect("a stream");
        while stream.read(&mut [0; 4_096]).await.is_ok_and(|read| read > 0) {}
    });
    let flooding = async {
        for n in 0..60_u32 {
            let absent = |number: u32| want(&raw([n.to_be_bytes(), number.to_be_bytes()].concat()));
            if stream.write_all(&asks((0..1_000).map(absent).collect())).await.is_err() {
                break;
            }
            assert!(stage.node.bitswap.wantlist(&stage.bad) <= limits::WANTLIST);
        }
    };
    soon(join(flooding, stage.good_is_served())).await;
    until(|| stage.node.counter("misdeed_spam") > 0).await;
    assert!(stage.node.bitswap.waiting() <= limits::WANTLIST);
    stage.node.bitswap.disconnected(&stage.bad);
    assert_eq!(stage.node.bitswap.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_message_with_an_endless_wantlist_is_bounded() {
    let stage = Stage::new().await;
    let mut stream = stage.node.accept(stage.bad);
    let _never_read = stage.mesh.stranger(stage.bad);
    let many = (0..70_000_u32).map(|n| question(&raw(n.to_be_bytes()))).collect();
    let list = bytes(Outgoing { full: true, asks: many, ..Outgoing::default() });
    let sending = async { drop(stream.write_all(&list).await) };
    soon(join(sending, stage.good_is_served())).await;
    until(|| {
        stage.node.counter("bitswap_wants_dropped") + stage.node.counter("bitswap_wants_evicted") > 60_000
    })
    .await;
    assert!(stage.node.bitswap.wantlist(&stage.bad) <= limits::WANTLIST);
}

#[tokio::test(start_paused = true)]
async fn blocks_that_nobody_asked_for_are_dropped() {
    let stage = Stage::new().await;
    let mut stream = stage.node.accept(stage.bad);
    let junk: Vec<_> = (0..1_000_u32).map(|n| raw(n.to_be_bytes())).collect();
    let blocks = junk.iter().map(|block| (*block.cid(), block.bytes().clone())).collect();
    stream.write_all(&bytes(Outgoing { blocks, ..Outgoing::default() })).await.expect("written");
    until(|| stage.node.counter("bitswap_unrequested") == 1_000).await;
    assert_eq!(stage.node.counter("needless"), 1_000);
    assert!(!stage.node.node.store().has(junk[0].cid()).await.expect("a store"));
    stage.good_is_served().await;
}

/// The good peer has what the node wants; the bad one is asked first, and answers as it likes.
async fn another_delivers(answer: impl FnOnce(&Block) -> Outgoing<Bytes>) -> (Stage, Duration) {
    let stage = Stage::new().await;
    let block = raw("what the node wants");
    stage.good.put(std::slice::from_ref(&block)).await;
    let mut streams = stage.mesh.stranger(stage.bad);
    let mut want = Want::new(*block.cid(), Duration::from_secs(60));
    want.hints = vec![stage.bad];
    let answering = async {
        let mut asked = streams.recv().await.expect("a stream");
        assert_eq!(message(&mut asked).await.ask_count(), 1);
        let mut stream = stage.node.accept(stage.bad);
        stream.write_all(&bytes(answer(&block))).await.expect("written");
        (asked, stream)
    };
    let began = tokio::time::Instant::now();
    let (fetched, _streams) = soon(join(stage.node.bitswap.block(&want), answering)).await;
    let fetched = fetched.expect("the block");
    assert_eq!(fetched.from.as_ref().and_then(|from| from.peer()), Some(&stage.good.id()));
    assert_eq!(fetched.claim.check().expect("its bytes"), block);
    let took = began.elapsed();
    // The one that was passed over may be blamed later.
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert!(stage.node.bitswap.is_idle());
    (stage, took)
}

#[tokio::test(start_paused = true)]
async fn wrong_bytes_are_another_block() {
    let wrong = |block: &Block| Outgoing {
        blocks: vec![(*block.cid(), Bytes::from_static(b"other bytes"))],
        ..Outgoing::default()
    };
    let (stage, took) = another_delivers(wrong).await;
    assert_eq!(stage.node.counter("bitswap_unrequested"), 1);
    assert!(took < Duration::from_secs(6), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn have_without_the_block_is_passed_over_and_blamed() {
    let promise = |block: &Block| Outgoing { presences: vec![(*block.cid(), true)], ..Outgoing::default() };
    let (stage, took) = another_delivers(promise).await;
    assert!(took < Duration::from_secs(6), "{took:?}");
    assert_eq!(stage.node.counter("misdeed_broken_promise") + stage.node.counter("misdeed_stalled"), 1);
}

/// The bad peer is asked for what nobody else has, and answers each message as it likes until it is banned.
async fn ends_in_a_ban(answer: impl Fn(Vec<Cid>) -> Outgoing<Bytes> + Send + 'static) {
    let stage = Stage::new().await;
    let mut streams = stage.mesh.stranger(stage.bad);
    let mut to = stage.node.accept(stage.bad);
    tokio::spawn(async move {
        while let Some(mut from) = streams.recv().await {
            while let Some(asked) = next(&mut from).await {
                let asks = asked.asks().map(|ask| ask.expect("a CID")).collect::<Vec<_>>();
                let wanted = asks.into_iter().flatten().filter(|ask| !ask.cancel).map(|ask| ask.cid);
                let _ = to.write_all(&bytes(answer(wanted.collect()))).await;
            }
        }
    });
    for n in 0_u32..100 {
        let mut want = Want::new(*raw(n.to_be_bytes()).cid(), Duration::from_secs(60));
        want.hints = vec![stage.bad];
        soon(stage.node.bitswap.block(&want)).await.expect_err("nobody has it");
        if stage.node.counter("banned") == 1 {
            return stage.good_is_served().await;
        }
    }
    panic!("it goes on for ever");
}

#[tokio::test(start_paused = true)]
async fn whoever_says_that_it_has_blocks_and_never_sends_one_is_banned() {
    ends_in_a_ban(|asked| Outgoing {
        presences: asked.into_iter().map(|cid| (cid, true)).collect(),
        ..Outgoing::default()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn whoever_answered_once_and_then_never_again_is_banned() {
    let once = std::sync::atomic::AtomicBool::new(true);
    ends_in_a_ban(move |asked| match once.swap(false, std::sync::atomic::Ordering::Relaxed) {
        true => {
            Outgoing { presences: asked.into_iter().map(|cid| (cid, true)).collect(), ..Outgoing::default() }
        }
        false => Outgoing::default(),
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn dont_have_costs_no_time() {
    let absent = |block: &Block| Outgoing { presences: vec![(*block.cid(), false)], ..Outgoing::default() };
    let (_, took) = another_delivers(absent).await;
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_cut_is_asked_for_again() {
    let stage = Stage::new().await;
    let block = raw("what the node wants");
    let mut streams = stage.mesh.stranger(stage.bad);
    let mut want = Want::new(*block.cid(), Duration::from_secs(60));
    want.hints = vec![stage.bad];
    let answer = Outgoing { blocks: vec![(*block.cid(), block.bytes().clone())], ..Outgoing::default() };
    let answer = bytes(answer);
    let answering = async {
        let mut asked = streams.recv().await.expect("a stream");
        assert_eq!(message(&mut asked).await.ask_count(), 1);
        let mut stream = stage.node.accept(stage.bad);
        stream.write_all(&answer[..10]).await.expect("written");
        drop(stream);
        let again = message(&mut asked).await;
        assert!(again.is_full() && again.ask_count() == 1);
        let mut stream = stage.node.accept(stage.bad);
        stream.write_all(&answer).await.expect("written");
        (asked, stream)
    };
    let began = tokio::time::Instant::now();
    let (fetched, _streams) = soon(join(stage.node.bitswap.block(&want), answering)).await;
    assert_eq!(fetched.expect("the block").claim.check().expect("its bytes"), block);
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_nothing_holds_little_and_for_so_long() {
    let stage = Stage::new().await;
    let mut stream = stage.node.accept(stage.bad);
    let mut never_read = stage.mesh.stranger(stage.bad);
    stream.write_all(&asks(stage.blocks.iter().map(want).collect())).await.expect("written");
    let unread = soon(never_read.recv()).await.expect("a stream");
    stage.good_is_served().await;
    assert!(stage.node.bitswap.outstanding() <= limits::OUTSTANDING + 100_000);
    until(|| stage.node.counter("serve_stalled") == 1).await;
    until(|| stage.node.bitswap.outstanding() == 0).await;
    assert_eq!(stage.node.bitswap.wantlist(&stage.bad), 0);
    drop(unread);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_streams_of_one_peer_do_not_take_the_memory_of_others() {
    let stage = Stage::new().await;
    let mut streams = vec![];
    for _ in 0..1_000 {
        let mut stream = stage.node.accept(stage.bad);
        // 4 MiB are announced, and never come.
        stream.write_all(&[0x80, 0x80, 0x80, 0x02]).await.expect("written");
        streams.push(stream);
    }
    stage.good_is_served().await;
}

//! Asking one provider.

use super::*;

/// Asks a peer for a block; it answers with these bytes and then ends the stream, or does not.
async fn answered(host: &Host, block: &Block, answer: &[u8], ends: bool) -> (Result<Bytes, Miss>, Arc<Far>) {
    let (far, mut opened) = Far::new();
    let (want, idle) = (want(block), host.limits().fetch_idle);
    let foe = async {
        let mut stream = opened.recv().await.expect("asked");
        let mut request = [0; HEAD_BYTES];
        stream.read_exact(&mut request).await.expect("a request");
        // The asker may have heard enough.
        let _ = stream.write_all(answer).await;
        (!ends).then_some(stream)
    };
    let (answer, _held) = soon(async { tokio::join!(ask_block(host, &far, &want, idle), foe) }).await;
    (answer, far)
}

#[tokio::test(start_paused = true)]
async fn what_a_node_has_is_found_fetched_and_walked() {
    let (provider, serving) = node(Limits::default()).await;
    let (_asker, host) = node(Limits::default()).await;
    let blocks = tree(9, 300_000);
    provider.put_blocks(&blocks).await.expect("stores");
    let far = Far::serving(&serving);
    let idle = host.limits().fetch_idle;
    assert_eq!(soon(ask_has(&host, &far, blocks[1].cid(), idle)).await, Ok(true));
    let bytes = soon(ask_block(&host, &far, &want(&blocks[1]), idle)).await.expect("it has it");
    assert_eq!(bytes, *blocks[1].bytes());
    assert_eq!(all(dag(&host, &blocks[0], vec![far.clone()])).await.0, cids(&blocks));
    assert_eq!(far.walks.load(Ordering::Relaxed), 0, "each walk that begins ends");
}

#[tokio::test(start_paused = true)]
async fn what_a_node_has_not_or_may_not_send_is_told() {
    let (provider, serving) = node(Limits::default()).await;
    let (_asker, host) = node(Limits::default()).await;
    let blocks = tree(2, 1_000);
    provider.put_blocks(&blocks[..2]).await.expect("stores");
    let (far, idle) = (Far::serving(&serving), host.limits().fetch_idle);
    assert_eq!(soon(ask_has(&host, &far, blocks[2].cid(), idle)).await, Ok(false));
    assert_eq!(soon(ask_block(&host, &far, &want(&blocks[2]), idle)).await, Err(Miss::Absent));
    let mut small = want(&blocks[1]);
    small.limit_bytes = 999;
    assert_eq!(soon(ask_block(&host, &far, &small, idle)).await, Err(Miss::TooLarge));
    let (came, failed) = all(dag(&host, &blocks[0], vec![far])).await;
    assert_eq!(came, cids(&blocks[..2]), "what came before stays good");
    assert_eq!(failed.expect("one is missing").kind(), ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn frames_that_break_the_format_are_the_providers_fault() {
    let (_node, host) = node(short()).await;
    let block = Block::new(RAW, vec![3; 1_000]);
    let other = Block::new(RAW, &b"other"[..]);
    let limit = host.limits().block_bytes;
    let hostile = [
        ("4 GiB", [0xff, 0xff, 0xff, 0xff, Kind::Block as u8].to_vec()),
        ("empty", vec![0, 0, 0, 0, 0]),
        ("unknown", vec![0, 0, 0, 1, 0x99]),
        ("misplaced", frame(Kind::End, &[]).to_vec()),
        ("a request", ask_has_frame(block.cid()).to_vec()),
        ("unasked", block_frame(&other)),
        ("too large", block_head(block.cid(), limit + 1).to_vec()),
        ("no cid", frame(Kind::Block, &[]).to_vec()),
        ("a cid too long", frame(Kind::Block, &[200, 1, 2]).to_vec()),
        ("a cid cut", frame(Kind::Block, &[&[3], &block.cid().to_bytes()[..]].concat()).to_vec()),
    ];
    for (what, answer) in hostile {
        let (answer, far) = answered(&host, &block, &answer, false).await;
        assert_eq!((answer, far.broke().len()), (Err(Miss::Malformed), 1), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn half_an_answer_and_none_are_nobodys_fault() {
    let (node, host) = node(short()).await;
    let block = Block::new(RAW, vec![3; 1_000]);
    let whole = block_frame(&block);
    for answer in [&[][..], &whole[..3], &whole[..HEAD_BYTES], &whole[..60], &whole[..whole.len() - 1]] {
        let (answer, far) = answered(&host, &block, answer, true).await;
        assert_eq!((answer, far.broke()), (Err(Miss::GivenUp), vec![]));
    }
    assert_eq!(node.counter("misdeed_stalled") + node.counter("misdeed_malformed"), 0);
    let (answer, _) = answered(&host, &block, &whole, false).await;
    assert_eq!(answer, Ok(block.bytes().clone()));
}

#[tokio::test(start_paused = true)]
async fn a_stall_is_blamed_where_the_far_end_is_known_to_live() {
    let (node, host) = node(short()).await;
    let block = Block::new(RAW, vec![3; 1_000]);
    for (nth, answer) in (1..).zip([&[][..], &block_frame(&block)[..100]]) {
        let (answer, _) = answered(&host, &block, answer, false).await;
        assert_eq!((answer, node.counter("misdeed_stalled")), (Err(Miss::Stalled), nth));
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_way_is_nobodys_fault() {
    let (node, host) = node(short()).await;
    let (far, mut opened) = Far::with(false);
    let block = Block::new(RAW, vec![3; 1_000]);
    let idle = host.limits().fetch_idle;
    let answer = soon(ask_block(&host, &far, &want(&block), idle)).await;
    assert_eq!((answer, node.counter("misdeed_stalled")), (Err(Miss::Stalled), 0));
    assert!(opened.recv().await.is_some(), "it was asked");
}

#[tokio::test(start_paused = true)]
async fn who_got_only_a_share_of_the_time_is_not_blamed() {
    let (node, host) = node(short()).await;
    let (far, _opened) = Far::new();
    let block = Block::new(RAW, vec![3; 1_000]);
    let answer = soon(ask_block(&host, &far, &want(&block), host.limits().fetch_idle / 2)).await;
    assert_eq!((answer, node.counter("misdeed_stalled")), (Err(Miss::Stalled), 0));
}

#[tokio::test(start_paused = true)]
async fn dropping_a_request_ends_its_stream() {
    let (_node, host) = node(short()).await;
    let (far, mut opened) = Far::new();
    let block = Block::new(RAW, vec![3; 1_000]);
    let want = want(&block);
    let mut asking = Box::pin(ask_block(&host, &far, &want, Duration::from_secs(4)));
    let mut stream = soon(async {
        tokio::select! {
            stream = opened.recv() => stream.expect("asked"),
            _ = &mut asking => panic!("nobody answered"),
        }
    })
    .await;
    drop(asking);
    assert_eq!(soon(stream.read_to_end(&mut vec![])).await.expect("reads"), HEAD_BYTES + 41);
}

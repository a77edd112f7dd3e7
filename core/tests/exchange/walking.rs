//! Fetching a DAG from one provider after the other.

use super::*;

#[tokio::test(start_paused = true)]
async fn what_the_asker_has_is_not_sent() {
    let (provider, serving) = node(Limits::default()).await;
    let (_asker, host) = node(Limits::default()).await;
    let blocks = tree(9, 1_000);
    provider.put_blocks(&blocks).await.expect("stores");
    let mut want = WantDag::new(*blocks[0].cid(), Duration::from_secs(60));
    want.have = cids(&blocks[1..5]);
    let claims = fetch_dag(&host, &want, vec![Far::serving(&serving)], |far| async { Some(far) });
    let came = all(claims.expect("begins")).await.0;
    assert_eq!(came, [&cids(&blocks[..1])[..], &cids(&blocks[5..])].concat());
}

#[tokio::test(start_paused = true)]
async fn the_rest_of_a_dag_comes_from_the_next() {
    let (provider, serving) = node(short()).await;
    let (asker, host) = node(short()).await;
    let blocks = tree(9, 1_000);
    provider.put_blocks(&blocks).await.expect("stores");
    let some = |count: usize| blocks[..count].iter().map(block_frame).collect::<Vec<_>>().concat();
    let endings = [
        ("stalls", some(3), false),
        ("ends", some(3), true),
        ("is cut", [some(3), block_frame(&blocks[3])[..100].to_vec()].concat(), true),
        ("is busy", [some(3), frame(Kind::Busy, &[]).to_vec()].concat(), false),
        ("has not all", [some(3), frame(Kind::Absent, &[]).to_vec()].concat(), false),
        ("claims a limit", [some(3), frame(Kind::Limit, &[]).to_vec()].concat(), false),
        ("breaks", [some(3), frame(Kind::Present, &[]).to_vec()].concat(), false),
        ("repeats", some(1).repeat(100), false),
    ];
    for (what, answer, ends) in endings {
        let (foe, mut opened) = Far::new();
        let claims = dag(&host, &blocks[0], vec![foe, Far::serving(&serving)]);
        let answering = async {
            let mut stream = opened.recv().await.expect("asked");
            let _ = stream.write_all(&answer).await;
            (!ends).then_some(stream)
        };
        let ((came, failed), _held) = soon(async { tokio::join!(all(claims), answering) }).await;
        assert_eq!((came, failed.is_some()), (cids(&blocks), false), "{what}");
    }
    assert_eq!(asker.counter("misdeed_broken_promise"), 1, "who repeats all that it sent");
}

#[tokio::test(start_paused = true)]
async fn an_endless_answer_ends_at_the_limit() {
    let (node, host) = node(short()).await;
    let (far, mut opened) = Far::new();
    let mut want = WantDag::new(*tree(1, 1)[0].cid(), Duration::from_secs(60));
    want.limit_bytes = 100_000;
    let claims = fetch_dag(&host, &want, vec![far], |far| async { Some(far) }).expect("begins");
    let endless = async {
        let mut stream = opened.recv().await.expect("asked");
        // Far more than it may, so that the test ends where nothing stops it.
        for n in 0..10_000_u64 {
            let block = Block::new(RAW, [&n.to_be_bytes()[..], &[0; 992]].concat());
            if stream.write_all(&block_frame(&block)).await.is_err() {
                return;
            }
        }
    };
    let ((came, failed), ()) = soon(async { tokio::join!(all(claims), endless) }).await;
    assert_eq!((came.len(), failed.is_some()), (100, true));
    assert_eq!(node.counter("misdeed_broken_promise"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_pauses_gets_the_rest_from_the_same_provider() {
    let (provider, serving) = node(short()).await;
    let (asker, host) = node(short()).await;
    // Together more than what may wait.
    let blocks = tree(16, 1 << 20);
    provider.put_blocks(&blocks).await.expect("stores");
    let mut claims = dag(&host, &blocks[0], vec![Far::serving(&serving)]);
    let first = soon(claims.next()).await.expect("not the end").expect("comes");
    soon(async {
        while provider.counter("serve_stalled") == 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    let (rest, failed) = all(claims).await;
    assert_eq!(([vec![*first.claim.cid()], rest].concat(), failed.is_some()), (cids(&blocks), false));
    assert_eq!(asker.counter("misdeed_stalled") + asker.counter("misdeed_broken_promise"), 0);
}

#[tokio::test(start_paused = true)]
async fn nobody_to_ask_and_too_many_roots_are_told_at_once() {
    let (_node, host) = node(short()).await;
    let root = *tree(0, 0)[0].cid();
    let mut want = WantDag::new(root, Duration::from_secs(1));
    let fetch = |want: &WantDag, fars: Vec<Arc<Far>>| fetch_dag(&host, want, fars, |far| async { Some(far) });
    assert_eq!(fetch(&want, vec![]).err().map(|error| error.kind()), Some(ErrorKind::NoPeers));
    for roots in [0, 65] {
        want.roots = vec![root; roots];
        let error = fetch(&want, vec![Far::new().0]).err();
        assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::Config), "{roots}");
    }
}

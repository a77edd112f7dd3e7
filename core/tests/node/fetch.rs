//! Fetching one block: one flight whoever asks, liars avoided and blamed, the failed stage in the error.

use std::time::Duration;

use carrick_core::{Cid, DAG_CBOR, ErrorKind, Node, RAW, Verdict};
use cid::multihash::Multihash;
use futures::FutureExt as _;
use tokio::time::Instant;

use crate::support::{
    Call, Does, Judge, Shared, Wire, limits, on, on_wires, peer, raw, remote, settle, within,
};

async fn node(wire: &Wire) -> Node {
    on(wire).open().await.expect("opens")
}

async fn score(node: &Node, wire: &Wire, n: u8) -> f64 {
    wire.connect(&[remote(n)]);
    node.peers().await.expect("peers")[0].reputation
}

#[tokio::test(start_paused = true)]
async fn a_block_is_fetched_once_checked_and_stored() {
    let wire = Wire::new();
    let node = node(&wire).await;
    let block = raw("content");
    wire.serves(remote(1), [&block]);
    for _ in 0..3 {
        assert_eq!(node.block(block.cid(), vec![peer(1)]).await.expect("fetched"), block);
    }
    assert_eq!(wire.requests(), 1);
    assert!(node.store().has(block.cid()).await.expect("has"));
}

#[tokio::test(start_paused = true)]
async fn a_hundred_askers_share_one_flight() {
    let wire = Wire::new();
    let node = node(&wire).await;
    let block = raw("content");
    wire.serves(remote(1), [&block]);
    let asked = (0..100).map(|_| node.block(block.cid(), vec![]));
    let came = within(futures::future::join_all(asked)).await;
    assert!(came.into_iter().all(|came| came.expect("fetched") == block));
    assert_eq!(wire.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_flight_survives_who_began_it_and_ends_with_the_last_who_waits() {
    let wire = Wire::new();
    let node = node(&wire).await;
    let cid = *raw("never").cid();
    wire.provider(remote(1), Does::Stall);
    let mut askers: Vec<_> = (0..3).map(|_| Box::pin(node.block(&cid, vec![]))).collect();
    for asker in &mut askers {
        assert!(asker.now_or_never().is_none());
    }
    settle().await;
    for left in (0..3).rev() {
        let cancelled = || wire.calls().iter().any(|call| matches!(call, Call::Cancelled(c) if *c == cid));
        assert!(!cancelled(), "{left} still wait");
        drop(askers.remove(0));
        settle().await;
        assert_eq!(cancelled(), left == 0);
    }
    assert_eq!(wire.requests(), 1);
    wire.no_providers();
    let block = raw("never");
    wire.serves(remote(2), [&block]);
    assert_eq!(node.block(&cid, vec![]).await.expect("a new flight"), block);
}

#[tokio::test(start_paused = true)]
async fn a_liar_is_blamed_and_avoided_and_the_next_delivers() {
    let wire = Wire::new();
    let node = node(&wire).await;
    let block = raw("content");
    wire.provider(remote(1), Does::Lie);
    wire.provider(remote(2), Does::Lie);
    wire.serves(remote(3), [&block]);
    assert_eq!(node.block(block.cid(), vec![]).await.expect("fetched"), block);
    assert_eq!(wire.requests(), 3);
    assert_eq!((score(&node, &wire, 1).await, score(&node, &wire, 3).await), (-20.0, 0.0));
    assert_eq!(node.counter("misdeed_wrong_bytes"), 2);
}

#[tokio::test(start_paused = true)]
async fn where_the_wire_names_nobody_a_lie_sends_us_to_the_next_transport() {
    let (left, right) = (Wire::new(), Wire::new());
    let node = on_wires(&[("left", &left), ("right", &right)]).open().await.expect("opens");
    let block = raw("content");
    left.provider(remote(1), Does::Lie);
    left.anonymous();
    right.serves(remote(2), [&block]);
    assert_eq!(node.block(block.cid(), vec![]).await.expect("fetched"), block);
    assert_eq!((left.requests(), right.requests()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn transports_are_asked_in_the_order_of_the_route() {
    let (left, right) = (Wire::new(), Wire::new());
    let builder = on_wires(&[("left", &left), ("right", &right)]).fetch(["right", "left"]);
    let node = builder.open().await.expect("opens");
    let block = raw("content");
    left.serves(remote(1), [&block]);
    right.serves(remote(1), [&block]);
    node.block(block.cid(), vec![]).await.expect("fetched");
    assert_eq!((left.requests(), right.requests()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_hangs_does_not_use_up_the_time_of_the_next() {
    let (left, middle, right) = (Wire::new(), Wire::new(), Wire::new());
    let node = on_wires(&[("left", &left), ("middle", &middle), ("right", &right)]).open().await;
    let node = node.expect("opens");
    let block = raw("content");
    left.provider(remote(1), Does::Stall);
    left.disobey();
    middle.provider(remote(1), Does::Stall);
    right.serves(remote(2), [&block]);
    let began = Instant::now();
    assert_eq!(within(node.block(block.cid(), vec![])).await.expect("fetched"), block);
    assert!(began.elapsed() <= node.limits().fetch_idle, "{:?}", began.elapsed());
    settle().await;
    for wire in [&left, &middle] {
        assert!(wire.calls().iter().any(|call| matches!(call, Call::Cancelled(cid) if cid == block.cid())));
    }
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_is_slow_may_still_be_the_first_to_deliver() {
    let (left, right) = (Wire::new(), Wire::new());
    let node = on_wires(&[("left", &left), ("right", &right)]).open().await.expect("opens");
    let block = raw("content");
    left.serves(remote(1), [&block]);
    left.lags(node.limits().fetch_idle);
    right.provider(remote(2), Does::Stall);
    assert_eq!(within(node.block(block.cid(), vec![])).await.expect("fetched"), block);
    assert_eq!((left.requests(), right.requests()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn the_error_says_which_stage_failed() {
    for (does, kind, words) in [
        (Some(Does::Lie), ErrorKind::Integrity, "wrong bytes"),
        (Some(Does::Stray), ErrorKind::Integrity, "wrong bytes"),
        (Some(Does::Stall), ErrorKind::Timeout, "stalled"),
        (Some(Does::Serve([].into())), ErrorKind::NotFound, "no provider"),
        (Some(Does::Fail(ErrorKind::Unreachable)), ErrorKind::Unreachable, "dialled"),
        (None, ErrorKind::NoPeers, "nobody to ask"),
    ] {
        let wire = Wire::new();
        let node = on(&wire).limits(limits(|l| l.fetch_deadline = Duration::from_secs(7))).open().await;
        let node = node.expect("opens");
        if let Some(does) = does {
            wire.provider(remote(1), does);
        }
        let cid = *raw("content").cid();
        let error = within(node.block(&cid, vec![])).await.expect_err("fails");
        assert_eq!(error.kind(), kind, "{error}");
        if kind != ErrorKind::Timeout {
            assert!(error.detail().contains(words), "{error}");
        }
        assert!(error.detail().contains(&cid.to_string()), "{error}");
        assert!(!node.store().has(&cid).await.expect("has"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_keeps_no_deadline_is_held_to_ours() {
    let wire = Wire::new();
    let node = node(&wire).await;
    wire.provider(remote(1), Does::Stall);
    wire.disobey();
    let began = Instant::now();
    let error = within(node.block(raw("x").cid(), vec![])).await.expect_err("fails");
    assert_eq!((error.kind(), began.elapsed()), (ErrorKind::Timeout, Duration::from_secs(60)));
}

fn refused() -> Vec<Cid> {
    let cid = |code, digest: &[u8]| Cid::new_v1(RAW, Multihash::wrap(code, digest).expect("fits"));
    vec![
        cid(0, b"content"),
        cid(0, b""),
        cid(0x11, &[1; 20]),
        cid(0xd5, &[1; 16]),
        cid(0x12, &[1; 31]),
        cid(0x12, &[1; 33]),
        cid(0x12, b""),
        cid(0x1e, &[1; 64]),
        cid(0x9999, &[1; 32]),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_cid_that_proves_nothing_is_refused_before_anybody_is_asked() {
    let wire = Wire::new();
    let node = node(&wire).await;
    for cid in refused() {
        let errors = [
            node.block(&cid, vec![]).await.expect_err("refused"),
            node.get(&cid, carrick_core::GetOptions::default()).await.expect_err("refused"),
            node.fetch_dag(carrick_core::WantDag::new(cid, Duration::from_secs(1)))
                .await
                .err()
                .expect("refused"),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::Rejected, "{cid}: {error}");
        }
        assert!(wire.host().block(&remote(1), &cid).await.expect("serves").is_none());
    }
    assert!(!wire.calls().iter().any(|call| matches!(call, Call::Block(_) | Call::Dag(_))));
}

#[tokio::test(start_paused = true)]
async fn blake3_is_taken() {
    use multihash_codetable::{Code, MultihashDigest};
    let wire = Wire::new();
    let node = node(&wire).await;
    let cid = Cid::new_v1(RAW, Code::Blake3_256.digest(b"content"));
    wire.provider(remote(1), Does::Serve([(cid, "content".into())].into()));
    assert_eq!(&node.block(&cid, vec![]).await.expect("fetched").bytes()[..], b"content");
}

#[tokio::test(start_paused = true)]
async fn a_damaged_block_in_the_store_is_fetched_again() {
    let (wire, store) = (Wire::new(), Shared::default());
    let node = on(&wire).store(store.arc()).open().await.expect("opens");
    let block = raw("content");
    node.put_blocks(std::slice::from_ref(&block)).await.expect("put");
    store.damage(*block.cid());
    wire.serves(remote(1), [&block]);
    assert_eq!(node.block(block.cid(), vec![]).await.expect("mended"), block);
    assert_eq!((node.counter("damaged_block"), wire.requests()), (1, 1));
    assert_eq!(node.store().get(block.cid()).await.expect("reads"), Some(block));
}

#[tokio::test(start_paused = true)]
async fn a_block_is_taken_up_to_the_limit_and_not_above() {
    let wire = Wire::new();
    let node = node(&wire).await;
    let limit = node.limits().block_bytes;
    let (most, more) = (raw(vec![1; limit]), raw(vec![1; limit + 1]));
    wire.serves(remote(1), [&most, &more]);
    assert_eq!(node.block(most.cid(), vec![]).await.expect("fetched").size(), limit);
    let error = node.block(more.cid(), vec![]).await.expect_err("too large");
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    let error = node.put_blocks(&[more]).await.expect_err("too large");
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}

#[tokio::test(start_paused = true)]
async fn a_block_that_a_validator_refuses_is_not_stored() {
    for verdict in [
        Some(Verdict::Ignore("no".into())),
        Some(Verdict::Reject("no".into())),
        Some(Verdict::Defer(vec![])),
        None,
    ] {
        let wire = Wire::new();
        let says = verdict.clone();
        let judge = Judge::new().blocks(move |_| {
            let says = says.clone();
            async move { says.expect("a panic on purpose") }
        });
        let node = on(&wire).validator(judge.arc()).open().await.expect("opens");
        let block = raw("content");
        wire.serves(remote(1), [&block]);
        let error = node.block(block.cid(), vec![]).await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Rejected, "{error}");
        assert!(!node.store().has(block.cid()).await.expect("has"));
        assert_eq!(node.counter("validator_failed"), u64::from(verdict.is_none()));
    }
}

/// Everybody would send the same bytes.
#[tokio::test(start_paused = true)]
async fn a_block_that_a_validator_rejects_is_asked_of_nobody_else() {
    let wire = Wire::new();
    let judge = Judge::new().blocks(|_| std::future::ready(Verdict::Reject("no".into())));
    let node = on(&wire).validator(judge.arc()).open().await.expect("opens");
    let block = raw("content");
    for n in 1..=4 {
        wire.serves(remote(n), [&block]);
    }
    node.block(block.cid(), vec![]).await.expect_err("refused");
    assert_eq!((wire.requests(), score(&node, &wire, 1).await), (1, -5.0));
}

#[tokio::test(start_paused = true)]
async fn at_most_so_many_flights_are_in_the_air() {
    let wire = Wire::new();
    let node = on(&wire).limits(limits(|l| l.flights = 2)).open().await.expect("opens");
    wire.provider(remote(1), Does::Stall);
    let cids: Vec<_> = (0..5_u8).map(|n| *raw(vec![n]).cid()).collect();
    let mut askers: Vec<_> = cids.iter().map(|cid| Box::pin(node.block(cid, vec![]))).collect();
    for asker in &mut askers {
        assert!(asker.now_or_never().is_none());
    }
    settle().await;
    assert_eq!(wire.requests(), 2);
    drop(askers.remove(0));
    settle().await;
    assert_eq!(wire.requests(), 3, "room for the next");
}

#[tokio::test(start_paused = true)]
async fn hinted_peers_whose_addresses_are_known_are_dialled_when_nobody_has_it() {
    let wire = Wire::new();
    let node = node(&wire).await;
    let addr = "/memory/9".parse().expect("an address");
    let record = carrick_core::PeerRecord::sign(
        &crate::support::key(7),
        &crate::support::network(),
        1,
        vec![addr],
        vec![],
    )
    .expect("signs");
    wire.host().learn(&remote(7), record);
    let cid = carrick_core::cid_of(DAG_CBOR, b"x");
    node.block(&cid, vec![peer(7), peer(8)]).await.expect_err("nobody has it");
    let dialled: Vec<_> =
        wire.calls().iter().filter_map(|c| if let Call::Dial(to) = c { to.peer } else { None }).collect();
    assert_eq!(dialled, [peer(7)]);
    assert_eq!(wire.requests(), 2, "asked again once somebody is there");
}

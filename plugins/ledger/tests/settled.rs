//! Entries that are told once they are settled, in virtual time.

mod member;

use std::time::Duration;

use carrick_core::{Cid, ErrorKind, Result};
use carrick_plugin_ledger::{Change, Settled};
use carrick_transport_memory::MemoryNetwork;
use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _};
use tokio::time::{Instant, advance, timeout};

use member::{Member, PATIENCE, agree};

type Told = BoxStream<'static, Result<Change>>;

const AGE: Duration = Duration::from_secs(5);

async fn next(told: &mut Told) -> Change {
    timeout(PATIENCE, told.next()).await.expect("in time").expect("open").expect("reads")
}

/// The next one that is told, which was not told before and stands behind all that were.
async fn appended(told: &mut Told) -> Cid {
    match next(told).await {
        Change::Appended(entry) => *entry.cid(),
        change => panic!("{change:?}"),
    }
}

fn nothing(told: &mut Told) -> bool {
    told.next().now_or_never().is_none()
}

async fn some(member: &Member, count: usize) -> Vec<Cid> {
    let mut made = vec![];
    for n in 0..count {
        made.push(member.append(&format!("{n}")).await);
    }
    made
}

#[tokio::test(start_paused = true)]
async fn an_entry_is_told_once_so_many_stand_behind_it() {
    let wire = MemoryNetwork::new(1);
    let member = Member::open(&wire).await;
    let before = some(&member, 10).await;
    let mut told = member.ledger.watch_settled(Settled::Depth(3)).await.expect("open");
    assert!(nothing(&mut told), "what was settled before is not told");
    for n in 0..20 {
        member.append(&format!("then {n}")).await;
        // The seven first were settled.
        assert_eq!(appended(&mut told).await, member.log().await[7 + n]);
        assert!(nothing(&mut told));
    }
    let mut all = member.ledger.follow_settled(Some(before[2]), Settled::Depth(3)).await.expect("open");
    for cid in &member.log().await[2..27] {
        assert_eq!(appended(&mut all).await, *cid);
    }
    assert!(nothing(&mut all));
    let mut at_once = member.ledger.watch_settled(Settled::Depth(0)).await.expect("open");
    let made = member.append("told at once").await;
    assert_eq!(appended(&mut at_once).await, made);
}

#[tokio::test(start_paused = true)]
async fn an_entry_is_told_once_it_has_been_here_for_so_long() {
    let wire = MemoryNetwork::new(2);
    let member = Member::open(&wire).await;
    let before = some(&member, 3).await;
    let mut told = member.ledger.watch_settled(Settled::After(AGE)).await.expect("open");
    let mut all = member.ledger.follow_settled(None, Settled::After(AGE)).await.expect("open");
    let made = Instant::now();
    let first = member.append("first").await;
    advance(AGE / 2).await;
    let second = member.append("second").await;
    assert!(nothing(&mut told) && nothing(&mut all));
    assert_eq!(appended(&mut told).await, first);
    let waited = made.elapsed();
    assert!(waited >= AGE && waited < AGE + AGE / 100, "{waited:?}");
    assert!(nothing(&mut told));
    assert_eq!(appended(&mut told).await, second);
    let waited = made.elapsed();
    assert!(waited >= AGE * 3 / 2 && waited < AGE * 3 / 2 + AGE / 100, "{waited:?}");
    for cid in before.into_iter().chain([first, second]) {
        assert_eq!(appended(&mut all).await, cid);
    }
}

/// Two nodes that wrote apart: who watched one before they met.
async fn parted(seed: u64) -> (Member, Member) {
    let wire = MemoryNetwork::new(seed);
    let (one, other) = (Member::open(&wire).await, Member::open(&wire).await);
    some(&one, 30).await;
    some(&other, 20).await;
    (one, other)
}

/// What a fold over the log has after so many changes more.
async fn folded(told: &mut Told, changes: usize, mut list: Vec<Cid>) -> Vec<Cid> {
    for _ in 0..changes {
        match next(told).await {
            Change::Appended(entry) => list.push(*entry.cid()),
            Change::Inserted { at, entry } => {
                assert!(at < list.len(), "it stands before what was told");
                list.insert(at, *entry.cid());
            }
            change => panic!("{change:?}"),
        }
    }
    list
}

#[tokio::test(start_paused = true)]
async fn what_lands_before_told_ones_is_told_with_its_rank() {
    let (one, other) = parted(3).await;
    let mut deep = one.ledger.follow_settled(None, Settled::Depth(10)).await.expect("open");
    let mut aged = one.ledger.follow_settled(None, Settled::After(AGE)).await.expect("open");
    let first = one.log().await;
    assert_eq!(folded(&mut deep, 20, vec![]).await, first[..20]);
    assert_eq!(folded(&mut aged, 30, vec![]).await, first);
    one.meet(&other).await;
    let log = agree(&[&one, &other], 50).await;
    // All of the other's stand at clocks up to 20, so before the ten last, which are not deep enough still.
    assert_eq!(folded(&mut deep, 20, first[..20].to_vec()).await, log[..40]);
    assert_eq!(folded(&mut aged, 20, first).await, log);
    assert!(nothing(&mut deep) && nothing(&mut aged));
}

#[tokio::test(start_paused = true)]
async fn what_lands_before_others_that_were_not_told_is_told_in_its_order() {
    let (one, other) = parted(4).await;
    let mut told = one.ledger.follow_settled(None, Settled::Depth(45)).await.expect("open");
    let mut aged = one.ledger.follow_settled(None, Settled::After(PATIENCE / 2)).await.expect("open");
    assert!(nothing(&mut told) && nothing(&mut aged));
    one.meet(&other).await;
    let log = agree(&[&one, &other], 50).await;
    for cid in &log[..5] {
        assert_eq!(appended(&mut told).await, *cid);
    }
    assert!(nothing(&mut told));
    for cid in &log {
        assert_eq!(appended(&mut aged).await, *cid);
    }
}

/// More changes than are kept for a slow reader.
#[tokio::test(start_paused = true)]
async fn a_slow_reader_loses_nothing_and_learns_how_many_late_ones_it_missed() {
    let wire = MemoryNetwork::new(5);
    let (one, other) = (Member::open(&wire).await, Member::open(&wire).await);
    some(&one, 1_000).await;
    let (after, depth) = (Settled::After(AGE), Settled::Depth(100));
    let mut aged = one.ledger.follow_settled(None, after).await.expect("open");
    let mut deep = one.ledger.follow_settled(None, depth).await.expect("open");
    let told = folded(&mut aged, 500, vec![]).await;
    assert_eq!(told, one.log().await[..500]);
    folded(&mut deep, 900, vec![]).await;
    // All of them appended: none is late, and none is lost.
    some(&one, 2_000).await;
    let log = one.log().await;
    for cid in &log[500..] {
        assert_eq!(appended(&mut aged).await, *cid);
    }
    for cid in &log[900..2_900] {
        assert_eq!(appended(&mut deep).await, *cid);
    }
    assert!(nothing(&mut deep) && nothing(&mut aged));

    some(&other, 1_500).await;
    one.meet(&other).await;
    agree(&[&one, &other], 4_500).await;
    let (mut late, mut lagged) = (0, 0);
    while late < 1_500 {
        late += match next(&mut aged).await {
            Change::Lagged(missed) => {
                lagged += 1;
                missed
            }
            Change::Inserted { .. } => 1,
            change => panic!("{change:?}"),
        };
    }
    assert_eq!((late, lagged), (1_500, 1));
    // From there on as ever.
    let made = one.append("in the end").await;
    assert_eq!(appended(&mut aged).await, made);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_told_is_said() {
    let wire = MemoryNetwork::new(6);
    let member = Member::open(&wire).await;
    let settled = Settled::Depth(1);
    let stranger = carrick_core::cid_of(carrick_core::DAG_CBOR, b"of another ledger");
    let absent = member.ledger.follow_settled(Some(stranger), settled).await.err().expect("there is none");
    assert_eq!(absent.kind(), ErrorKind::NotFound);
    let mut told = member.ledger.watch_settled(settled).await.expect("open");
    // Whoever waits does not keep the ledger.
    let Member { node, ledger } = member;
    node.close().await.expect("closes");
    let closed = ledger.watch_settled(settled).await.err().expect("closed");
    assert_eq!(closed.kind(), ErrorKind::Closed);
    drop((node, ledger));
    assert!(timeout(PATIENCE, told.next()).await.expect("in time").is_none());
}

//! A fold over the whole log.

use std::sync::Arc;
use std::time::Duration;

use carrick_core::{Cid, ErrorKind};
use carrick_plugin_ledger::{Entry, Fold};
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::time::timeout;

use crate::setting::{Lone, Trace, cids, log, some_way};

/// Longer than anything takes, in virtual time.
const PATIENCE: Duration = Duration::from_secs(60);

async fn order(of: &Lone) -> Vec<Cid> {
    of.ledger.entries(None).map_ok(|entry| *entry.cid()).try_collect().await.expect("reads")
}

/// The state is what the log is, whatever came when; and what it is told to be folded from is what stayed.
#[tokio::test(start_paused = true)]
async fn it_is_what_a_fold_from_the_first_entry_makes() {
    for seed in 0..12 {
        let mut random = StdRng::seed_from_u64(seed);
        let (authors, entries) = (random.random_range(1..6), random.random_range(1..120));
        let made = log(seed, authors, entries).await;
        let node = Lone::open(vec![]).await;
        let folded = node.ledger.fold(Trace::default()).expect("open");
        let (mut changes, mut before) = (folded.changes(), vec![]);
        for entry in some_way(&made, &mut random) {
            node.take(&entry).await;
            if random.random_bool(0.2) {
                continue;
            }
            let view = folded.current().await.expect("open");
            let now = cids(&view.state);
            assert_eq!(now, order(&node).await, "seed {seed}");
            assert_eq!((view.entries, view.last), (now.len(), now.last().copied()), "seed {seed}");
            assert!(now.contains(&entry.cid()), "seed {seed}");
            let mut stayed = now.len();
            while let Some(Some(change)) = changes.next().now_or_never() {
                stayed = stayed.min(change.from);
            }
            assert!(stayed < now.len() && now[..stayed] == before[..stayed], "seed {seed}: {stayed}");
            before = now;
        }
        let view = folded.current().await.expect("open");
        assert_eq!(cids(&view.state), order(&node).await, "seed {seed}");
    }
}

/// What comes in its order is folded once; what comes late has only that folded again which stands behind it, and at most
/// twice as much again.
#[tokio::test(start_paused = true)]
async fn a_late_entry_costs_what_stands_behind_it() {
    let (node, other) = (Lone::open(vec![]).await, Lone::open(vec![]).await);
    let trace = Trace::default();
    let folded = node.ledger.fold(trace.clone()).expect("open");
    let mut made = vec![];
    for n in 0..1_000 {
        let before = made.last().map(|before: &crate::setting::Made| before.cid()).into_iter().collect();
        made.push(node.write(n.to_string(), before).await);
        folded.until(&made[n].cid()).await.expect("open");
    }
    assert_eq!(trace.applied(), 1_000);
    let mut changes = folded.changes();
    for entry in &made {
        other.take(entry).await;
    }
    for (at, back) in [1, 2, 3, 10, 40, 200, 900].into_iter().enumerate() {
        let entries = 1_000 + at;
        let late = other.write("late", vec![made[999 - back].cid()]).await;
        node.take(&late).await;
        folded.until(&late.cid()).await.expect("open");
        let rank = node.ledger.rank(&late.cid()).await.expect("open").expect("there");
        let from = changes.next().await.expect("open").from;
        assert!(from <= rank && entries - from <= 3 * (entries - rank), "{from} for {rank} of {entries}");
        assert_eq!(trace.applied(), entries + 1 - from);
        assert_eq!(cids(&folded.view().state), order(&node).await);
    }
}

#[tokio::test(start_paused = true)]
async fn an_entry_is_waited_for_before_it_comes() {
    let (node, other) = (Lone::open(vec![]).await, Lone::open(vec![]).await);
    let folded = node.ledger.fold(Trace::default()).expect("open");
    let made = other.write("later", vec![]).await;
    let waiting = tokio::spawn({
        let (folded, cid) = (folded.clone(), made.cid());
        async move { folded.until(&cid).await }
    });
    node.take(&node.write("another", vec![]).await).await;
    assert_eq!(folded.current().await.expect("open").entries, 1);
    assert!(!waiting.is_finished());
    node.take(&made).await;
    timeout(PATIENCE, waiting).await.expect("in time").expect("no panic").expect("it came");
    assert_eq!(folded.read(|view| view.entries), 2);
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_the_ledger() {
    let node = Lone::open(vec![]).await;
    let folded = node.ledger.fold(Trace::default()).expect("open");
    let made = node.write("one", vec![]).await;
    folded.until(&made.cid()).await.expect("open");
    let (mut changes, stranger) = (folded.changes(), Lone::open(vec![]).await.write("two", vec![]).await);
    node.node.close().await.expect("closes");
    assert_eq!(folded.until(&stranger.cid()).await.expect_err("closed").kind(), ErrorKind::Closed);
    assert!(timeout(PATIENCE, changes.next()).await.expect("in time").is_none());
    // What it was is still there to read.
    assert_eq!(folded.view().entries, 1);
    assert_eq!(node.ledger.fold(Trace::default()).expect_err("closed").kind(), ErrorKind::Closed);
}

/// Panics at what it does not like.
struct Touchy(Arc<()>);

impl Fold for Touchy {
    type State = Arc<()>;

    fn start(&self) -> Arc<()> {
        Arc::clone(&self.0)
    }

    fn apply(&self, _: &mut Arc<()>, entry: &Entry) {
        assert!(entry.payload() != "bad");
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_ends_the_fold_and_says_so() {
    let node = Lone::open(vec![]).await;
    let folded = node.ledger.fold(Touchy(Arc::default())).expect("open");
    let bad = node.write("bad", vec![]).await;
    let ended = timeout(PATIENCE, folded.until(&bad.cid())).await.expect("in time").expect_err("ended");
    assert_eq!(ended.kind(), ErrorKind::Closed);
    node.write("the ledger goes on", vec![]).await;
}

/// The task holds the fold: who reads its state no more has it end.
#[tokio::test(start_paused = true)]
async fn it_ends_when_nobody_reads_it() {
    let node = Lone::open(vec![]).await;
    let held = Arc::new(());
    let folded = node.ledger.fold(Touchy(Arc::clone(&held))).expect("open");
    drop(folded);
    let gone = async {
        while Arc::strong_count(&held) > 1 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, gone).await.expect("it ends");
}

/// As after a partition: each of them comes to stand before most of the log.
#[tokio::test(start_paused = true)]
async fn many_late_entries_are_not_folded_one_by_one() {
    let (node, other) = (Lone::open(vec![]).await, Lone::open(vec![]).await);
    let (trace, entries) = (Trace::default(), 600);
    let folded = node.ledger.fold(trace.clone()).expect("open");
    let mut theirs = vec![];
    for n in 0..entries {
        node.ledger.append(n.to_string()).await.expect("appends");
        let appended = other.ledger.append(n.to_string()).await.expect("appends");
        theirs.push(other.made(&appended.cid).await);
    }
    folded.current().await.expect("open");
    trace.applied();
    for made in &theirs {
        node.take(made).await;
    }
    assert_eq!(cids(&folded.current().await.expect("open").state), order(&node).await);
    let applied = trace.applied();
    assert!(applied <= 20 * entries, "{applied} steps for {entries} late entries");
}

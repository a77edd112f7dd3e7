//! What a rule learns of the entries before another.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use carrick_core::{Cid, Keypair, Result, Verdict, async_trait};
use carrick_plugin_ledger::{Entry, Past, PastFold, Rule};
use futures::TryStreamExt as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::hooked::{Asked, Hook, Hooked};
use crate::setting::{History, Lone, Made, Trace, cids, log, some_way};

/// What a rule was told before one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    state: Vec<Cid>,
    ancestors: Vec<Cid>,
    previous: Option<Cid>,
    parents: Vec<Cid>,
}

/// Notes what it is told, and accepts.
#[derive(Debug)]
struct Notes {
    trace: PastFold<Trace>,
    told: Mutex<BTreeMap<Cid, Told>>,
}

impl Notes {
    fn new(states: usize) -> Arc<Self> {
        let states = NonZeroUsize::new(states).expect("some");
        Arc::new(Self { trace: PastFold::remembering(Trace::default(), states), told: Mutex::default() })
    }

    async fn ask(&self, past: &Past<'_>) -> Result<Told> {
        let mut ancestors: Vec<Cid> = past.ancestors().map_ok(|entry| *entry.cid()).try_collect().await?;
        ancestors.reverse();
        Ok(Told {
            state: cids(&past.fold(&self.trace).await?),
            ancestors,
            previous: past.previous().await?.map(|entry| *entry.cid()),
            parents: past.parents().await?.iter().map(|entry| *entry.cid()).collect(),
        })
    }
}

#[async_trait]
impl Rule for Notes {
    async fn entry(&self, past: &Past<'_>, entry: &Entry) -> Verdict {
        match self.ask(past).await {
            Ok(told) => self.told.lock().expect("no panic").insert(*entry.cid(), told),
            Err(error) => return Verdict::Ignore(error.to_string().into()),
        };
        Verdict::Accept
    }
}

/// Whatever else is there, in whatever way it came, and however little is remembered.
#[tokio::test(start_paused = true)]
async fn it_is_what_the_ancestors_alone_make() {
    for seed in 0..10 {
        let mut random = StdRng::seed_from_u64(seed);
        let made = log(seed, 1 + seed as usize % 5, 80).await;
        let history = History::of(&made);
        for states in [1, 64] {
            let notes = Notes::new(states);
            let node = Lone::open(vec![Arc::clone(&notes) as _]).await;
            for entry in some_way(&made, &mut random) {
                node.take(&entry).await;
            }
            let told = notes.told.lock().expect("no panic").clone();
            assert_eq!(told.len(), made.len());
            for (cid, told) in told {
                assert_eq!(told, expected(&history, &cid), "seed {seed}, {cid}");
            }
        }
    }
}

fn expected(history: &History, cid: &Cid) -> Told {
    let (entry, before) = (&history.0[cid].0, history.before(cid));
    let own = before.iter().filter(|before| history.0[*before].0.author() == entry.author());
    let previous = own.max_by_key(|before| (history.0[*before].0.number(), history.0[*before].place()));
    let mut parents = entry.parents().to_vec();
    parents.sort();
    Told { state: before.clone(), previous: previous.copied(), ancestors: before, parents }
}

/// Wants that an entry names one, which must be among what its author knew.
#[derive(Debug)]
struct Names;

#[async_trait]
impl Rule for Names {
    async fn entry(&self, past: &Past<'_>, entry: &Entry) -> Verdict {
        let Some(named) = std::str::from_utf8(entry.payload()).ok().and_then(|text| text.parse().ok()) else {
            return Verdict::Accept;
        };
        match past.entry(&named).await {
            Ok(Some(found)) if *found.cid() == named => Verdict::Accept,
            Ok(None) => Verdict::Reject("it names what its author did not know".into()),
            other => Verdict::Ignore(format!("{other:?}").into()),
        }
    }
}

/// Also where the node has the one that is named: else another node would judge otherwise.
#[tokio::test(start_paused = true)]
async fn an_entry_that_is_no_ancestor_is_not_shown() {
    let node = Lone::open(vec![Arc::new(Names)]).await;
    let first = node.write("first", vec![]).await;
    let next = node.write("next", vec![first.cid()]).await;
    let aside = node.write("aside", vec![first.cid()]).await;
    let naming = |name: &Made| name.cid().to_string();
    let last = node.write(naming(&first), vec![next.cid()]).await;
    node.write(naming(&next), vec![last.cid()]).await;
    for (name, parents) in [(&aside, vec![last.cid()]), (&last, vec![next.cid()]), (&first, vec![])] {
        let refused = node.node.publish_following(node.ledger.topic(), naming(name), parents).await;
        assert!(refused.is_err(), "{}", name.cid());
    }
}

/// Folds, and nothing else.
#[derive(Debug)]
struct Folds {
    fold: PastFold<Trace>,
    trace: Trace,
}

impl Folds {
    fn new() -> Arc<Self> {
        let trace = Trace::default();
        Arc::new(Self { fold: PastFold::new(trace.clone()), trace })
    }
}

#[async_trait]
impl Rule for Folds {
    async fn entry(&self, past: &Past<'_>, entry: &Entry) -> Verdict {
        match past.fold(&self.fold).await {
            Ok(state) if state.len() as u64 + 1 >= entry.clock() => Verdict::Accept,
            Ok(_) => Verdict::Reject("more before it than its clock says".into()),
            Err(error) => Verdict::Ignore(error.to_string().into()),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_chain_costs_one_step_an_entry() {
    let rule = Folds::new();
    let node = Lone::open(vec![Arc::clone(&rule) as _]).await;
    for n in 0..500 {
        node.ledger.append(n.to_string()).await.expect("appends");
    }
    assert_eq!(rule.trace.applied(), 499);
}

/// Many authors who always write at the same time: no entry is ever the only head.
#[tokio::test(start_paused = true)]
async fn where_many_write_at_once_it_costs_what_they_wrote_since_they_knew_the_same() {
    let rule = Folds::new();
    let node = Lone::open(vec![Arc::clone(&rule) as _]).await;
    let mut heads: Vec<Cid> = vec![];
    let (rounds, authors) = (40, 8);
    for _ in 0..rounds {
        let mut next = vec![];
        for author in 0..authors {
            next.push(node.write(author.to_string(), heads.clone()).await.cid());
        }
        next.sort();
        heads = next;
    }
    // Each round once.
    assert_eq!(rule.trace.applied(), (rounds - 1) * authors);
}

/// As they do where entries need time to get from one to another.
#[tokio::test(start_paused = true)]
async fn where_authors_hear_of_each_other_late_it_costs_little_more() {
    let (mut entries, rule) = (0, Folds::new());
    for seed in 100..102 {
        let made = log(seed, 5, 250).await;
        let node = Lone::open(vec![Arc::clone(&rule) as _]).await;
        for entry in &made {
            node.take(entry).await;
        }
        entries += made.len();
    }
    let each = rule.trace.applied() as f64 / entries as f64;
    assert!(each < 24.0, "{each} steps an entry");
}

/// Has a store take its time to read a block, once it is slow.
#[derive(Debug, Default)]
struct Slow(AtomicBool);

#[async_trait]
impl Hook for Slow {
    async fn before(&self, asked: Asked<'_>) -> Result<()> {
        if matches!(asked, Asked::Get(_)) && self.0.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

/// An entry before which there is more than can be read in its time is taken when it comes again.
#[tokio::test(start_paused = true)]
async fn what_takes_longer_than_a_verdict_may_goes_on_without_the_entry() {
    let writing = Lone::open(vec![]).await;
    let mut made: Vec<Made> = vec![];
    for n in 0..1_000 {
        let before = made.last().map(Made::cid).into_iter().collect();
        made.push(writing.write(n.to_string(), before).await);
    }
    let (key, store) = (Keypair::generate_ed25519(), Arc::new(Hooked::<Slow>::default()));
    let without = Lone::with(key.clone(), Arc::clone(&store) as _, vec![]).await;
    for entry in &made {
        without.take(entry).await;
    }
    drop(without);
    // After a restart nothing is remembered, and a read takes 10 ms: 10 s in all.
    store.0.store(true, Ordering::Relaxed);
    let rule = Folds::new();
    let node = Lone::with(key, store, vec![Arc::clone(&rule) as _]).await;
    let next = writing.write("next", vec![made[999].cid()]).await;
    let (mut tried, began) = (0, tokio::time::Instant::now());
    loop {
        tried += 1;
        match node.give(&next).await {
            Verdict::Accept => break,
            Verdict::Ignore(_) => tokio::time::sleep(Duration::from_secs(1)).await,
            other => panic!("{other:?}"),
        }
    }
    assert!(tried > 1 && began.elapsed() < Duration::from_secs(20), "{tried} times, {:?}", began.elapsed());
    assert_eq!(rule.trace.applied(), 1_000, "what is before it is folded once");
}

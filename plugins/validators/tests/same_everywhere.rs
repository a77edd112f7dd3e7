//! `authors`, `size` and, on ledgers, `monotonic-time` say the same of a message on every node: whatever came before it,
//! in whatever order and by whatever way. `rate` never says what others could not.
//!
//! `VERDICT_SEEDS=1000` tries so many seeds instead of a few; a failure names its seed, and `VERDICT_SEED=17` tries that one
//! alone.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use carrick_core::{
    Block, Cid, Context, Message, Node, Path, RAW, Relay, Result, Subscription, TopicRules, Validator,
    Verdict, async_trait,
};
use carrick_plugin_validators::{
    Authors, AuthorsConfig, MonotonicTime, MonotonicTimeConfig, Rate, RateConfig, Size, SizeConfig,
};
use carrick_transport_memory::MemoryNetwork;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{Rng as _, SeedableRng as _};

use support::{Envelope, Live, guarded, node, peer, topic};

const ENTRIES: u64 = 40;
const NODES: u8 = 4;
/// The third one may not publish.
const AUTHORS: [u8; 3] = [1, 2, 3];
const MAX_BYTES: usize = 5;

const LOG: &str = "guarded/log";
const OTHER: &str = "guarded/other";
/// Kept, and on it comes what only one node has.
const APART: &str = "guarded/apart";
/// Not kept.
const PASSING: &str = "guarded/passing";

fn seeds() -> Vec<u64> {
    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        Some(text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}; allowed is a whole number")))
    };
    match number("VERDICT_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("VERDICT_SEEDS").unwrap_or(20)).collect(),
    }
}

/// What was said of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Said {
    Accept,
    /// It may come again, and be judged again.
    Ignore,
    Reject,
}

impl From<Verdict> for Said {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Accept => Self::Accept,
            Verdict::Reject(_) => Self::Reject,
            _ => Self::Ignore,
        }
    }
}

impl From<Relay> for Said {
    fn from(relay: Relay) -> Self {
        match relay {
            Relay::Accept | Relay::Duplicate => Self::Accept,
            Relay::Reject => Self::Reject,
            _ => Self::Ignore,
        }
    }
}

/// A node, and how messages come to it.
struct Member {
    node: Node,
    live: Live,
    _takes_part: Vec<Subscription>,
}

impl Member {
    async fn open(n: u8, validators: Vec<Arc<dyn Validator>>) -> Self {
        let live = Live::default();
        let mut builder = live.mount(node(&MemoryNetwork::new(1), n));
        for kept in [LOG, OTHER, APART] {
            builder = builder.topic(topic(kept), TopicRules::kept());
        }
        for validator in validators {
            builder = builder.validator(validator);
        }
        let node = builder.open().await.expect("opens");
        let mut takes_part = Vec::new();
        for name in [LOG, OTHER, APART, PASSING] {
            takes_part.push(node.subscribe(&topic(name)).await.expect("subscribes"));
        }
        Self { node, live, _takes_part: takes_part }
    }

    async fn take(&self, message: &Envelope, path: Path) -> Said {
        match path {
            Path::Live => self.live.bring(&message.topic, message.encode()).await.into(),
            _ => self.node.admit(&message.topic, message.encode(), None).await.into(),
        }
    }

    /// Something that is no business of the entries comes, by one of their authors or as a block.
    async fn take_something_else(&self, rng: &mut StdRng) {
        let payload: Vec<u8> = (0..rng.random_range(0..=MAX_BYTES)).map(|_| rng.random()).collect();
        if rng.random_ratio(1, 4) {
            self.node.put_blocks(&[Block::new(RAW, payload)]).await.expect("puts");
            return;
        }
        let message = Envelope {
            author: AUTHORS[rng.random_range(0..2)],
            topic: topic(if rng.random() { APART } else { PASSING }),
            seqno: rng.random_range(0..ENTRIES),
            time: rng.random_range(0..ENTRIES * 10),
            parents: vec![],
            payload,
        };
        self.take(&message, way(rng)).await;
    }
}

fn way(rng: &mut StdRng) -> Path {
    if rng.random() { Path::Live } else { Path::CatchUp }
}

/// Some entries that follow others, of which some are bad.
fn entries(rng: &mut StdRng) -> Vec<Envelope> {
    let mut entries: Vec<Envelope> = Vec::new();
    for seqno in 0..ENTRIES {
        let latest = entries.len().saturating_sub(6);
        let number = rng.random_range(0..=2);
        let parents = entries[latest..].choose_multiple(rng, number).map(Envelope::cid);
        let (stranger, large) = (rng.random_ratio(1, 15), rng.random_ratio(1, 15));
        entries.push(Envelope {
            parents: parents.collect(),
            author: if stranger { AUTHORS[2] } else { AUTHORS[rng.random_range(0..2)] },
            topic: topic(if rng.random_ratio(1, 20) { OTHER } else { LOG }),
            seqno,
            time: (seqno * 10).saturating_sub(rng.random_range(0..45)),
            payload: vec![0; if large { MAX_BYTES + 1 } else { rng.random_range(0..=MAX_BYTES) }],
        });
    }
    entries
}

/// What the rules mean in the end, by the entries and their ancestors alone.
fn model(entries: &[Envelope]) -> BTreeMap<Cid, Said> {
    let mut good: BTreeMap<Cid, &Envelope> = BTreeMap::new();
    let mut said = BTreeMap::new();
    for entry in entries {
        let parents: Vec<_> = entry.parents.iter().map(|cid| good.get(cid).copied()).collect();
        let same = |parent: &&Envelope| parent.topic == entry.topic;
        let before = |parent: &&Envelope| parent.author == entry.author && parent.time > entry.time;
        let bad = entry.author == AUTHORS[2]
            || entry.payload.len() > MAX_BYTES
            || parents.iter().flatten().filter(|parent| same(parent)).any(before);
        let whole = parents.iter().all(|parent| parent.as_ref().is_some_and(same));
        let verdict = match (bad, whole) {
            (true, _) => Said::Reject,
            (false, true) => Said::Accept,
            (false, false) => Said::Ignore,
        };
        said.insert(entry.cid(), verdict);
        if verdict == Said::Accept {
            good.insert(entry.cid(), entry);
        }
    }
    said
}

/// Gives a node all entries in some order and by some way, again and again until nothing changes: what is said in the end.
/// An answer that was given for good must stay.
async fn judge(
    member: &Member,
    entries: &[Envelope],
    rng: &mut StdRng,
) -> Result<BTreeMap<Cid, Said>, String> {
    let mut said: BTreeMap<Cid, Said> = BTreeMap::new();
    loop {
        let before = said.clone();
        let mut order: Vec<_> = entries.iter().collect();
        order.shuffle(rng);
        for entry in order {
            if rng.random_ratio(1, 3) {
                member.take_something_else(rng).await;
            }
            let path = way(rng);
            let now = member.take(entry, path).await;
            let earlier = said.insert(entry.cid(), now);
            if let Some(earlier) = earlier.filter(|earlier| *earlier != Said::Ignore && *earlier != now) {
                return Err(format!("{earlier:?} became {now:?} by {path:?}: {entry:?}"));
            }
        }
        if said == before {
            return Ok(said);
        }
    }
}

type Validators = fn() -> Vec<Arc<dyn Validator>>;

/// Tries one history on some nodes: what was said of it everywhere, or where a node said something else than it ought to.
async fn try_one(seed: u64, validators: Validators) -> Result<BTreeSet<Said>, String> {
    let mut rng = StdRng::seed_from_u64(seed);
    let entries = entries(&mut rng);
    let expected = model(&entries);
    for n in 0..NODES {
        let member = Member::open(10 + n, validators()).await;
        let wrong = |why: String| format!("VERDICT_SEED={seed}, node {n}: {why}");
        let said = judge(&member, &entries, &mut rng).await.map_err(wrong)?;
        for entry in &entries {
            let (said, ought) = (said[&entry.cid()], expected[&entry.cid()]);
            if said != ought {
                return Err(wrong(format!("{said:?} and not {ought:?} of {entry:?}")));
            }
            let kept = member.node.store().has(&entry.cid()).await.expect("reads");
            assert_eq!(kept, said == Said::Accept, "{}", wrong(format!("{entry:?}")));
        }
        member.node.close().await.expect("closes");
    }
    Ok(expected.into_values().collect())
}

fn authors_and_size() -> Vec<Arc<dyn Validator>> {
    let authors = Authors::new(AuthorsConfig::new(guarded(), [peer(AUTHORS[0]), peer(AUTHORS[1])]));
    let size = Size::new(SizeConfig::new(guarded(), MAX_BYTES as u64));
    vec![Arc::new(authors.expect("valid")), Arc::new(size.expect("valid"))]
}

fn all() -> Vec<Arc<dyn Validator>> {
    let time = MonotonicTime::new(MonotonicTimeConfig::new(guarded())).expect("valid");
    [authors_and_size(), vec![Arc::new(time)]].concat()
}

#[tokio::test(start_paused = true)]
async fn entries_and_their_ancestors_decide_and_not_how_or_in_which_order_they_come() {
    let (mut seen, seeds) = (BTreeSet::new(), seeds());
    for seed in &seeds {
        seen.extend(try_one(*seed, all).await.unwrap_or_else(|wrong| panic!("{wrong}")));
    }
    assert!(seen.len() == 3 || seeds.len() < 20, "entries of each fate are tried, and not only {seen:?}");
}

/// A validator that does it wrong.
struct Wrong(fn(&AtomicU64, &Context<'_>, &Message) -> bool, AtomicU64);

impl fmt::Debug for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wrong")
    }
}

#[async_trait]
impl Validator for Wrong {
    async fn message(&self, cx: &Context<'_>, message: &Message) -> Verdict {
        match self.0(&self.1, cx, message) {
            true => Verdict::Reject("wrongly".into()),
            false => Verdict::Accept,
        }
    }

    async fn block(&self, _: &Context<'_>, _: &Block) -> Verdict {
        Verdict::Accept
    }

    async fn accepted(&self, _: &Context<'_>, _: &Message) -> Result<()> {
        Ok(())
    }
}

fn with(wrong: fn(&AtomicU64, &Context<'_>, &Message) -> bool) -> Vec<Arc<dyn Validator>> {
    [all(), vec![Arc::new(Wrong(wrong, AtomicU64::default()))]].concat()
}

/// What this file says is worth something: a rule that depends on anything else is found out.
#[tokio::test(start_paused = true)]
async fn a_validator_that_depends_on_more_is_found_out() {
    let wrong: [(&str, Validators); 4] = [
        ("none for time", authors_and_size),
        ("the path", || with(|_, cx, message| cx.path == Path::Live && message.payload().len() == MAX_BYTES)),
        ("what came before", || {
            with(|latest, _, message| {
                let time = message.time().as_millis();
                latest.fetch_max(time, Ordering::Relaxed) > time + 300
            })
        }),
        ("how many came", || with(|count, _, _| count.fetch_add(1, Ordering::Relaxed) == 30)),
    ];
    for (what, validators) in wrong {
        let mut found = false;
        for seed in 0..20 {
            found |= try_one(seed, validators).await.is_err();
        }
        assert!(found, "it depends on {what}, and nobody noticed");
    }
}

/// Too rare in random histories: a parent of another topic, which alone would end as Ignore, beside one that is later.
#[tokio::test(start_paused = true)]
async fn what_is_bad_for_ever_is_rejected_whatever_else_it_follows() {
    let entry = |name: &str, time, payload, parents| Envelope {
        author: AUTHORS[0],
        topic: topic(name),
        seqno: 1,
        time,
        parents,
        payload,
    };
    let mut firsts = BTreeSet::new();
    for salt in 0..16 {
        let elsewhere = entry(OTHER, 0, vec![salt], vec![]);
        let later = entry(LOG, 10, vec![salt], vec![]);
        let bad = entry(LOG, 9, vec![], vec![elsewhere.cid(), later.cid()]);
        firsts.insert(elsewhere.cid().to_bytes() < later.cid().to_bytes());
        for order in [vec![&elsewhere, &later], vec![&later, &elsewhere], vec![&later]] {
            for path in [Path::Live, Path::CatchUp] {
                let member = Member::open(10, all()).await;
                for first in &order {
                    assert_eq!(member.take(first, path).await, Said::Accept);
                }
                assert_eq!(member.take(&bad, path).await, Said::Reject);
            }
        }
    }
    assert_eq!(firsts.len(), 2, "either stands first among the parents");
}

#[tokio::test(start_paused = true)]
async fn the_rate_ignores_live_messages_alone_and_rejects_nothing() {
    const BURST: u32 = 3;
    for seed in seeds() {
        let mut rng = StdRng::seed_from_u64(seed);
        let rate = Rate::new(RateConfig::new(guarded(), BURST, 60.0)).expect("valid");
        let member = Member::open(10, vec![Arc::new(rate)]).await;
        let mut messages: Vec<_> = (0..ENTRIES)
            .map(|seqno| Envelope {
                author: AUTHORS[rng.random_range(0..AUTHORS.len())],
                topic: topic(if rng.random() { LOG } else { PASSING }),
                seqno,
                time: rng.random_range(0..ENTRIES * 10),
                parents: vec![],
                payload: vec![],
            })
            .collect();
        messages.shuffle(&mut rng);
        let mut live: BTreeMap<u8, u32> = BTreeMap::new();
        let mut ignored = Vec::new();
        for message in &messages {
            let path = way(&mut rng);
            let count = live.entry(message.author).or_default();
            let ought = match path {
                Path::Live if *count == BURST => Said::Ignore,
                _ => Said::Accept,
            };
            *count += u32::from(path == Path::Live && ought == Said::Accept);
            assert_eq!(member.take(message, path).await, ought, "VERDICT_SEED={seed}: {message:?} {path:?}");
            ignored.extend((ought == Said::Ignore).then_some(message));
        }
        assert!(!ignored.is_empty(), "VERDICT_SEED={seed} tries nothing");
        for message in ignored {
            let later = member.take(message, Path::CatchUp).await;
            assert_eq!(later, Said::Accept, "VERDICT_SEED={seed}: {message:?}");
        }
        assert_eq!(member.node.counter("rejected"), 0);
        member.node.close().await.expect("closes");
    }
}

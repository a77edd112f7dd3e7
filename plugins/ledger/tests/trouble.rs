//! Ledgers whose rules, stores or clocks are in trouble: nobody is blamed, and once it is over all nodes have one log, although
//! nobody wrote anything more.

mod hooked;
mod member;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use carrick_core::{
    Cid, Clock, Error, ErrorKind, Keypair, MemoryStore, NodeBuilder, Result, Store, Time, Verdict,
    async_trait,
};
use carrick_plugin_ledger::{Entry, Ledger, Past, Rule};
use carrick_transport_memory::{Conditions, MemoryNetwork};
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use hooked::{Asked, Hook, Hooked};
use member::{Member, NOW};

const MINUTE: Duration = Duration::from_secs(60);
/// Longer than anything takes, in virtual time.
const PATIENCE: Duration = Duration::from_secs(100);

async fn within<T>(work: impl Future<Output = T>) -> T {
    timeout(PATIENCE, work).await.expect("it hangs")
}

/// A trouble that a test begins, and that is over a minute later.
#[derive(Debug, Default)]
struct Trouble(Mutex<Option<Instant>>);

impl Trouble {
    fn begin(&self) -> Instant {
        self.begin_for(MINUTE)
    }

    fn begin_for(&self, time: Duration) -> Instant {
        let end = Instant::now() + time;
        *self.0.lock().expect("lock") = Some(end);
        end
    }

    /// Its end, where it is not over.
    fn lasts_until(&self) -> Option<Instant> {
        self.0.lock().expect("lock").filter(|end| Instant::now() < *end)
    }
}

/// A clock in the test's hand. Clones are the same one.
#[derive(Clone, Debug)]
struct Hands(Arc<AtomicU64>);

impl Hands {
    fn at(now: u64) -> Self {
        Self(Arc::new(AtomicU64::new(now)))
    }

    fn set(&self, now: u64) {
        self.0.store(now, Ordering::Relaxed);
    }
}

impl Clock for Hands {
    fn now(&self) -> Time {
        Time(self.0.load(Ordering::Relaxed))
    }
}

/// What a member is made of.
struct Parts {
    rules: Vec<Arc<dyn Rule>>,
    store: Arc<dyn Store>,
    clock: Hands,
}

impl Default for Parts {
    fn default() -> Self {
        Self { rules: vec![], store: Arc::new(MemoryStore::default()), clock: Hands::at(NOW) }
    }
}

async fn open(wire: &MemoryNetwork, n: u8, parts: Parts) -> Member {
    let Parts { rules, store, clock } = parts;
    let key = Keypair::ed25519_from_bytes([n; 32]).expect("32 bytes are a key");
    let made = |node: NodeBuilder, _: &Ledger| node.identity(key).seed(n.into()).store(store).clock(clock);
    Member::made(wire, rules, made).await
}

async fn refuses_to_append(member: &Member) -> ErrorKind {
    within(member.ledger.append("while it cannot")).await.expect_err("it is in trouble").kind()
}

/// Whether it takes no entry until then.
async fn takes_nothing_until(member: &Member, end: Instant) -> bool {
    timeout_at(end, member.ledger.watch().next()).await.is_err()
}

async fn entries(member: &Member) -> Vec<Entry> {
    within(member.ledger.entries(None).try_collect()).await.expect("reads")
}

/// Connects members in a line, and waits until all take part.
async fn line(members: &[&Member]) {
    for pair in members.windows(2) {
        within(pair[0].join(pair[1])).await;
    }
}

/// Waits until all have so many entries; they are the same in the same order, and nobody thinks ill of anybody.
async fn agree(members: &[&Member], entries: usize) -> Vec<Cid> {
    let log = within(member::agree(members, entries)).await;
    for member in members {
        assert_eq!(member.node.counter("rejected"), 0);
        let peers = member.node.peers().await.expect("peers");
        assert!(!peers.is_empty());
        for peer in peers {
            assert_eq!(peer.reputation, 0.0, "{} of {}", peer.remote, member.node.peer_id());
        }
    }
    log
}

/// How a rule fails.
#[derive(Clone, Copy, Debug)]
enum Failing {
    Hanging,
    Panicking,
    /// What it asks is away, and it says so.
    Unable,
}

const WAYS: [Failing; 3] = [Failing::Hanging, Failing::Panicking, Failing::Unable];

#[derive(Debug)]
struct Troubled {
    how: Failing,
    trouble: Arc<Trouble>,
}

#[async_trait]
impl Rule for Troubled {
    async fn entry(&self, _: &Past<'_>, _: &Entry) -> Verdict {
        if self.trouble.lasts_until().is_none() {
            return Verdict::Accept;
        }
        match self.how {
            Failing::Hanging => std::future::pending().await,
            Failing::Panicking => panic!("on purpose"),
            Failing::Unable => Verdict::Ignore("the database is away".into()),
        }
    }
}

fn with_rule(how: Failing, trouble: &Arc<Trouble>) -> Parts {
    Parts { rules: vec![Arc::new(Troubled { how, trouble: Arc::clone(trouble) })], ..Parts::default() }
}

#[tokio::test(start_paused = true)]
async fn what_a_rule_could_not_judge_arrives_by_itself_when_it_can() {
    for how in WAYS {
        let (wire, trouble) = (MemoryNetwork::new(1), Arc::new(Trouble::default()));
        let author = open(&wire, 1, Parts::default()).await;
        let between = open(&wire, 2, with_rule(how, &trouble)).await;
        let beyond = open(&wire, 3, with_rule(how, &trouble)).await;
        line(&[&author, &between, &beyond]).await;
        author.append("before").await;
        agree(&[&author, &between, &beyond], 1).await;

        let end = trouble.begin();
        for n in 0..30 {
            author.append(format!("{n}")).await;
        }
        // As large as a payload is that travels apart.
        author.append(vec![b'x'; 100_000]).await;
        let nothing = [takes_nothing_until(&between, end), takes_nothing_until(&beyond, end)];
        assert_eq!(futures::future::join_all(nothing).await, [true, true], "{how:?}");
        let failed = between.node.counter("validator_failed");
        assert!(failed > 0 || matches!(how, Failing::Unable), "{how:?}");
        agree(&[&author, &between, &beyond], 32).await;
    }
}

#[tokio::test(start_paused = true)]
async fn whose_own_rule_is_in_trouble_cannot_append_and_goes_on_later() {
    for how in WAYS {
        let (wire, trouble) = (MemoryNetwork::new(2), Arc::new(Trouble::default()));
        let troubled = open(&wire, 1, with_rule(how, &trouble)).await;
        let other = open(&wire, 2, Parts::default()).await;
        line(&[&troubled, &other]).await;
        let end = trouble.begin();
        assert_eq!(refuses_to_append(&troubled).await, ErrorKind::Rejected, "{how:?}");
        let others = other.append("meanwhile").await;
        assert!(takes_nothing_until(&troubled, end).await, "{how:?}");
        let ours = troubled.append("later").await;
        let log = agree(&[&troubled, &other], 2).await;
        assert!(log.contains(&others) && log.contains(&ours));
    }
}

/// What of a store fails.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Part {
    All,
    Writes,
    /// Where the node and the ledger keep their own memory.
    Memory,
    /// Nothing fails, but nothing is answered before it is over.
    Answers,
}

/// Has a store fail while there is trouble.
#[derive(Debug)]
struct Flaky {
    part: Part,
    trouble: Arc<Trouble>,
}

#[async_trait]
impl Hook for Flaky {
    async fn before(&self, asked: Asked<'_>) -> Result<()> {
        let of: &[Part] = match asked {
            Asked::Get(_) | Asked::Has | Asked::Meta(_) => &[Part::All],
            Asked::SetMeta => &[Part::All, Part::Writes, Part::Memory],
            Asked::Put | Asked::Delete | Asked::Pin | Asked::Unpin => &[Part::All, Part::Writes],
        };
        match self.trouble.lasts_until() {
            Some(end) if self.part == Part::Answers => {
                sleep_until(end).await;
                Ok(())
            }
            Some(_) if of.contains(&self.part) => {
                Err(Error::new(ErrorKind::Unexpected, "store", "the disk fails"))
            }
            _ => Ok(()),
        }
    }
}

fn with_store(part: Part, trouble: &Arc<Trouble>) -> Parts {
    let store = Hooked::new(Flaky { part, trouble: Arc::clone(trouble) });
    Parts { store: Arc::new(store), ..Parts::default() }
}

#[tokio::test(start_paused = true)]
async fn what_a_store_could_not_take_arrives_by_itself_when_it_can() {
    for part in [Part::All, Part::Writes, Part::Memory, Part::Answers] {
        let (wire, trouble) = (MemoryNetwork::new(3), Arc::new(Trouble::default()));
        let author = open(&wire, 1, Parts::default()).await;
        let between = open(&wire, 2, with_store(part, &trouble)).await;
        let beyond = open(&wire, 3, Parts::default()).await;
        line(&[&author, &between, &beyond]).await;
        author.append("before").await;
        agree(&[&author, &between, &beyond], 1).await;

        let end = trouble.begin();
        for n in 0..30 {
            author.append(format!("{n}")).await;
        }
        author.append(vec![b'x'; 100_000]).await;
        assert!(takes_nothing_until(&between, end).await, "{part:?}");
        agree(&[&author, &between, &beyond], 32).await;
    }
}

/// It has what nobody else has, and is asked for it when it cannot read: a payload that it promised by passing its entry on.
#[tokio::test(start_paused = true)]
async fn whose_own_store_is_in_trouble_is_not_blamed_and_goes_on_later() {
    for part in [Part::All, Part::Writes, Part::Memory] {
        let (wire, trouble) = (MemoryNetwork::new(4), Arc::new(Trouble::default()));
        let troubled = open(&wire, 1, with_store(part, &trouble)).await;
        let other = open(&wire, 2, Parts::default()).await;
        line(&[&troubled, &other]).await;
        troubled.append("before").await;
        agree(&[&troubled, &other], 1).await;
        let mut slow = Conditions::default();
        slow.delay = Duration::from_millis(50);
        wire.set_conditions(slow);

        let large = troubled.append(vec![b'x'; 100_000]).await;
        let end = trouble.begin();
        let why = refuses_to_append(&troubled).await;
        assert!(matches!(why, ErrorKind::Rejected | ErrorKind::Unexpected), "{part:?}: {why:?}");
        let others = other.append("meanwhile").await;
        assert!(takes_nothing_until(&troubled, end).await, "{part:?}");
        let served = other.ledger.entry(&large).await.expect("reads").is_some();
        assert_eq!(served, part != Part::All, "{part:?}");
        let log = agree(&[&troubled, &other], 3).await;
        assert!(log.contains(&others) && log.contains(&large));
        troubled.append("it goes on").await;
        agree(&[&troubled, &other], 4).await;
    }
}

/// Whoever told of it is asked again at once, and not after a minute: that it led nowhere was no lie.
async fn who_meets_a_long_log_in_trouble_has_it_soon_after(trouble: Arc<Trouble>, parts: Parts) {
    let wire = MemoryNetwork::new(7);
    let author = open(&wire, 1, Parts::default()).await;
    // So many that their pages are told, and more bytes than come for nothing without being a lie.
    for _ in 0..100 {
        author.append([b'x'; 20_000]).await;
    }
    let late = open(&wire, 2, parts).await;
    line(&[&author, &late]).await;
    let end = trouble.begin_for(MINUTE / 3);
    assert!(takes_nothing_until(&late, end).await);
    let soon = timeout(MINUTE / 3, late.until(100)).await;
    assert!(soon.is_ok(), "{} of 100 came", late.ledger.count().expect("open"));
    agree(&[&author, &late], 100).await;
}

#[tokio::test(start_paused = true)]
async fn a_long_log_that_a_rule_could_not_judge_comes_soon_after() {
    for how in WAYS {
        let trouble = Arc::new(Trouble::default());
        who_meets_a_long_log_in_trouble_has_it_soon_after(Arc::clone(&trouble), with_rule(how, &trouble))
            .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_log_that_a_store_could_not_take_comes_soon_after() {
    for part in [Part::All, Part::Writes, Part::Memory, Part::Answers] {
        let trouble = Arc::new(Trouble::default());
        who_meets_a_long_log_in_trouble_has_it_soon_after(Arc::clone(&trouble), with_store(part, &trouble))
            .await;
    }
}

const MS: u64 = 1_000;
const TEN_MINUTES: u64 = 600 * MS;

/// A writer whose clock shows this, and one whose clock is right, both of which write; and how many live entries were ignored
/// where the clock is right.
async fn two_clocks(shows: u64) -> (Vec<Entry>, u64) {
    let wire = MemoryNetwork::new(5);
    let off = open(&wire, 1, Parts { clock: Hands::at(shows), ..Parts::default() }).await;
    let right = open(&wire, 2, Parts::default()).await;
    let reader = open(&wire, 3, Parts::default()).await;
    line(&[&off, &right, &reader]).await;
    for n in 0..5 {
        off.append(format!("off {n}")).await;
        right.append(format!("right {n}")).await;
    }
    agree(&[&off, &right, &reader], 10).await;
    let last = off.append("in the end").await;
    let log = agree(&[&off, &right, &reader], 11).await;
    assert_eq!(log[10], last, "it follows all that was there, whatever its time");
    (entries(&reader).await, right.node.counter("ignored"))
}

#[tokio::test(start_paused = true)]
async fn entries_of_a_writer_whose_clock_is_off_come_by_catch_up_and_stand_where_they_would() {
    for shows in [NOW + TEN_MINUTES, NOW - TEN_MINUTES, 0] {
        let (log, ignored) = two_clocks(shows).await;
        assert!(ignored > 0, "at {shows}: live, it is too far off");
        let times = log.iter().filter(|entry| entry.time() == Time(shows)).count();
        assert_eq!(times, 6, "its time stands as it was signed");
    }
}

#[tokio::test(start_paused = true)]
async fn entries_of_a_writer_whose_clock_is_off_by_little_come_live() {
    for shows in [NOW + 120 * MS, NOW - 120 * MS] {
        let (_, ignored) = two_clocks(shows).await;
        assert_eq!(ignored, 0, "at {shows}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_writer_whose_clock_jumps_loses_no_thread() {
    let (wire, clock, store) = (MemoryNetwork::new(6), Hands::at(NOW), Arc::new(MemoryStore::default()));
    let parts = || Parts { clock: clock.clone(), store: Arc::clone(&store) as _, rules: vec![] };
    let reader = open(&wire, 2, Parts::default()).await;
    let writer = open(&wire, 1, parts()).await;
    line(&[&writer, &reader]).await;
    let shows = [NOW, NOW - 1, NOW - 3_600 * MS, 0, NOW + 86_400 * MS, NOW, 1];
    for now in shows {
        clock.set(now);
        writer.append(format!("at {now}")).await;
    }
    agree(&[&writer, &reader], shows.len()).await;
    // As after a power cut, and with a clock that nobody set.
    drop(writer);
    clock.set(0);
    let writer = open(&wire, 1, parts()).await;
    line(&[&writer, &reader]).await;
    writer.append("after a restart").await;
    agree(&[&writer, &reader], shows.len() + 1).await;

    let log = entries(&reader).await;
    for (at, pair) in log.windows(2).enumerate() {
        assert_eq!(pair[1].parents(), [*pair[0].cid()], "{at}");
        assert!(pair[0].number() < pair[1].number() && pair[0].clock() < pair[1].clock(), "{at}");
    }
}

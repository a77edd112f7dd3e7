//! Becoming the same as others: telling how far we are, hearing how far they are, and fetching what is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use carrick_core::limits::MAX_PARENTS;
use carrick_core::{Cid, Delivery, ErrorKind, Event, Events, Node, PeerId, Result, Subscription, Topic};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use lru::LruCache;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::failed::Failed;
use crate::heads::Heads;
use crate::index::Index;
use crate::inner::{Inner, lock};
use crate::patience::Patience;
use crate::{pages, tail};

/// How often heads are told, from half of it to half as long again.
const TELL: Duration = Duration::from_secs(10);
/// How soon after somebody joined, at most: not everybody at once.
const SOON: Duration = Duration::from_secs(1);
/// Nodes whose heads are fetched at once, and wait for it.
const FETCHING: usize = 8;
const WAITING: usize = 1_024;
/// Who lacks so many entries reads pages at once.
const MANY: u64 = 1_024;
/// Ledgers with fewer entries tell no pages.
const TELLS_PAGES: u64 = 64;
/// How long a node is not asked that told what led nowhere, at some cost.
const DOUBTED: Duration = Duration::from_secs(60);
/// Nodes of which it is remembered how far they are, and which of them are asked for entries.
const TELLERS: NonZeroUsize = NonZeroUsize::new(1_024).expect("not zero");
const ASKED: usize = 8;

/// What the tasks of a ledger share.
#[derive(Debug)]
pub(crate) struct Sync {
    /// Where heads travel.
    pub(crate) topic: Topic,
    wanted: Mutex<Wanted>,
    more_wanted: Notify,
    /// Whoever fetched tells at once how far it is now.
    fetched: Notify,
    /// When somebody else last told the very heads that we have.
    told: Mutex<Option<Instant>>,
    tellers: Mutex<LruCache<PeerId, Teller>>,
    /// Held while many entries are fetched: once is enough.
    by_pages: tokio::sync::Mutex<()>,
    far_behind: AtomicBool,
    many_fresh: Notify,
    tasks: TaskTracker,
    end: CancellationToken,
}

impl Sync {
    pub(crate) fn new(topic: Topic) -> Self {
        Self {
            topic,
            wanted: Mutex::default(),
            more_wanted: Notify::new(),
            fetched: Notify::new(),
            told: Mutex::default(),
            tellers: Mutex::new(LruCache::sparse(TELLERS)),
            by_pages: tokio::sync::Mutex::default(),
            far_behind: AtomicBool::new(false),
            many_fresh: Notify::new(),
            tasks: TaskTracker::new(),
            end: CancellationToken::new(),
        }
    }

    /// Has the pages saved soon.
    pub(crate) fn save(&self) {
        self.many_fresh.notify_one();
    }

    /// Whether so many entries are missing here that they are fetched by pages now.
    pub(crate) fn is_far_behind(&self) -> bool {
        self.far_behind.load(Ordering::Acquire)
    }

    /// So it is, until what this answers is dropped.
    fn falls_far_behind(&self) -> FarBehind<'_> {
        self.far_behind.store(true, Ordering::Release);
        FarBehind(self)
    }

    /// How many entries others say they have, at most.
    pub(crate) fn furthest(&self) -> u64 {
        lock(&self.tellers).iter().map(|(_, teller)| teller.entries).max().unwrap_or_default()
    }

    pub(crate) async fn end(&self) {
        self.end.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Runs a task that ends with the ledger.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let end = self.end.clone();
        self.tasks.spawn(async move {
            end.run_until_cancelled(task).await;
        });
    }
}

/// Many entries are being fetched by pages: until it is dropped, however that ends.
struct FarBehind<'a>(&'a Sync);

impl Drop for FarBehind<'_> {
    fn drop(&mut self) {
        self.0.far_behind.store(false, Ordering::Release);
    }
}

/// A node that told its heads.
#[derive(Debug)]
struct Teller {
    /// How many entries it says it has.
    entries: u64,
    /// Since when it is not asked.
    doubted: Option<Instant>,
}

/// Heads that are no entries here yet, by who told them.
#[derive(Debug, Default)]
struct Wanted {
    waiting: BTreeMap<Option<PeerId>, Told>,
    fetching: BTreeMap<Option<PeerId>, Told>,
    /// Whose turn it was.
    served: Option<PeerId>,
}

/// What a node told: some heads, and how to get what is before them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    heads: BTreeSet<Cid>,
    entries: u64,
    pages: Option<Cid>,
}

impl Wanted {
    /// Notes heads, but those that are being fetched, as far as there is room. Of one node only what it told last.
    fn add(&mut self, mut told: Told, teller: Option<PeerId>) {
        let by_pages_alone = told.heads.is_empty();
        told.heads.retain(|head| !self.fetching.values().any(|told| told.heads.contains(head)));
        let fits = self.waiting.len() < WAITING || self.waiting.contains_key(&teller);
        if (by_pages_alone || !told.heads.is_empty()) && fits {
            self.waiting.insert(teller, told);
        }
    }

    /// Those of one node, whose heads are not being fetched already, one node after the other: those that tell heads which
    /// nobody has, again and again, keep no others from being fetched.
    fn next(&mut self) -> Option<(Option<PeerId>, Told)> {
        let behind = self.waiting.range((Bound::Excluded(self.served), Bound::Unbounded));
        let mut tellers = behind.chain(self.waiting.range(..=self.served)).map(|(teller, _)| *teller);
        let teller = tellers.find(|teller| !self.fetching.contains_key(teller))?;
        self.served = teller;
        let told = self.waiting.remove(&teller)?;
        self.fetching.insert(teller, told.clone());
        Some((teller, told))
    }
}

/// Begins the tasks of a ledger that is open.
pub(crate) fn begin(ledger: &Arc<Inner>, node: &Node, entries: Subscription, heads: Subscription) {
    // Entries are taken at the gate; the subscription only says that we take part.
    ledger.sync.spawn(entries.for_each(async |_| ()));
    ledger.sync.spawn(hear(Arc::clone(ledger), heads));
    ledger.sync.spawn(tell_again_and_again(Arc::clone(ledger), node.peer_id(), node.events()));
    ledger.sync.spawn(fetch_what_is_wanted(Arc::clone(ledger)));
    ledger.sync.spawn(save_when_much_is_fresh(Arc::clone(ledger)));
}

async fn save_when_much_is_fresh(ledger: Arc<Inner>) {
    loop {
        ledger.sync.many_fresh.notified().await;
        if let Err(error) = save(&ledger).await {
            tracing::warn!(%error, ledger = %ledger.topic, "the pages could not be saved; they will be later");
        }
    }
}

async fn save(ledger: &Inner) -> Result<Option<Cid>> {
    let node = ledger.node()?;
    ledger.save(&**node.store(), Some(&node)).await
}

async fn hear(ledger: Arc<Inner>, mut heard: Subscription) {
    while let Some(delivery) = heard.next().await {
        let Delivery::Message(message) = delivery else { continue };
        match Heads::decode(message.payload()) {
            Ok(heads) => {
                // What the store does not answer is told again.
                let heard = hear_of(&ledger, heads, message.author().copied()).await;
                heard.unwrap_or_else(|error| tracing::debug!(%error, "heads were not compared"));
            }
            Err(error) => tracing::debug!(%error, author = ?message.author(), "heads that are none"),
        }
    }
    // The node is gone, without having been closed.
    ledger.sync.end.cancel();
}

async fn hear_of(ledger: &Inner, heads: Heads, from: Option<PeerId>) -> Result<()> {
    let ours = ledger.with_index(own)?;
    if (&heads.heads, heads.entries) == (&ours.heads, ours.entries) {
        *lock(&ledger.sync.told) = Some(Instant::now());
    }
    if let Some(from) = from {
        let mut tellers = lock(&ledger.sync.tellers);
        let teller = tellers.get_or_insert_mut(from, || Teller { entries: 0, doubted: None });
        teller.entries = heads.entries;
    }
    let missing = ledger.missing(&heads.heads).await?;
    let Heads { heads: told_heads, entries, pages, .. } = heads;
    let more = missing.is_empty() && has_more(ledger, &told_heads, entries, pages.as_ref()).await?;
    if (!missing.is_empty() || more) && !is_doubted(ledger, from) {
        let told = Told { heads: missing.into_iter().collect(), entries, pages };
        lock(&ledger.sync.wanted).add(told, from);
        ledger.sync.more_wanted.notify_one();
    }
    Ok(())
}

/// Whether who told these heads, which are here, has entries that are not: where it has as many heads as are told there may be
/// more of them, even if it has no more entries than are here.
async fn has_more(ledger: &Inner, heads: &[Cid], entries: u64, pages: Option<&Cid>) -> Result<bool> {
    let Some(pages) = pages else { return Ok(false) };
    let perhaps = heads.len() == MAX_PARENTS && save(ledger).await?.as_ref() != Some(pages);
    Ok(perhaps || entries > count(ledger)?)
}

fn own(index: &mut Index) -> Heads {
    Heads::new(index.highest_heads(), index.len() as u64)
}

/// Tells our heads after somebody joined, after a fetch, and now and then unless somebody else just told the same.
async fn tell_again_and_again(ledger: Arc<Inner>, me: PeerId, mut events: Events) {
    let sync = &ledger.sync;
    // Nodes that were started together do not speak together.
    let seed = me.to_bytes().iter().fold(0_u64, |seed, byte| seed.rotate_left(8) ^ u64::from(*byte));
    let mut random = StdRng::seed_from_u64(seed);
    let mut last = Instant::now();
    let mut next = last + TELL;
    loop {
        let at_once = tokio::select! {
            biased;
            () = sync.fetched.notified() => true,
            event = events.next() => match event {
                Some(Event::Joined { topic, .. }) if topic == sync.topic => {
                    sleep(random.random_range(Duration::ZERO..SOON)).await;
                    true
                }
                Some(_) => continue,
                None => return,
            },
            () = sleep_until(next) => false,
        };
        let told = lock(&sync.told).is_some_and(|told| told > last);
        if (at_once || !told)
            && let Err(error) = tell(&ledger).await
        {
            tracing::debug!(%error, ledger = %ledger.topic, "heads were not told");
        }
        last = Instant::now();
        next = last + random.random_range(TELL / 2..TELL * 3 / 2);
    }
}

async fn tell(ledger: &Inner) -> Result<()> {
    let mut heads = ledger.with_index(own)?;
    // To nobody there is nothing to tell; a message for whoever comes would be old by then.
    if heads.heads.is_empty() || ledger.node()?.topic_peers(&ledger.sync.topic).await?.is_empty() {
        return Ok(());
    }
    if heads.entries >= TELLS_PAGES {
        heads = heads.listed_on(save(ledger).await?);
    }
    ledger.node()?.publish(&ledger.sync.topic, heads.encode()?).await.map(drop)
}

/// Fetches heads with all before them that is missing, of some nodes at once.
async fn fetch_what_is_wanted(ledger: Arc<Inner>) {
    let mut fetching = FuturesUnordered::new();
    loop {
        while fetching.len() < FETCHING
            && let Some((teller, told)) = lock(&ledger.sync.wanted).next()
        {
            let ledger = &ledger;
            fetching.push(async move { (teller, catch_up(ledger, &told, teller).await) });
        }
        tokio::select! {
            biased;
            Some((teller, fetched)) = fetching.next() => {
                lock(&ledger.sync.wanted).fetching.remove(&teller);
                match fetched {
                    Ok(0) => {}
                    Ok(entries) => {
                        tracing::info!(entries, ledger = %ledger.topic, "caught up");
                        ledger.sync.fetched.notify_one();
                    }
                    Err(error) => tracing::debug!(%error, ledger = %ledger.topic, "could not catch up"),
                }
            }
            () = ledger.sync.more_wanted.notified() => {}
        }
    }
}

/// Fetches what a node told, and all that is missing before it; answers how many became entries. What costs much and leads
/// nowhere costs whoever told it that it is not asked for a while, unless that may be our own fault.
async fn catch_up(ledger: &Inner, told: &Told, teller: Option<PeerId>) -> Result<usize> {
    let before = count(ledger)?;
    let fetched = fetch(ledger, told, teller).await;
    let came = usize::try_from(count(ledger)? - before).unwrap_or(usize::MAX);
    if let Err(Failed::Misled(error)) = &fetched
        && (error.kind() == ErrorKind::Rejected || came == 0)
    {
        tracing::debug!(%error, ?teller, came, ledger = %ledger.topic, "what a node told led nowhere");
        doubt(ledger, teller);
    }
    if came == 0 { fetched.map(|()| 0).map_err(Failed::error) } else { Ok(came) }
}

/// By pages where much is missing; else back from the heads, and by pages where that does not reach far enough.
async fn fetch(ledger: &Inner, told: &Told, teller: Option<PeerId>) -> Result<(), Failed> {
    let heads: Vec<Cid> = told.heads.iter().copied().collect();
    let hints: Vec<PeerId> = teller.into_iter().collect();
    let patience = Patience::new();
    if told.entries < count(ledger)? + MANY || told.pages.is_none() {
        match tail::fetch(ledger, &heads, &hints, &patience).await {
            Err(error) if told.pages.is_none() => return Err(error),
            // Pages may reach further back.
            fetched => fetched.unwrap_or_else(|failed| {
                tracing::debug!(error = %failed.error(), "heads alone led nowhere");
            }),
        }
    }
    if let Some(root) = &told.pages
        && (heads.is_empty() || !ledger.missing(&heads).await?.is_empty())
    {
        by_pages(ledger, root, told.entries, teller, &patience).await?;
        tail::fetch(ledger, &heads, &hints, &patience).await?;
    }
    Ok(())
}

fn count(ledger: &Inner) -> Result<u64> {
    ledger.with_index(|index| index.len() as u64)
}

/// By pages, one node at a time, where entries are missing still once it is this one's turn, for which it may wait long.
async fn by_pages(
    ledger: &Inner,
    root: &Cid,
    entries: u64,
    teller: Option<PeerId>,
    patience: &Patience,
) -> Result<(), Failed> {
    let before = count(ledger)?;
    let _turn = ledger.sync.by_pages.lock().await;
    let came = count(ledger)? - before;
    if (came > 0 && entries <= count(ledger)?) || is_doubted(ledger, teller) {
        return Ok(());
    }
    let _far_behind = ledger.sync.falls_far_behind();
    pages::fetch(ledger, root, &furthest(ledger, teller), patience).await
}

/// The nodes to ask: who told, and others that say they have more than is here.
fn furthest(ledger: &Inner, teller: Option<PeerId>) -> Vec<PeerId> {
    let ours = ledger.with_index(|index| index.len() as u64).unwrap_or(u64::MAX);
    let tellers = lock(&ledger.sync.tellers);
    let trusted = |teller: &Teller| teller.doubted.is_none_or(|doubted| doubted.elapsed() >= DOUBTED);
    let others = tellers.iter().filter(|(_, teller)| teller.entries > ours && trusted(teller));
    let others = others.map(|(peer, _)| *peer).filter(|peer| Some(*peer) != teller);
    teller.into_iter().chain(others).take(ASKED).collect()
}

fn is_doubted(ledger: &Inner, teller: Option<PeerId>) -> bool {
    let tellers = lock(&ledger.sync.tellers);
    let doubted = teller.and_then(|teller| tellers.peek(&teller)?.doubted);
    doubted.is_some_and(|doubted| doubted.elapsed() < DOUBTED)
}

fn doubt(ledger: &Inner, teller: Option<PeerId>) {
    let mut tellers = lock(&ledger.sync.tellers);
    if let Some(teller) = teller.and_then(|teller| tellers.get_mut(&teller)) {
        teller.doubted = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use carrick_core::Keypair;

    use super::*;
    use crate::place::cid;

    fn told(heads: impl IntoIterator<Item = Cid>) -> Told {
        Told { heads: heads.into_iter().collect(), entries: 9, pages: None }
    }

    #[test]
    fn what_is_being_fetched_is_not_fetched_twice_and_one_node_has_one_fetch() {
        let heads = |some: &[u8]| told(some.iter().map(|n| cid(&[*n; 32])));
        let [one, other] = [1, 2].map(|_| Some(Keypair::generate_ed25519().public().to_peer_id()));
        let mut wanted = Wanted::default();
        wanted.add(heads(&[1, 2]), one);
        assert_eq!(wanted.next(), Some((one, heads(&[1, 2]))));
        wanted.add(heads(&[1, 2]), other);
        wanted.add(heads(&[3]), one);
        assert_eq!(wanted.next(), None, "the same heads, and the same node");
        wanted.add(heads(&[2, 4]), other);
        assert_eq!(wanted.next(), Some((other, heads(&[4]))));
        wanted.fetching.remove(&one);
        assert_eq!(wanted.next(), Some((one, heads(&[3]))));
    }

    #[test]
    fn a_catch_up_that_is_dropped_leaves_nobody_far_behind() {
        let sync = Sync::new(Topic::new("heads").expect("a topic"));
        let behind = sync.falls_far_behind();
        assert!(sync.is_far_behind());
        drop(behind);
        assert!(!sync.is_far_behind());
    }

    #[test]
    fn no_more_wait_than_fit() {
        let mut wanted = Wanted::default();
        for n in 0..=WAITING as u64 {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&n.to_be_bytes());
            let teller = Some(Keypair::generate_ed25519().public().to_peer_id());
            wanted.add(told([cid(&digest)]), teller);
        }
        assert_eq!(wanted.waiting.len(), WAITING);
    }
}

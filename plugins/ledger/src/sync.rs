//! Becoming the same as others: telling how far we are, hearing how far they are, and fetching what is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use carrick_core::{Cid, Delivery, Event, Events, Node, PeerId, Result, Subscription, Topic};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::heads::Heads;
use crate::index::Index;
use crate::ledger::{Inner, lock};
use crate::tail;

/// How often heads are told, from half of it to half as long again.
const TELL: Duration = Duration::from_secs(10);
/// How soon after somebody joined, at most: not everybody at once.
const SOON: Duration = Duration::from_secs(1);
/// Nodes whose heads are fetched at once, and wait for it.
const FETCHING: usize = 8;
const WAITING: usize = 1_024;

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
            tasks: TaskTracker::new(),
            end: CancellationToken::new(),
        }
    }

    pub(crate) async fn end(&self) {
        self.end.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let end = self.end.clone();
        self.tasks.spawn(async move {
            end.run_until_cancelled(task).await;
        });
    }
}

/// Heads that are no entries here yet, by who told them.
#[derive(Debug, Default)]
struct Wanted {
    waiting: BTreeMap<Option<PeerId>, BTreeSet<Cid>>,
    fetching: BTreeMap<Option<PeerId>, BTreeSet<Cid>>,
}

impl Wanted {
    /// Notes heads, but those that are being fetched, as far as there is room. Of one node only what it told last.
    fn add(&mut self, mut heads: BTreeSet<Cid>, teller: Option<PeerId>) {
        heads.retain(|head| !self.fetching.values().any(|heads| heads.contains(head)));
        if !heads.is_empty() && (self.waiting.len() < WAITING || self.waiting.contains_key(&teller)) {
            self.waiting.insert(teller, heads);
        }
    }

    /// Those of one node, whose heads are not being fetched already: one that tells heads which nobody has keeps no others
    /// from being fetched.
    fn next(&mut self) -> Option<(Option<PeerId>, BTreeSet<Cid>)> {
        let mut tellers = self.waiting.keys();
        let teller = *tellers.find(|teller| !self.fetching.contains_key(teller))?;
        let heads = self.waiting.remove(&teller)?;
        self.fetching.insert(teller, heads.clone());
        Some((teller, heads))
    }
}

/// Begins the tasks of a ledger that is open.
pub(crate) fn begin(ledger: &Arc<Inner>, node: &Node, entries: Subscription, heads: Subscription) {
    // Entries are taken at the gate; the subscription only says that we take part.
    ledger.sync.spawn(entries.for_each(async |_| ()));
    ledger.sync.spawn(hear(Arc::clone(ledger), heads));
    ledger.sync.spawn(tell_again_and_again(Arc::clone(ledger), node.peer_id(), node.events()));
    ledger.sync.spawn(fetch_what_is_wanted(Arc::clone(ledger)));
}

async fn hear(ledger: Arc<Inner>, mut heard: Subscription) {
    while let Some(delivery) = heard.next().await {
        let Delivery::Message(message) = delivery else { continue };
        match Heads::decode(message.payload()) {
            Ok(heads) => hear_of(&ledger, heads, message.author().copied()),
            Err(error) => tracing::debug!(%error, author = ?message.author(), "heads that are none"),
        }
    }
    // The node is gone, without having been closed.
    ledger.sync.end.cancel();
}

fn hear_of(ledger: &Inner, heads: Heads, from: Option<PeerId>) {
    let Ok((missing, ours)) = ledger.with_index(|index| (index.missing(&heads.heads), own(index))) else {
        return;
    };
    if heads == ours {
        *lock(&ledger.sync.told) = Some(Instant::now());
    }
    if !missing.is_empty() {
        lock(&ledger.sync.wanted).add(missing.into_iter().collect(), from);
        ledger.sync.more_wanted.notify_one();
    }
}

fn own(index: &Index) -> Heads {
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
    let (node, heads) = (ledger.node()?, ledger.with_index(own)?);
    // To nobody there is nothing to tell; a message for whoever comes would be old by then.
    if heads.heads.is_empty() || node.topic_peers(&ledger.sync.topic).await?.is_empty() {
        return Ok(());
    }
    node.publish(&ledger.sync.topic, heads.encode()?).await.map(drop)
}

/// Fetches heads with all before them that is missing, of some nodes at once.
async fn fetch_what_is_wanted(ledger: Arc<Inner>) {
    let mut fetching = FuturesUnordered::new();
    loop {
        while fetching.len() < FETCHING
            && let Some((teller, heads)) = lock(&ledger.sync.wanted).next()
        {
            let ledger = &ledger;
            fetching.push(async move { (teller, tail::fetch(ledger, &heads, teller).await) });
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

#[cfg(test)]
mod tests {
    use carrick_core::Keypair;

    use super::*;
    use crate::place::cid;

    #[test]
    fn what_is_being_fetched_is_not_fetched_twice_and_one_node_has_one_fetch() {
        let heads = |some: &[u8]| some.iter().map(|n| cid(&[*n; 32])).collect::<BTreeSet<_>>();
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
    fn no_more_wait_than_fit() {
        let mut wanted = Wanted::default();
        for n in 0..=WAITING as u64 {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&n.to_be_bytes());
            let teller = Some(Keypair::generate_ed25519().public().to_peer_id());
            wanted.add(BTreeSet::from([cid(&digest)]), teller);
        }
        assert_eq!(wanted.waiting.len(), WAITING);
    }
}

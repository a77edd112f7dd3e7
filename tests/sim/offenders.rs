//! A ledger half of whose nodes break its rule with every second entry, until nobody listens to them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use carrick::ledger::{Entry, Ledger, Past, Rule};
use carrick::memory::{Conditions, MemoryConfig, MemoryNetwork};
use carrick::{Cid, Keypair, Membership, NetworkId, Node, PeerId, Topic, Verdict, async_trait};
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use tokio::time::{sleep, timeout};

use crate::member::key;

const HONEST: u64 = 6;
const OFFENDERS: u64 = 6;
/// Knows the honest ones alone, and would take anything from them.
const WITNESS: u64 = 13;
const BAD: &str = "bad";
/// Entries of each offender until it is out, at most.
const OFFENCES: u32 = 100;
/// Longer than all take to agree.
const PATIENCE: Duration = Duration::from_secs(600);

/// What the honest ones demand.
#[derive(Debug)]
struct NotBad;

#[async_trait]
impl Rule for NotBad {
    async fn entry(&self, _: &Past<'_>, entry: &Entry) -> Verdict {
        match entry.payload().starts_with(BAD.as_bytes()) {
            true => Verdict::Reject("it is bad".into()),
            false => Verdict::Accept,
        }
    }
}

/// Lets some in and nobody else.
#[derive(Debug)]
struct Only(BTreeSet<PeerId>);

impl Membership for Only {
    fn admits(&self, peer: &PeerId) -> bool {
        self.0.contains(peer)
    }

    fn may_publish(&self, _: &PeerId, _: &Topic) -> bool {
        true
    }
}

struct Member {
    at: u64,
    node: Node,
    ledger: Ledger,
    told: carrick::ledger::Watch,
}

impl Member {
    async fn open(wire: &MemoryNetwork, seed: u64, at: u64, bootstrap: Vec<u64>) -> Self {
        let mut config = MemoryConfig::default();
        let addr = |at: u64| format!("/memory/{at}");
        config.listen = addr(at).parse().expect("an address");
        let bootstrap = bootstrap.into_iter().map(|at| addr(at).parse().expect("an address"));
        config.bootstrap = bootstrap.collect();
        let rules: Vec<Arc<dyn Rule>> = if is_honest(at) { vec![Arc::new(NotBad)] } else { vec![] };
        let ledger = Ledger::new("sim", rules).expect("a name");
        let mut node = Node::builder()
            .network(NetworkId::new("sim").expect("a network"))
            .identity(key(at, seed))
            .seed(seed ^ at)
            .mount("memory", wire.transport_with(config));
        if at == WITNESS {
            node = node.membership(Arc::new(Only((1..=HONEST).map(|at| peer(at, seed)).collect())));
        }
        let node = ledger.mount(node).open().await.expect("opens");
        let told = ledger.watch();
        Self { at, node, ledger, told }
    }

    fn count(&self) -> usize {
        self.ledger.count().expect("open")
    }

    async fn log(&self) -> Vec<Cid> {
        let entries = self.ledger.entries(None).map_ok(|entry| *entry.cid());
        entries.try_collect().await.expect("reads")
    }

    async fn append(&self, payload: &str) -> Cid {
        self.ledger.append(payload.to_owned()).await.expect("appends").cid
    }

    /// Says something that follows what the honest ones have, as far as it has that too.
    async fn follow(&self, honest: &Self, payload: &str) -> Cid {
        let mut parents = honest.ledger.heads().expect("open");
        for head in std::mem::take(&mut parents) {
            parents.extend(self.ledger.entry(&head).await.expect("reads").map(|entry| *entry.cid()));
        }
        let published = self.node.publish_following(self.ledger.topic(), payload.to_owned(), parents).await;
        *published.expect("its own ledger takes it").id.cid()
    }

    async fn peers(&self) -> Vec<(PeerId, f64)> {
        let peers = self.node.peers().await.expect("open");
        peers.iter().filter_map(|peer| Some((*peer.remote.peer()?, peer.reputation))).collect()
    }
}

fn is_honest(at: u64) -> bool {
    at <= HONEST
}

fn peer(at: u64, seed: u64) -> PeerId {
    let key: Keypair = key(at, seed);
    key.public().to_peer_id()
}

/// One run, drawn from a seed.
///
/// # Panics
/// When what breaks the rule is stored, served, handed out or passed on by an honest node, when an offender is still listened
/// to after many offences, or an honest one loses anything by it.
pub(crate) async fn run(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let wire = MemoryNetwork::new(seed);
    let mut slow = Conditions::default();
    (slow.delay, slow.jitter) = (Duration::from_millis(5), Duration::from_millis(20));
    wire.set_conditions(slow);
    // The first has nobody to know, and is known by the second.
    let (mut honest, mut offenders) = (Vec::new(), Vec::new());
    for at in 1..=HONEST + OFFENDERS {
        let known: Vec<u64> = (1..at.min(HONEST + 1)).collect();
        let bootstrap: Vec<u64> = known.choose_multiple(&mut rng, 2).copied().collect();
        let member = Member::open(&wire, seed, at, bootstrap).await;
        if is_honest(at) { honest.push(member) } else { offenders.push(member) }
    }
    let mut witness = Member::open(&wire, seed, WITNESS, (1..=HONEST).collect()).await;
    for member in honest.iter().chain(&offenders) {
        let ready = timeout(PATIENCE, member.node.ready(member.ledger.topic(), 1));
        ready.await.expect("in time").expect("open");
    }
    let bad = offend_until_out(&mut rng, seed, &honest, &offenders).await;

    // Now that they are out: what the honest ones say reaches all of them.
    let mut said = Vec::new();
    for member in &honest {
        said.push(member.append(&format!("in the end, of {}", member.at)).await);
    }
    let banned: u64 = honest.iter().map(|member| member.node.counter("banned")).sum();
    assert!(banned >= OFFENDERS, "{banned}");
    let log = agree(&honest.iter().chain([&witness]).collect::<Vec<_>>(), &said).await;
    assert!(!log.iter().any(|entry| bad.contains(entry)), "an honest node has a bad entry");
    for member in honest.iter_mut().chain([&mut witness]) {
        while let Some(Some(change)) = member.told.next().now_or_never() {
            let entry = change.entry().expect("few enough to lag behind none");
            assert!(!bad.contains(entry.cid()), "a bad entry was handed out by {}", member.at);
        }
        for cid in &bad {
            assert!(!member.node.store().has(cid).await.expect("reads"), "{} stores {cid}", member.at);
        }
    }
    for member in honest.iter().chain([&witness]) {
        for (other, standing) in member.peers().await {
            assert_eq!(standing, 0.0, "{} thinks ill of {other}, who is honest", member.at);
        }
    }
}

/// Everybody says something, half of it bad where it comes from an offender, until no honest node is connected to one. Answers
/// the bad entries.
async fn offend_until_out(
    rng: &mut StdRng,
    seed: u64,
    honest: &[Member],
    offenders: &[Member],
) -> BTreeSet<Cid> {
    let out: BTreeSet<PeerId> = offenders.iter().map(|member| peer(member.at, seed)).collect();
    let mut bad = BTreeSet::new();
    for n in 0..OFFENCES {
        for offender in offenders {
            let follows = honest.choose(rng).expect("there are some");
            let is_bad = rng.random_bool(0.5);
            let payload = format!("{} {n} of {}", if is_bad { BAD } else { "good" }, offender.at);
            let cid = offender.follow(follows, &payload).await;
            bad.extend(is_bad.then_some(cid));
        }
        honest.choose(rng).expect("there are some").append(&format!("{n}")).await;
        sleep(Duration::from_millis(rng.random_range(0..2_000))).await;
        let mut listened_to = BTreeSet::new();
        for member in honest {
            listened_to
                .extend(member.peers().await.iter().map(|(peer, _)| *peer).filter(|peer| out.contains(peer)));
        }
        if listened_to.is_empty() {
            return bad;
        }
    }
    panic!("offenders are listened to after {OFFENCES} entries of each");
}

/// Waits until all have one log with all that was said.
async fn agree(members: &[&Member], said: &[Cid]) -> Vec<Cid> {
    let same = async {
        loop {
            let log = members[0].log().await;
            let mut same = said.iter().all(|cid| log.contains(cid));
            for member in members {
                same = same && member.count() == log.len() && member.log().await == log;
            }
            if same {
                return log;
            }
            sleep(Duration::from_secs(1)).await;
        }
    };
    let counts: Vec<usize> = members.iter().map(|member| member.count()).collect();
    let log = timeout(PATIENCE, same).await.unwrap_or_else(|_| panic!("they have {counts:?} entries"));
    for member in members {
        assert_eq!(member.ledger.verify().await.expect("sound"), log.len() as u64);
    }
    log
}

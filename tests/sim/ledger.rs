//! A ledger on a bad network: twenty nodes, five of which write, and after all of it one log.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use carrick::ledger::{Entry, Ledger};
use carrick::memory::{Conditions, MemoryConfig, MemoryNetwork};
use carrick::{Cid, Keypair, MemoryStore, NetworkId, Node, PeerId};
use futures::{StreamExt as _, TryStreamExt as _};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{Rng as _, SeedableRng as _};
use tokio::time::{sleep, timeout};

use crate::member::key;

const NODES: u64 = 20;
const WRITERS: usize = 5;
const STEPS: u32 = 80;
/// Longer than all take to agree once the network is well.
const PATIENCE: Duration = Duration::from_secs(600);

/// A node in all its lives.
struct Member {
    at: u64,
    key: Keypair,
    bootstrap: Vec<u64>,
    store: Arc<MemoryStore>,
    life: Option<(Node, Ledger)>,
}

impl Member {
    fn new(at: u64, seed: u64, bootstrap: Vec<u64>) -> Self {
        Self { at, key: key(at, seed), bootstrap, store: Arc::default(), life: None }
    }

    fn peer(&self) -> PeerId {
        self.key.public().to_peer_id()
    }

    async fn start(&mut self, wire: &MemoryNetwork, seed: u64) {
        let mut config = MemoryConfig::default();
        let addr = |at: u64| format!("/memory/{at}");
        config.listen = addr(self.at).parse().expect("an address");
        config.bootstrap = self.bootstrap.iter().map(|at| addr(*at).parse().expect("an address")).collect();
        let ledger = Ledger::new("sim", vec![]).expect("a name");
        let node = Node::builder()
            .network(NetworkId::new("sim").expect("a network"))
            .identity(self.key.clone())
            .seed(seed ^ self.at)
            .store(Arc::clone(&self.store) as _)
            .mount("memory", wire.transport_with(config));
        let node = ledger.mount(node).open().await.expect("opens");
        self.life = Some((node, ledger));
    }

    fn ledger(&self) -> &Ledger {
        &self.life.as_ref().expect("it is up").1
    }

    async fn log(&self) -> Vec<Cid> {
        let entries = self.ledger().entries(None).map_ok(|entry: Entry| *entry.cid());
        entries.try_collect().await.expect("reads")
    }
}

/// One run: what is done to a network, drawn from a seed, and what came of it.
///
/// # Panics
/// When the logs differ, or lack an entry whose append returned.
pub(crate) async fn run(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let wire = MemoryNetwork::new(seed);
    let mut members = Vec::new();
    for at in 1..=NODES {
        let before: Vec<u64> = (1..at).collect();
        let bootstrap = before.choose_multiple(&mut rng, 2).copied().collect();
        let mut member = Member::new(at, seed, bootstrap);
        member.start(&wire, seed).await;
        members.push(member);
    }
    let mut bad = Conditions::default();
    (bad.delay, bad.jitter) = (Duration::from_millis(50), Duration::from_millis(150));
    (bad.loss, bad.duplicate, bad.reorder) = (0.3, 0.1, 0.2);
    wire.set_conditions(bad);
    let mut acknowledged = BTreeSet::new();
    for step in 0..STEPS {
        match rng.random_range(0..100) {
            0..70 => append(&mut rng, &members, step, &mut acknowledged).await,
            70..80 => {
                members.shuffle(&mut rng);
                let side: Vec<PeerId> = members.iter().take(members.len() / 2).map(Member::peer).collect();
                wire.partition(&[&side]);
            }
            80..86 => wire.heal(),
            86..93 => {
                // As a power cut would: nothing is closed, and what was stored stays.
                let at = rng.random_range(0..members.len());
                members[at].life = None;
            }
            _ => start_all(&mut members, &wire, seed).await,
        }
        sleep(Duration::from_millis(rng.random_range(0..1_000))).await;
    }
    wire.heal();
    start_all(&mut members, &wire, seed).await;
    agree(&members, &acknowledged).await;
    for member in &mut members {
        if let Some((node, _)) = member.life.take() {
            node.close().await.expect("closes");
        }
    }
}

async fn start_all(members: &mut [Member], wire: &MemoryNetwork, seed: u64) {
    for member in members.iter_mut().filter(|member| member.life.is_none()) {
        member.start(wire, seed).await;
    }
}

/// One of those who write says something, if it is up.
async fn append(rng: &mut StdRng, members: &[Member], step: u32, acknowledged: &mut BTreeSet<Cid>) {
    let writers: Vec<&Member> =
        members.iter().filter(|member| member.at <= WRITERS as u64 && member.life.is_some()).collect();
    let Some(writer) = writers.choose(rng) else { return };
    let appended = writer.ledger().append(format!("{step} of {}", writer.at)).await.expect("appends");
    acknowledged.insert(appended.cid);
}

/// Waits until all have what was acknowledged, and compares the logs.
async fn agree(members: &[Member], acknowledged: &BTreeSet<Cid>) {
    for member in members {
        let mut changes = member.ledger().watch();
        let grown = async {
            while member.ledger().count().expect("open") < acknowledged.len() {
                changes.next().await.expect("open");
            }
        };
        let grown = timeout(PATIENCE, grown).await;
        let count = member.ledger().count().expect("open");
        assert!(grown.is_ok(), "node {} has {count} of {} entries", member.at, acknowledged.len());
    }
    let log = members[0].log().await;
    assert_eq!(log.iter().copied().collect::<BTreeSet<_>>(), *acknowledged, "no entry but what was appended");
    assert_eq!(log.len(), acknowledged.len(), "each once");
    for member in members {
        assert_eq!(member.log().await, log, "node {} has another log", member.at);
        assert_eq!(member.ledger().verify().await.expect("sound"), log.len() as u64);
    }
}

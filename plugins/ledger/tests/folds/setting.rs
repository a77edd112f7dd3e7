//! Logs drawn from a seed, and nodes that are given them entry by entry.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use carrick_core::{Bytes, Cid, Keypair, MemoryStore, NetworkId, Node, PeerId, Store, Verdict};
use carrick_plugin_ledger::{Entry, Fold, Ledger, Rule};
use carrick_transport_memory::MemoryNetwork;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{Rng as _, SeedableRng as _};

/// A node that meets nobody: entries come to it by hand.
pub(crate) struct Lone {
    pub(crate) node: Node,
    pub(crate) ledger: Ledger,
}

impl Lone {
    pub(crate) async fn open(rules: Vec<Arc<dyn Rule>>) -> Self {
        Self::with(Keypair::generate_ed25519(), Arc::new(MemoryStore::default()), rules).await
    }

    pub(crate) async fn with(key: Keypair, store: Arc<dyn Store>, rules: Vec<Arc<dyn Rule>>) -> Self {
        let ledger = Ledger::new("test", rules).expect("a name");
        let node = Node::builder().network(NetworkId::new("test").expect("a network"));
        let node = node.identity(key).store(store).mount("memory", MemoryNetwork::new(1).transport());
        Self { node: ledger.mount(node).open().await.expect("opens"), ledger }
    }

    /// An entry that follows these, by this node.
    pub(crate) async fn write(&self, payload: impl Into<Bytes> + Send, parents: Vec<Cid>) -> Made {
        let published = self.node.publish_following(self.ledger.topic(), payload, parents).await;
        self.made(published.expect("published").id.cid()).await
    }

    pub(crate) async fn made(&self, cid: &Cid) -> Made {
        Made(self.ledger.entry(cid).await.expect("reads").expect("an entry"))
    }

    pub(crate) async fn give(&self, made: &Made) -> Verdict {
        self.node.admit(self.ledger.topic(), made.0.message().encoded().clone(), None).await
    }

    pub(crate) async fn take(&self, made: &Made) {
        assert_eq!(self.give(made).await, Verdict::Accept);
    }

    pub(crate) async fn has(&self, cid: &Cid) -> bool {
        self.ledger.entry(cid).await.expect("reads").is_some()
    }
}

/// An entry that somebody made.
#[derive(Clone, Debug)]
pub(crate) struct Made(pub(crate) Entry);

impl Made {
    pub(crate) fn cid(&self) -> Cid {
        *self.0.cid()
    }

    /// Where it stands, as it is promised.
    pub(crate) fn place(&self) -> (u64, Vec<u8>) {
        (self.0.clock(), self.0.cid().to_bytes())
    }
}

/// Everything that was made, by its CID.
pub(crate) struct History(pub(crate) BTreeMap<Cid, Made>);

impl History {
    pub(crate) fn of(made: &[Made]) -> Self {
        Self(made.iter().map(|made| (made.cid(), made.clone())).collect())
    }

    /// What is before an entry, in the order, by trying all ways back.
    pub(crate) fn before(&self, entry: &Cid) -> Vec<Cid> {
        let (mut before, mut next) = (BTreeSet::new(), self.0[entry].0.parents().to_vec());
        while let Some(cid) = next.pop() {
            if before.insert(cid) {
                next.extend(self.0[&cid].0.parents());
            }
        }
        let mut before: Vec<Cid> = before.into_iter().collect();
        before.sort_by_key(|cid| self.0[cid].place());
        before
    }
}

/// A log as some authors make it who hear of each other late, and of whom some do not follow all that they know.
pub(crate) async fn log(seed: u64, authors: usize, entries: usize) -> Vec<Made> {
    let mut random = StdRng::seed_from_u64(seed);
    let (mut writing, mut made): (Vec<Lone>, Vec<Made>) = (vec![], vec![]);
    for _ in 0..authors {
        writing.push(Lone::open(vec![]).await);
    }
    // How late they hear, and how often one follows something else than its heads.
    let (late, odd) = (random.random_range(1..20), [0.0, 0.0, 0.3].choose(&mut random).expect("some"));
    let mut heard = vec![0; authors];
    while made.len() < entries {
        let at = random.random_range(0..authors);
        let author = &writing[at];
        let until = made.len().saturating_sub(random.random_range(0..late)).max(heard[at]);
        for entry in &made[heard[at]..until] {
            if !author.has(&entry.cid()).await {
                author.take(entry).await;
            }
        }
        heard[at] = until;
        let known: Vec<Cid> = made[..until].iter().map(Made::cid).collect();
        let number = made.len().to_string();
        made.push(match random.random_bool(*odd) {
            true => {
                let some = random.random_range(0..4);
                let mut parents: Vec<Cid> = known.choose_multiple(&mut random, some).copied().collect();
                parents.sort();
                author.write(number, parents).await
            }
            false => {
                let appended = author.ledger.append(number).await.expect("appends");
                author.made(&appended.cid).await
            }
        });
    }
    made
}

/// A way in which entries may come: whenever all that one follows is there.
pub(crate) fn some_way(made: &[Made], random: &mut StdRng) -> Vec<Made> {
    let (mut left, mut way, mut there) = (made.to_vec(), vec![], BTreeSet::new());
    while !left.is_empty() {
        left.shuffle(random);
        // Much at once now and then, so that some come very late.
        let until = way.len() + random.random_range(1..=left.len());
        left.retain(|made| {
            let comes = way.len() < until && made.0.parents().iter().all(|parent| there.contains(parent));
            if comes {
                there.insert(made.cid());
                way.push(made.clone());
            }
            !comes
        });
    }
    way
}

/// Folds to the entries themselves, and counts what it is given.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trace(Arc<AtomicUsize>);

impl Trace {
    /// Entries folded since somebody last asked.
    pub(crate) fn applied(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }
}

impl Fold for Trace {
    type State = Vec<(Cid, PeerId)>;

    fn start(&self) -> Self::State {
        vec![]
    }

    fn apply(&self, state: &mut Self::State, entry: &Entry) {
        self.0.fetch_add(1, Ordering::Relaxed);
        state.push((*entry.cid(), *entry.author()));
    }
}

pub(crate) fn cids(state: &[(Cid, PeerId)]) -> Vec<Cid> {
    state.iter().map(|(cid, _)| *cid).collect()
}

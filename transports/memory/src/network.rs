//! The network object: who is on it, and in which order links are served.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use carrick_core::{Host, PeerId, Result};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::state::State;
use crate::{Conditions, Memory, MemoryConfig};

/// How often a reader lets others go first, at most.
const MAX_TURNS: u32 = 4;

/// A network inside this process, which nodes join by mounting [`transport`](Self::transport). Cloning is cheap; all
/// clones are the same network.
///
/// It holds nothing of a node that is closed or dropped. One seed gives one order of delivery: a run on one thread,
/// with seeded nodes and tokio's paused clock, repeats exactly.
#[derive(Clone)]
pub struct MemoryNetwork(Arc<Wire>);

struct Wire {
    rng: Mutex<StdRng>,
    state: Mutex<State>,
}

/// The networks that configuration names. They live as long as somebody is on them.
static NAMED: Mutex<BTreeMap<String, Weak<Wire>>> = Mutex::new(BTreeMap::new());

impl MemoryNetwork {
    /// A network of its own; `seed` decides the order in which links are served.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Wire { rng: Mutex::new(StdRng::seed_from_u64(seed)), state: Mutex::default() }))
    }

    /// The network of this process that goes by a name; made, with seed 0, for the first who asks.
    pub fn named(name: &str) -> Self {
        let mut named = lock(&NAMED);
        if let Some(wire) = named.get(name).and_then(Weak::upgrade) {
            return Self(wire);
        }
        named.retain(|_, wire| wire.strong_count() > 0);
        let network = Self::new(0);
        named.insert(name.to_owned(), Arc::downgrade(&network.0));
        network
    }

    /// A way onto this network, on a free address: `Node::builder().mount("memory", network.transport())`.
    pub fn transport(&self) -> impl FnOnce(Host) -> OpenMemory + Send + use<> {
        self.transport_with(MemoryConfig::default())
    }

    /// As [`transport`](Self::transport), with an address and bootstrap peers; the name in `config` is not looked at.
    pub fn transport_with(&self, config: MemoryConfig) -> impl FnOnce(Host) -> OpenMemory + Send + use<> {
        let network = self.clone();
        move |host| std::future::ready(Memory::join(network, &config, host))
    }

    /// Makes every link as `conditions` say, now and in future.
    pub fn set_conditions(&self, conditions: Conditions) {
        self.state().weather.set(conditions);
    }

    /// Makes the link between two peers so, whenever there is one, until [`set_conditions`](Self::set_conditions) is
    /// called again.
    pub fn set_conditions_between(&self, one: PeerId, other: PeerId, conditions: Conditions) {
        self.state().weather.set_between(one, other, conditions);
    }

    /// Parts the network: links between peers of different sides end, and none comes up, until [`heal`](Self::heal). All
    /// peers that are on none of `sides` are one more.
    pub fn partition(&self, sides: &[&[PeerId]]) {
        self.state().partition(sides);
    }

    /// Ends a [`partition`](Self::partition): whoever is dialled now is reached.
    pub fn heal(&self) {
        self.state().weather.heal();
    }

    /// Whether something happens that does so with a likelihood, 0 to 1; the seed decides.
    pub(crate) fn happens(&self, likelihood: f64) -> bool {
        likelihood > 0.0 && lock(&self.0.rng).random_bool(likelihood.min(1.0))
    }

    /// A part of a time, as the seed has it.
    pub(crate) fn part_of(&self, time: Duration) -> Duration {
        if time.is_zero() { time } else { lock(&self.0.rng).random_range(Duration::ZERO..=time) }
    }

    /// Who is where. Nothing may be awaited, and no plugin's slow work done, while it is held.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0.state)
    }

    /// A number below `end` from the seed; 0 when `end` is.
    pub(crate) fn below(&self, end: u32) -> u32 {
        lock(&self.0.rng).random_range(0..end.max(1))
    }

    /// Lets other tasks go first, as often as the seed says: so it decides which link is served next.
    pub(crate) async fn turn(&self) {
        for _ in 0..self.below(MAX_TURNS) {
            tokio::task::yield_now().await;
        }
    }
}

/// A transport that is open already.
type OpenMemory = std::future::Ready<Result<Memory>>;

impl fmt::Debug for MemoryNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryNetwork({} nodes)", self.state().len())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! What the gate, the hosts and the router share.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};

use libp2p_identity::{Keypair, PeerId};
use multiaddr::Multiaddr;
use rand::rngs::StdRng;
use rand::{RngCore as _, SeedableRng as _};
use tokio::sync::Notify;

use super::book::Book;
use super::counters::{Counters, NODE};
use super::events::{Event, Gap, Hub};
use super::facts::Facts;
use super::gate::{Gate, SignatureMemo};
use super::hold::{Holds, Watched};
use super::host::{Misdeed, Mount, Notice};
use super::links::Links;
use super::mend::Repairs;
use super::outbox::Outbox;
use super::patience::Patience;
use super::peaks::Peaks;
use super::reputation::Reputation;
use super::router::Router;
use super::serve::Serving;
use super::shelf::Shelves;
use super::subscriptions::Subscriptions;
use super::tasks::Tasks;
use crate::limits::MAX_NUMBER;
use crate::{
    Clock, Lane, Limits, Membership, Message, NetworkId, Outgoing, Path, PeerRecord, Remote, Store, Topic,
    TopicRules, Validator,
};

/// Everything of a node but its transports, which hold it through their hosts; the way back is weak.
pub(crate) struct Core {
    pub(crate) key: Keypair,
    pub(crate) me: PeerId,
    pub(crate) network: NetworkId,
    pub(crate) limits: Limits,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) holds: Arc<Holds>,
    pub(crate) validators: Vec<Arc<dyn Validator>>,
    pub(crate) membership: RwLock<Arc<dyn Membership>>,
    pub(crate) gate: Gate,
    pub(crate) topics: Topics,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) events: Hub,
    pub(crate) outbox: Outbox,
    pub(crate) book: Book,
    pub(crate) reputation: Reputation,
    pub(crate) patience: Patience,
    pub(crate) counters: Counters,
    pub(crate) peaks: Peaks,
    pub(crate) facts: Facts,
    pub(crate) links: Links,
    pub(crate) tasks: Tasks,
    pub(crate) serving: Serving,
    pub(crate) shelves: Shelves,
    pub(crate) repairs: Repairs,
    /// Woken when something must be saved.
    pub(crate) unsaved: Notify,
    pub(crate) router: OnceLock<Weak<Router>>,
    listening: Mutex<Listening>,
    rng: Mutex<StdRng>,
}

/// What a [`Core`] is made of.
pub(crate) struct Parts {
    pub(crate) key: Keypair,
    pub(crate) network: NetworkId,
    pub(crate) limits: Limits,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) validators: Vec<Arc<dyn Validator>>,
    pub(crate) membership: Arc<dyn Membership>,
    pub(crate) rules: BTreeMap<Topic, TopicRules>,
    pub(crate) seed: Option<u64>,
    pub(crate) memo: Option<SignatureMemo>,
}

#[derive(Debug, Default)]
struct Listening {
    addrs: BTreeMap<Arc<str>, Vec<Multiaddr>>,
    record: Option<PeerRecord>,
    /// The number of the last record: a newer one has a higher, whatever the clock says.
    seq: u64,
}

impl Core {
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        let limits = parts.limits;
        let holds = Arc::<Holds>::default();
        Arc::new(Self {
            me: parts.key.public().to_peer_id(),
            key: parts.key,
            network: parts.network,
            clock: parts.clock,
            store: Arc::new(Watched::new(parts.store, Arc::clone(&holds))),
            holds,
            validators: parts.validators,
            membership: RwLock::new(parts.membership),
            gate: Gate::new(&limits, parts.memo),
            topics: Topics { rules: Mutex::new(parts.rules), joined: Mutex::default() },
            subscriptions: Subscriptions::default(),
            events: Hub::default(),
            outbox: Outbox::default(),
            book: Book::new(limits.known_peers),
            reputation: Reputation::default(),
            patience: Patience::new(limits.topics_per_peer),
            counters: Counters::default(),
            peaks: Peaks::default(),
            facts: Facts::default(),
            links: Links::default(),
            tasks: Tasks::here(),
            serving: Serving::new(&limits),
            shelves: Shelves::default(),
            repairs: Repairs::default(),
            unsaved: Notify::new(),
            router: OnceLock::new(),
            listening: Mutex::default(),
            rng: Mutex::new(parts.seed.map_or_else(StdRng::from_os_rng, StdRng::seed_from_u64)),
            limits,
        })
    }

    /// The transports, while the node lives and is open.
    pub(crate) fn router(&self) -> Option<Arc<Router>> {
        self.router.get().and_then(Weak::upgrade)
    }

    pub(crate) fn random(&self) -> u64 {
        lock(&self.rng).next_u64()
    }

    pub(crate) fn admits(&self, peer: &PeerId) -> bool {
        self.members().admits(peer) && !self.reputation.banned(&Remote::Peer(*peer))
    }

    /// Whether an author may publish on a topic now.
    pub(crate) fn may_publish(&self, author: &PeerId, topic: &Topic) -> bool {
        let members = self.members();
        if topic.is_reserved() { members.admits(author) } else { members.may_publish(author, topic) }
    }

    /// Who may connect and publish, as of now.
    pub(crate) fn members(&self) -> Arc<dyn Membership> {
        Arc::clone(&self.membership.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Our own record, signed anew when the addresses changed.
    pub(crate) fn record(&self) -> PeerRecord {
        let mut listening = lock(&self.listening);
        if let Some(record) = &listening.record {
            return record.clone();
        }
        let addrs = listening.addrs.values().flatten().cloned().collect();
        listening.seq = self.clock.now().as_millis().max(listening.seq.saturating_add(1)).min(MAX_NUMBER);
        #[expect(
            clippy::expect_used,
            reason = "an ed25519 key in memory always signs, and the number is in range"
        )]
        let record = PeerRecord::sign(&self.key, &self.network, listening.seq, addrs, vec![]).expect("signs");
        listening.record = Some(record.clone());
        record
    }

    pub(crate) fn learn(&self, from: &Remote, record: PeerRecord) -> bool {
        let peer = *record.peer();
        let connected = |peer: &PeerId| self.links.connected(&Remote::Peer(*peer));
        let news = peer != self.me && self.admits(&peer) && self.book.learn(from, record, connected);
        if news {
            self.unsaved.notify_one();
            self.events.tell(&Event::Learnt { peer });
        }
        news
    }

    pub(crate) fn listening(&self, mount: &Mount, addrs: Vec<Multiaddr>) {
        let mut listening = lock(&self.listening);
        if listening.addrs.get(&mount.name) != Some(&addrs) {
            listening.addrs.insert(Arc::clone(&mount.name), addrs.clone());
            listening.record = None;
            drop(listening);
            self.events.tell(&Event::Listening { transport: mount.name.to_string(), addrs });
        }
    }

    /// Blames a link for a message that its sender had to refuse itself.
    pub(crate) fn refused(&self, who: &Remote, mount: &Mount) {
        if mount.had_to_judge() && self.reputation.refused(who) {
            self.banned(who);
        }
    }

    pub(crate) fn report(&self, mount: &Mount, who: &Remote, misdeed: Misdeed) {
        if misdeed == Misdeed::Needless {
            self.needless(mount, who, self.patience.bears(who));
            return;
        }
        self.counters.count(&mount.name, misdeed.counter());
        tracing::debug!(%who, ?misdeed, transport = %mount.name, "misdeed");
        let bans = match misdeed {
            Misdeed::Stalled => self.reputation.stalled(who, self.limits.fetch_idle),
            _ => self.reputation.blame(who, misdeed),
        };
        if bans {
            self.banned(who);
        }
    }

    /// Counts what nobody needs. What is more than can be borne is blamed.
    pub(crate) fn needless(&self, mount: &Mount, who: &Remote, borne: bool) {
        self.counters.count(&mount.name, "needless");
        if !borne {
            self.report(mount, who, Misdeed::Spam);
        }
    }

    /// A remote is out: everybody hears of it, and its links end.
    pub(crate) fn banned(&self, who: &Remote) {
        tracing::warn!(%who, "banned");
        self.counters.count(NODE, "banned");
        self.events.tell(&Event::Banned { remote: who.clone() });
        let (Some(router), who) = (self.router(), who.clone()) else { return };
        self.tasks.spawn(async move { router.disconnect_everywhere(&who).await });
    }

    pub(crate) fn notice(&self, mount: &Mount, notice: Notice) {
        let transport = || mount.name.to_string();
        match notice {
            Notice::Up(remote, _) => {
                if !self.links.connected(&remote) {
                    self.patience.meet(&remote);
                }
                self.links.up(mount, &remote);
                self.events.tell(&Event::Up { transport: transport(), remote });
            }
            Notice::Down(remote) => {
                self.links.down(mount, &remote);
                self.events.tell(&Event::Down { transport: transport(), remote });
            }
            Notice::Joined(remote, topic) => {
                self.links.joined(mount, &remote, &topic);
                self.flush_outbox(&topic);
                self.events.tell(&Event::Joined { transport: transport(), remote, topic });
            }
            Notice::Left(remote, topic) => {
                self.links.left(mount, &remote, &topic);
                self.events.tell(&Event::Left { transport: transport(), remote, topic });
            }
            Notice::Gap { topic, missed } => self.tell_gap(Gap { topic, author: None, last: None, missed }),
            Notice::Listening(addrs) => self.listening(mount, addrs),
            Notice::Dropped { remote, count } => {
                tracing::debug!(%remote, count, transport = %mount.name, "messages dropped");
                self.counters.add(&mount.name, "dropped", count);
            }
            Notice::Forgot => mount.owed.all(),
            Notice::Changed => {}
        }
    }

    pub(crate) fn tell_gap(&self, gap: Gap) {
        self.counters.count(NODE, "gap");
        self.subscriptions.tell_gap(self, &gap);
        self.events.tell(&Event::Gap(gap));
    }

    /// Tells of two messages with one number, once.
    pub(crate) fn equivocation(&self, first: &Message, second: &Message) {
        if self.events.equivocation(first, second) {
            self.counters.count(NODE, "equivocation");
        }
    }

    /// Every transport that carries broadcast, a bit each.
    pub(crate) fn broadcast_bits(&self) -> u64 {
        self.router().map_or(0, |router| router.broadcast_bits())
    }

    /// Passes an accepted message on over the transports of `bits`, in a task.
    pub(crate) fn relay(&self, message: &Message, bits: u64) {
        let (Some(router), true) = (self.router(), bits != 0) else { return };
        let outgoing = Outgoing {
            id: *message.id(),
            topic: message.topic().clone(),
            bytes: message.encoded().clone(),
            lane: Lane::Relay,
        };
        self.tasks.spawn(async move { router.relay(&outgoing, bits).await });
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Core({} in {})", self.me, self.network)
    }
}

/// Which topics are joined, and the rules of each.
#[derive(Debug)]
pub(crate) struct Topics {
    rules: Mutex<BTreeMap<Topic, TopicRules>>,
    /// How many readers each has.
    joined: Mutex<BTreeMap<Topic, usize>>,
}

impl Topics {
    /// The rules of a topic for a message on this path; `None` for live ones when it was not joined.
    pub(crate) fn rules(&self, topic: &Topic, path: Path) -> Option<TopicRules> {
        if path == Path::Live && !lock(&self.joined).contains_key(topic) {
            return None;
        }
        let rules = lock(&self.rules).get(topic).copied();
        let default = if topic.is_reserved() { TopicRules::reserved() } else { TopicRules::default() };
        let rules = rules.unwrap_or(default);
        Some(if topic.is_reserved() { TopicRules { time: false, ..rules } } else { rules })
    }

    /// Whether payloads travel bare on a topic.
    pub(crate) fn is_raw(&self, topic: &Topic) -> bool {
        lock(&self.rules).get(topic).is_some_and(|rules| rules.raw)
    }

    /// The rules that were set.
    pub(crate) fn all_rules(&self) -> BTreeMap<Topic, TopicRules> {
        lock(&self.rules).clone()
    }

    pub(crate) fn set(&self, topic: Topic, rules: TopicRules) {
        lock(&self.rules).insert(topic, rules);
    }

    /// Adds a reader.
    pub(crate) fn more(&self, topic: &Topic) {
        *lock(&self.joined).entry(topic.clone()).or_default() += 1;
    }

    /// Takes a reader away; answers whether it was the last.
    pub(crate) fn fewer(&self, topic: &Topic) -> bool {
        let mut joined = lock(&self.joined);
        let Some(readers) = joined.get_mut(topic) else { return false };
        *readers -= 1;
        let last = *readers == 0;
        if last {
            joined.remove(topic);
        }
        last
    }

    pub(crate) fn joined(&self) -> Vec<Topic> {
        lock(&self.joined).keys().cloned().collect()
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

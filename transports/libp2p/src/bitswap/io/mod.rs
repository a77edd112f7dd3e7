//! Streams, tasks and time around the state machines.
//!
//! Both machines are behind one lock, which is held for as long as one event takes and never while anything is awaited. What
//! they want done is done by whoever brought the event. Each peer to which there is something to say has a writer; each stream
//! of a peer has a reader; a few tasks look up blocks for whose turn it is; one waits for time to pass.

mod fetch;
mod find;
mod read;
mod serve;
mod timer;
mod walk;
mod wire;
mod write;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use carrick_core::links::Tally;
use carrick_core::{Cid, Claim, Host, Misdeed, PeerId, Remote, Served};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Finder;
use super::client::{Action, Client, ProbeId, RequestId, Time, WantId};
use super::frontier::Place;
use super::limits;
use super::server::{Effect, Server};
#[cfg(test)]
pub(super) use wire::Opened;
pub(super) use wire::{Opener, PROTOCOLS, Wire, swarm_opener, wire};

/// Bytes of messages being read, of all peers that were asked for blocks.
const READING_AWAITED: usize = 48 << 20;
/// The same of all others: however slowly they send, they hold up nobody else's answers.
const READING_OTHERS: usize = 16 << 20;

/// How a request ended.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "nearly all of them are blocks")]
enum Outcome {
    /// The block, and who sent it.
    Here(Claim, PeerId),
    /// It is here, but there is no room for it: it is to be asked for again.
    Again,
    Failed(Tally),
}

/// Where the outcome of a request goes.
#[derive(Debug)]
enum Sink {
    One(oneshot::Sender<Outcome>),
    /// A walk has many; the channel has room for all of them. It holds bytes within its own bound.
    Walk(mpsc::Sender<(RequestId, Outcome)>, Place, Arc<walk::Held>),
}

/// What is known of a connected peer.
#[derive(Clone, Debug)]
struct Link {
    /// There is something to say.
    wake: Arc<Notify>,
    /// Something was said or looked up: there may be room in its wantlist.
    room: Arc<Notify>,
    /// It is gone.
    gone: CancellationToken,
    /// Bytes of its messages that may be read at once.
    reading: Arc<Semaphore>,
}

#[derive(Debug)]
struct State {
    client: Client,
    server: Server<Served>,
    links: HashMap<PeerId, Link>,
    /// Peers that have a writer.
    writers: HashMap<PeerId, CancellationToken>,
    sinks: HashMap<RequestId, Sink>,
    probes: HashMap<ProbeId, oneshot::Sender<Vec<PeerId>>>,
    finds: HashMap<WantId, CancellationToken>,
    /// Tasks that look up blocks.
    readers: usize,
    /// When the timer wakes.
    armed: Option<Time>,
}

/// What all tasks share.
pub(super) struct Shared {
    host: Host,
    opener: Box<dyn Opener>,
    finder: Arc<dyn Finder>,
    began: Instant,
    state: Mutex<State>,
    timer: Notify,
    reading_awaited: Arc<Semaphore>,
    reading_others: Arc<Semaphore>,
    closed: CancellationToken,
}

/// What is done after the lock is given back.
enum Work {
    Report(PeerId, Misdeed),
    Count(&'static str, u64),
    Find(WantId, Cid, CancellationToken),
    Write(PeerId, Link),
    Serve,
}

impl Shared {
    /// Begins, with nobody connected.
    pub(super) fn begin(host: Host, opener: Box<dyn Opener>, finder: Arc<dyn Finder>) -> Arc<Self> {
        let state = State {
            client: Client::new(host.limits().fetch_idle),
            server: Server::default(),
            links: HashMap::new(),
            writers: HashMap::new(),
            sinks: HashMap::new(),
            probes: HashMap::new(),
            finds: HashMap::new(),
            readers: 0,
            armed: None,
        };
        let shared = Arc::new(Self {
            opener,
            finder,
            began: Instant::now(),
            state: Mutex::new(state),
            timer: Notify::new(),
            reading_awaited: Arc::new(Semaphore::new(READING_AWAITED)),
            reading_others: Arc::new(Semaphore::new(READING_OTHERS)),
            closed: CancellationToken::new(),
            host,
        });
        shared.spawn(Arc::clone(&shared).tick());
        shared
    }

    /// Ends all tasks.
    pub(super) fn close(&self) {
        self.closed.cancel();
        let mut state = self.lock();
        state.links.clear();
        // Whoever waits hears that nothing comes.
        state.sinks.clear();
        state.probes.clear();
    }

    pub(super) fn connected(self: &Arc<Self>, peer: PeerId) {
        self.with(|state, now| {
            state.links.entry(peer).or_insert_with(|| Link {
                wake: Arc::default(),
                room: Arc::default(),
                gone: CancellationToken::new(),
                reading: Arc::new(Semaphore::new(super::message::MAX_MESSAGE)),
            });
            state.server.connected(peer);
            state.client.connected(peer, now);
        });
    }

    pub(super) fn disconnected(self: &Arc<Self>, peer: &PeerId) {
        self.with(|state, now| {
            if let Some(link) = state.links.remove(peer) {
                link.gone.cancel();
            }
            if let Some(writer) = state.writers.remove(peer) {
                writer.cancel();
            }
            state.server.disconnected(peer);
            state.client.disconnected(peer, now);
        });
    }

    pub(super) fn arrived(self: &Arc<Self>, cids: &[Cid]) {
        self.with(|state, _| cids.iter().for_each(|cid| state.server.arrived(cid)));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings an event to the machines, and does what they want done.
    fn with<R>(self: &Arc<Self>, event: impl FnOnce(&mut State, Time) -> R) -> R {
        let mut state = self.lock();
        let now = self.began.elapsed();
        let result = event(&mut state, now);
        let work = state.settle();
        if state.rearm() {
            self.timer.notify_one();
        }
        drop(state);
        work.into_iter().for_each(|work| self.work(work));
        result
    }

    fn work(self: &Arc<Self>, work: Work) {
        match work {
            Work::Report(peer, misdeed) => self.host.report(&Remote::Peer(peer), misdeed),
            Work::Count(what, n) => self.host.count(what, n),
            Work::Find(id, cid, cancel) => self.spawn(Arc::clone(self).find(id, cid, cancel)),
            Work::Write(peer, link) => self.spawn(Arc::clone(self).write(peer, link)),
            Work::Serve => self.spawn(Arc::clone(self).serve()),
        }
    }

    /// Runs a task until it ends or bitswap does.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let closed = self.closed.clone();
        self.host.spawn(async move {
            closed.run_until_cancelled(task).await;
        });
    }
}

impl State {
    /// What the machines want done: what is quick is done here, the rest is for after the lock.
    fn settle(&mut self) -> Vec<Work> {
        let mut work = Vec::new();
        for action in self.client.actions() {
            match action {
                Action::Wake(peer) => self.wake(peer, &mut work),
                Action::Failed(request, _, tally) => {
                    if let Some(sink) = self.sinks.remove(&request) {
                        sink.send(request, Outcome::Failed(tally));
                    }
                }
                Action::Find(id, cid) => {
                    let cancel = CancellationToken::new();
                    self.finds.insert(id, cancel.clone());
                    work.push(Work::Find(id, cid, cancel));
                }
                Action::StopFind(id) => {
                    if let Some(find) = self.finds.remove(&id) {
                        find.cancel();
                    }
                }
                Action::Probed(id, peers) => {
                    if let Some(probe) = self.probes.remove(&id) {
                        // The caller may have gone.
                        let _ = probe.send(peers);
                    }
                }
                Action::Report(peer, misdeed) => work.push(Work::Report(peer, misdeed)),
                Action::Count(what, n) => work.push(Work::Count(what, n)),
            }
        }
        for effect in self.server.effects() {
            match effect {
                Effect::Wake(peer) => self.wake(peer, &mut work),
                Effect::Report(peer, misdeed) => work.push(Work::Report(peer, misdeed)),
                Effect::Count(what, n) => work.push(Work::Count(what, n)),
            }
        }
        if self.server.has_turns() && self.readers < limits::READERS {
            self.readers += 1;
            work.push(Work::Serve);
        }
        work
    }

    /// Wakes the writer of a peer, or begins one.
    fn wake(&mut self, peer: PeerId, work: &mut Vec<Work>) {
        let Some(link) = self.links.get(&peer) else { return };
        link.room.notify_waiters();
        link.wake.notify_one();
        if let Entry::Vacant(writer) = self.writers.entry(peer) {
            writer.insert(link.gone.clone());
            work.push(Work::Write(peer, link.clone()));
        }
    }

    /// Whether the timer must wake sooner than it would.
    fn rearm(&mut self) -> bool {
        let due = self.client.next_due().into_iter().chain(self.server.next_due()).min();
        match (due, self.armed) {
            (Some(due), armed) if armed.is_none_or(|armed| due < armed) => {
                self.armed = Some(due);
                true
            }
            _ => false,
        }
    }
}

impl Sink {
    fn send(self, request: RequestId, outcome: Outcome) {
        match self {
            // Either caller may have gone.
            Self::One(sender) => drop(sender.send(outcome)),
            Self::Walk(sender, place, held) => {
                drop(sender.try_send((request, held.admit(place, outcome))));
            }
        }
    }
}

#[cfg(test)]
impl Shared {
    /// Whether nothing is fetched, and nothing remembered of what was.
    pub(super) fn is_idle(&self) -> bool {
        let state = self.lock();
        state.client.is_idle() && state.sinks.is_empty() && state.probes.is_empty() && state.finds.is_empty()
    }

    /// Whether nothing is remembered of any peer.
    pub(super) fn is_empty(&self) -> bool {
        let idle = self.is_idle();
        let state = self.lock();
        idle && state.server.is_empty() && state.links.is_empty() && state.writers.is_empty()
    }

    /// Whether providers are looked for.
    pub(super) fn is_finding(&self) -> bool {
        !self.lock().finds.is_empty()
    }

    /// What peers want and this node has not.
    pub(super) fn waiting(&self) -> usize {
        self.lock().server.waiting()
    }

    /// Bytes of blocks on their way to peers.
    pub(super) fn outstanding(&self) -> usize {
        self.lock().server.outstanding()
    }

    /// How many entries a peer's wantlist has.
    pub(super) fn wantlist(&self, peer: &PeerId) -> usize {
        self.lock().server.wantlist(peer)
    }
}

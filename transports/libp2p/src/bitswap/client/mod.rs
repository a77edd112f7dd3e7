//! What we want of others, as a state machine: events in, actions out. It knows neither streams nor clocks; the time is
//! passed in.
//!
//! Every caller's [request](Client::request) is for one block, within a [session](Session): the blocks of one DAG, say.
//! Requests for the same block share one [`Wanted`]. Whoever had blocks of the session before is asked for the next one at
//! once, the quickest first, as many as its window takes; several share the work. Where nobody is known to have a block, one
//! peer is asked for it and the others whether they have it, some at a time; then the finder is asked. Whoever does not deliver in time is
//! passed over.
//!
//! What is to be sent to a peer is taken by whoever writes to it ([`take`](Client::take)), so nothing queues but wants.

mod choose;
mod deliver;
mod peer;
mod probe;
mod session;
mod take;
mod want;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use carrick_core::links::{Miss, Tally};
use carrick_core::{Cid, Misdeed, PeerId};

use super::limits;
use peer::Peer;
use probe::Probe;
pub(crate) use probe::ProbeId;
use session::Session;
use want::{Find, Stand, Wanted};

/// Time since the machine began.
pub(crate) type Time = Duration;

/// A block that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct WantId(u64);
/// A caller that waits for a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RequestId(u64);
/// Requests that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SessionId(u64);

/// What is to be done now.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// There is something to send to a peer.
    Wake(PeerId),
    /// A request ended without the block.
    Failed(RequestId, Cid, Tally),
    /// Look for providers.
    Find(WantId, Cid),
    /// Nobody needs that search any more.
    StopFind(WantId),
    /// A question of [`Client::probe`] is answered.
    Probed(ProbeId, Vec<PeerId>),
    /// A peer did wrong.
    Report(PeerId, Misdeed),
    /// Something to count.
    Count(&'static str, u64),
}

#[derive(Debug)]
struct Request {
    want: WantId,
    session: SessionId,
}

/// The wants of this node.
#[derive(Debug, Default)]
pub(crate) struct Client {
    /// The next number for whatever needs one.
    next: u64,
    ids: HashMap<Cid, WantId>,
    wants: HashMap<WantId, Wanted>,
    requests: HashMap<RequestId, Request>,
    sessions: HashMap<SessionId, Session>,
    peers: BTreeMap<PeerId, Peer>,
    /// When to look at a want again.
    due: BTreeSet<(Time, WantId)>,
    /// When to blame a peer that says nothing.
    blames: BTreeSet<(Time, PeerId)>,
    /// Wants of which nobody is known to have them: whoever connects is asked.
    seeking: BTreeSet<WantId>,
    /// Sessions with wants that wait for room, the important first.
    waiting: BTreeSet<(i8, SessionId)>,
    /// Who delivered something lately, the last first.
    recent: VecDeque<PeerId>,
    finds: usize,
    finds_waiting: VecDeque<WantId>,
    probes: BTreeMap<ProbeId, Probe>,
    probed: HashMap<Cid, Vec<ProbeId>>,
    /// How long a request may be kept waiting before whoever does is blamed.
    idle: Duration,
    actions: Vec<Action>,
}

impl Client {
    /// Nothing wanted yet. `idle` is the node's [`fetch_idle`](carrick_core::Limits::fetch_idle).
    pub(crate) fn new(idle: Duration) -> Self {
        Self { idle, ..Self::default() }
    }

    /// What there is to do. Take it after every event.
    pub(crate) fn actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// Begins a session: `hints` are asked first, `avoid` not at all.
    pub(crate) fn begin(&mut self, hints: &[PeerId], avoid: &[PeerId], priority: i8) -> SessionId {
        let id = SessionId(self.number());
        let good = self.recent.iter().filter(|peer| !avoid.contains(peer)).take(limits::GOOD / 2).copied();
        let session = Session::new(hints, avoid, priority, good.collect());
        self.sessions.insert(id, session);
        id
    }

    /// Ends a session; its requests must have ended.
    pub(crate) fn end(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.remove(&id) {
            self.waiting.remove(&(session.order(), id));
        }
    }

    /// Wants a block. `None` when there are as many requests or wants as may be.
    pub(crate) fn request(&mut self, session: SessionId, cid: Cid, now: Time) -> Option<RequestId> {
        let priority = self.sessions.get(&session)?.priority;
        if self.requests.len() >= limits::REQUESTS {
            return None;
        }
        let request = RequestId(self.number());
        let want = match self.ids.get(&cid) {
            Some(want) => *want,
            None if self.wants.len() >= limits::WANTS => return None,
            None => {
                let want = WantId(self.number());
                self.ids.insert(cid, want);
                self.wants.insert(want, Wanted::new(cid, priority, now));
                want
            }
        };
        self.requests.insert(request, Request { want, session });
        if let Some(wanted) = self.wants.get_mut(&want) {
            wanted.requests.push(request);
            // Another session may know others to ask.
            if wanted.requests.len() > 1 {
                wanted.ask_anew();
            }
        }
        self.drive(want, now);
        Some(request)
    }

    /// The caller no longer waits.
    pub(crate) fn drop_request(&mut self, id: RequestId, now: Time) {
        let Some(request) = self.requests.remove(&id) else { return };
        let Some(wanted) = self.wants.get_mut(&request.want) else { return };
        wanted.requests.retain(|other| *other != id);
        if wanted.requests.is_empty() {
            self.forget(request.want, None, now);
        } else {
            self.drive_anew(request.want, now);
        }
    }

    /// One of several requests for a block ended: another session may decide now.
    fn drive_anew(&mut self, id: WantId, now: Time) {
        if let Some(wanted) = self.wants.get_mut(&id) {
            wanted.queued = false;
        }
        self.drive(id, now);
    }

    /// A peer connected.
    pub(crate) fn connected(&mut self, peer: PeerId, now: Time) {
        if self.peers.contains_key(&peer) {
            return;
        }
        self.peers.insert(peer, Peer::new());
        self.ask_what_is_sought(peer, now);
    }

    /// Whoever was not there yet may have what nobody else has.
    fn ask_what_is_sought(&mut self, peer: PeerId, now: Time) {
        let seeking: Vec<_> = self.seeking.iter().take(limits::QUESTIONS).copied().collect();
        for want in seeking {
            self.ask_newcomer(want, peer, now);
        }
    }

    /// A peer is gone: whatever was asked of it is asked of others.
    pub(crate) fn disconnected(&mut self, peer: &PeerId, now: Time) {
        let Some(gone) = self.peers.remove(peer) else { return };
        let waiting = self.waiting_for(peer);
        self.recent.retain(|other| other != peer);
        for session in self.sessions.values_mut() {
            session.good.retain(|other| other != peer);
        }
        for id in gone.wants {
            let Some(wanted) = self.wants.get_mut(&id) else { continue };
            if let Some(Stand::Block { .. } | Stand::Late { .. } | Stand::Has) = wanted.remove(peer) {
                wanted.tally.note(Miss::Lost);
            }
            self.drive(id, now);
        }
        waiting.into_iter().for_each(|session| self.drive_queue(session, now));
        self.leave_probes(peer);
    }

    /// What the peer speaks, once a stream to it is open.
    pub(crate) fn speaks(&mut self, peer: &PeerId, presences: bool, now: Time) {
        let Some(known) = self.peers.get_mut(peer) else { return };
        known.speaks = true;
        if known.presences == presences {
            return;
        }
        known.presences = presences;
        if !presences {
            self.no_questions(peer, now);
        }
    }

    /// The peer opened a stream of bitswap: it can be asked.
    pub(crate) fn unmute(&mut self, peer: &PeerId, now: Time) {
        let Some(known) = self.peers.get_mut(peer).filter(|peer| !peer.speaks) else { return };
        (known.speaks, known.rests) = (true, None);
        self.ask_what_is_sought(*peer, now);
    }

    /// A while passed since the peer was [left alone](Self::mute).
    pub(crate) fn rested(&mut self, peer: &PeerId, now: Time) {
        if self.peers.get(peer).is_some_and(|peer| peer.rests.is_some_and(|until| until <= now)) {
            self.unmute(peer, now);
        }
    }

    /// The peer speaks no bitswap, or no stream to it can be opened: nothing is asked of it until it does, or `rests` is over.
    pub(crate) fn mute(&mut self, peer: &PeerId, rests: Option<Time>, now: Time) {
        let Some(mut known) = self.peers.remove(peer) else { return };
        let wants = std::mem::take(&mut known.wants);
        let mut silent = Peer::new();
        (silent.speaks, silent.rests) = (false, rests);
        self.peers.insert(*peer, silent);
        for id in wants {
            if let Some(wanted) = self.wants.get_mut(&id) {
                wanted.remove(peer);
                wanted.tally.note(Miss::Lost);
            }
            self.drive(id, now);
        }
        let waiting = self.waiting_for(peer);
        waiting.into_iter().for_each(|session| self.drive_queue(session, now));
        self.leave_probes(peer);
    }

    /// Whether one more request is taken.
    #[cfg(test)]
    pub(crate) fn has_room(&self) -> bool {
        self.requests.len() < limits::REQUESTS && self.wants.len() < limits::WANTS
    }

    /// Whether anything of what this peer may send is wanted: what it sends otherwise need not be hashed.
    pub(crate) fn expects(&self, peer: &PeerId) -> bool {
        self.peers
            .get(peer)
            .is_some_and(|peer| !peer.wants.is_empty() || !peer.settled.is_empty() || peer.probes > 0)
    }

    /// Whether this peer was asked for a block that has not come.
    pub(crate) fn awaits_block(&self, peer: &PeerId) -> bool {
        self.peers.get(peer).is_some_and(|peer| peer.blocks + peer.owed > 0)
    }

    /// Whether this peer ever sent a block that it was asked for.
    pub(crate) fn has_delivered(&self, peer: &PeerId) -> bool {
        self.peers.get(peer).is_some_and(|peer| peer.served > Time::ZERO)
    }

    /// When [`wake`](Self::wake) is to be called.
    pub(crate) fn next_due(&self) -> Option<Time> {
        let first = |due: Option<Time>, other: Option<Time>| due.into_iter().chain(other).min();
        let wants = self.due.first().map(|(due, _)| *due);
        let blames = self.blames.first().map(|(due, _)| *due);
        first(first(wants, blames), self.probe_due())
    }

    /// Looks at what is due.
    pub(crate) fn wake(&mut self, now: Time) {
        while let Some((due, id)) = self.due.first().copied().filter(|(due, _)| *due <= now) {
            self.due.remove(&(due, id));
            if let Some(wanted) = self.wants.get_mut(&id) {
                wanted.due = None;
            }
            self.expire(id, now);
            self.drive(id, now);
        }
        while let Some((due, peer)) = self.blames.first().copied().filter(|(due, _)| *due <= now) {
            self.blames.remove(&(due, peer));
            self.blame(&peer, due);
        }
        self.end_probes(now);
    }

    /// Whether nothing is remembered of any want: all has been freed.
    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        self.ids.is_empty()
            && self.wants.is_empty()
            && self.requests.is_empty()
            && self.sessions.is_empty()
            && self.due.is_empty()
            && self.seeking.is_empty()
            && self.waiting.is_empty()
            && self.finds == 0
            && self.finds_waiting.is_empty()
            && self.probes.is_empty()
            && self.probed.is_empty()
            && self
                .peers
                .values()
                .all(|peer| peer.wants.is_empty() && peer.blocks + peer.owed + peer.questions == 0)
    }

    /// What is known of a want, for a failure.
    #[cfg(test)]
    pub(crate) fn describe(&self, cid: &Cid) -> String {
        let id = self.ids.get(cid);
        let seeking = id.is_some_and(|id| self.seeking.contains(id));
        format!("seeking {seeking}, {:?}", id.and_then(|id| self.wants.get(id)))
    }

    /// How much is to be told to a peer.
    #[cfg(test)]
    pub(crate) fn told(&self, peer: &PeerId) -> usize {
        self.peers.get(peer).map_or(0, |peer| peer.ops.len())
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn count(&mut self, what: &'static str, n: u64) {
        self.actions.push(Action::Count(what, n));
    }

    /// The session that decides whom to ask.
    fn session_of(&self, want: &Wanted) -> Option<SessionId> {
        want.requests.first().and_then(|request| self.requests.get(request)).map(|request| request.session)
    }

    /// Looks for providers, or waits for its turn to.
    fn find(&mut self, id: WantId) {
        let Some(wanted) = self.wants.get_mut(&id) else { return };
        if wanted.find != Find::Not {
            return;
        }
        if self.finds < limits::FINDS {
            wanted.find = Find::Running;
            self.finds += 1;
            self.actions.push(Action::Find(id, wanted.cid));
        } else {
            wanted.find = Find::Waiting;
            self.finds_waiting.push_back(id);
        }
    }

    /// A provider was found; it is connected, or about to be told of.
    pub(crate) fn found(&mut self, id: WantId, peer: PeerId, now: Time) {
        let Some(wanted) = self.wants.get(&id) else { return };
        if let Some(session) = self.session_of(wanted).and_then(|id| self.sessions.get_mut(&id)) {
            session.hint(peer);
        }
        self.drive(id, now);
    }

    /// The search is over.
    pub(crate) fn find_ended(&mut self, id: WantId, now: Time) {
        let running = self.wants.get_mut(&id).filter(|wanted| wanted.find == Find::Running);
        if let Some(wanted) = running {
            wanted.find = Find::Ended;
            self.finds -= 1;
            self.next_find();
            self.drive(id, now);
        }
    }

    fn next_find(&mut self) {
        while self.finds < limits::FINDS
            && let Some(id) = self.finds_waiting.pop_front()
        {
            if let Some(wanted) = self.wants.get_mut(&id).filter(|wanted| wanted.find == Find::Waiting) {
                wanted.find = Find::Not;
                self.find(id);
            }
        }
    }
}

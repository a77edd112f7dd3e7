//! Deduplication: once over all transports.
//!
//! Three lists: messages being judged now, messages with a verdict, and bytes that proved to be no message. The last is
//! a list of its own, so that a flood of rubbish cannot push verdicts out. Accept and Reject are remembered, Ignore is
//! not: the message may come again.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cid::Cid;
use lru::LruCache;
use tokio::time::Instant;

use crate::node::answer::{Answer, Teller, answer};
use crate::node::host::Mount;
use crate::{Cause, Message, MessageId};

/// What the gate makes of a message in the end.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    Accept(Message),
    Ignore(Cause),
    Reject(Cause),
}

/// What is known of an id.
pub(super) enum Known {
    /// Nothing: the caller judges it and must [`accept`](Seen::accept) or [`refuse`](Seen::refuse) it. What is held says, once
    /// it is dropped, that the validators had their say.
    New(Teller<Outcome>, Answer<Outcome>, Unjudged),
    /// Somebody else judges it; the answer will be here.
    Judged(Answer<Outcome>),
    /// It was accepted; whether this transport is told so for the first time.
    Accepted { first: bool },
    /// It was rejected.
    Rejected,
}

#[derive(Debug)]
pub(super) struct Seen {
    state: Mutex<State>,
    ttl: Duration,
}

#[derive(Debug)]
struct State {
    judging: HashMap<MessageId, Judging>,
    settled: LruCache<MessageId, Settled>,
    rubbish: LruCache<MessageId, Instant>,
}

/// A message that no validator has judged yet.
#[derive(Debug)]
pub(super) struct Unjudged(#[expect(dead_code, reason = "it is dropped")] Teller<()>);

/// A message that is being judged.
#[derive(Clone, Debug)]
pub(super) struct Awaited {
    /// Told when the validators had their say, for the first time at least.
    pub(super) judged: Answer<()>,
    pub(super) outcome: Answer<Outcome>,
}

#[derive(Debug)]
struct Judging {
    answer: Answer<Outcome>,
    judged: Answer<()>,
    /// How many deliveries of each transport instance wait for the answer.
    waiting: BTreeMap<u8, u32>,
    /// The transport instances that passed it on before we were asked, a bit each.
    passed_on: u64,
}

#[derive(Debug)]
struct Settled {
    at: Instant,
    accepted: bool,
    /// Its number guards it not, so that only a full list forgets it.
    lasts: bool,
    /// The transport instances on which it was relayed, a bit each.
    relayed: u64,
}

impl Seen {
    pub(super) fn new(capacity: usize, ttl: Duration) -> Self {
        let capacity = NonZeroUsize::new(capacity).unwrap_or(NonZeroUsize::MIN);
        let state = State {
            judging: HashMap::new(),
            settled: LruCache::sparse(capacity),
            rubbish: LruCache::sparse(capacity),
        };
        Self { state: Mutex::new(state), ttl }
    }

    /// Looks an id up for a delivery over `mount`, or for ourselves, and begins to judge it when it is new.
    pub(super) fn begin(&self, id: MessageId, mount: Option<&Mount>) -> Known {
        let mut state = self.lock();
        if let Some(judging) = state.judging.get_mut(&id) {
            if let Some(mount) = mount {
                *judging.waiting.entry(mount.index).or_default() += 1;
                judging.passed_on |= passed_on(mount);
            }
            return Known::Judged(judging.answer.clone());
        }
        if state.rubbish.get(&id).is_some_and(|at| at.elapsed() < self.ttl) {
            return Known::Rejected;
        }
        match state.settled.get_mut(&id) {
            Some(settled) if settled.accepted && (settled.lasts || settled.at.elapsed() < self.ttl) => {
                let bit = mount.map_or(0, Mount::bit);
                let first = bit != 0 && settled.relayed & bit == 0;
                settled.relayed |= bit;
                return Known::Accepted { first };
            }
            Some(settled) if settled.at.elapsed() < self.ttl => return Known::Rejected,
            _ => {}
        }
        let ((tell, answer), (unjudged, judged)) = (answer(), answer());
        let waiting = mount.map(|mount| (mount.index, 1)).into_iter().collect();
        let passed_on = mount.map_or(0, passed_on);
        state.judging.insert(id, Judging { answer: answer.clone(), judged, waiting, passed_on });
        Known::New(tell, answer, Unjudged(unjudged))
    }

    /// What becomes of a message that is being judged now.
    pub(super) fn outcome(&self, message: &Cid) -> Option<Answer<Outcome>> {
        self.in_the_gate(std::slice::from_ref(message)).pop().map(|awaited| awaited.outcome)
    }

    /// Those messages that are being judged now.
    pub(super) fn in_the_gate(&self, messages: &[Cid]) -> Vec<Awaited> {
        let state = self.lock();
        let judging = messages.iter().filter_map(|cid| state.judging.get(&MessageId::from_cid(*cid)));
        judging
            .map(|judging| Awaited { judged: judging.judged.clone(), outcome: judging.answer.clone() })
            .collect()
    }

    /// Whether a message was accepted, here and lately.
    pub(super) fn accepted(&self, id: &MessageId) -> bool {
        let state = self.lock();
        state.settled.peek(id).is_some_and(|settled| settled.accepted)
    }

    /// Whether a message had its verdict: accepted, or signed and rejected.
    pub(super) fn settled(&self, id: &MessageId) -> bool {
        self.lock().settled.contains(id)
    }

    /// Whether a message had its verdict or is being judged.
    pub(super) fn knows(&self, id: &MessageId) -> bool {
        let state = self.lock();
        state.settled.contains(id) || state.judging.contains_key(id)
    }

    /// Ends the judging of an accepted message. Answers the transports of `relay` (a bit each) on which nobody waits to relay
    /// it: the node must do so itself. One that `lasts` is not forgotten with time.
    pub(super) fn accept(&self, id: MessageId, lasts: bool, relay: u64) -> u64 {
        let mut state = self.lock();
        let theirs = state.judging.remove(&id).map_or(0, |judging| {
            let waiting = judging.waiting.iter().filter(|(_, n)| **n > 0);
            waiting.fold(judging.passed_on, |bits, (index, _)| bits | (1_u64 << index))
        });
        let ours = relay & !theirs;
        state.settled.put(id, Settled { at: Instant::now(), accepted: true, lasts, relayed: ours });
        ours
    }

    /// Ends the judging of a refused message. What is `verified` was signed by its author.
    pub(super) fn refuse(&self, id: MessageId, outcome: &Outcome, verified: bool) {
        let mut state = self.lock();
        state.judging.remove(&id);
        let at = Instant::now();
        match outcome {
            Outcome::Reject(_) if verified => {
                state.settled.put(id, Settled { at, accepted: false, lasts: false, relayed: 0 });
            }
            Outcome::Reject(_) => {
                state.rubbish.put(id, at);
            }
            Outcome::Accept(_) | Outcome::Ignore(_) => {}
        }
    }

    /// Remembers bytes that are no message at all.
    pub(super) fn rubbish(&self, id: MessageId) {
        let mut state = self.lock();
        state.judging.remove(&id);
        state.rubbish.put(id, Instant::now());
    }

    /// A delivery no longer waits. When it was accepted and this was the last to relay it on its transport, the caller must.
    pub(super) fn abandon(&self, id: &MessageId, mount: &Mount) -> bool {
        let mut state = self.lock();
        if let Some(judging) = state.judging.get_mut(id) {
            if let Some(waiting) = judging.waiting.get_mut(&mount.index) {
                *waiting = waiting.saturating_sub(1);
            }
            return false;
        }
        Self::claim_in(&mut state, id, mount) && passed_on(mount) == 0
    }

    /// Claims the right to relay an accepted message on a transport: `true` once.
    pub(super) fn claim(&self, id: &MessageId, mount: &Mount) -> bool {
        Self::claim_in(&mut self.lock(), id, mount)
    }

    fn claim_in(state: &mut State, id: &MessageId, mount: &Mount) -> bool {
        match state.settled.peek_mut(id) {
            Some(settled) if settled.accepted && settled.relayed & mount.bit() == 0 => {
                settled.relayed |= mount.bit();
                true
            }
            _ => false,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bit of a transport that relays without our verdict: what came over it needs no relay of ours there.
fn passed_on(mount: &Mount) -> u64 {
    if mount.relays_after_verdict() { 0 } else { mount.bit() }
}

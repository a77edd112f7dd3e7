//! The gate: every message passes it before it is stored, relayed or handed out.
//!
//! It runs as tasks of the node that callers watch, so that dropping the future of a delivery cancels nothing. The cheap
//! stages (size, seen, decode, network, topic) run where the message arrives and take its author's turn; signature,
//! membership, clock, number and validators run concurrently after that, those of our own messages where they are made as
//! far as nothing is waited for. What is accepted is handed out when its turn comes; on a ledger, after its parents.

mod authors;
mod judge;
mod numbers;
mod seen;
mod turns;
mod waiting;

use std::future::{Ready, ready};
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::{BoxFuture, Either};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::authors::Authors;
pub use self::authors::SignatureMemo;
use self::judge::Job;
pub(in crate::node) use self::judge::guarded;
use self::numbers::Number;
pub(crate) use self::numbers::{Numbers, PREFIX as NUMBERS_PREFIX};
use self::seen::{Known, Outcome, Seen, Unjudged};
use self::turns::{Turn, Turns};
use self::waiting::{Reach, WaitingRoom};
use super::answer::{Answer, Teller};
use super::core::Core;
use super::counters::NODE;
use super::host::{Inbound, Mount, Relay};
use super::per_remote::PerRemote;
use crate::types::Unreadable;
use crate::{Cause, Limits, Message, MessageId, Misdeed, Path, Remote, Topic, TopicRules, Verdict};

/// Room in the gate, and what is known of messages.
#[derive(Debug)]
pub(crate) struct Gate {
    total: Arc<Semaphore>,
    remotes: PerRemote,
    seen: Seen,
    turns: Arc<Turns>,
    room: Arc<WaitingRoom>,
    authors: Authors,
    pub(crate) numbers: Numbers,
}

/// Room for one message. Dropping it gives the room back.
#[derive(Debug)]
pub(crate) struct Ticket {
    remote: OwnedSemaphorePermit,
    _total: OwnedSemaphorePermit,
}

impl Ticket {
    /// What says that there is room, and takes none.
    #[cfg(any(test, feature = "conformance"))]
    pub(in crate::node) fn forged() -> Option<Self> {
        let one = || Arc::new(Semaphore::new(1)).try_acquire_owned().ok();
        Some(Self { remote: one()?, _total: one()? })
    }
}

/// A message on its way into the gate.
pub(super) struct Arrival {
    pub(super) topic: Topic,
    pub(super) bytes: Bytes,
    pub(super) wire_id: Option<Bytes>,
    pub(super) path: Path,
    pub(super) from: Option<Remote>,
    pub(super) mount: Option<Mount>,
    ticket: Option<Ticket>,
    reach: Reach,
    /// It was missing, and no number of its author above this one was used before it was found to be.
    missing_above: Option<u64>,
}

/// What a transport waits for. Most messages came another way before, and that is known at once.
pub(in crate::node) type RelayAnswer = Either<Ready<Relay>, BoxFuture<'static, Relay>>;

/// What becomes of an arrival at once.
enum Entered {
    Known(Relay),
    Refused(Cause),
    Judged(MessageId, Answer<Outcome>),
}

impl Gate {
    pub(crate) fn new(limits: &Limits, memo: Option<SignatureMemo>) -> Self {
        Self {
            total: Arc::new(Semaphore::new(limits.gate_total)),
            remotes: PerRemote::new(limits.gate_per_remote),
            seen: Seen::new(limits.seen, limits.seen_ttl),
            turns: Arc::default(),
            room: Arc::default(),
            authors: Authors::new(memo),
            numbers: Numbers::new(limits.authors),
        }
    }

    /// Waits for room.
    pub(crate) async fn ticket(&self, from: &Remote) -> Ticket {
        loop {
            let of_remote = self.remotes.of(from).acquire_owned().await;
            let total = Arc::clone(&self.total).acquire_owned().await;
            // Neither semaphore is ever closed.
            if let (Ok(of_remote), Ok(total)) = (of_remote, total) {
                return Ticket { remote: of_remote, _total: total };
            }
        }
    }

    /// A place among the messages of its author. On a ledger there is none: each waits for those that it follows.
    fn turn(&self, message: &Message, rules: TopicRules) -> Option<Turn> {
        let author = message.author().filter(|_| !rules.is_a_ledger())?;
        Some(self.turns.take(*author, message))
    }

    /// Room if there is some now.
    pub(crate) fn try_ticket(&self, from: &Remote) -> Option<Ticket> {
        let of_remote = self.remotes.of(from).try_acquire_owned().ok()?;
        let total = Arc::clone(&self.total).try_acquire_owned().ok()?;
        Some(Ticket { remote: of_remote, _total: total })
    }

    /// Whether a message was accepted lately.
    pub(crate) fn accepted(&self, id: &MessageId) -> bool {
        self.seen.accepted(id)
    }

    /// Whether a message had its verdict lately, or is being judged.
    pub(crate) fn knows(&self, id: &MessageId) -> bool {
        self.seen.knows(id)
    }

    /// Whether a message was here before, as far as its number tells. None above the given one was used, but for those that
    /// came lately.
    pub(crate) fn had(&self, message: &Message, unused_above: u64) -> bool {
        message.author().is_some_and(|author| {
            !matches!(self.numbers.check(author, message, Some(unused_above)), Number::Fresh)
        })
    }
}

impl Core {
    /// Takes a message from a transport. The cheap stages run before this returns, so that calls in the order of arrival
    /// keep it; the future only waits for the answer.
    pub(crate) fn deliver(self: Arc<Self>, mount: Mount, ticket: Ticket, inbound: Inbound) -> RelayAnswer {
        self.note_gate(&ticket);
        let entered = self.enter(Arrival {
            topic: inbound.topic,
            bytes: inbound.bytes,
            wire_id: inbound.wire_id,
            path: Path::Live,
            from: Some(inbound.from.clone()),
            mount: Some(mount.clone()),
            ticket: Some(ticket),
            reach: Reach::full(&self.limits),
            missing_above: None,
        });
        match entered {
            Entered::Known(relay) => Either::Left(ready(relay)),
            Entered::Refused(_) => Either::Left(ready(Relay::Reject)),
            Entered::Judged(id, answer) => {
                // Made here, so that a future which is dropped before it was ever polled is missed too.
                let waiter = Waiter { core: self, id, mount, answer, done: false };
                Either::Right(async move { waiter.relay(&inbound.from).await }.boxed())
            }
        }
    }

    /// Takes a message as catch-up and waits for what becomes of it.
    pub(crate) async fn admit(
        self: &Arc<Self>,
        topic: &Topic,
        bytes: Bytes,
        from: Option<Remote>,
        reach: Option<Reach>,
    ) -> Verdict {
        self.catch_up(topic, bytes, from, reach, None).await
    }

    /// As [`admit`](Self::admit), for a message that was missing. Whoever fetched it tells what stays missing.
    pub(crate) async fn admit_missing(
        self: &Arc<Self>,
        topic: &Topic,
        bytes: Bytes,
        from: Option<Remote>,
        above: u64,
    ) -> Verdict {
        self.catch_up(topic, bytes, from, None, Some(above)).await
    }

    async fn catch_up(
        self: &Arc<Self>,
        topic: &Topic,
        bytes: Bytes,
        from: Option<Remote>,
        reach: Option<Reach>,
        missing_above: Option<u64>,
    ) -> Verdict {
        let me = Remote::Peer(self.me);
        let ticket = self.gate.ticket(from.as_ref().unwrap_or(&me)).await;
        self.note_gate(&ticket);
        let entered = self.enter(Arrival {
            topic: topic.clone(),
            bytes,
            wire_id: None,
            path: Path::CatchUp,
            from,
            mount: None,
            ticket: Some(ticket),
            reach: reach.unwrap_or_else(|| Reach::full(&self.limits)),
            missing_above,
        });
        match entered {
            Entered::Refused(cause) => Verdict::Reject(cause),
            Entered::Known(Relay::Ignore) => Verdict::Ignore("its sender is not listened to".into()),
            Entered::Known(_) => Verdict::Accept,
            Entered::Judged(_, answer) => wait(answer).await.into(),
        }
    }

    /// Judges a message of our own, which is signed already.
    pub(crate) async fn judge_own(self: &Arc<Self>, message: Message, rules: TopicRules) -> Verdict {
        let id = *message.id();
        let answer = match self.gate.seen.begin(id, None) {
            Known::New(tell, answer, unjudged) => {
                let turn = self.gate.turn(&message, rules);
                let job = Job::own(message, rules, turn, Reach::full(&self.limits), unjudged);
                self.start_here(job, tell);
                answer
            }
            Known::Judged(answer) => answer,
            Known::Accepted { .. } => return Verdict::Accept,
            Known::Rejected => return Verdict::Reject("it was rejected before".into()),
        };
        wait(answer).await.into()
    }

    fn note_gate(&self, ticket: &Ticket) {
        let taken = |room: &Semaphore, of: usize| of.saturating_sub(room.available_permits());
        let Limits { gate_total, gate_per_remote, .. } = self.limits;
        let of_remote = taken(ticket.remote.semaphore(), gate_per_remote);
        let total = taken(&self.gate.total, gate_total);
        self.peaks.note(NODE, [("gate", total, gate_total), ("gate_of_remote", of_remote, gate_per_remote)]);
    }

    /// The cheap stages.
    fn enter(self: &Arc<Self>, arrival: Arrival) -> Entered {
        let scope = arrival.mount.as_ref().map_or(NODE, |mount| &mount.name);
        let Some(rules) = self.topics.rules(&arrival.topic, arrival.path) else {
            self.counters.count(scope, "unjoined");
            return Entered::Known(Relay::Ignore);
        };
        if let Some(from) = arrival.from.as_ref().filter(|from| !self.reputation.relays(from)) {
            // Whoever goes on all the same ends banned, unless it was asked.
            self.counters.count(scope, "quiet");
            if arrival.path == Path::Live && self.reputation.blame(from, Misdeed::Spam) {
                self.banned(from);
            }
            return Entered::Known(Relay::Ignore);
        }
        if arrival.bytes.len() > self.limits.envelope_bytes() {
            self.blame(&arrival, "oversized");
            return Entered::Refused("it is larger than a message may be".into());
        }
        let id = if rules.raw {
            MessageId::of_raw(arrival.wire_id.as_deref(), &arrival.bytes)
        } else {
            MessageId::of(&arrival.bytes)
        };
        match self.gate.seen.begin(id, arrival.mount.as_ref()) {
            Known::Judged(answer) => Entered::Judged(id, answer),
            Known::Accepted { first } => {
                self.counters.count(scope, "duplicate");
                self.repeated(arrival.from.as_ref(), arrival.mount.as_ref());
                Entered::Known(if first && arrival.path == Path::Live {
                    Relay::Accept
                } else {
                    Relay::Duplicate
                })
            }
            Known::Rejected => {
                self.counters.count(scope, "rejected_again");
                if let (Some(from), Some(mount)) = (&arrival.from, &arrival.mount) {
                    self.refused(from, mount);
                }
                Entered::Refused("it was rejected before".into())
            }
            Known::New(tell, answer, unjudged) => {
                self.enter_new(id, arrival, rules, (tell, unjudged), answer)
            }
        }
    }

    /// A message came that was here before. Who brings such ones without end is blamed.
    fn repeated(&self, from: Option<&Remote>, mount: Option<&Mount>) {
        let Some(mount) = mount.filter(|mount| mount.had_to_judge()) else { return };
        if let Some(from) = from {
            self.needless(mount, from, self.patience.bears(from));
        }
    }

    fn enter_new(
        self: &Arc<Self>,
        id: MessageId,
        arrival: Arrival,
        rules: TopicRules,
        (tell, unjudged): (Teller<Outcome>, Unjudged),
        answer: Answer<Outcome>,
    ) -> Entered {
        let decoded = if rules.raw {
            Ok(Message::raw(id, arrival.topic.clone(), arrival.bytes.clone(), self.clock.now()))
        } else {
            Message::decode(id, arrival.bytes.clone(), &self.network, self.limits.payload_bytes)
        };
        let message = match decoded {
            Ok(message) if *message.topic() == arrival.topic => message,
            // It may be good where it belongs: only whoever took it for one of this topic is told that it is none.
            Ok(_) if arrival.path == Path::CatchUp => {
                let cause = Cause::Borrowed("it names another topic");
                self.pass_over(id, &arrival, &tell, "other_topic", cause.clone());
                return Entered::Refused(cause);
            }
            Ok(_) => {
                let cause = "it came on another topic than it names".into();
                return self.refuse_rubbish(id, &arrival, &tell, cause);
            }
            Err(Unreadable::Malformed(why)) => return self.refuse_rubbish(id, &arrival, &tell, why),
            Err(Unreadable::Newer(version)) => {
                // Nobody is blamed, or two halves of a network would ban each other while it is brought up to date.
                let cause = format!("version {version} is not spoken here").into();
                self.pass_over(id, &arrival, &tell, "newer_version", cause);
                return Entered::Judged(id, answer);
            }
        };
        let turn = self.gate.turn(&message, rules);
        self.start(Job::arrived(message, arrival, rules, turn, unjudged), tell);
        Entered::Judged(id, answer)
    }

    fn refuse_rubbish(
        &self,
        id: MessageId,
        arrival: &Arrival,
        tell: &Teller<Outcome>,
        cause: Cause,
    ) -> Entered {
        tracing::debug!(%id, from = ?arrival.from, %cause, "malformed message");
        self.gate.seen.rubbish(id);
        self.blame(arrival, "malformed");
        tell.tell(Outcome::Reject(cause.clone()));
        Entered::Refused(cause)
    }

    /// A message that nothing can be said of here: it is no fault of whoever brought it, and may come again.
    fn pass_over(
        &self,
        id: MessageId,
        arrival: &Arrival,
        tell: &Teller<Outcome>,
        counter: &'static str,
        cause: Cause,
    ) {
        tracing::debug!(%id, from = ?arrival.from, %cause, "passed over");
        let scope = arrival.mount.as_ref().map_or(NODE, |mount| &mount.name);
        self.counters.count(scope, counter);
        let outcome = Outcome::Ignore(cause);
        self.gate.seen.refuse(id, &outcome, false);
        tell.tell(outcome);
    }

    /// Whoever relayed what is no message at all did not check it. Where it had no say, it is not blamed: a daemon relays
    /// first, and who serves what we asked for by its address serves the right bytes.
    fn blame(&self, arrival: &Arrival, what: &'static str) {
        let scope = arrival.mount.as_ref().map_or(NODE, |mount| &mount.name);
        self.counters.count(scope, what);
        let judged_it = arrival.mount.as_ref().is_some_and(Mount::had_to_judge);
        if let (Some(from), true) = (&arrival.from, judged_it)
            && self.reputation.blame(from, Misdeed::Malformed)
        {
            self.banned(from);
        }
    }
}

impl From<Outcome> for Verdict {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Accept(_) => Self::Accept,
            Outcome::Ignore(cause) => Self::Ignore(cause),
            Outcome::Reject(cause) => Self::Reject(cause),
        }
    }
}

/// Waits for an outcome that a task of the node will tell.
async fn wait(answer: Answer<Outcome>) -> Outcome {
    answer.told().await.unwrap_or(Outcome::Ignore(Cause::Borrowed("the node closed")))
}

/// A delivery that waits for its verdict. When it is dropped the node relays in its place.
struct Waiter {
    core: Arc<Core>,
    id: MessageId,
    mount: Mount,
    answer: Answer<Outcome>,
    done: bool,
}

impl Waiter {
    async fn relay(mut self, from: &Remote) -> Relay {
        let hold = self.mount.hold();
        let Ok(outcome) = tokio::time::timeout(hold, wait(self.answer.clone())).await else {
            // A wire that never holds waits for no verdict, and so none is late.
            if hold.is_zero() {
                return Relay::Ignore;
            }
            self.core.counters.count(&self.mount.name, "late_verdict");
            return Relay::Ignore;
        };
        self.done = true;
        match outcome {
            Outcome::Accept(_) if self.core.gate.seen.claim(&self.id, &self.mount) => Relay::Accept,
            Outcome::Accept(_) => Relay::Duplicate,
            Outcome::Ignore(_) => Relay::Ignore,
            Outcome::Reject(_) => {
                self.core.refused(from, &self.mount);
                Relay::Reject
            }
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if !self.done && self.core.gate.seen.abandon(&self.id, &self.mount) {
            // Accepted, but perhaps not told yet.
            let (core, mount, answer) = (Arc::clone(&self.core), self.mount.clone(), self.answer.clone());
            self.core.tasks.spawn(async move {
                if let Outcome::Accept(message) = wait(answer).await
                    && message.author().is_some()
                {
                    core.relay(&message, mount.bit());
                }
            });
        }
    }
}

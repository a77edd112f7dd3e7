//! Judging one message: author, clock, number, validators, what it waits for, and what follows from it.

mod order;

use std::error::Error as _;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use cid::Cid;
use futures::FutureExt as _;
use futures::future::{BoxFuture, try_join_all};
use tokio::time::Instant;

use super::numbers::{Number, PassedOver};
use super::seen::{Awaited, Outcome, Unjudged};
use super::turns::Turn;
use super::waiting::{Place, Reach};
use super::{Arrival, Ticket};
use crate::node::answer::Teller;
use crate::node::core::Core;
use crate::node::counters::NODE;
use crate::node::events::Gap;
use crate::node::hold::Hold;
use crate::node::host::Mount;
use crate::node::mend::Torn;
use crate::node::shelf::Notes;
use crate::{
    Cause, Context, Error, ErrorKind, Keep, Limits, Membership, Message, MessageId, Misdeed, Need, Path,
    Remote, Result, TopicRules, Validator, Verdict,
};

/// A message being judged.
pub(super) struct Job {
    message: Message,
    rules: TopicRules,
    path: Path,
    from: Option<Remote>,
    mount: Option<Mount>,
    ticket: Option<Ticket>,
    turn: Option<Turn>,
    place: Option<Place>,
    /// What was fetched for it.
    hold: Option<Hold>,
    reach: Reach,
    /// As of its [`Arrival`].
    missing_above: Option<u64>,
    /// Its author is proven and may speak.
    proven: bool,
    /// Its payload is at hand.
    whole: bool,
    /// Until the validators had their say.
    unjudged: Option<Unjudged>,
    /// On a ledger: those it follows that were in the gate while it was judged.
    parents: Vec<Awaited>,
}

impl Job {
    pub(super) fn arrived(
        message: Message,
        arrival: Arrival,
        rules: TopicRules,
        turn: Option<Turn>,
        unjudged: Unjudged,
    ) -> Self {
        let whole = message.link().is_none();
        Self {
            message,
            rules,
            path: arrival.path,
            from: arrival.from,
            mount: arrival.mount,
            ticket: arrival.ticket,
            turn,
            place: None,
            hold: None,
            reach: arrival.reach,
            missing_above: arrival.missing_above,
            proven: rules.raw,
            whole,
            unjudged: Some(unjudged),
            parents: vec![],
        }
    }

    pub(super) fn own(
        message: Message,
        rules: TopicRules,
        turn: Option<Turn>,
        reach: Reach,
        unjudged: Unjudged,
    ) -> Self {
        Self {
            message,
            rules,
            path: Path::Own,
            from: None,
            mount: None,
            ticket: None,
            turn,
            place: None,
            hold: None,
            reach,
            missing_above: None,
            proven: false,
            whole: true,
            unjudged: Some(unjudged),
            parents: vec![],
        }
    }

    fn scope(&self) -> &str {
        self.mount.as_ref().map_or(NODE, |mount| &mount.name)
    }

    fn context<'a>(
        &'a self,
        core: &'a Core,
        membership: &'a dyn Membership,
        deadline: Instant,
    ) -> Context<'a> {
        Context {
            path: self.path,
            from: self.from.as_ref(),
            transport: self.mount.as_ref().map(|mount| &*mount.name),
            rules: Some(self.rules),
            store: &*core.store,
            now: core.clock.now(),
            membership,
            deadline,
            network: &core.network,
            payload_limit: core.limits.payload_bytes,
        }
    }
}

impl Core {
    /// Judges a message in a task of the node.
    pub(super) fn start(self: &Arc<Self>, job: Job, tell: Teller<Outcome>) {
        self.tasks.spawn(Arc::clone(self).judge(job, tell));
    }

    /// Judges a message in a task of the node, but here as far as nothing is waited for: so the next one of our own need not
    /// wait for another thread.
    pub(super) fn start_here(self: &Arc<Self>, job: Job, tell: Teller<Outcome>) {
        self.tasks.begin(Arc::clone(self).judge(job, tell));
    }

    /// Boxed, because judging one message may begin to judge those it waits for.
    fn judge(self: Arc<Self>, mut job: Job, tell: Teller<Outcome>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let outcome = loop {
                let verdict = self.verdict(&mut job).await;
                job.unjudged = None;
                match verdict {
                    Verdict::Accept => break self.accept(&mut job, &tell).await.err(),
                    Verdict::Ignore(cause) => break Some(Outcome::Ignore(cause)),
                    Verdict::Reject(cause) => break Some(Outcome::Reject(cause)),
                    Verdict::Defer(needs) => {
                        if let Err(cause) = self.meet(&mut job, needs).await {
                            break Some(Outcome::Ignore(cause));
                        }
                    }
                }
            };
            if let Some(outcome) = outcome {
                self.refuse(&job, &outcome);
                tell.tell(outcome);
            }
        })
    }

    /// What is thought of a message now, in the order of cost.
    async fn verdict(&self, job: &mut Job) -> Verdict {
        if !job.proven {
            if let Some(verdict) = self.check_author(job) {
                return verdict;
            }
            job.proven = true;
        }
        if !job.whole {
            return Verdict::Defer(job.message.link().copied().map(Need::Block).into_iter().collect());
        }
        if job.rules.is_a_ledger()
            && let Err(cause) = self.parents_judged(job).await
        {
            return Verdict::Ignore(cause);
        }
        self.ask_validators(job).await
    }

    fn check_author(&self, job: &Job) -> Option<Verdict> {
        let message = &job.message;
        let author = message.author()?;
        // Before the signature: a replay is older than the list of seen ids, and would cost the most otherwise.
        if job.path != Path::CatchUp
            && job.rules.numbers
            && matches!(self.gate.numbers.check(author, message, None), Number::Used)
        {
            self.repeated(job.from.as_ref(), job.mount.as_ref());
            return Some(Verdict::Ignore("its number was used before".into()));
        }
        if job.path != Path::Own && !self.gate.authors.signed(author, message) {
            return Some(Verdict::Reject("its signature does not hold".into()));
        }
        if job.path == Path::CatchUp {
            return None;
        }
        // Nobody is blamed: at an epoch's edge an honest peer may still count the author in.
        if !self.may_publish(author, message.topic()) {
            return Some(Verdict::Ignore("its author may not publish there".into()));
        }
        let live = job.path == Path::Live && job.rules.time;
        if live && message.time().abs_diff(self.clock.now()) > self.limits.clock_skew {
            return Some(Verdict::Ignore("its clock is too far off".into()));
        }
        None
    }

    async fn ask_validators(&self, job: &Job) -> Verdict {
        let deadline = Instant::now() + self.limits.validation;
        let members = self.members();
        let context = job.context(self, &*members, deadline);
        for validator in &self.validators {
            match guarded(deadline, validator.message(&context, &job.message)).await {
                Ok(Verdict::Accept) => {}
                Ok(verdict) => return verdict,
                Err(cause) => {
                    self.validator_failed(validator.as_ref(), &cause);
                    return Verdict::Ignore(cause);
                }
            }
        }
        Verdict::Accept
    }

    /// Fetches what a message waits for, out of the gate's way: its slot and its turn are given up.
    async fn meet(self: &Arc<Self>, job: &mut Job, needs: Vec<Need>) -> Result<(), Cause> {
        job.turn = None;
        job.ticket = None;
        if needs.is_empty() {
            return Err(self.out_of_reach("defer_out_of_reach", "it waits for nothing that was named"));
        }
        if job.place.is_none() {
            self.counters.count(job.scope(), "deferred");
            let place = self.enter_room(&job.message);
            job.place = Some(
                place.ok_or_else(|| self.out_of_reach("waiting_room_full", "the waiting room is full"))?,
            );
        }
        job.hold.get_or_insert_with(|| self.holds.hold());
        let met = try_join_all(needs.iter().map(|need| self.meet_one(job, need)));
        match tokio::time::timeout_at(job.reach.until, met).await {
            Ok(met) => met?,
            Err(_) => {
                return Err(self.out_of_reach("defer_expired", "what it waits for did not come in time"));
            }
        };
        if let (false, Some(link)) = (job.whole, job.message.link()) {
            let payload = self.store.get(link).await.ok().flatten();
            let payload = payload.ok_or(Cause::Borrowed("its payload could not be read back"))?;
            let fits = job.place.as_mut().is_some_and(|place| place.grow(payload.size(), &self.limits));
            self.note_room();
            if !fits {
                return Err(self.out_of_reach("waiting_room_full", "the waiting room is full"));
            }
            job.message = job.message.clone().with_linked(payload);
            job.whole = true;
        }
        Ok(())
    }

    async fn meet_one(self: &Arc<Self>, job: &Job, need: &Need) -> Result<(), Cause> {
        let unreachable = || self.out_of_reach("defer_out_of_reach", "what it waits for is out of reach");
        let reach = job.reach.further().ok_or_else(unreachable)?;
        let hints = [job.from.as_ref().and_then(Remote::peer), job.message.author()];
        let hints: Vec<_> = hints.into_iter().flatten().copied().collect();
        let router = self.router().ok_or(Cause::Borrowed("the node is closing"))?;
        let left = reach.until.saturating_duration_since(Instant::now());
        match need {
            Need::Block(cid) => {
                let promise = self.promise(job, cid);
                if let Some(hold) = &job.hold {
                    hold.add([cid]).await;
                }
                router.block(cid, hints, left).await.map(drop).map_err(|error| {
                    if let Some((from, mount)) = promise {
                        self.not_delivered(from, mount, &error);
                    }
                    unreachable()
                })
            }
            Need::Message(cid) => {
                let topic = job.message.topic();
                if self.gate.accepted(&MessageId::from_cid(*cid)) {
                    return Ok(());
                }
                if let Some(outcome) = self.gate.seen.outcome(cid) {
                    return match super::wait(outcome).await {
                        Outcome::Accept(_) => Ok(()),
                        _ => Err("a message it follows was refused".into()),
                    };
                }
                // One that is stored passes the gate too: it may be there since `accepted` failed or a crash.
                let fetched = router.fetch_unstored(cid, hints, left, self.limits.envelope_bytes()).await;
                let (block, from) = fetched.map_err(|_| unreachable())?;
                match self.admit(topic, block.into_bytes(), from, Some(reach)).await {
                    Verdict::Accept => Ok(()),
                    _ => Err("a message it follows was refused".into()),
                }
            }
        }
    }

    /// Whoever passes a message on had to judge it, and so had its payload: its link can be asked.
    fn promise<'a>(&self, job: &'a Job, cid: &Cid) -> Option<(&'a Remote, &'a Mount)> {
        let mount = job.mount.as_ref().filter(|mount| mount.had_to_judge())?;
        let from = job.from.as_ref().filter(|from| self.links.connected_on(mount, from))?;
        (job.message.link() == Some(cid)).then_some((from, mount))
    }

    /// Blames it where everybody asked over its transport answered that they have not what it passed on, and it was still
    /// there then. All else may be our own fault; one who does not answer is blamed by the transport, which can tell.
    fn not_delivered(&self, from: &Remote, mount: &Mount, error: &Error) {
        let answer = error.source().and_then(|source| source.downcast_ref::<Error>());
        let absent = answer.is_some_and(|answer| {
            answer.kind() == ErrorKind::NotFound && answer.transport() == Some(&*mount.name)
        });
        if absent && self.links.connected_on(mount, from) {
            self.report(mount, from, Misdeed::BrokenPromise);
        }
    }

    fn out_of_reach(&self, counter: &'static str, cause: &'static str) -> Cause {
        self.counters.count(NODE, counter);
        cause.into()
    }

    /// Accepts a message, in its turn or after its parents, and tells so.
    async fn accept(self: &Arc<Self>, job: &mut Job, tell: &Teller<Outcome>) -> Result<(), Outcome> {
        let message = job.message.clone();
        let turn = if job.rules.is_a_ledger() {
            // One that came into the gate while it was judged may have been what let it through.
            job.parents.extend(self.gate.seen.in_the_gate(message.parents()));
            // What came together shares a flush of the disk.
            self.store(job, &message).await?;
            self.parents_accepted(job).await?;
            None
        } else {
            self.turn(job).await
        };
        self.take_in(job, &message).await?;
        let all = self.broadcast_bits();
        // A raw message has no name but what its wire gave it: sent again, on any wire, it would be another one.
        let stays = job.path == Path::CatchUp || job.rules.raw && job.path != Path::Own;
        let bits = if stays { 0 } else { all };
        let accepted = Outcome::Accept(message.clone());
        let lasts = !job.rules.numbers && !job.rules.raw;
        let ours = self.gate.seen.accept(*message.id(), lasts, bits);
        self.counters.count(job.scope(), "accepted");
        self.patience.news(all.count_ones());
        self.mark_number(&message, job);
        if let Some(hold) = job.hold.take().filter(|_| message.link().is_some()) {
            self.linger(hold);
        }
        if job.path != Path::Own {
            self.subscriptions.hand_out(self, &message);
            self.relay(&message, ours);
        }
        tell.tell(accepted);
        drop(turn);
        Ok(())
    }

    fn enter_room(&self, message: &Message) -> Option<Place> {
        let place = self.gate.room.enter(message, &self.limits);
        self.note_room();
        place
    }

    fn note_room(&self) {
        let (count, bytes) = self.gate.room.held();
        let Limits { waiting, waiting_bytes, .. } = self.limits;
        self.peaks.note(NODE, [("waiting", count, waiting), ("waiting_bytes", bytes, waiting_bytes)]);
    }

    /// Number, store, and what the validators do with an accepted message.
    async fn take_in(self: &Arc<Self>, job: &Job, message: &Message) -> Result<(), Outcome> {
        if let Some(author) = message.author() {
            match self.gate.numbers.check(author, message, job.missing_above) {
                Number::Fresh => {}
                Number::Used if !job.rules.numbers => {}
                Number::Used => return Err(Outcome::Ignore("its number was used before".into())),
                Number::Equivocation(first) => {
                    self.equivocation(&first, message);
                    if job.rules.numbers {
                        return Err(Outcome::Ignore("its author used the number for another message".into()));
                    }
                }
            }
        }
        if job.rules.keep == Keep::Everything && !job.rules.is_a_ledger() {
            self.store(job, message).await?;
        }
        let deadline = Instant::now() + self.limits.validation;
        let members = self.members();
        let context = job.context(self, &*members, deadline);
        for validator in &self.validators {
            let taken = guarded(deadline, validator.accepted(&context, message)).await;
            self.taken(validator.as_ref(), taken)?;
        }
        Ok(())
    }

    /// Stores a message, with what the validators note.
    async fn store(self: &Arc<Self>, job: &Job, message: &Message) -> Result<(), Outcome> {
        let notes = self.notes(job, message).await?;
        self.keep(message, &job.rules, notes).await.map_err(|error| {
            tracing::warn!(%error, "a message could not be kept");
            self.counters.count(NODE, "store_failed");
            Outcome::Ignore("it could not be stored".into())
        })
    }

    /// What the validators want to have written with a message.
    async fn notes(&self, job: &Job, message: &Message) -> Result<Notes, Outcome> {
        let deadline = Instant::now() + self.limits.validation;
        let members = self.members();
        let context = job.context(self, &*members, deadline);
        let mut notes = Notes::new();
        for validator in &self.validators {
            let noted = guarded(deadline, validator.noted(&context, message)).await;
            notes.extend(
                self.taken(validator.as_ref(), noted)?.into_iter().map(|(key, value)| (key, Some(value))),
            );
        }
        Ok(notes)
    }

    /// What a validator did with a message that all of them let through.
    fn taken<T>(&self, validator: &dyn Validator, taken: Result<Result<T>, Cause>) -> Result<T, Outcome> {
        let cause = match taken {
            Ok(Ok(taken)) => return Ok(taken),
            Ok(Err(error)) => Cause::Owned(format!("a validator could not take it: {error}")),
            Err(cause) => cause,
        };
        self.validator_failed(validator, &cause);
        Err(Outcome::Ignore(cause))
    }

    fn mark_number(self: &Arc<Self>, message: &Message, job: &Job) {
        let Some(author) = message.author() else { return };
        let passed_over = self.gate.numbers.mark(*author, message);
        self.unsaved.notify_one();
        let tells = job.rules.numbers && *author != self.me && job.missing_above.is_none();
        let Some(PassedOver { mut parents, last, highest }) = passed_over.filter(|_| tells) else { return };
        // One that is being judged is late, not missing.
        parents.retain(|parent| !self.gate.knows(&MessageId::from_cid(*parent)));
        let Some(missing) = parents.first().copied() else { return };
        if job.path == Path::Live {
            self.gate.numbers.lost(author, message.topic());
        }
        if job.rules.mends() {
            self.mend(Torn {
                topic: message.topic().clone(),
                rules: job.rules,
                author: *author,
                below: message.seqno(),
                above: highest,
                have: last,
                missing: parents,
                from: job.from.clone(),
            });
            return;
        }
        self.tell_gap(Gap {
            topic: Some(message.topic().clone()),
            author: Some(*author),
            last: Some(MessageId::from_cid(missing)),
            missed: None,
        });
    }

    fn refuse(&self, job: &Job, outcome: &Outcome) {
        let (what, cause) = match outcome {
            Outcome::Accept(_) => return,
            Outcome::Ignore(cause) => ("ignored", cause),
            Outcome::Reject(cause) => ("rejected", cause),
        };
        tracing::debug!(id = %job.message.id(), from = ?job.from, %cause, what);
        self.counters.count(job.scope(), what);
        self.gate.seen.refuse(*job.message.id(), outcome, job.proven);
        let author_alone = job.mount.as_ref().is_some_and(|mount| !mount.had_to_judge());
        if let (Outcome::Reject(_), true, true, Some(author)) =
            (outcome, job.proven, author_alone, job.message.author())
        {
            let author = Remote::Peer(*author);
            if self.reputation.refused(&author) {
                self.banned(&author);
            }
        }
    }

    pub(in crate::node) fn validator_failed(&self, validator: &dyn Validator, cause: &Cause) {
        tracing::error!(?validator, %cause, "a validator failed; what it judged is ignored");
        self.counters.count(NODE, "validator_failed");
    }
}

/// Runs a validator within its budget; a panic stays inside.
pub(in crate::node) async fn guarded<T>(
    deadline: Instant,
    work: impl Future<Output = T>,
) -> Result<T, Cause> {
    match tokio::time::timeout_at(deadline, AssertUnwindSafe(work).catch_unwind()).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(_)) => Err("a validator panicked".into()),
        Err(_) => Err("a validator took too long".into()),
    }
}

//! In which order messages are taken: those of one author by turns, on a ledger each after those that it follows.

use cid::Cid;
use futures::FutureExt as _;
use tokio::time::Instant;

use super::super::seen::Outcome;
use super::super::turns::Turn;
use super::Job;
use crate::node::answer::Answer;
use crate::node::core::Core;
use crate::node::counters::NODE;
use crate::{Cause, Message, MessageId, Path};

impl Core {
    /// Waits until it is its turn among the messages of its author.
    pub(super) async fn turn(&self, job: &mut Job) -> Option<Turn> {
        let turn = match (job.turn.take(), job.message.author()) {
            (None, Some(author)) => self.gate.turns.take(*author, &job.message),
            (turn, _) => turn?,
        };
        if job.ticket.is_some() && !turn.is_next() && !self.stand_aside(job) {
            // Nobody before it waits for what may never come.
            turn.hurry();
        }
        turn.come().await;
        self.let_parent_first(job, &turn).await;
        Some(turn)
    }

    /// Waits until the validators had their say on the parents that are in the gate: what came together is judged in its
    /// order, or each would be taken for one whose parent is missing. It keeps its slot, which bounds what is judged at once.
    pub(super) async fn parents_judged(&self, job: &mut Job) -> Result<(), Cause> {
        job.parents = self.gate.seen.in_the_gate(job.message.parents());
        for parent in &job.parents {
            self.in_time(job, &parent.judged).await?;
        }
        Ok(())
    }

    /// Waits for what becomes of the parents that were in the gate: what follows a refused one is not taken.
    pub(super) async fn parents_accepted(&self, job: &mut Job) -> Result<(), Outcome> {
        for parent in std::mem::take(&mut job.parents) {
            let outcome = match parent.outcome.clone().told().now_or_never() {
                Some(outcome) => outcome,
                None => {
                    self.stand_aside(job);
                    self.in_time(job, &parent.outcome).await.map_err(Outcome::Ignore)?
                }
            };
            if !matches!(outcome, Some(Outcome::Accept(_))) {
                return Err(Outcome::Ignore("a message it follows was refused".into()));
            }
        }
        Ok(())
    }

    /// Waits for another one in the gate, as long as for what is fetched.
    async fn in_time<T: Clone>(&self, job: &Job, other: &Answer<T>) -> Result<Option<T>, Cause> {
        let told = tokio::time::timeout_at(job.reach.until, other.clone().told()).await;
        told.map_err(|_| self.out_of_reach("defer_expired", "what it follows was not judged in time"))
    }

    /// Whoever waits for others gives its slot up: what holds up one author must not hold up the others of its link. `false`
    /// where the waiting room has no place for it.
    fn stand_aside(&self, job: &mut Job) -> bool {
        if job.place.is_none() {
            job.place = self.enter_room(&job.message);
        }
        if job.place.is_some() {
            job.ticket = None;
        }
        job.place.is_some()
    }

    /// Lets the message that this one follows go first, if it comes in time: where there are several ways, a later
    /// message may have taken the shorter one. The slot is given up meanwhile. The time counts from its turn: what is held
    /// up by those before it holds up its parent too.
    async fn let_parent_first(&self, job: &mut Job, turn: &Turn) {
        if job.path != Path::Live || !job.rules.numbers {
            return;
        }
        let until = Instant::now() + self.limits.reorder;
        let mut early = false;
        while self.misses_parent(&job.message) && !turn.is_hurried() && Instant::now() < until {
            if !self.stand_aside(job) {
                self.counters.count(NODE, "waiting_room_full");
                return;
            }
            if !std::mem::replace(&mut early, true) {
                self.counters.count(job.scope(), "early");
            }
            turn.step_back(until).await;
        }
    }

    fn misses_parent(&self, message: &Message) -> bool {
        let awaited = message.author().map(|author| self.gate.numbers.awaited(author, message));
        let settled = |parent: &Cid| self.gate.seen.settled(&MessageId::from_cid(*parent));
        awaited.is_some_and(|parents| parents.iter().any(|parent| !settled(parent)))
    }
}

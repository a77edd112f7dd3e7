//! Mending gaps: what the messages of a kept topic follow is fetched where it is missing, and delivered late.
//!
//! A message is never held back for it. What mending may cost is bounded whatever an author signs: how many gaps wait, in all
//! and of one author, how many are mended at once, what is fetched for one, and for how long. Whose last gap could not be
//! mended at all has to wait before the next is tried. What stays missing is told as a gap.

mod line;
mod queue;

use std::sync::Arc;
use std::time::Duration;

use cid::Cid;
use futures::StreamExt as _;
use libp2p_identity::PeerId;
use tokio::time::{Instant, sleep, timeout_at};

use self::line::Line;
pub(crate) use self::queue::Repairs;
use super::core::Core;
use super::counters::NODE;
use super::events::Gap;
use super::router::Router;
use crate::limits::MAX_ROOTS;
use crate::{ErrorKind, Follow, Limits, Remote, Topic, TopicRules, WantDag};

/// Those who are asked may be about to get it themselves, as where a link between two halves of a network came back: so long
/// until they are asked again.
const PAUSES: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(500), Duration::from_secs(2), Duration::from_secs(8)];

/// A message of an author came, and what it follows did not.
#[derive(Debug)]
pub(crate) struct Torn {
    pub(crate) topic: Topic,
    pub(crate) rules: TopicRules,
    pub(crate) author: PeerId,
    /// The number of the message that came: what it follows has a lower one.
    pub(crate) below: u64,
    /// The highest number before: none above it was used.
    pub(crate) above: u64,
    /// The last message before.
    pub(crate) have: Cid,
    /// What is missing, the first to be told.
    pub(crate) missing: Vec<Cid>,
    /// Who sent the one that came.
    pub(crate) from: Option<Remote>,
}

impl Torn {
    fn gap(&self, last: Cid) -> Gap {
        let last = Some(crate::MessageId::from_cid(last));
        Gap { topic: Some(self.topic.clone()), author: Some(self.author), last, missed: None }
    }

    /// Who probably has it.
    fn hints(&self) -> Vec<PeerId> {
        let mut hints: Vec<PeerId> = self.from.iter().filter_map(Remote::peer).copied().collect();
        if !hints.contains(&self.author) {
            hints.push(self.author);
        }
        hints
    }
}

impl Core {
    /// Mends a gap in a task, or tells it at once where too many wait.
    pub(in crate::node) fn mend(self: &Arc<Self>, torn: Torn) {
        let Some(first) = torn.missing.first().copied() else { return };
        let Limits { repairs, repairs_per_author, repair_time, .. } = self.limits;
        let Some(place) = self.repairs.enter(&torn.author, repairs, repairs_per_author) else {
            self.counters.count(NODE, "repair_dropped");
            self.tell_gap(torn.gap(first));
            return;
        };
        self.peaks.note(NODE, [("repairs", self.repairs.held(), repairs)]);
        let (core, until) = (Arc::clone(self), Instant::now() + repair_time);
        self.tasks.spawn(async move {
            let mut line = Line::new(&torn, &core.limits);
            // What is missing when the time is up is told.
            let _ = timeout_at(until, core.mend_in_turn(&torn, &place, &mut line, until)).await;
            if let Some(missing) = line.missing() {
                core.counters.count(NODE, "repair_failed");
                if line.mended() == 0 {
                    place.rest();
                }
                core.tell_gap(torn.gap(missing));
            }
        });
    }

    async fn mend_in_turn(
        self: &Arc<Self>,
        torn: &Torn,
        place: &queue::Place,
        line: &mut Line<'_>,
        until: Instant,
    ) {
        let _turn = place.turn().await;
        if place.rests() {
            return;
        }
        for pause in PAUSES {
            if !pause.is_zero() {
                sleep(pause).await;
            }
            let _room = self.repairs.room().await;
            line.look_at_home(self).await;
            if line.goes_on()
                && let Some(router) = self.router()
            {
                router.fetch_line(torn, line, until).await;
                line.look_at_home(self).await;
            }
            self.hand_in(torn, line).await;
            if !line.goes_on() {
                return;
            }
        }
    }

    /// Passes what was fetched through the gate, the oldest first.
    async fn hand_in(self: &Arc<Self>, torn: &Torn, line: &mut Line<'_>) {
        while let Some((id, bytes, from)) = line.oldest() {
            let verdict = self.admit_missing(&torn.topic, bytes, from, torn.above).await;
            if verdict.is_accept() {
                self.counters.count(NODE, "mended");
            }
            line.judged(&id, &verdict);
        }
    }
}

impl Router {
    /// Fetches what is missing, the newest first: in one request from a wire that can, else one by one.
    async fn fetch_line(self: &Arc<Self>, torn: &Torn, line: &mut Line<'_>, until: Instant) {
        let idle = self.core.limits.fetch_idle;
        let mut want = WantDag::new(torn.have, idle);
        want.roots = line.wanted().take(MAX_ROOTS).collect();
        (want.have, want.follow) = (vec![torn.have], Follow::Parents);
        (want.depth, want.limit_bytes) = line.budget();
        want.hints = torn.hints();
        match self.fetch_dag(want).await {
            Ok(mut blocks) => {
                while line.goes_on() {
                    let Some(Ok(received)) = blocks.next().await else { return };
                    line.meet(&self.core, received.block, received.from);
                }
            }
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                self.fetch_line_singly(torn, line, until).await;
            }
            Err(error) => tracing::debug!(%error, topic = %torn.topic, "a gap is not mended yet"),
        }
    }

    async fn fetch_line_singly(self: &Arc<Self>, torn: &Torn, line: &mut Line<'_>, until: Instant) {
        while line.goes_on() {
            let Some(cid) = line.wanted().next() else { return };
            let left = until.saturating_duration_since(Instant::now());
            let limit = self.core.limits.envelope_bytes();
            match self.fetch_unstored(&cid, torn.hints(), left, limit).await {
                Ok((block, from)) => line.meet(&self.core, block, from),
                Err(_) => return,
            }
        }
    }
}

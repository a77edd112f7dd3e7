//! A peer of whom we want something.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::time::Duration;

use carrick_core::Cid;

use super::super::limits;
use super::want::Stand;
use super::{ProbeId, Time, WantId};

/// What is to be told to a peer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Op {
    /// Where the peer stands with a want.
    Want(WantId),
    /// A question whether it has a block, which is all that is to be known.
    Probe(ProbeId),
    /// It is no longer wanted.
    Cancel(Cid),
}

#[derive(Debug)]
pub(super) struct Peer {
    /// It speaks bitswap, as far as is known.
    pub(super) speaks: bool,
    /// Where it seems not to: when it is tried again.
    pub(super) rests: Option<Time>,
    /// It says what it has (bitswap 1.2).
    pub(super) presences: bool,
    /// It has said so at least once: then silence is a fault.
    pub(super) tells: bool,
    /// The wants it stands somewhere with.
    pub(super) wants: BTreeSet<WantId>,
    /// Blocks asked for and not late.
    pub(super) blocks: usize,
    /// Questions of wants that are not answered.
    pub(super) questions: usize,
    /// Those of probes.
    pub(super) probes: usize,
    /// To be told.
    pub(super) ops: VecDeque<Op>,
    /// All that we want is to be told anew, as a whole list.
    pub(super) full: bool,
    /// What was wanted of it and is no longer, so that it is no fault when it comes.
    pub(super) settled: HashSet<Cid>,
    settled_order: VecDeque<Cid>,
    /// When it last sent a block or said what it has.
    pub(super) heard: Time,
    /// The mean time between its blocks while some are outstanding, in microseconds.
    pub(super) pace: u64,
    /// When the latest of the blocks that it sent was asked for.
    pub(super) served: Time,
    /// When it last sent a block, or was asked for the first.
    pub(super) paced: Time,
    /// The mean size of its blocks.
    size: usize,
    /// Blocks asked for and late, that may come still.
    pub(super) owed: usize,
    /// Blocks that were late since it last sent one.
    pub(super) lates: u32,
    /// When it is to be blamed, unless it says something; and whether it had promised.
    pub(super) blame: Option<(Time, bool)>,
    /// What it sent and nobody asked for.
    pub(super) needless: u32,
}

impl Peer {
    pub(super) fn new() -> Self {
        Self {
            speaks: true,
            rests: None,
            presences: true,
            tells: false,
            wants: BTreeSet::new(),
            blocks: 0,
            questions: 0,
            probes: 0,
            ops: VecDeque::new(),
            full: false,
            settled: HashSet::new(),
            settled_order: VecDeque::new(),
            heard: Duration::ZERO,
            pace: 1_000,
            served: Duration::ZERO,
            paced: Duration::ZERO,
            size: 64 << 10,
            owed: 0,
            lates: 0,
            blame: None,
            needless: 0,
        }
    }

    /// Whether it may be asked for one more block.
    pub(super) fn has_room(&self) -> bool {
        // One that is late is tried with little.
        let most = if self.lates > 0 { 1 } else { limits::WINDOW };
        let ahead = Duration::from_micros((self.blocks as u64).saturating_mul(self.pace));
        self.speaks
            && self.blocks < most
            && (self.blocks + 1) * self.size <= limits::WINDOW_BYTES.max(self.size)
            && ahead < limits::AHEAD
    }

    /// Whether it may be asked one more question.
    pub(super) fn takes_questions(&self) -> bool {
        self.speaks && self.questions + self.probes < limits::QUESTIONS
    }

    /// How long a block more would take: whoever has the least is asked.
    pub(super) fn cost(&self) -> (bool, u64) {
        (self.lates > 0, (self.blocks as u64 + 1).saturating_mul(self.pace))
    }

    /// It no longer stands anywhere with a want.
    pub(super) fn leave(&mut self, id: WantId, stand: Stand) {
        self.wants.remove(&id);
        match stand {
            Stand::Question { .. } => self.questions -= 1,
            Stand::Block { .. } => self.blocks -= 1,
            Stand::Late { .. } => self.owed -= 1,
            Stand::Has | Stand::Lacks { .. } => {}
        }
    }

    /// It sent a block that it was asked for at some time, if it was.
    pub(super) fn delivered(&mut self, asked: Option<Time>, bytes: usize, now: Time) {
        self.served = self.served.max(asked.unwrap_or_default());
        let gap = now.saturating_sub(self.paced).as_micros().min(10_000_000) as u64;
        self.pace = (7 * self.pace + gap).div_ceil(8);
        self.paced = now;
        self.size = (7 * self.size + bytes).div_ceil(8).max(1);
        self.lates = 0;
        self.hear(now);
    }

    /// Whether it sends what it was asked for later, instead of a block that it was asked for at `at`.
    pub(super) fn passes_over(&self, at: Time) -> bool {
        self.served >= at + limits::LATE
    }

    /// It said something.
    pub(super) fn hear(&mut self, now: Time) {
        self.heard = now;
        self.blame = None;
    }

    /// Remembers what is no longer wanted of it.
    pub(super) fn settle(&mut self, cid: Cid) {
        if !self.settled.insert(cid) {
            return;
        }
        self.settled_order.push_back(cid);
        if self.settled_order.len() > limits::SETTLED
            && let Some(oldest) = self.settled_order.pop_front()
        {
            self.settled.remove(&oldest);
        }
    }

    /// Puts something behind what is to be told. Whatever ended meanwhile is skipped when it is taken, and dropped here when it
    /// becomes much.
    pub(super) fn push(&mut self, op: Op) {
        const MANY: usize = 8 * limits::WINDOW;
        if self.ops.len() >= MANY {
            let wants = &self.wants;
            self.ops.retain(|op| !matches!(op, Op::Want(id) if !wants.contains(id)));
        }
        self.ops.push_back(op);
    }
}

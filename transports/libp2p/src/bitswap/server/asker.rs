//! One peer that wants something of us.

use std::collections::{HashMap, VecDeque};

use carrick_core::Cid;

use super::super::client::Time;
use super::super::limits;
use super::super::message::Ask;

/// How far an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// To be looked up; the number tells its newest place in the queue from older ones.
    Queued(u64),
    /// Being looked up.
    Reading,
    /// We have it not; the number as above.
    Waiting(u64),
}

#[derive(Debug)]
struct Want {
    have: bool,
    dont_have: bool,
    state: State,
    /// The block came while it was being looked up.
    came: bool,
}

/// What goes into a message: blocks, what is here and what is not, and how many bytes of blocks wait beside them.
pub(crate) type Answers<B> = (Vec<(Cid, B)>, Vec<(Cid, bool)>, usize);

/// A peer that wants something of us.
#[derive(Debug)]
pub(super) struct Asker<B> {
    wants: HashMap<Cid, Want>,
    /// Questions, then blocks, to be looked up in their order. What ended meanwhile is skipped.
    questions: VecDeque<(Cid, u64)>,
    blocks: VecDeque<(Cid, u64)>,
    /// How many of them wait for what we have not.
    pub(super) waits: usize,
    /// What we have not, the oldest first.
    absent: VecDeque<(Cid, u64)>,
    next: u64,
    /// Answers that wait for the writer.
    outbox: VecDeque<(Cid, B)>,
    queued_bytes: usize,
    /// Bytes that the writer took and has not sent.
    writing_bytes: usize,
    pub(super) presences: VecDeque<(Cid, bool)>,
    /// Bytes that may be read ahead: more for one that takes them.
    credit: usize,
    pub(super) in_ring: bool,
    /// It is its turn.
    pub(super) busy: bool,
    /// The host was busy.
    pub(super) paused: bool,
    pub(super) absences: Absences,
}

impl<B> Default for Asker<B> {
    fn default() -> Self {
        Self {
            wants: HashMap::new(),
            questions: VecDeque::new(),
            blocks: VecDeque::new(),
            waits: 0,
            absent: VecDeque::new(),
            next: 0,
            outbox: VecDeque::new(),
            queued_bytes: 0,
            writing_bytes: 0,
            presences: VecDeque::new(),
            credit: 1,
            in_ring: false,
            busy: false,
            paused: false,
            absences: Absences::default(),
        }
    }
}

impl<B: AsRef<[u8]>> Asker<B> {
    #[cfg(test)]
    pub(super) fn wants(&self) -> usize {
        self.wants.len()
    }

    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        self.questions.len() + self.blocks.len() + self.absent.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.wants.len() >= limits::WANTLIST
    }

    pub(super) fn knows(&self, cid: &Cid) -> bool {
        self.wants.contains_key(cid)
    }

    /// Takes an entry in; answers whether it waited until now.
    pub(super) fn ask(&mut self, ask: Ask) -> bool {
        let (mut have, mut waited) = (ask.have, false);
        if let Some(want) = self.wants.get_mut(&ask.cid) {
            // Who asked for the block wants it still.
            have &= want.have;
            let more = want.have && !have;
            want.dont_have |= ask.dont_have;
            want.have = have;
            match want.state {
                // Asked again, it is looked up again.
                State::Waiting(_) => waited = true,
                // Its place among the questions is passed over.
                State::Queued(_) if more => {}
                State::Queued(_) | State::Reading => return false,
            }
        }
        let state = self.enqueue(ask.cid, have, false);
        self.wants.insert(ask.cid, Want { have, dont_have: ask.dont_have, state, came: false });
        waited
    }

    /// The peer wants it no longer; answers whether it waited.
    pub(super) fn cancel(&mut self, cid: &Cid) -> bool {
        self.wants.remove(cid).is_some_and(|want| matches!(want.state, State::Waiting(_)))
    }

    /// Drops the oldest of what we have not.
    pub(super) fn evict(&mut self) -> Option<Cid> {
        while let Some((cid, number)) = self.absent.pop_front() {
            if self.wants.get(&cid).is_some_and(|want| want.state == State::Waiting(number)) {
                self.wants.remove(&cid);
                return Some(cid);
            }
        }
        None
    }

    /// Drops all wants and answers; says what waited, and how many bytes are free.
    pub(super) fn clear(&mut self) -> (Vec<Cid>, usize) {
        self.outbox.clear();
        self.presences.clear();
        self.questions.clear();
        self.blocks.clear();
        self.absent.clear();
        let wants = self.wants.drain().filter(|(_, want)| matches!(want.state, State::Waiting(_)));
        (wants.map(|(cid, _)| cid).collect(), std::mem::take(&mut self.queued_bytes))
    }

    /// Whether there is something to look up, and room for what comes of it. Answers to questions are small, so that they need
    /// not wait until blocks are taken.
    pub(super) fn is_ready(&self) -> bool {
        let some = !self.questions.is_empty() || (!self.blocks.is_empty() && self.has_room());
        some && !self.busy && !self.paused && self.has_room_for_answers()
    }

    /// Whether the turn may go on with what is asked.
    pub(super) fn takes(&self, ask: &Ask) -> bool {
        self.has_room_for_answers() && (ask.have || self.has_room())
    }

    fn has_room(&self) -> bool {
        self.outstanding() < self.credit
    }

    fn has_room_for_answers(&self) -> bool {
        self.presences.len() + self.outbox.len() < limits::WANTLIST
    }

    pub(super) fn outstanding(&self) -> usize {
        self.queued_bytes + self.writing_bytes
    }

    /// The next entries to be looked up.
    pub(super) fn turn(&mut self) -> Vec<Ask> {
        let mut asks = Vec::new();
        while asks.len() < limits::TURN
            && let Some((cid, number)) = self.questions.pop_front().or_else(|| self.next_block())
        {
            let Some(want) = self.wants.get_mut(&cid).filter(|want| want.state == State::Queued(number))
            else {
                continue;
            };
            want.state = State::Reading;
            let (have, dont_have) = (want.have, want.dont_have);
            asks.push(Ask { cid, priority: 0, cancel: false, have, dont_have });
        }
        asks
    }

    fn next_block(&mut self) -> Option<(Cid, u64)> {
        if self.has_room() { self.blocks.pop_front() } else { None }
    }

    /// An entry is answered and gone; false when the peer cancelled it meanwhile.
    pub(super) fn answered(&mut self, cid: &Cid) -> bool {
        self.wants.remove(cid).is_some()
    }

    /// An entry was not looked up: it is the first of the next turn.
    pub(super) fn again(&mut self, ask: &Ask) {
        let Some(have) =
            self.wants.get(&ask.cid).filter(|want| want.state == State::Reading).map(|want| want.have)
        else {
            return;
        };
        let state = self.enqueue(ask.cid, have, true);
        if let Some(want) = self.wants.get_mut(&ask.cid) {
            want.state = state;
        }
    }

    /// We have it not; false when the peer cancelled it meanwhile.
    pub(super) fn wait(&mut self, cid: &Cid) -> bool {
        let Some(want) = self.wants.get_mut(cid) else { return false };
        self.next += 1;
        want.state = State::Waiting(self.next);
        self.absent.push_back((*cid, self.next));
        self.tidy();
        true
    }

    /// A block is here that may be being looked up: whether that saw it is not known.
    pub(super) fn came(&mut self, cid: &Cid) {
        if let Some(want) = self.wants.get_mut(cid).filter(|want| want.state == State::Reading) {
            want.came = true;
        }
    }

    /// Whether it came while it was looked up in vain.
    pub(super) fn has_come(&mut self, cid: &Cid) -> bool {
        self.wants.get_mut(cid).is_some_and(|want| std::mem::take(&mut want.came))
    }

    /// We have it now.
    pub(super) fn look_up(&mut self, cid: &Cid) {
        let Some(have) = self.wants.get(cid).map(|want| want.have) else { return };
        let state = self.enqueue(*cid, have, false);
        if let Some(want) = self.wants.get_mut(cid) {
            want.state = state;
        }
    }

    pub(super) fn put_block(&mut self, cid: Cid, block: B) {
        self.queued_bytes += block.as_ref().len();
        self.outbox.push_back((cid, block));
    }

    pub(super) fn has_answers(&self) -> bool {
        !self.outbox.is_empty() || !self.presences.is_empty()
    }

    /// What goes into the next message.
    pub(super) fn take(&mut self) -> Answers<B> {
        let (mut blocks, mut bytes) = (Vec::new(), 0);
        while let Some((cid, block)) = self.outbox.pop_front() {
            let size = block.as_ref().len();
            if !blocks.is_empty() && bytes + size > limits::ANSWER {
                self.outbox.push_front((cid, block));
                break;
            }
            bytes += size;
            blocks.push((cid, block));
        }
        self.queued_bytes -= bytes;
        self.writing_bytes += bytes;
        let presences = self.presences.drain(..self.presences.len().min(limits::PRESENCES)).collect();
        (blocks, presences, self.queued_bytes)
    }

    /// Bytes are with the far end; answers how many are free.
    pub(super) fn sent(&mut self, bytes: usize, whole: bool) -> usize {
        let bytes = bytes.min(self.writing_bytes);
        self.writing_bytes -= bytes;
        self.credit = if whole { (self.credit + 2 * bytes).min(limits::OUTSTANDING) } else { 1 };
        bytes
    }

    fn enqueue(&mut self, cid: Cid, have: bool, first: bool) -> State {
        self.next += 1;
        let queue = if have { &mut self.questions } else { &mut self.blocks };
        if first {
            queue.push_front((cid, self.next));
        } else {
            queue.push_back((cid, self.next));
        }
        self.tidy();
        State::Queued(self.next)
    }

    /// Drops places of what ended, when they are many: asking and cancelling again and again makes them.
    fn tidy(&mut self) {
        const MANY: usize = 4 * limits::WANTLIST;
        let (wants, last) = (&self.wants, self.next);
        let live = |cid: &Cid, number: u64| {
            number == last
                || wants.get(cid).is_some_and(|want| {
                    want.state == State::Queued(number) || want.state == State::Waiting(number)
                })
        };
        for queue in [&mut self.questions, &mut self.blocks, &mut self.absent] {
            if queue.len() > MANY {
                queue.retain(|(cid, number)| live(cid, *number));
            }
        }
    }
}

/// How many blocks that we have not a peer asked for lately.
#[derive(Debug, Default)]
pub(super) struct Absences {
    asked: u32,
    at: Time,
    over: u32,
}

impl Absences {
    /// One more; true for every [`NEEDLESS`](limits::NEEDLESS)th that is too many.
    pub(super) fn is_one_too_many(&mut self, now: Time) -> bool {
        let seconds = now.saturating_sub(self.at).as_secs();
        if seconds > 0 {
            let healed = u32::try_from(seconds).unwrap_or(u32::MAX).saturating_mul(limits::ABSENT_PER_SECOND);
            self.asked = self.asked.saturating_sub(healed);
            self.at = now;
        }
        if self.asked < limits::ABSENT {
            self.asked += 1;
            return false;
        }
        self.over += 1;
        self.over.is_multiple_of(limits::NEEDLESS)
    }
}

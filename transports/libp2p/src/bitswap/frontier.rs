//! A DAG gone through breadth first, with many blocks asked for at once: which to ask for next, and in which order to hand
//! out what came.
//!
//! Blocks are handed out in the order of the walk, so that what comes early is held until its turn. What is held and what may
//! come is bounded in count and bytes; the sizes of blocks to come are guessed from those that came.

use std::collections::{BTreeSet, HashSet, VecDeque};

use carrick_core::links::{Miss, Tally};
use carrick_core::{Block, Cid, CidPolicy, Fetched, Follow, RAW, WantDag, dag};

/// Blocks asked for and not handed out.
pub(crate) const WINDOW: usize = 512;
/// Their bytes, as far as they are known.
const WINDOW_BYTES: usize = 8 << 20;
/// Blocks of one DAG.
const MAX_BLOCKS: usize = 1 << 20;
/// Links known and not asked for.
const MAX_PENDING: usize = 1 << 18;

/// Its place in the order of the walk.
pub(crate) type Place = u64;

/// What tells a block from others, in less memory than its address.
type Key = ([u8; 32], u64, u64);

#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "each of them becomes a block that is here")]
enum State {
    /// To be asked for.
    New,
    Asked,
    Here(Fetched),
    Failed(Tally),
}

#[derive(Debug)]
struct Slot {
    cid: Cid,
    depth: u32,
    state: State,
}

/// What comes next in the order of the walk.
#[derive(Debug)]
pub(crate) enum Step {
    /// A block, and how many links below a root it lies.
    Block(Fetched, u32),
    /// It did not come.
    Failed(Cid, Tally),
    /// It has not come yet.
    Wait,
    /// There is no more.
    End,
}

/// More blocks than one DAG may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMany;

/// A walk.
#[derive(Debug)]
pub(crate) struct Frontier {
    follow: Follow,
    depth: u32,
    seen: HashSet<Key>,
    /// Known, the next first.
    queue: VecDeque<(Cid, u32)>,
    /// Asked for, and perhaps here.
    window: VecDeque<Slot>,
    first: Place,
    /// To be asked for again, whatever is handed out first before the rest.
    again: BTreeSet<Place>,
    held: usize,
    /// Asked for and not here: leaves, others.
    pending: [usize; 2],
    /// The mean size of each.
    mean: [usize; 2],
}

impl Frontier {
    /// A walk from the roots that are wanted; nothing of `have` is gone into.
    pub(crate) fn new(want: &WantDag) -> Self {
        let mut frontier = Self {
            follow: want.follow,
            depth: want.depth,
            seen: want.have.iter().filter_map(key).collect(),
            queue: VecDeque::new(),
            window: VecDeque::new(),
            first: 0,
            again: BTreeSet::new(),
            held: 0,
            pending: [0; 2],
            mean: [256 << 10, 32 << 10],
        };
        want.roots.iter().for_each(|root| frontier.meet(*root, 0));
        frontier
    }

    /// What to ask for now.
    pub(crate) fn asks(&mut self) -> Vec<(Place, Cid)> {
        let mut asks = Vec::new();
        while let Some(place) = self.again.first().copied() {
            let Some(slot) = self.slot(place) else {
                self.again.pop_first();
                continue;
            };
            let cid = slot.cid;
            if place != self.first && !self.has_room(&cid) {
                break;
            }
            self.again.pop_first();
            asks.push(self.ask(place, cid));
        }
        while self.window.len() < WINDOW
            && let Some((cid, depth)) = self.queue.front().copied()
            && (self.window.is_empty() || self.has_room(&cid))
        {
            self.queue.pop_front();
            let place = self.first + self.window.len() as u64;
            let provable = CidPolicy::check(&cid).is_ok();
            let state = if provable { State::New } else { State::Failed(absent()) };
            self.window.push_back(Slot { cid, depth, state });
            if provable {
                asks.push(self.ask(place, cid));
            }
        }
        asks
    }

    /// It could not be asked for now.
    pub(crate) fn again(&mut self, place: Place) {
        let Some(slot) = self.slot(place) else { return };
        if matches!(slot.state, State::Asked) {
            slot.state = State::New;
            let kind = kind(&slot.cid);
            self.pending[kind] -= 1;
            self.again.insert(place);
        }
    }

    /// A block came.
    pub(crate) fn landed(&mut self, place: Place, fetched: Fetched) {
        let Some(slot) = self.slot(place) else { return };
        let (size, kind) = (fetched.claim.size(), kind(&slot.cid));
        slot.state = State::Here(fetched);
        self.pending[kind] -= 1;
        self.mean[kind] = (7 * self.mean[kind] + size).div_ceil(8);
        self.held += size;
    }

    /// A block does not come.
    pub(crate) fn failed(&mut self, place: Place, tally: Tally) {
        let Some(slot) = self.slot(place) else { return };
        let kind = kind(&slot.cid);
        slot.state = State::Failed(tally);
        self.pending[kind] -= 1;
    }

    /// The next step, if it can be taken.
    pub(crate) fn step(&mut self) -> Step {
        match self.window.front().map(|slot| &slot.state) {
            None if self.queue.is_empty() => return Step::End,
            None | Some(State::New | State::Asked) => return Step::Wait,
            Some(State::Here(_) | State::Failed(_)) => {}
        }
        let Some(slot) = self.window.pop_front() else { return Step::End };
        self.first += 1;
        match slot.state {
            State::Here(fetched) => {
                self.held -= fetched.claim.size();
                Step::Block(fetched, slot.depth)
            }
            State::Failed(tally) => Step::Failed(slot.cid, tally),
            State::New | State::Asked => Step::Wait,
        }
    }

    /// Whether the links of a block are followed.
    pub(crate) fn follows(&self, cid: &Cid, depth: u32) -> bool {
        depth < self.depth && cid.codec() != RAW
    }

    /// Goes on with what a block links to; one whose links cannot be read is a leaf.
    ///
    /// # Errors
    /// Where there are more than a walk may have.
    pub(crate) fn expand(&mut self, block: &Block, depth: u32) -> Result<(), TooMany> {
        for link in dag::follow(block, self.follow).unwrap_or_default() {
            self.meet(link, depth + 1);
        }
        if self.seen.len() > MAX_BLOCKS || self.queue.len() > MAX_PENDING { Err(TooMany) } else { Ok(()) }
    }

    /// The place that is handed out next.
    pub(crate) fn first(&self) -> Place {
        self.first
    }

    fn meet(&mut self, cid: Cid, depth: u32) {
        // What has no key is asked of nobody, and ends the walk when its turn comes.
        if key(&cid).is_none_or(|key| self.seen.insert(key)) {
            self.queue.push_back((cid, depth));
        }
    }

    fn ask(&mut self, place: Place, cid: Cid) -> (Place, Cid) {
        if let Some(slot) = self.slot(place) {
            slot.state = State::Asked;
        }
        self.pending[kind(&cid)] += 1;
        (place, cid)
    }

    fn has_room(&self, cid: &Cid) -> bool {
        let coming = self.pending[0] * self.mean[0] + self.pending[1] * self.mean[1];
        self.held + coming + self.mean[kind(cid)] <= WINDOW_BYTES
    }

    fn slot(&mut self, place: Place) -> Option<&mut Slot> {
        let at = place.checked_sub(self.first).and_then(|at| usize::try_from(at).ok())?;
        self.window.get_mut(at)
    }
}

fn kind(cid: &Cid) -> usize {
    usize::from(cid.codec() != RAW)
}

fn key(cid: &Cid) -> Option<Key> {
    let digest = cid.hash().digest().try_into().ok()?;
    // The hash function and the version are small numbers.
    Some((digest, cid.codec(), cid.hash().code() << 1 | u64::from(cid.version())))
}

fn absent() -> Tally {
    let mut tally = Tally::default();
    tally.note(Miss::Absent);
    tally
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use carrick_core::{Bytes, Claim, cid_of};

    use super::*;

    #[test]
    fn what_is_handed_out_next_is_asked_for_again_before_all_else() {
        let roots: Vec<_> = (0..3_u8).map(|n| cid_of(RAW, &[n])).collect();
        let mut want = WantDag::new(roots[0], Duration::from_secs(1));
        want.roots = roots.clone();
        let mut frontier = Frontier::new(&want);
        assert_eq!(frontier.asks().len(), 3);
        // The last one fills all that may be held, and the others have to be asked of somebody else.
        let claim = Claim::new(roots[2], Bytes::from(vec![0; WINDOW_BYTES]));
        frontier.landed(2, Fetched { claim, from: None });
        frontier.again(1);
        frontier.again(0);
        assert_eq!(frontier.asks(), [(0, roots[0])]);
    }
}

//! What others want of us, as a state machine: events in, work out. It knows neither streams nor the store nor clocks.
//!
//! Each peer's wantlist is bounded. Peers have turns: [`next`](Server::next) names a few entries of one peer, which are looked
//! up by whoever calls it, and [answered](Server::answer); then it is the next peer's turn. What was answered waits in the
//! peer's own outbox until its writer [takes](Server::take) it, and no more is read for a peer that does not take. An entry that
//! was answered is gone, so that asking again is answered again; one that we have not stays, and is answered when the block
//! [arrives](Server::arrived) here.

mod asker;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use carrick_core::{Cid, Misdeed, PeerId};

use super::client::Time;
use super::limits;
use super::message::Ask;
use asker::{Answers, Asker};

/// A few entries of a peer to be looked up.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    /// Who asks.
    pub(crate) peer: PeerId,
    /// What for.
    pub(crate) asks: Vec<Ask>,
}

/// What a look-up brought.
#[derive(Debug)]
pub(crate) enum Answer<B> {
    /// The block goes out.
    Block(B),
    /// We have it, which is all that was asked.
    Have,
    /// We have it not.
    Absent,
    /// It could not be looked up now.
    Busy,
}

/// Whether an entry was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is in the wantlist, or out of it.
    Yes,
    /// The wantlist is full of what was not looked up yet.
    Full,
}

/// What is to be done beside answering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// There is something to send to a peer.
    Wake(PeerId),
    /// A peer did wrong.
    Report(PeerId, Misdeed),
    /// Something to count.
    Count(&'static str, u64),
}

/// The wants of others. `B` is a block on its way.
#[derive(Debug)]
pub(crate) struct Server<B> {
    peers: BTreeMap<PeerId, Asker<B>>,
    /// Whose turn it is: the first. Whoever has nothing to look up, or no room, is not in it.
    ring: VecDeque<PeerId>,
    /// Whose turn it is now.
    turns: Vec<PeerId>,
    /// Whose turn comes later, because the host was busy.
    paused: BTreeSet<(Time, PeerId)>,
    /// Who wants what we have not.
    waiting: HashMap<Cid, Vec<PeerId>>,
    waiting_entries: usize,
    /// Bytes of blocks in all outboxes.
    outstanding: usize,
    /// Blocks that are not small.
    large: HashSet<Cid>,
    effects: Vec<Effect>,
}

impl<B> Default for Server<B> {
    fn default() -> Self {
        Self {
            peers: BTreeMap::new(),
            ring: VecDeque::new(),
            turns: vec![],
            paused: BTreeSet::new(),
            waiting: HashMap::new(),
            waiting_entries: 0,
            outstanding: 0,
            large: HashSet::new(),
            effects: vec![],
        }
    }
}

impl<B: AsRef<[u8]>> Server<B> {
    /// What there is to do. Take it after every event.
    pub(crate) fn effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// A peer connected.
    pub(crate) fn connected(&mut self, peer: PeerId) {
        self.peers.entry(peer).or_default();
    }

    /// A peer is gone, and all that it wanted.
    pub(crate) fn disconnected(&mut self, peer: &PeerId) {
        self.clear(peer);
        if let Some(gone) = self.peers.remove(peer) {
            self.outstanding -= gone.outstanding();
        }
        self.ring.retain(|other| other != peer);
        self.paused.retain(|(_, other)| other != peer);
    }

    /// A peer is there and cannot be told anything: what it wanted until now is gone.
    pub(crate) fn reset(&mut self, peer: &PeerId) {
        if self.peers.contains_key(peer) {
            self.disconnected(peer);
            self.connected(*peer);
        }
    }

    /// The peer sends its wantlist anew: what it wanted before is gone, also what waits for its writer. It asks again for what
    /// it still wants, which would be sent twice otherwise.
    pub(crate) fn clear(&mut self, peer: &PeerId) {
        let Some(asker) = self.peers.get_mut(peer) else { return };
        let (waited, bytes) = asker.clear();
        self.outstanding -= bytes;
        for cid in waited {
            self.waits_no_more(peer, &cid);
        }
    }

    /// An entry of a peer's wantlist.
    pub(crate) fn asked(&mut self, peer: &PeerId, ask: Ask) -> Taken {
        let Some(asker) = self.peers.get_mut(peer) else { return Taken::Yes };
        if ask.cancel {
            if asker.cancel(&ask.cid) {
                self.waits_no_more(peer, &ask.cid);
            }
            return Taken::Yes;
        }
        if asker.is_full() && !asker.knows(&ask.cid) {
            let Some(oldest) = asker.evict() else { return Taken::Full };
            self.waits_no_more(peer, &oldest);
            self.effects.push(Effect::Count("bitswap_wants_evicted", 1));
        }
        let Some(asker) = self.peers.get_mut(peer) else { return Taken::Yes };
        if asker.ask(ask) {
            self.waits_no_more(peer, &ask.cid);
        }
        self.enter(peer);
        Taken::Yes
    }

    /// Whose turn it is, and what is to be looked up for it. [`finish`](Self::finish) ends the turn.
    pub(crate) fn next(&mut self) -> Option<Turn> {
        while self.outstanding < limits::OUTSTANDING_ALL
            && let Some(peer) = self.ring.pop_front()
        {
            let Some(asker) = self.peers.get_mut(&peer) else { continue };
            asker.in_ring = false;
            if !asker.is_ready() {
                continue;
            }
            let asks = asker.turn();
            if asks.is_empty() {
                continue;
            }
            asker.busy = true;
            self.turns.push(peer);
            return Some(Turn { peer, asks });
        }
        None
    }

    /// Whether the turn of a peer goes on with an entry: not where the peer takes no more, or is gone.
    pub(crate) fn takes(&self, peer: &PeerId, ask: &Ask) -> bool {
        let room = ask.have || self.outstanding < limits::OUTSTANDING_ALL;
        room && self.peers.get(peer).is_some_and(|asker| !asker.paused && asker.takes(ask))
    }

    /// What was found for an entry of the turn.
    pub(crate) fn answer(&mut self, peer: &PeerId, ask: &Ask, answer: Answer<B>, now: Time) {
        let Some(asker) = self.peers.get_mut(peer) else { return };
        match answer {
            Answer::Block(block) => {
                let bytes = block.as_ref().len();
                if bytes > limits::SMALL_BLOCK {
                    self.remember_large(&ask.cid);
                }
                let Some(asker) = self.peers.get_mut(peer) else { return };
                if asker.answered(&ask.cid) {
                    asker.put_block(ask.cid, block);
                    self.outstanding += bytes;
                }
            }
            Answer::Have => {
                if asker.answered(&ask.cid) {
                    asker.presences.push_back((ask.cid, true));
                }
            }
            Answer::Absent => self.absent(peer, ask, now),
            Answer::Busy => {
                asker.again(ask);
                self.effects.push(Effect::Count("bitswap_busy", 1));
                asker.paused = true;
                self.paused.insert((now + limits::BUSY, *peer));
                return;
            }
        }
        self.effects.push(Effect::Wake(*peer));
    }

    /// The peer's turn is over. `rest` was not looked up.
    pub(crate) fn finish(&mut self, peer: &PeerId, rest: Vec<Ask>) {
        if let Some(at) = self.turns.iter().position(|other| other == peer) {
            self.turns.swap_remove(at);
        }
        if let Some(asker) = self.peers.get_mut(peer) {
            asker.busy = false;
            rest.iter().rev().for_each(|ask| asker.again(ask));
        }
        self.enter(peer);
    }

    /// What waits for a peer, at most about [`ANSWER`](limits::ANSWER) bytes of blocks: these, presences, bytes that wait
    /// beside them. [`sent`](Self::sent) frees them.
    pub(crate) fn take(&mut self, peer: &PeerId) -> Answers<B> {
        let Some(asker) = self.peers.get_mut(peer) else { return (vec![], vec![], 0) };
        asker.take()
    }

    /// What was taken is with the far end, or lost: the next of it may be read.
    pub(crate) fn sent(&mut self, peer: &PeerId, bytes: usize, whole: bool) {
        let Some(asker) = self.peers.get_mut(peer) else { return };
        let bytes = asker.sent(bytes, whole);
        self.outstanding -= bytes;
        self.enter(peer);
    }

    /// Whether there is something to send to a peer.
    pub(crate) fn has_answers(&self, peer: &PeerId) -> bool {
        self.peers.get(peer).is_some_and(Asker::has_answers)
    }

    /// Blocks came to this node: whoever waits for them is answered.
    pub(crate) fn arrived(&mut self, cid: &Cid) {
        for peer in &self.turns {
            if let Some(asker) = self.peers.get_mut(peer) {
                asker.came(cid);
            }
        }
        let Some(peers) = self.waiting.remove(cid) else { return };
        self.waiting_entries -= peers.len();
        for peer in peers {
            if let Some(asker) = self.peers.get_mut(&peer) {
                asker.waits -= 1;
                asker.look_up(cid);
            }
            self.enter(&peer);
        }
    }

    /// Whether a block is known to be above [`SMALL_BLOCK`](limits::SMALL_BLOCK), so that HAVE needs no look at it.
    pub(crate) fn is_large(&self, cid: &Cid) -> bool {
        self.large.contains(cid)
    }

    /// A block was looked at.
    pub(crate) fn remember_large(&mut self, cid: &Cid) {
        if self.large.len() >= limits::LARGE {
            self.large.clear();
        }
        self.large.insert(*cid);
    }

    /// When [`wake`](Self::wake) is to be called.
    pub(crate) fn next_due(&self) -> Option<Time> {
        self.paused.first().map(|(due, _)| *due)
    }

    /// Peers whose pause is over have turns again.
    pub(crate) fn wake(&mut self, now: Time) {
        while let Some((due, peer)) = self.paused.first().copied().filter(|(due, _)| *due <= now) {
            self.paused.remove(&(due, peer));
            if let Some(asker) = self.peers.get_mut(&peer) {
                asker.paused = false;
            }
            self.enter(&peer);
        }
    }

    /// Whether it is somebody's turn.
    pub(crate) fn has_turns(&self) -> bool {
        !self.ring.is_empty() && self.outstanding < limits::OUTSTANDING_ALL
    }

    /// Bytes of blocks that were read and not sent yet.
    #[cfg(test)]
    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// We have it not: it is said, if that was asked for, and remembered.
    fn absent(&mut self, peer: &PeerId, ask: &Ask, now: Time) {
        let Some(asker) = self.peers.get_mut(peer) else { return };
        if asker.has_come(&ask.cid) {
            return asker.look_up(&ask.cid);
        }
        let room = !asker.knows(&ask.cid) || self.make_room(peer);
        let Some(asker) = self.peers.get_mut(peer) else { return };
        if ask.dont_have && asker.knows(&ask.cid) {
            asker.presences.push_back((ask.cid, false));
        }
        if asker.absences.is_one_too_many(now) {
            self.effects.push(Effect::Report(*peer, Misdeed::Needless));
        }
        if !room {
            asker.answered(&ask.cid);
            return self.effects.push(Effect::Count("bitswap_wants_dropped", 1));
        }
        if asker.wait(&ask.cid) {
            asker.waits += 1;
            self.waiting.entry(ask.cid).or_default().push(*peer);
            self.waiting_entries += 1;
        }
    }

    /// Room for one more that waits: where there is none, whoever has most gives up its oldest, unless that is the peer itself.
    fn make_room(&mut self, peer: &PeerId) -> bool {
        if self.waiting_entries < limits::WAITING {
            return true;
        }
        let own = self.peers.get(peer).map_or(0, |asker| asker.waits);
        let Some((most, asker)) = self.peers.iter_mut().max_by_key(|(_, asker)| asker.waits) else {
            return false;
        };
        if asker.waits <= own + 1 {
            return false;
        }
        let (most, oldest) = (*most, asker.evict());
        let Some(oldest) = oldest else { return false };
        self.waits_no_more(&most, &oldest);
        self.effects.push(Effect::Count("bitswap_wants_evicted", 1));
        true
    }

    fn waits_no_more(&mut self, peer: &PeerId, cid: &Cid) {
        let Some(peers) = self.waiting.get_mut(cid) else { return };
        let before = peers.len();
        peers.retain(|other| other != peer);
        let gone = before - peers.len();
        self.waiting_entries -= gone;
        if let Some(asker) = self.peers.get_mut(peer) {
            asker.waits -= gone;
        }
        if peers.is_empty() {
            self.waiting.remove(cid);
        }
    }

    /// Puts a peer at the end of the ring, if it has something to look up.
    fn enter(&mut self, peer: &PeerId) {
        if let Some(asker) = self.peers.get_mut(peer)
            && !asker.in_ring
            && asker.is_ready()
        {
            asker.in_ring = true;
            self.ring.push_back(*peer);
        }
    }

    /// What peers want and we have not.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.waiting_entries
    }

    /// How many entries a peer's wantlist has.
    #[cfg(test)]
    pub(crate) fn wantlist(&self, peer: &PeerId) -> usize {
        self.peers.get(peer).map_or(0, |asker| asker.wants())
    }

    /// Places in a peer's queues, also of what ended.
    #[cfg(test)]
    pub(crate) fn places(&self, peer: &PeerId) -> usize {
        self.peers.get(peer).map_or(0, |asker| asker.places())
    }

    /// Whether nothing is remembered of anybody.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.peers.is_empty()
            && self.ring.is_empty()
            && self.turns.is_empty()
            && self.paused.is_empty()
            && self.waiting.is_empty()
            && self.waiting_entries == 0
            && self.outstanding == 0
    }
}

//! Whom to ask for a block.

use std::ops::Bound;

use carrick_core::links::Miss;
use carrick_core::{Misdeed, PeerId};

use super::super::limits;
use super::peer::Op;
use super::want::{Find, Stand, Wanted};
use super::{Action, Client, SessionId, Time, WantId};

/// What can be done for a want.
enum Choice {
    /// Ask this peer for the block.
    Ask(PeerId),
    /// Somebody is good to ask, but has no room.
    Wait,
    /// Nobody is known to have it.
    Nobody,
}

/// Peers to be asked at once.
#[derive(Default)]
struct Round {
    peers: Vec<PeerId>,
    /// Up to whom all are among them or need not be; `None`: there is nobody else.
    upto: Option<PeerId>,
    /// Somebody has no room now.
    skipped: bool,
}

impl Client {
    /// Does the next step for a want, if it needs one.
    pub(super) fn drive(&mut self, id: WantId, now: Time) {
        let Some(wanted) = self.wants.get(&id) else { return };
        if wanted.asked > 0 {
            return self.look_again(id, now);
        }
        let Some(session) = self.session_of(wanted) else { return };
        match self.choose(wanted, session) {
            Choice::Ask(peer) => {
                self.seeking.remove(&id);
                self.ask_block(id, peer, now);
            }
            Choice::Wait => self.queue(id, session),
            Choice::Nobody => self.seek(id, session, now),
        }
        self.look_again(id, now);
    }

    /// Whoever said that it has it, or is hinted; else who had other blocks of the session. Of several the quickest.
    fn choose(&self, wanted: &Wanted, session: SessionId) -> Choice {
        let Some(session) = self.sessions.get(&session) else { return Choice::Nobody };
        let having = wanted.stands.iter().filter(|(_, stand)| *stand == Stand::Has).map(|(peer, _)| peer);
        let unasked = |peer: &&PeerId| wanted.stand(peer).is_none();
        let sure = having.chain(session.hints.iter().filter(unasked));
        let good = || self.quickest(session.good.iter().filter(unasked), session);
        match self.quickest(sure, session) {
            Choice::Nobody => good(),
            // Each block that is asked of one that hangs costs its time, whatever it promised.
            Choice::Ask(peer) if self.peers.get(&peer).is_some_and(|peer| peer.lates > 0) => match good() {
                Choice::Nobody => Choice::Ask(peer),
                better => better,
            },
            choice => choice,
        }
    }

    fn quickest<'a>(&self, peers: impl Iterator<Item = &'a PeerId>, session: &super::Session) -> Choice {
        let (mut best, mut full) = (None, false);
        for id in peers.filter(|peer| !session.avoid.contains(peer)) {
            let Some(peer) = self.peers.get(id).filter(|peer| peer.speaks) else { continue };
            if !peer.has_room() {
                full |= peer.lates == 0;
            } else if best.is_none_or(|(cost, _)| peer.cost() < cost) {
                best = Some((peer.cost(), *id));
            }
        }
        match best {
            Some((_, peer)) => Choice::Ask(peer),
            None if full => Choice::Wait,
            None => Choice::Nobody,
        }
    }

    /// Asks a peer for a block.
    fn ask_block(&mut self, id: WantId, peer: PeerId, now: Time) {
        self.forget_lacking(id, &peer);
        let (Some(wanted), Some(known)) = (self.wants.get_mut(&id), self.peers.get_mut(&peer)) else {
            return;
        };
        let promised = wanted.stand(&peer) == Some(Stand::Has) && known.presences;
        if !wanted.set(peer, Stand::Block { at: now, sent: false, promised }) {
            return;
        }
        wanted.queued = false;
        if known.blocks == 0 {
            known.paced = now;
        }
        known.blocks += 1;
        known.wants.insert(id);
        known.push(Op::Want(id));
        self.actions.push(Action::Wake(peer));
    }

    /// Asks a peer whether it has a block; false where it cannot be asked now.
    fn ask_question(&mut self, id: WantId, peer: PeerId, now: Time) -> bool {
        self.forget_lacking(id, &peer);
        let (Some(wanted), Some(known)) = (self.wants.get_mut(&id), self.peers.get_mut(&peer)) else {
            return false;
        };
        if !known.takes_questions() {
            return false;
        }
        if !known.presences {
            // It cannot be asked, so that it may have it.
            if wanted.set(peer, Stand::Has) {
                known.wants.insert(id);
            }
            return true;
        }
        if !wanted.set(peer, Stand::Question { at: now, sent: false }) {
            return false;
        }
        known.questions += 1;
        known.wants.insert(id);
        known.push(Op::Want(id));
        self.actions.push(Action::Wake(peer));
        true
    }

    /// It waits until one of those who are good to ask has room.
    fn queue(&mut self, id: WantId, session_id: SessionId) {
        let (Some(wanted), Some(session)) = (self.wants.get_mut(&id), self.sessions.get_mut(&session_id))
        else {
            return;
        };
        if wanted.queued {
            return;
        }
        wanted.queued = true;
        session.queue.push_back(id);
        let order = session.order();
        self.waiting.insert((order, session_id));
    }

    /// A peer has room again: the wants that waited for it are asked of it.
    pub(super) fn room(&mut self, peer: &PeerId, now: Time) {
        /// Wants at the head of a queue that may wait for somebody else.
        const PASSED: usize = 8;
        let waiting: Vec<_> = self.waiting.iter().take(limits::GOOD).copied().collect();
        for (order, session) in waiting {
            let mut passed = 0;
            while passed < PASSED && self.peers.get(peer).is_some_and(super::peer::Peer::has_room) {
                let Some(id) = self.sessions.get_mut(&session).and_then(|session| session.queue.pop_front())
                else {
                    self.waiting.remove(&(order, session));
                    break;
                };
                if let Some(wanted) = self.wants.get_mut(&id).filter(|wanted| wanted.queued) {
                    wanted.queued = false;
                    self.drive(id, now);
                    passed += usize::from(self.wants.get(&id).is_some_and(|wanted| wanted.queued));
                }
            }
        }
    }

    /// The sessions with wants that wait for room, at this peer perhaps.
    pub(super) fn waiting_for(&self, peer: &PeerId) -> Vec<SessionId> {
        let asks = |id: &SessionId| {
            self.sessions.get(id).is_some_and(|s| s.good.contains(peer) || s.hints.contains(peer))
        };
        self.waiting.iter().map(|(_, id)| *id).filter(asks).collect()
    }

    /// Whoever had no room may be gone: what waited for it is asked of others, or waits on.
    pub(super) fn drive_queue(&mut self, session: SessionId, now: Time) {
        let Some(session) = self.sessions.get_mut(&session) else { return };
        for id in std::mem::take(&mut session.queue) {
            if self.wants.get(&id).is_some_and(|wanted| wanted.queued) {
                self.drive_anew(id, now);
            }
        }
    }

    /// Nobody is known to have it: all are asked, some at a time, then the finder.
    fn seek(&mut self, id: WantId, session: SessionId, now: Time) {
        let fresh = self.seeking.insert(id);
        let Some(wanted) = self.wants.get_mut(&id) else { return };
        if fresh {
            // While somebody was known to have it, others may have connected.
            wanted.ask_anew();
        }
        let more = !wanted.asked_all && (wanted.upto.is_none() || !self.has_pending(id, now));
        if more && !self.ask_more(id, session, now) {
            return;
        }
        let pending = self.has_pending(id, now);
        let Some(wanted) = self.wants.get(&id) else { return };
        if wanted.find == Find::Not && (!pending || now >= wanted.began + limits::BEFORE_FINDER) {
            return self.find(id);
        }
        if !pending && wanted.asked_all && wanted.find == Find::Ended {
            let broken = wanted.stands.iter().any(|(_, stand)| *stand == Stand::Has);
            if let Some(wanted) = self.wants.get_mut(&id).filter(|_| broken) {
                wanted.tally.note(Miss::Stalled);
            }
            self.fail(id, now);
        }
    }

    fn has_pending(&self, id: WantId, now: Time) -> bool {
        let Some(wanted) = self.wants.get(&id) else { return false };
        wanted.stands.iter().any(|(peer, stand)| self.is_pending(wanted, peer, *stand, now))
    }

    /// Whether something may still come of a peer. One that is late with other blocks has a while to make its word good.
    fn is_pending(&self, wanted: &Wanted, peer: &PeerId, stand: Stand, now: Time) -> bool {
        match stand {
            Stand::Question { .. } | Stand::Block { .. } | Stand::Late { .. } => true,
            Stand::Has => {
                let usable = self.peers.get(peer).is_some_and(|peer| peer.speaks && peer.lates == 0);
                usable || now < wanted.began + self.idle + limits::LATE
            }
            Stand::Lacks { .. } => false,
        }
    }

    /// Asks the next connected peers, one for the block and the others whether they have it. False where some can be asked
    /// only later.
    fn ask_more(&mut self, id: WantId, session: SessionId, now: Time) -> bool {
        let Some(wanted) = self.wants.get(&id) else { return true };
        let Round { mut peers, upto, mut skipped } = self.round(wanted, session);
        let block =
            peers.iter().position(|peer| self.peers.get(peer).is_some_and(super::peer::Peer::has_room));
        if let Some(first) = block {
            self.ask_block(id, peers.remove(first), now);
        }
        for peer in peers {
            skipped |= !self.ask_question(id, peer, now);
        }
        self.wants.get_mut(&id).is_none_or(|wanted| wanted.was_asked(upto, skipped))
    }

    /// Who is asked next: those who delivered lately, then all in their order. No more are looked at than are needed.
    fn round(&self, wanted: &Wanted, session: SessionId) -> Round {
        let avoid = self.sessions.get(&session).map_or(&[][..], |session| &session.avoid);
        let unasked = |peer: &PeerId| wanted.stand(peer).is_none() && !avoid.contains(peer);
        let recent = self.recent.iter().filter(|_| wanted.upto.is_none());
        let useful = recent.filter_map(|peer| self.peers.get_key_value(peer)).map(|entry| (entry, false));
        let after = wanted.upto.map_or(Bound::Unbounded, Bound::Excluded);
        let others = self.peers.range((after, Bound::Unbounded)).map(|entry| (entry, true));
        let mut round = Round::default();
        for ((peer, known), in_order) in useful.chain(others) {
            if round.peers.len() >= limits::BROADCAST {
                return round;
            }
            if in_order {
                round.upto = Some(*peer);
            }
            if !known.speaks || !unasked(peer) || round.peers.contains(peer) {
                continue;
            }
            if known.takes_questions() || known.has_room() {
                round.peers.push(*peer);
            } else {
                round.skipped = true;
            }
        }
        round.upto = None;
        round
    }

    /// Forgets who has a block not, where as many peers are remembered as may be: others are to be asked.
    fn forget_lacking(&mut self, id: WantId, peer: &PeerId) {
        let full =
            |wanted: &&mut Wanted| wanted.stands.len() >= limits::STANDS && wanted.stand(peer).is_none();
        let Some(wanted) = self.wants.get_mut(&id).filter(full) else { return };
        let (cid, gone) = (wanted.cid, wanted.forget_lacking());
        for (peer, stand) in gone {
            self.leave(id, cid, &peer, stand, false);
        }
    }

    /// Somebody connected while a want found nobody who has it.
    pub(super) fn ask_newcomer(&mut self, id: WantId, peer: PeerId, now: Time) {
        let session = self.wants.get(&id).and_then(|wanted| self.session_of(wanted));
        let Some(session) = session.and_then(|id| self.sessions.get(&id)) else { return };
        if session.avoid.contains(&peer) {
            return;
        }
        if session.hints.contains(&peer) {
            self.drive(id, now);
        } else {
            self.ask_question(id, peer, now);
            self.look_again(id, now);
        }
    }

    /// Sets when a want is looked at again, unless it is sooner already.
    fn look_again(&mut self, id: WantId, now: Time) {
        let Some(wanted) = self.wants.get(&id) else { return };
        let answers = wanted.stands.iter().filter_map(|(peer, stand)| self.over(peer, *stand));
        let seeks = self.seeking.contains(&id);
        let finder = (seeks && wanted.find == Find::Not).then_some(wanted.began + limits::BEFORE_FINDER);
        // Who has it may have no room, or some could not be asked.
        let waits = !wanted.asked_all || wanted.stands.iter().any(|(_, stand)| *stand == Stand::Has);
        let again = (seeks && waits).then_some(now + limits::AGAIN);
        let Some(due) = answers.chain(finder.filter(|at| *at > now)).chain(again).min() else { return };
        let Some(wanted) = self.wants.get_mut(&id) else { return };
        if wanted.due.is_some_and(|old| old <= due) {
            return;
        }
        if let Some(old) = wanted.due.replace(due) {
            self.due.remove(&(old, id));
        }
        self.due.insert((due, id));
    }

    /// Until when an answer is waited for. A peer that sends other blocks has more time.
    fn over(&self, peer: &PeerId, stand: Stand) -> Option<Time> {
        let heard = self.peers.get(peer)?.heard;
        match stand {
            Stand::Question { at, .. } => Some(heard.max(at) + limits::LATE),
            // However much else it sends: somebody else may have it.
            Stand::Block { at, .. } => Some((heard.max(at) + limits::LATE).min(at + limits::OVERDUE)),
            Stand::Late { until, .. } => Some(until.max(heard + limits::LATE)),
            Stand::Has | Stand::Lacks { .. } => None,
        }
    }

    /// Passes over whoever did not answer in time, and lets the finder look where nobody is known to have it.
    pub(super) fn expire(&mut self, id: WantId, now: Time) {
        let Some(wanted) = self.wants.get(&id) else { return };
        let over = |(peer, stand): &(PeerId, Stand)| self.over(peer, *stand).is_some_and(|over| over <= now);
        let late: Vec<_> = wanted.stands.iter().filter(|stand| over(stand)).copied().collect();
        let finds = self.seeking.contains(&id) && now >= wanted.began + limits::BEFORE_FINDER;
        for (peer, stand) in late {
            self.is_late(id, peer, stand, now);
        }
        if finds {
            self.find(id);
        }
    }

    fn is_late(&mut self, id: WantId, peer: PeerId, stand: Stand, now: Time) {
        let (Some(wanted), Some(known)) = (self.wants.get_mut(&id), self.peers.get_mut(&peer)) else {
            return;
        };
        match stand {
            Stand::Question { sent, .. } => {
                wanted.tally.note(Miss::Stalled);
                known.questions -= 1;
                wanted.set(peer, Stand::Lacks { sent });
            }
            Stand::Block { at, sent, promised } => {
                known.blocks -= 1;
                known.owed += 1;
                wanted.set(peer, Stand::Late { until: now + self.idle, sent });
                let silent = known.heard <= at;
                if now < known.heard + limits::LATE && !known.passes_over(at) {
                    // It sends what it was asked for before: slow is no fault, but others are asked as well.
                    self.count("bitswap_slow", 1);
                    return self.room(&peer, now);
                }
                wanted.tally.note(Miss::Stalled);
                known.lates += 1;
                if sent && silent && (promised || known.tells) && known.blame.is_none() {
                    let due = at + self.idle.max(limits::LATE);
                    known.blame = Some((due, promised));
                    self.blames.insert((due, peer));
                } else if sent && promised && !silent {
                    self.actions.push(Action::Report(peer, Misdeed::BrokenPromise));
                }
                self.count("bitswap_late", 1);
            }
            Stand::Late { sent, .. } => {
                wanted.tally.note(Miss::Stalled);
                known.owed -= 1;
                wanted.set(peer, Stand::Lacks { sent });
            }
            Stand::Has | Stand::Lacks { .. } => {}
        }
        self.room(&peer, now);
    }

    /// Blames a peer that said nothing since it was asked.
    pub(super) fn blame(&mut self, peer: &PeerId, due: Time) {
        let Some(known) = self.peers.get_mut(peer) else { return };
        let Some((_, promised)) = known.blame.take_if(|(at, _)| *at == due) else { return };
        let misdeed = if promised { Misdeed::BrokenPromise } else { Misdeed::Stalled };
        self.actions.push(Action::Report(*peer, misdeed));
    }
}

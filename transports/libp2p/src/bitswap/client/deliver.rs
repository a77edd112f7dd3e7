//! What peers send: blocks, and what they have.

use carrick_core::links::Miss;
use carrick_core::{Cid, Misdeed, PeerId};

use super::super::limits;
use super::peer::Op;
use super::want::{Find, Stand};
use super::{Action, Client, RequestId, Time, WantId};

impl Client {
    /// A block came, whose address was computed from its bytes. Answers the requests that it ends; none when nobody wants it
    /// of this peer.
    pub(crate) fn block(&mut self, peer: &PeerId, cid: &Cid, bytes: usize, now: Time) -> Vec<RequestId> {
        let probed = self.answer_probes(peer, cid, true, now);
        let Some(id) = self.ids.get(cid).copied() else {
            if !probed {
                self.not_wanted(peer, cid, bytes);
            }
            return vec![];
        };
        let Some(known) = self.peers.get_mut(peer) else { return vec![] };
        let asked = self.wants.get(&id).and_then(|wanted| match wanted.stand(peer)? {
            Stand::Block { at, .. } => Some(at),
            _ => None,
        });
        known.delivered(asked, bytes, now);
        self.count("bitswap_blocks", 1);
        let done = self.requests_for(id, peer);
        if done.is_empty() {
            self.count("bitswap_avoided", 1);
            return vec![];
        }
        for request in &done {
            if let Some(request) = self.requests.remove(request)
                && let Some(session) = self.sessions.get_mut(&request.session)
            {
                session.prefer(*peer);
            }
        }
        if self.recent.front() != Some(peer) {
            self.recent.retain(|other| other != peer);
            self.recent.push_front(*peer);
            self.recent.truncate(limits::GOOD);
        }
        self.settle(id, peer, &done, now);
        // Also where it was late with this one: it sends again.
        self.room(peer, now);
        done
    }

    /// The requests of a want that a peer's block ends: those of sessions that do not avoid the peer.
    fn requests_for(&self, id: WantId, peer: &PeerId) -> Vec<RequestId> {
        let Some(wanted) = self.wants.get(&id) else { return vec![] };
        let takes = |request: &&RequestId| {
            let session = self.requests.get(request).and_then(|request| self.sessions.get(&request.session));
            session.is_some_and(|session| !session.avoid.contains(peer))
        };
        wanted.requests.iter().filter(takes).copied().collect()
    }

    fn settle(&mut self, id: WantId, peer: &PeerId, done: &[RequestId], now: Time) {
        let Some(wanted) = self.wants.get_mut(&id) else { return };
        wanted.requests.retain(|request| !done.contains(request));
        if wanted.requests.is_empty() {
            self.forget(id, Some(peer), now);
            return;
        }
        // Those who avoid this peer wait for another one.
        if let (Some(stand), Some(known)) = (wanted.remove(peer), self.peers.get_mut(peer)) {
            known.leave(id, stand);
        }
        self.drive_anew(id, now);
    }

    /// A block is too large to be taken: nobody has a smaller one under its address.
    pub(crate) fn too_large(&mut self, peer: &PeerId, cid: &Cid, now: Time) {
        let Some(id) = self.ids.get(cid).copied() else { return self.not_wanted(peer, cid, 0) };
        if let Some(known) = self.peers.get_mut(peer) {
            known.hear(now);
        }
        if let Some(wanted) = self.wants.get_mut(&id) {
            wanted.tally.note(Miss::TooLarge);
        }
        self.fail(id, now);
    }

    /// What nobody wants: a second copy where it was wanted, else one more that was never asked for.
    fn not_wanted(&mut self, peer: &PeerId, cid: &Cid, bytes: usize) {
        let Some(known) = self.peers.get_mut(peer) else { return };
        if known.settled.remove(cid) {
            self.count("bitswap_duplicates", 1);
            return self.count("bitswap_duplicate_bytes", bytes as u64);
        }
        self.unrequested(peer);
    }

    /// A part of a message came: what is behind it has more time.
    pub(crate) fn progress(&mut self, peer: &PeerId, now: Time) {
        if let Some(known) = self.peers.get_mut(peer) {
            known.hear(now);
        }
    }

    /// A block or an answer came that nobody asked for, or that cannot be used.
    pub(crate) fn unrequested(&mut self, peer: &PeerId) {
        self.count("bitswap_unrequested", 1);
        self.actions.push(Action::Report(*peer, Misdeed::Needless));
    }

    /// A peer says whether it has a block.
    pub(crate) fn presence(&mut self, peer: &PeerId, cid: &Cid, has: bool, now: Time) {
        let Some(known) = self.peers.get_mut(peer) else { return };
        known.tells |= known.presences;
        let probed = self.answer_probes(peer, cid, has, now);
        let stood = self.ids.get(cid).and_then(|id| Some((*id, self.wants.get(id)?.stand(peer)?)));
        let Some((id, stand)) = stood else {
            if !probed {
                self.unasked(peer, cid);
            }
            return;
        };
        let (Some(known), Some(wanted)) = (self.peers.get_mut(peer), self.wants.get_mut(&id)) else { return };
        // Who says again what it said before has no more time for it.
        if !has || matches!(stand, Stand::Question { .. } | Stand::Lacks { sent: true }) {
            known.hear(now);
        }
        match (stand, has) {
            (Stand::Question { .. }, true) => {
                known.questions -= 1;
                wanted.set(*peer, Stand::Has);
                self.has(id, peer);
            }
            (Stand::Lacks { sent: true }, true) => {
                wanted.set(*peer, Stand::Has);
                self.has(id, peer);
            }
            // It said so before.
            (Stand::Lacks { sent: false }, true) => return,
            // It was asked for the block, and sends it.
            (Stand::Block { .. } | Stand::Late { .. } | Stand::Has, true) => return,
            (Stand::Question { .. }, false) => {
                known.questions -= 1;
                wanted.set(*peer, Stand::Lacks { sent: true });
                wanted.tally.note(Miss::Absent);
            }
            (Stand::Block { promised, .. }, false) => {
                known.blocks -= 1;
                // Who takes its word back is not believed again.
                wanted.set(*peer, Stand::Lacks { sent: !promised });
                wanted.tally.note(Miss::Absent);
                if promised {
                    self.actions.push(Action::Report(*peer, Misdeed::BrokenPromise));
                }
                self.misses(id, peer);
            }
            (stand, false) => {
                known.owed -= usize::from(matches!(stand, Stand::Late { .. }));
                wanted.set(*peer, Stand::Lacks { sent: true });
                wanted.tally.note(Miss::Absent);
            }
        }
        self.drive(id, now);
        self.room(peer, now);
    }

    /// An answer that nobody waits for: late, or never asked for. It costs nobody much, so only many are a misdeed.
    fn unasked(&mut self, peer: &PeerId, cid: &Cid) {
        let Some(known) = self.peers.get_mut(peer) else { return };
        if known.settled.contains(cid) {
            return;
        }
        known.needless += 1;
        if known.needless.is_multiple_of(limits::NEEDLESS) {
            self.unrequested(peer);
        }
    }

    /// It has a block, so probably others.
    fn has(&mut self, id: WantId, peer: &PeerId) {
        let session = self.wants.get(&id).and_then(|wanted| self.session_of(wanted));
        if let Some(session) = session.and_then(|id| self.sessions.get_mut(&id)) {
            session.prefer(*peer);
        }
    }

    /// It has not what it was expected to have: others of the session are asked of it last.
    fn misses(&mut self, id: WantId, peer: &PeerId) {
        let session = self.wants.get(&id).and_then(|wanted| self.session_of(wanted));
        if let Some(session) = session.and_then(|id| self.sessions.get_mut(&id)) {
            session.good.retain(|other| other != peer);
        }
    }

    /// Nobody has it.
    pub(super) fn fail(&mut self, id: WantId, now: Time) {
        let Some(wanted) = self.wants.get_mut(&id) else { return };
        let (cid, tally) = (wanted.cid, wanted.tally);
        for request in std::mem::take(&mut wanted.requests) {
            self.requests.remove(&request);
            self.actions.push(Action::Failed(request, cid, tally));
        }
        self.forget(id, None, now);
    }

    /// Ends a want: whoever else was asked is told. `from` sent the block.
    pub(super) fn forget(&mut self, id: WantId, from: Option<&PeerId>, now: Time) {
        let Some(wanted) = self.wants.remove(&id) else { return };
        self.ids.remove(&wanted.cid);
        self.seeking.remove(&id);
        if let Some(due) = wanted.due {
            self.due.remove(&(due, id));
        }
        self.end_find(id, wanted.find);
        let mut freed = Vec::with_capacity(1);
        for (peer, stand) in &wanted.stands {
            if self.leave(id, wanted.cid, peer, *stand, from == Some(peer)) {
                freed.push(*peer);
            }
        }
        for peer in freed {
            self.room(&peer, now);
        }
    }

    /// A peer no longer stands anywhere with a want; answers whether it has more room.
    pub(super) fn leave(
        &mut self,
        id: WantId,
        cid: Cid,
        peer: &PeerId,
        stand: Stand,
        delivered: bool,
    ) -> bool {
        let Some(known) = self.peers.get_mut(peer) else { return false };
        known.leave(id, stand);
        if stand.is_sent() {
            // Also where it delivered: asked again on a new stream, an honest peer sends it twice.
            known.settle(cid);
        }
        if stand.is_sent() && !delivered {
            known.push(Op::Cancel(cid));
            self.actions.push(Action::Wake(*peer));
        }
        matches!(stand, Stand::Block { .. })
    }

    fn end_find(&mut self, id: WantId, find: Find) {
        match find {
            Find::Running => {
                self.finds -= 1;
                self.actions.push(Action::StopFind(id));
                self.next_find();
            }
            Find::Waiting => {
                // Those that ended are skipped when it is their turn, and dropped here when they are many.
                if self.finds_waiting.len() > 2 * self.wants.len() + limits::FINDS {
                    self.finds_waiting.retain(|id| self.wants.contains_key(id));
                }
                if self.wants.is_empty() {
                    self.finds_waiting.clear();
                }
            }
            Find::Not | Find::Ended => {}
        }
    }

    /// A peer that cannot be asked whether it has something: it may have all that it was asked for.
    pub(super) fn no_questions(&mut self, peer: &PeerId, now: Time) {
        let Some(known) = self.peers.get_mut(peer) else { return };
        let wants: Vec<_> = known.wants.iter().copied().collect();
        for id in wants {
            let (Some(wanted), Some(known)) = (self.wants.get_mut(&id), self.peers.get_mut(peer)) else {
                continue;
            };
            if let Some(Stand::Question { .. }) = wanted.stand(peer) {
                known.questions -= 1;
                wanted.set(*peer, Stand::Has);
                self.drive(id, now);
            }
        }
    }
}

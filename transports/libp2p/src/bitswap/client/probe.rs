//! Questions who has a block, by callers that do not want the block itself.

use std::collections::BTreeSet;

use carrick_core::{Cid, PeerId};

use super::super::limits;
use super::peer::Op;
use super::{Action, Client, Time};

/// A question of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ProbeId(u64);

#[derive(Debug)]
pub(super) struct Probe {
    pub(super) cid: Cid,
    limit: usize,
    /// Who has not answered.
    pub(super) pending: BTreeSet<PeerId>,
    having: Vec<PeerId>,
    due: Time,
}

impl Client {
    /// Asks all connected peers whether they have a block; the answer is an [`Action::Probed`] with at most `limit` of them.
    /// `None` when as many questions are open as may be.
    pub(crate) fn probe(&mut self, cid: Cid, limit: usize, now: Time) -> Option<ProbeId> {
        if self.probes.len() >= limits::PROBES {
            return None;
        }
        let id = ProbeId(self.number());
        let mut pending = BTreeSet::new();
        for (peer, known) in &mut self.peers {
            if known.presences && known.takes_questions() {
                known.probes += 1;
                known.push(Op::Probe(id));
                pending.insert(*peer);
                self.actions.push(Action::Wake(*peer));
            }
        }
        self.probes.insert(id, Probe { cid, limit, pending, having: vec![], due: now + limits::LATE });
        self.probed.entry(cid).or_default().push(id);
        self.end_if_answered(id);
        Some(id)
    }

    /// The caller no longer waits.
    pub(crate) fn drop_probe(&mut self, id: ProbeId) {
        let Some(probe) = self.probes.remove(&id) else { return };
        if let Some(of_cid) = self.probed.get_mut(&probe.cid) {
            of_cid.retain(|other| *other != id);
            if of_cid.is_empty() {
                self.probed.remove(&probe.cid);
            }
        }
        let wanted = self.ids.contains_key(&probe.cid) || self.probed.contains_key(&probe.cid);
        for peer in &probe.pending {
            let Some(known) = self.peers.get_mut(peer) else { continue };
            known.probes -= 1;
            if !wanted {
                known.settle(probe.cid);
                known.push(Op::Cancel(probe.cid));
                self.actions.push(Action::Wake(*peer));
            }
        }
    }

    /// A peer answered; true where a probe had asked it.
    pub(super) fn answer_probes(&mut self, peer: &PeerId, cid: &Cid, has: bool, now: Time) -> bool {
        let Some(ids) = self.probed.get(cid).cloned() else { return false };
        let mut asked = false;
        for id in ids {
            let Some(probe) = self.probes.get_mut(&id) else { continue };
            if !probe.pending.remove(peer) {
                continue;
            }
            asked = true;
            if has && probe.having.len() < probe.limit {
                probe.having.push(*peer);
            }
            if let Some(known) = self.peers.get_mut(peer) {
                known.probes -= 1;
                known.hear(now);
            }
            self.end_if_answered(id);
        }
        asked
    }

    /// A peer is gone, or cannot be asked.
    pub(super) fn leave_probes(&mut self, peer: &PeerId) {
        let ids: Vec<_> = self.probes.keys().copied().collect();
        for id in ids {
            if self.probes.get_mut(&id).is_some_and(|probe| probe.pending.remove(peer)) {
                self.end_if_answered(id);
            }
        }
    }

    pub(super) fn probe_due(&self) -> Option<Time> {
        self.probes.first_key_value().map(|(_, probe)| probe.due)
    }

    /// Those that wait for too long end with what they have; they are in the order of time.
    pub(super) fn end_probes(&mut self, now: Time) {
        while let Some((id, _)) = self.probes.first_key_value().filter(|(_, probe)| probe.due <= now) {
            self.end_probe(*id);
        }
    }

    fn end_if_answered(&mut self, id: ProbeId) {
        let over = |probe: &Probe| probe.pending.is_empty() || probe.having.len() >= probe.limit;
        if self.probes.get(&id).is_some_and(over) {
            self.end_probe(id);
        }
    }

    fn end_probe(&mut self, id: ProbeId) {
        let having = self.probes.get_mut(&id).map(|probe| std::mem::take(&mut probe.having));
        self.drop_probe(id);
        self.actions.push(Action::Probed(id, having.unwrap_or_default()));
    }
}

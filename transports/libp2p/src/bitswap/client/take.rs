//! What is to be told to a peer.

use std::collections::HashSet;

use carrick_core::{Cid, PeerId};

use super::super::limits;
use super::super::message::Ask;
use super::peer::{Op, Peer};
use super::want::{Stand, Wanted};
use super::{Action, Client, Time, WantId};

impl Client {
    /// The next entries for a peer, and whether they are all that we want of it. Empty when there is nothing to say.
    pub(crate) fn take(&mut self, peer: &PeerId) -> (bool, Vec<Ask>) {
        let Some(known) = self.peers.get_mut(peer) else { return (false, vec![]) };
        let full = std::mem::take(&mut known.full);
        // A whole list is one message; it has at most as many entries as the windows allow.
        let most = if full { usize::MAX } else { limits::ENTRIES };
        let (mut asks, mut told) = (Vec::new(), HashSet::new());
        while asks.len() < most
            && let Some(op) = known.ops.pop_front()
        {
            let ask = match op {
                Op::Cancel(cid) => Some(cancel(cid)),
                Op::Probe(id) => self.probes.get(&id).map(|probe| question(probe.cid, i32::MAX)),
                Op::Want(id) => self.wants.get(&id).and_then(|wanted| entry(wanted, peer)),
            };
            let Some(ask) = ask else { continue };
            if !told.insert(ask.cid) {
                // A second word on the same block goes into a message of its own.
                known.ops.push_front(op);
                break;
            }
            if let Op::Want(id) = op
                && let Some(wanted) = self.wants.get_mut(&id)
            {
                mark(wanted, peer, true);
            }
            asks.push(ask);
        }
        (full, asks)
    }

    /// A new stream to the peer: what was said on the last one may be lost, so all is said again.
    pub(crate) fn reopened(&mut self, peer: &PeerId, now: Time) {
        let Some(known) = self.peers.get_mut(peer) else { return };
        known.ops.clear();
        known.full = true;
        known.heard = now;
        let wants: Vec<WantId> = known.wants.iter().copied().collect();
        for id in wants {
            if let Some(wanted) = self.wants.get_mut(&id) {
                mark(wanted, peer, false);
                known.ops.push_back(Op::Want(id));
            }
        }
        for (id, probe) in &self.probes {
            if probe.pending.contains(peer) {
                known.ops.push_back(Op::Probe(*id));
            }
        }
    }

    /// An answer of the peer was lost: it is asked again for all that it did not send.
    pub(crate) fn ask_again(&mut self, peer: &PeerId, now: Time) {
        if self.peers.get(peer).is_some_and(|peer| !peer.wants.is_empty()) {
            self.reopened(peer, now);
            self.actions.push(Action::Wake(*peer));
        }
    }

    /// Whether there is something to say to a peer.
    pub(crate) fn has_asks(&self, peer: &PeerId) -> bool {
        self.peers.get(peer).is_some_and(|peer: &Peer| peer.full || !peer.ops.is_empty())
    }
}

fn cancel(cid: Cid) -> Ask {
    Ask { cid, priority: 0, cancel: true, have: false, dont_have: false }
}

fn question(cid: Cid, priority: i32) -> Ask {
    Ask { cid, priority, cancel: false, have: true, dont_have: true }
}

/// What is said of a want: nothing where it was said already, or the peer need not know.
fn entry(wanted: &Wanted, peer: &PeerId) -> Option<Ask> {
    let priority = i32::from(wanted.priority) + 1_000;
    match wanted.stand(peer)? {
        Stand::Question { sent: false, .. } => Some(question(wanted.cid, priority)),
        Stand::Block { sent: false, .. } | Stand::Late { sent: false, .. } => {
            Some(Ask { cid: wanted.cid, priority, cancel: false, have: false, dont_have: true })
        }
        _ => None,
    }
}

/// Notes whether the peer knows of a want.
fn mark(wanted: &mut Wanted, peer: &PeerId, sent: bool) {
    let stand = match wanted.stand(peer) {
        Some(Stand::Question { at, .. }) => Stand::Question { at, sent },
        Some(Stand::Block { at, promised, .. }) => Stand::Block { at, sent, promised },
        Some(Stand::Late { until, .. }) => Stand::Late { until, sent },
        Some(Stand::Lacks { sent: known }) => Stand::Lacks { sent: sent && known },
        Some(Stand::Has) | None => return,
    };
    wanted.set(*peer, stand);
}

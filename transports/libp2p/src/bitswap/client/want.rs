//! A block that is wanted, and where each peer stands with it.

use carrick_core::links::Tally;
use carrick_core::{Cid, PeerId};

use super::super::limits;
use super::{RequestId, Time};

/// Where a peer stands with a want.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stand {
    /// It was asked whether it has it.
    Question { at: Time, sent: bool },
    /// It was asked for the block; `promised`: it said that it has it.
    Block { at: Time, sent: bool, promised: bool },
    /// It has it, or may have it where it cannot be asked.
    Has,
    /// It has it not. Where `sent`, it remembers that we want it, and is believed when it says that it has it now.
    Lacks { sent: bool },
    /// It was asked for the block and did not send it in time; it may still, and is waited for until then if nobody else has it.
    Late { until: Time, sent: bool },
}

impl Stand {
    /// Whether the far end knows of our want, so that it must be told when that ends.
    pub(super) fn is_sent(self) -> bool {
        match self {
            Self::Question { sent, .. }
            | Self::Block { sent, .. }
            | Self::Lacks { sent }
            | Self::Late { sent, .. } => sent,
            Self::Has => false,
        }
    }
}

/// Whether providers are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Find {
    Not,
    Waiting,
    Running,
    Ended,
}

#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) cid: Cid,
    pub(super) priority: i8,
    pub(super) began: Time,
    pub(super) requests: Vec<RequestId>,
    pub(super) stands: Vec<(PeerId, Stand)>,
    /// Peers that were asked for the block and are in time.
    pub(super) asked: usize,
    /// Every connected peer was asked.
    pub(super) asked_all: bool,
    /// Up to whom connected peers were asked, in their order; `None` before the first and after the last.
    pub(super) upto: Option<PeerId>,
    /// Some of those had no room.
    skipped: bool,
    /// It cannot remember all whom it asked.
    crowded: bool,
    pub(super) find: Find,
    /// It waits for room at a peer.
    pub(super) queued: bool,
    pub(super) due: Option<Time>,
    pub(super) tally: Tally,
}

impl Wanted {
    pub(super) fn new(cid: Cid, priority: i8, began: Time) -> Self {
        Self {
            cid,
            priority,
            began,
            requests: Vec::with_capacity(1),
            stands: Vec::with_capacity(1),
            asked: 0,
            asked_all: false,
            upto: None,
            skipped: false,
            crowded: false,
            find: Find::Not,
            queued: false,
            due: None,
            tally: Tally::default(),
        }
    }

    pub(super) fn stand(&self, peer: &PeerId) -> Option<Stand> {
        self.stands.iter().find(|(other, _)| other == peer).map(|(_, stand)| *stand)
    }

    /// Changes where a peer stands; false where nothing more can be remembered.
    pub(super) fn set(&mut self, peer: PeerId, stand: Stand) -> bool {
        let block = |stand: Stand| usize::from(matches!(stand, Stand::Block { .. }));
        if let Some((_, old)) = self.stands.iter_mut().find(|(other, _)| *other == peer) {
            self.asked = self.asked + block(stand) - block(*old);
            *old = stand;
            return true;
        }
        let room = self.stands.len() < limits::STANDS;
        if room {
            self.asked += block(stand);
            self.stands.push((peer, stand));
        }
        room
    }

    /// All are to be asked that were not.
    pub(super) fn ask_anew(&mut self) {
        (self.asked_all, self.upto, self.skipped) = (false, None, false);
    }

    /// Peers were asked up to this one, or all; `skipped`: some had no room. False where those are to be asked later.
    pub(super) fn was_asked(&mut self, upto: Option<PeerId>, skipped: bool) -> bool {
        self.skipped |= skipped;
        self.upto = upto;
        if upto.is_some() {
            return true;
        }
        // Where it is not known who was asked, the others are not asked again and again for the sake of a few.
        self.asked_all = !std::mem::take(&mut self.skipped) || self.crowded;
        self.asked_all
    }

    /// Forgets who has it not.
    pub(super) fn forget_lacking(&mut self) -> Vec<(PeerId, Stand)> {
        self.crowded = true;
        self.stands.extract_if(.., |(_, stand)| matches!(stand, Stand::Lacks { .. })).collect()
    }

    pub(super) fn remove(&mut self, peer: &PeerId) -> Option<Stand> {
        let at = self.stands.iter().position(|(other, _)| other == peer)?;
        let (_, stand) = self.stands.remove(at);
        self.asked -= usize::from(matches!(stand, Stand::Block { .. }));
        Some(stand)
    }
}

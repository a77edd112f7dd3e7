//! What crossing a link is like.

use std::collections::BTreeMap;
use std::time::Duration;

use carrick_core::PeerId;

/// What crossing a link is like, in each direction. Default: all arrives, at once, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Conditions {
    /// How long everything takes to cross.
    pub delay: Duration,
    /// At most so much longer, drawn for each message and answer.
    pub jitter: Duration,
    /// Share of the messages that never arrive, 0 to 1. Requests for content and their answers are sent again instead,
    /// which costs them another round trip each time.
    pub loss: f64,
    /// Share of the messages that arrive twice, 0 to 1.
    pub duplicate: f64,
    /// Share of the messages that those sent later may overtake, 0 to 1; the others keep their order.
    pub reorder: f64,
    /// Bytes a second; `None` for as many as there are.
    pub bandwidth: Option<u64>,
}

impl Conditions {
    pub(crate) fn is_perfect(&self) -> bool {
        *self == Self::default()
    }
}

/// Which links are like what, and who can reach whom.
#[derive(Debug, Default)]
pub(crate) struct Weather {
    everywhere: Conditions,
    between: BTreeMap<(PeerId, PeerId), Conditions>,
    /// Which side of a partition a peer is on; `None` where there is none.
    sides: Option<BTreeMap<PeerId, usize>>,
}

fn pair(one: PeerId, other: PeerId) -> (PeerId, PeerId) {
    (one.min(other), one.max(other))
}

impl Weather {
    pub(crate) fn of(&self, one: PeerId, other: PeerId) -> Conditions {
        self.between.get(&pair(one, other)).copied().unwrap_or(self.everywhere)
    }

    pub(crate) fn set(&mut self, conditions: Conditions) {
        self.everywhere = conditions;
        self.between.clear();
    }

    pub(crate) fn set_between(&mut self, one: PeerId, other: PeerId, conditions: Conditions) {
        self.between.insert(pair(one, other), conditions);
    }

    /// Each list is a side, and all that are in none are one more.
    pub(crate) fn part(&mut self, sides: &[&[PeerId]]) {
        let of_side = |(side, peers): (usize, &&[PeerId])| {
            peers.iter().map(move |peer| (*peer, side)).collect::<Vec<_>>()
        };
        self.sides = Some(sides.iter().enumerate().flat_map(of_side).collect());
    }

    pub(crate) fn heal(&mut self) {
        self.sides = None;
    }

    /// Whether anything crosses between two peers.
    pub(crate) fn joins(&self, one: &PeerId, other: &PeerId) -> bool {
        self.sides.as_ref().is_none_or(|sides| sides.get(one) == sides.get(other))
    }
}

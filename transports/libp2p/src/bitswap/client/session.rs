//! Requests that belong together: the blocks of one DAG are mostly where its root was.

use std::collections::VecDeque;

use carrick_core::PeerId;

use super::super::limits;
use super::WantId;

#[derive(Debug)]
pub(super) struct Session {
    pub(super) priority: i8,
    /// Asked first.
    pub(super) hints: Vec<PeerId>,
    /// Never asked, and nothing is taken from them.
    pub(super) avoid: Vec<PeerId>,
    /// Who had blocks before.
    pub(super) good: Vec<PeerId>,
    /// Wants that wait for room at one of them.
    pub(super) queue: VecDeque<WantId>,
}

impl Session {
    pub(super) fn new(hints: &[PeerId], avoid: &[PeerId], priority: i8, good: Vec<PeerId>) -> Self {
        let mut session =
            Self { priority, hints: vec![], avoid: avoid.to_vec(), good, queue: VecDeque::new() };
        hints.iter().for_each(|peer| session.hint(*peer));
        session
    }

    /// The important sessions come first.
    pub(super) fn order(&self) -> i8 {
        self.priority.checked_neg().unwrap_or(i8::MAX)
    }

    pub(super) fn hint(&mut self, peer: PeerId) {
        if self.hints.len() < limits::HINTS && !self.hints.contains(&peer) {
            self.hints.push(peer);
        }
    }

    /// It has a block: it is asked for the others first.
    pub(super) fn prefer(&mut self, peer: PeerId) {
        if self.good.len() < limits::GOOD && !self.good.contains(&peer) {
            self.good.push(peer);
        }
    }
}

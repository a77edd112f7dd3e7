//! Who waits for which lookup. One question may be asked in two tables at once.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use carrick_core::{Multiaddr, PeerId};
use libp2p::kad::QueryId;
use tokio::sync::{mpsc, oneshot};

use super::schedule::Outcome;
use super::tables::Which;

/// A provider, and where it listens.
pub(crate) type Provider = (PeerId, Vec<Multiaddr>);

/// Who is told how an announcement ended; `None`: it has not had its turn.
pub(super) type Reply = oneshot::Sender<Result<Option<Outcome>, TooMany>>;

/// As many roots are provided as may be.
#[derive(Debug)]
pub(super) struct TooMany;

/// What somebody wants to know.
#[derive(Debug)]
pub(super) enum Ask {
    /// That a root is announced. Empty when the schedule wants it.
    Announce { root: Bytes, replies: Vec<Reply> },
    /// Who provides a key: so many more, each once.
    Providers { to: mpsc::Sender<Provider>, left: usize, named: HashSet<PeerId> },
    /// Where a peer listens.
    Peer { reply: oneshot::Sender<Vec<Multiaddr>>, addrs: Vec<Multiaddr> },
}

impl Ask {
    /// Whether nobody waits for it any more.
    fn is_given_up(&self) -> bool {
        match self {
            // It is done for its own sake.
            Self::Announce { .. } => false,
            Self::Providers { to, .. } => to.is_closed(),
            Self::Peer { reply, .. } => reply.is_closed(),
        }
    }
}

/// A lookup in one table.
pub(super) type Part = (Which, QueryId);

#[derive(Debug)]
struct Job {
    ask: Ask,
    left: usize,
    outcome: Outcome,
}

/// All that is under way.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    next: u64,
    jobs: BTreeMap<u64, Job>,
    parts: HashMap<Part, u64>,
}

impl Jobs {
    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Somebody asks, and these lookups answer.
    pub(super) fn begin(&mut self, ask: Ask, parts: &[Part]) {
        self.next += 1;
        self.parts.extend(parts.iter().map(|part| (*part, self.next)));
        self.jobs.insert(self.next, Job { ask, left: parts.len(), outcome: Outcome::NoPeers });
    }

    /// Somebody else waits for an announcement under way; gives the reply back when there is none.
    pub(super) fn join(&mut self, wanted: &Bytes, reply: Reply) -> Option<Reply> {
        for job in self.jobs.values_mut() {
            if let Ask::Announce { root, replies } = &mut job.ask
                && root == wanted
            {
                replies.push(reply);
                return None;
            }
        }
        Some(reply)
    }

    /// Providers were found; answers the lookups that need not go on.
    pub(super) fn found(&mut self, part: Part, peers: Vec<Provider>) -> Vec<Part> {
        let Some(id) = self.parts.get(&part).copied() else { return vec![part] };
        let Some(Job { ask: Ask::Providers { to, left, named }, .. }) = self.jobs.get_mut(&id) else {
            return vec![];
        };
        for (peer, addrs) in peers {
            if *left > 0 && named.insert(peer) && to.try_send((peer, addrs)).is_ok() {
                *left -= 1;
            }
        }
        if *left > 0 && !to.is_closed() { vec![] } else { self.parts_of(id) }
    }

    /// A lookup ended; answers what is known when it was the last of its question.
    pub(super) fn done(
        &mut self,
        part: Part,
        outcome: Outcome,
        found: Vec<Multiaddr>,
    ) -> Option<(Ask, Outcome)> {
        let id = self.parts.remove(&part)?;
        let job = self.jobs.get_mut(&id)?;
        job.left = job.left.saturating_sub(1);
        job.outcome = better(job.outcome, outcome);
        if let Ask::Peer { addrs, .. } = &mut job.ask {
            addrs.extend(found);
        }
        if job.left > 0 {
            return None;
        }
        self.jobs.remove(&id).map(|job| (job.ask, job.outcome))
    }

    /// The lookups that nobody waits for any more.
    pub(super) fn given_up(&self) -> Vec<Part> {
        let given_up = |id: &u64| self.jobs.get(id).is_none_or(|job| job.ask.is_given_up());
        self.parts.iter().filter(|(_, id)| given_up(id)).map(|(part, _)| *part).collect()
    }

    fn parts_of(&self, id: u64) -> Vec<Part> {
        self.parts.iter().filter(|(_, job)| **job == id).map(|(part, _)| *part).collect()
    }
}

/// What one table was told is told.
fn better(one: Outcome, other: Outcome) -> Outcome {
    match (one, other) {
        (Outcome::Told, _) | (_, Outcome::Told) => Outcome::Told,
        (Outcome::Timeout, _) | (_, Outcome::Timeout) => Outcome::Timeout,
        _ => Outcome::NoPeers,
    }
}

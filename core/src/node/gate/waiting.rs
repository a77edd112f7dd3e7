//! The waiting room: deferred messages hold no slot, but they are bounded in count, in bytes and for each author.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use libp2p_identity::PeerId;
use tokio::time::Instant;

use crate::{Limits, Message};

#[derive(Debug, Default)]
pub(super) struct WaitingRoom(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    count: usize,
    bytes: usize,
    authors: HashMap<Option<PeerId>, usize>,
}

/// A place in the waiting room. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Place {
    room: Arc<WaitingRoom>,
    bytes: usize,
    author: Option<PeerId>,
}

impl WaitingRoom {
    /// A place for a message; `None` when the room, or its author's share of it, is full.
    pub(super) fn enter(self: &Arc<Self>, message: &Message, limits: &Limits) -> Option<Place> {
        let (bytes, author) = (message.encoded().len(), message.author().copied());
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_author = state.authors.get(&author).copied().unwrap_or_default();
        let full = state.count >= limits.waiting
            || state.bytes + bytes > limits.waiting_bytes
            || of_author >= limits.waiting_per_author;
        if full {
            return None;
        }
        state.count += 1;
        state.bytes += bytes;
        state.authors.insert(author, of_author + 1);
        Some(Place { room: Arc::clone(self), bytes, author })
    }

    /// How many messages wait, and how many bytes.
    pub(super) fn held(&self) -> (usize, usize) {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (state.count, state.bytes)
    }
}

impl Place {
    /// Takes so many bytes more, for a payload that came; `false` when the room has no place for it.
    pub(super) fn grow(&mut self, bytes: usize, limits: &Limits) -> bool {
        let mut state = self.room.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = state.bytes + bytes <= limits.waiting_bytes;
        if fits {
            state.bytes += bytes;
            self.bytes += bytes;
        }
        fits
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.room.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.count -= 1;
        state.bytes -= self.bytes;
        if let Some(of_author) = state.authors.get_mut(&self.author) {
            *of_author -= 1;
            if *of_author == 0 {
                state.authors.remove(&self.author);
            }
        }
    }
}

/// How far a deferral may still go: shared by everything fetched for the sake of one message.
#[derive(Clone, Debug)]
pub(crate) struct Reach {
    budget: Arc<AtomicU32>,
    depth: u32,
    pub(super) until: Instant,
}

impl Reach {
    /// The reach of a message that nobody waits for.
    pub(super) fn full(limits: &Limits) -> Self {
        Self {
            budget: Arc::new(AtomicU32::new(limits.defer_blocks)),
            depth: limits.defer_depth,
            until: Instant::now() + limits.defer_time,
        }
    }

    /// The reach of what is fetched next for its sake; `None` when it is out of reach.
    pub(super) fn further(&self) -> Option<Self> {
        let spent =
            self.budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        let depth = self.depth.checked_sub(1)?;
        spent.ok()?;
        (Instant::now() < self.until).then(|| Self { depth, ..self.clone() })
    }
}

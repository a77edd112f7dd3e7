//! Which gaps wait to be mended, and whose turn it is.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use libp2p_identity::PeerId;
use lru::LruCache;
use tokio::sync::{MutexGuard, Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::node::core::lock;

/// Gaps that are mended at once.
const AT_ONCE: usize = 8;
/// How long none of an author's is tried after one of which nothing could be had, and how many authors are remembered.
const REST: Duration = Duration::from_secs(10);
const RESTING: NonZeroUsize = NonZeroUsize::new(4_096).expect("not zero");

/// The gaps that are being mended or wait for it. One author's are mended one after the other.
#[derive(Debug)]
pub(crate) struct Repairs {
    state: Arc<Mutex<State>>,
    room: Semaphore,
}

#[derive(Debug)]
struct State {
    held: usize,
    authors: HashMap<PeerId, Arc<tokio::sync::Mutex<()>>>,
    resting: LruCache<PeerId, Instant>,
}

impl State {
    fn rests(&self, author: &PeerId) -> bool {
        self.resting.peek(author).is_some_and(|until| Instant::now() < *until)
    }
}

/// A gap's place among them. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Place {
    state: Arc<Mutex<State>>,
    author: PeerId,
    turn: Option<Arc<tokio::sync::Mutex<()>>>,
}

impl Default for Repairs {
    fn default() -> Self {
        let state = State { held: 0, authors: HashMap::new(), resting: LruCache::sparse(RESTING) };
        Self { state: Arc::new(Mutex::new(state)), room: Semaphore::new(AT_ONCE) }
    }
}

impl Repairs {
    /// A place for one of an author's; `None` where there are so many already, in all or of this one, or it rests.
    pub(super) fn enter(&self, author: &PeerId, most: usize, of_author: usize) -> Option<Place> {
        let mut state = lock(&self.state);
        // One is held by the table itself.
        let waiting = state.authors.get(author).map_or(0, |turn| Arc::strong_count(turn) - 1);
        if state.held >= most || waiting >= of_author || state.rests(author) {
            return None;
        }
        state.held += 1;
        let turn = Arc::clone(state.authors.entry(*author).or_default());
        Some(Place { state: Arc::clone(&self.state), author: *author, turn: Some(turn) })
    }

    /// How many there are.
    pub(super) fn held(&self) -> usize {
        lock(&self.state).held
    }

    /// Waits until fewer are mended at once.
    pub(super) async fn room(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.room.acquire().await.ok()
    }
}

impl Place {
    /// Waits until the author's others that came before are done.
    pub(super) async fn turn(&self) -> Option<MutexGuard<'_, ()>> {
        match &self.turn {
            Some(turn) => Some(turn.lock().await),
            None => None,
        }
    }

    /// Nothing of it could be had: the author's next ones are not tried for a while.
    pub(super) fn rest(&self) {
        let mut state = lock(&self.state);
        if !state.rests(&self.author) {
            state.resting.put(self.author, Instant::now() + REST);
        }
    }

    /// Whether that was found out of the author while this one waited.
    pub(super) fn rests(&self) -> bool {
        lock(&self.state).rests(&self.author)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        state.held -= 1;
        self.turn = None;
        if state.authors.get(&self.author).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            state.authors.remove(&self.author);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn author(n: u8) -> PeerId {
        let key = libp2p_identity::Keypair::ed25519_from_bytes([n; 32]).expect("a key");
        key.public().to_peer_id()
    }

    #[tokio::test(start_paused = true)]
    async fn places_are_bounded_in_all_and_for_each_author_and_given_back() {
        let repairs = Repairs::default();
        let [first, second] = [1, 1].map(|n| repairs.enter(&author(n), 3, 2).expect("room"));
        assert!(repairs.enter(&author(1), 3, 2).is_none(), "so many of one");
        let other = repairs.enter(&author(2), 3, 2).expect("room");
        assert!(repairs.enter(&author(3), 3, 2).is_none(), "so many in all");
        drop((first, second, other));
        assert_eq!((repairs.held(), lock(&repairs.state).authors.len()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_named_what_nobody_has_rests_a_while() {
        let repairs = Repairs::default();
        repairs.enter(&author(1), 3, 2).expect("room").rest();
        assert!(repairs.enter(&author(1), 3, 2).is_none());
        assert!(repairs.enter(&author(2), 3, 2).is_some());
        tokio::time::advance(REST).await;
        assert!(repairs.enter(&author(1), 3, 2).is_some());
    }
}

//! What is harmless in small numbers: repeats of a message, topics joined and left. Each remote has some of it free.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use lru::LruCache;
use tokio::time::Instant;

use super::core::lock;
use crate::Remote;

/// Free for whoever comes anew, and again in time; more where a remote may have many topics.
const AT_ONCE: usize = 1_024;
/// Free for each topic that a remote may have: who starts anew or comes again joins all of them, and who closes leaves them.
const A_TOPIC: usize = 4;
/// Free again each second, up to what is free at once.
const A_SECOND: f64 = 32.0;
/// Most that is ever free, or as much as at once. Each message that is accepted adds one, because each neighbour may bring it once more; those that
/// a full queue and window hold are about as many, and a slow link may bring all of them at once.
const MESSAGES: f64 = 16_384.0;
/// Parts with a lock each, so that links do not wait for each other.
const PARTS: usize = 16;
/// Remotes remembered in each part; the least recent goes.
const REMOTES: usize = 512;

/// How much each remote has left.
#[derive(Debug)]
pub(crate) struct Patience {
    /// Free at once.
    at_once: f64,
    /// Messages accepted so far, once for each transport.
    news: AtomicU64,
    hash: RandomState,
    parts: [Mutex<LruCache<Remote, Left>>; PARTS],
}

#[derive(Clone, Copy, Debug)]
struct Left {
    free: f64,
    at: Instant,
    news: u64,
}

impl Left {
    fn take(&mut self, at_once: f64, news: u64) -> bool {
        let in_time = self.at.elapsed().as_secs_f64() * A_SECOND;
        let healed = (self.free + in_time).min(at_once).max(self.free);
        let more = news.saturating_sub(self.news) as f64;
        (self.free, self.at, self.news) = ((healed + more).min(MESSAGES.max(at_once)), Instant::now(), news);
        let some = self.free >= 1.0;
        self.free -= f64::from(u8::from(some));
        some
    }
}

impl Patience {
    /// With remotes that have so many topics at most.
    pub(crate) fn new(topics: usize) -> Self {
        let parts = std::array::from_fn(|_| Mutex::new(LruCache::unbounded()));
        let at_once = AT_ONCE.max(A_TOPIC * topics) as f64;
        Self { at_once, news: AtomicU64::new(0), hash: RandomState::new(), parts }
    }

    /// Counts a message as accepted, where so many transports may bring it once more.
    pub(crate) fn news(&self, transports: u32) {
        self.news.fetch_add(transports.into(), Ordering::Relaxed);
    }

    /// A remote came: what is accepted from now on, it may bring once more.
    pub(crate) fn meet(&self, remote: &Remote) {
        self.with(remote, |left, news| left.news = news);
    }

    /// Whether a remote may do something once more that nobody needs.
    pub(crate) fn bears(&self, remote: &Remote) -> bool {
        self.with(remote, |left, news| left.take(self.at_once, news))
    }

    fn with<T>(&self, remote: &Remote, take: impl FnOnce(&mut Left, u64) -> T) -> T {
        let news = self.news.load(Ordering::Relaxed);
        let part = self.hash.hash_one(remote) as usize % PARTS;
        let mut remotes = lock(&self.parts[part]);
        if remotes.len() >= REMOTES && !remotes.contains(remote) {
            remotes.pop_lru();
        }
        take(
            remotes.get_or_insert_mut_ref(remote, || Left { free: self.at_once, at: Instant::now(), news }),
            news,
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn remote(n: usize) -> Remote {
        Remote::Foreign(n.to_string().into())
    }

    /// How often a remote may do it until it may not.
    fn borne(patience: &Patience, n: usize) -> usize {
        (0..1_000_000).take_while(|_| patience.bears(&remote(n))).count()
    }

    #[tokio::test(start_paused = true)]
    async fn some_is_free_at_once_and_some_again_in_time() {
        let patience = Patience::new(128);
        assert_eq!(borne(&patience, 0), 1_024);
        assert!(patience.bears(&remote(1)), "another has its own");
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(borne(&patience, 0), 64);
        tokio::time::advance(Duration::from_secs(86_400)).await;
        assert_eq!(borne(&patience, 0), 1_024, "a day saves up no more than that");
    }

    #[tokio::test(start_paused = true)]
    async fn all_topics_may_be_joined_and_left_at_once() {
        let patience = Patience::new(65_536);
        assert_eq!(borne(&patience, 0), 4 * 65_536);
    }

    /// A slow link brings everything that came by a faster one, however late and all at once.
    #[tokio::test(start_paused = true)]
    async fn each_neighbour_may_bring_what_was_accepted_once_more() {
        let patience = Patience::new(128);
        patience.meet(&remote(0));
        (0..3_000).for_each(|_| patience.news(1));
        assert_eq!(borne(&patience, 0), 3_000 + 1_024);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_accepted_long_ago_or_before_a_remote_came_is_no_excuse() {
        let patience = Patience::new(128);
        patience.meet(&remote(0));
        (0..100_000).for_each(|_| patience.news(1));
        assert_eq!(borne(&patience, 0), 16_384);
        assert_eq!(borne(&patience, 1), 1_024);
        (0..100_000).for_each(|_| patience.news(1));
        patience.meet(&remote(0));
        assert_eq!(borne(&patience, 0), 0, "it was away");
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_bound_only_the_least_recent_begin_anew() {
        let patience = Patience::new(128);
        assert_eq!(borne(&patience, 0), 1_024);
        for n in 1..=2 * PARTS * REMOTES {
            assert!(patience.bears(&remote(n)));
            assert!(!patience.bears(&remote(0)), "it is there all the while");
        }
        assert!(patience.parts.iter().all(|part| lock(part).len() <= REMOTES));
    }
}

//! When which root is announced: a state machine without I/O or clock.
//!
//! Records of who provides what live for 48 hours, so each root is announced again and again. All at once would be a burst of
//! lookups each interval; so every root has a place in the interval, by the last bytes of its hash, and is announced when its
//! place comes round: ten thousand roots go out evenly, whenever they were added and however often the node restarts. Of
//! what is due at once, at most a few are under way.
//!
//! Where there is nobody to tell, everything waits, longer each time, until peers come.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use bytes::Bytes;
use carrick_core::Time;

/// How long to wait at first when nobody is there, and when a root could not be announced.
const FIRST: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];
/// How long in the end.
const LAST: [Duration; 2] = [Duration::from_secs(300), Duration::from_secs(3600)];

/// How an announcement ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Peers were told.
    Told,
    /// Nobody was there.
    NoPeers,
    /// It took too long.
    Timeout,
}

/// The roots this node provides.
#[derive(Debug)]
pub(crate) struct Schedule {
    /// `None`: each is announced once.
    interval: Option<Duration>,
    /// Most announcements under way that nobody asked for.
    parallel: usize,
    roots: HashMap<Bytes, Root>,
    /// What waits, the first due first.
    due: BTreeSet<(Time, Bytes)>,
    running: usize,
    /// Nothing is announced before this moment, because nobody was there.
    resume: Option<Time>,
    lonely: u32,
}

#[derive(Clone, Copy, Debug)]
struct Root {
    state: State,
    failures: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting(Time),
    Running,
    /// Told, and never again.
    Done,
}

impl Schedule {
    /// Announces each root every `interval`, at most `parallel` at once.
    pub(crate) fn new(interval: Option<Duration>, parallel: usize) -> Self {
        let (roots, due) = (HashMap::new(), BTreeSet::new());
        Self { interval, parallel, roots, due, running: 0, resume: None, lonely: 0 }
    }

    /// How many roots there are.
    pub(crate) fn len(&self) -> usize {
        self.roots.len()
    }

    /// Whether a root is provided.
    pub(crate) fn contains(&self, root: &Bytes) -> bool {
        self.roots.contains_key(root)
    }

    /// Whether a root is being announced now.
    pub(crate) fn is_running(&self, root: &Bytes) -> bool {
        self.roots.get(root).is_some_and(|root| root.state == State::Running)
    }

    /// The roots.
    pub(crate) fn roots(&self) -> impl Iterator<Item = &Bytes> {
        self.roots.keys()
    }

    /// Takes a root back that an earlier life provided and last announced at `told`; `None`: never.
    pub(crate) fn restore(&mut self, root: Bytes, told: Option<Time>) {
        let state = match told {
            None => State::Waiting(Time(0)),
            Some(told) => self.after(&root, told),
        };
        self.set(root, state, 0);
    }

    /// Marks a root as being announced now, because somebody asked for it. `false` when it is under way already.
    pub(crate) fn begin(&mut self, root: &Bytes) -> bool {
        if self.is_running(root) {
            return false;
        }
        let failures = self.roots.get(root).map_or(0, |root| root.failures);
        self.set(root.clone(), State::Running, failures);
        true
    }

    /// The next root to announce; call it until there is none.
    pub(crate) fn next(&mut self, now: Time) -> Option<Bytes> {
        if self.running >= self.parallel || self.resume.is_some_and(|resume| now < resume) {
            return None;
        }
        let root = self.due.first().filter(|(due, _)| *due <= now)?.1.clone();
        // One goes out to see whether anybody is there.
        if self.resume.is_some() && self.running > 0 {
            return None;
        }
        self.begin(&root);
        Some(root)
    }

    /// An announcement ended.
    pub(crate) fn done(&mut self, root: &Bytes, outcome: Outcome, now: Time) {
        if outcome == Outcome::NoPeers {
            self.resume = Some(later(now, wait(0, self.lonely)));
            self.lonely = self.lonely.saturating_add(1);
        } else {
            self.peers_came();
        }
        let Some(Root { state: State::Running, failures }) = self.roots.get(root).copied() else { return };
        let (state, failures) = match outcome {
            Outcome::Told => (self.after(root, now), 0),
            Outcome::NoPeers => (State::Waiting(now), failures),
            Outcome::Timeout => (State::Waiting(later(now, wait(1, failures))), failures.saturating_add(1)),
        };
        self.set(root.clone(), state, failures);
    }

    /// Provides a root no more; `false` when it was not provided.
    pub(crate) fn remove(&mut self, root: &Bytes) -> bool {
        let Some(old) = self.roots.remove(root) else { return false };
        self.left(root, old.state);
        true
    }

    /// Somebody to tell is there: what waited for that goes on.
    pub(crate) fn peers_came(&mut self) {
        (self.resume, self.lonely) = (None, 0);
    }

    /// When [`next`](Self::next) has something to say, if nothing else happens.
    #[cfg(test)]
    pub(crate) fn wakes(&self) -> Option<Time> {
        let (due, _) = self.due.first()?;
        Some(self.resume.map_or(*due, |resume| resume.max(*due)))
    }

    fn set(&mut self, root: Bytes, state: State, failures: u32) {
        if let Some(old) = self.roots.insert(root.clone(), Root { state, failures }) {
            self.left(&root, old.state);
        }
        match state {
            State::Waiting(at) => drop(self.due.insert((at, root))),
            State::Running => self.running += 1,
            State::Done => {}
        }
    }

    fn left(&mut self, root: &Bytes, state: State) {
        match state {
            State::Waiting(at) => drop(self.due.remove(&(at, root.clone()))),
            State::Running => self.running -= 1,
            State::Done => {}
        }
    }

    /// When a root that was announced at `told` is announced again: at its place in the interval, the first after it.
    fn after(&self, root: &Bytes, told: Time) -> State {
        let Some(interval) = self.interval else { return State::Done };
        let interval = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX).max(1);
        let past = (told.as_millis() % interval + interval - place(root, interval)) % interval;
        State::Waiting(Time(told.as_millis().saturating_add(interval - past)))
    }
}

/// The place of a root in the interval. What it begins with is the same for all; what it ends with is the hash.
fn place(root: &[u8], interval: u64) -> u64 {
    let tail = root.iter().rev().take(8).fold(0_u64, |all, byte| (all << 8) | u64::from(*byte));
    let place = (u128::from(tail) * u128::from(interval)) >> 64;
    // Less than the interval, because the tail is less than 2⁶⁴.
    u64::try_from(place).unwrap_or(0)
}

fn wait(which: usize, attempt: u32) -> Duration {
    FIRST[which].saturating_mul(1 << attempt.min(16)).min(LAST[which])
}

fn later(now: Time, wait: Duration) -> Time {
    Time(now.as_millis().saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests;

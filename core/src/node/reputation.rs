//! One score for each remote, over all transports: misdeeds weigh, time heals, below a threshold it is out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Misdeed;
use crate::Remote;

/// Below this nothing is relayed to or taken from a remote.
const QUIET: f64 = -50.0;
/// Below this it is disconnected and banned.
const OUT: f64 = -100.0;
/// Half of a score is forgotten in this time.
const HALF_LIFE: Duration = Duration::from_secs(600);
/// How long a ban lasts.
const BAN: Duration = Duration::from_secs(3_600);
/// Scores kept at most; the best go first.
const MAX_SCORES: usize = 8_192;
/// What a refused message costs.
const REFUSED: f64 = 10.0;

/// The scores of all remotes that ever did wrong. An unknown one has 0, the best there is.
#[derive(Debug)]
pub(crate) struct Reputation(Mutex<Scores>);

#[derive(Debug)]
struct Scores {
    began: Instant,
    of: BTreeMap<Remote, Score>,
    /// Each with its [`rank`](Score::rank), the best first.
    ranked: BTreeSet<(i64, Remote)>,
}

#[derive(Clone, Copy, Debug)]
struct Score {
    value: f64,
    at: Instant,
    banned_until: Option<Instant>,
    stalled_at: Option<Instant>,
}

impl Score {
    fn now(&self) -> f64 {
        self.value * 0.5_f64.powf(self.at.elapsed().div_duration_f64(HALF_LIFE))
    }

    fn banned(&self) -> bool {
        self.banned_until.is_some_and(|until| Instant::now() < until)
    }

    /// Where it stands among the others, the best lowest: in millionths of a half-life after which nothing is left to heal.
    /// Time heals all alike, so the order stays as it is. A ban ranks as if the score that leads to it began to heal at its end.
    fn rank(&self, began: Instant) -> i64 {
        let heals = |value: f64, at: Instant| (-value).log2() + (at - began).div_duration_f64(HALF_LIFE);
        let ban = self.banned_until.map_or(f64::NEG_INFINITY, |until| heals(OUT, until));
        (heals(self.value, self.at).max(ban) * 1e6) as i64
    }
}

impl Scores {
    /// Changes the score of a remote; answers whether this bans it.
    fn change(&mut self, remote: &Remote, change: impl FnOnce(&mut Score)) -> bool {
        let now = Instant::now();
        let fresh = Score { value: 0.0, at: now, banned_until: None, stalled_at: None };
        let before = self.of.get(remote).copied().unwrap_or(fresh);
        let mut score = Score { value: before.now(), at: now, ..before };
        change(&mut score);
        let bans = score.value <= OUT && !before.banned();
        if bans {
            score.banned_until = Some(now + BAN);
        }
        self.set(remote, score);
        bans
    }

    /// Sets a score; at the bound the best of the others goes.
    fn set(&mut self, remote: &Remote, score: Score) {
        self.remove(remote);
        if self.of.len() >= MAX_SCORES
            && let Some((_, best)) = self.ranked.pop_first()
        {
            self.of.remove(&best);
        }
        self.ranked.insert((score.rank(self.began), remote.clone()));
        self.of.insert(remote.clone(), score);
    }

    fn remove(&mut self, remote: &Remote) {
        if let Some(score) = self.of.remove(remote) {
            self.ranked.remove(&(score.rank(self.began), remote.clone()));
        }
    }
}

impl Misdeed {
    fn weight(self) -> f64 {
        match self {
            Self::Malformed | Self::WrongBytes => 20.0,
            Self::Spam | Self::Needless => 5.0,
            // Twenty are too many, even over minutes: the score heals meanwhile.
            Self::BrokenPromise | Self::Stalled => 7.0,
        }
    }
}

impl Default for Reputation {
    fn default() -> Self {
        let (of, ranked) = (BTreeMap::new(), BTreeSet::new());
        Self(Mutex::new(Scores { began: Instant::now(), of, ranked }))
    }
}

impl Reputation {
    /// Blames a remote; answers whether this bans it.
    pub(crate) fn blame(&self, remote: &Remote, misdeed: Misdeed) -> bool {
        self.lower(remote, misdeed.weight())
    }

    /// Blames whoever handed us a message that is refused; answers whether this bans it.
    pub(crate) fn refused(&self, remote: &Remote) -> bool {
        self.lower(remote, REFUSED)
    }

    /// Blames a remote for having kept requests waiting, once in `idle`: however many wait, it is one fault.
    pub(crate) fn stalled(&self, remote: &Remote, idle: Duration) -> bool {
        let mut scores = self.lock();
        let last = scores.of.get(remote).and_then(|score| score.stalled_at);
        if last.is_some_and(|last| last.elapsed() < idle) {
            return false;
        }
        scores.change(remote, |score| {
            score.value -= Misdeed::Stalled.weight();
            score.stalled_at = Some(score.at);
        })
    }

    fn lower(&self, remote: &Remote, by: f64) -> bool {
        self.lock().change(remote, |score| score.value -= by)
    }

    /// Bans a remote outright.
    pub(crate) fn ban(&self, remote: &Remote) {
        let now = Instant::now();
        let score = Score { value: OUT, at: now, banned_until: Some(now + BAN), stalled_at: None };
        self.lock().set(remote, score);
    }

    /// Forgets everything about a remote.
    pub(crate) fn forgive(&self, remote: &Remote) {
        self.lock().remove(remote);
    }

    /// Whether a remote may not connect.
    pub(crate) fn banned(&self, remote: &Remote) -> bool {
        self.lock().of.get(remote).is_some_and(Score::banned)
    }

    /// Whether messages go to a remote and are taken from it.
    pub(crate) fn relays(&self, remote: &Remote) -> bool {
        self.lock().of.get(remote).is_none_or(|score| !score.banned() && score.now() > QUIET)
    }

    /// The score now: 0 is the best, −100 is out.
    pub(crate) fn score(&self, remote: &Remote) -> f64 {
        self.lock().of.get(remote).map_or(0.0, Score::now)
    }

    fn lock(&self) -> MutexGuard<'_, Scores> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote() -> Remote {
        Remote::Foreign("x".into())
    }

    #[tokio::test(start_paused = true)]
    async fn ten_refusals_ban_and_an_hour_heals() {
        let reputation = Reputation::default();
        let bans: Vec<bool> = (0..10).map(|_| reputation.refused(&remote())).collect();
        assert_eq!(bans.iter().position(|ban| *ban), Some(9));
        assert!(reputation.banned(&remote()) && !reputation.relays(&remote()));
        tokio::time::advance(BAN + Duration::from_secs(1)).await;
        assert!(!reputation.banned(&remote()) && reputation.relays(&remote()));
    }

    #[tokio::test(start_paused = true)]
    async fn however_many_requests_wait_a_stall_is_one_fault_and_twenty_are_too_many() {
        let (reputation, idle) = (Reputation::default(), Duration::from_secs(10));
        let stall = || (0..50).any(|_| reputation.stalled(&remote(), idle));
        assert!(!stall() && reputation.score(&remote()) > -10.0);
        let mut stalls = 1;
        loop {
            stalls += 1;
            tokio::time::advance(idle).await;
            if stall() {
                break;
            }
        }
        assert!(stalls <= 20, "{stalls}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_score_halves_in_its_time() {
        let reputation = Reputation::default();
        reputation.blame(&remote(), Misdeed::WrongBytes);
        tokio::time::advance(HALF_LIFE).await;
        assert!((reputation.score(&remote()) + 10.0).abs() < 1e-6);
    }

    fn stranger(n: usize) -> Remote {
        Remote::Foreign(n.to_string().into())
    }

    /// Keys cost nothing, so the table fills up; who is banned and who came close stay in it.
    #[tokio::test(start_paused = true)]
    async fn at_the_bound_the_best_go_and_the_banned_last() {
        let reputation = Reputation::default();
        let (banned, close) = (Remote::Foreign("banned".into()), Remote::Foreign("close".into()));
        reputation.ban(&banned);
        tokio::time::advance(BAN - Duration::from_secs(1)).await;
        for _ in 0..9 {
            reputation.refused(&close);
        }
        for n in 0..MAX_SCORES + 100 {
            reputation.blame(&stranger(n), Misdeed::Stalled);
        }
        assert!(reputation.banned(&banned) && reputation.score(&close) < -89.0);
        assert_eq!(reputation.score(&stranger(0)), 0.0, "forgotten");
        let last = stranger(MAX_SCORES + 99);
        assert!(reputation.score(&last) < 0.0, "the newest is never the one to go");
        let scores = reputation.lock();
        assert_eq!((scores.of.len(), scores.ranked.len()), (MAX_SCORES, MAX_SCORES));
    }

    #[tokio::test(start_paused = true)]
    async fn a_ban_that_is_long_over_is_the_first_to_go() {
        let reputation = Reputation::default();
        reputation.ban(&remote());
        tokio::time::advance(3 * BAN).await;
        for n in 0..MAX_SCORES {
            reputation.blame(&stranger(n), Misdeed::Stalled);
        }
        assert_eq!((reputation.score(&remote()), reputation.lock().of.len()), (0.0, MAX_SCORES));
    }

    #[tokio::test(start_paused = true)]
    async fn a_score_that_is_forgiven_or_changed_leaves_no_second_place() {
        let reputation = Reputation::default();
        for _ in 0..12 {
            reputation.refused(&remote());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(reputation.lock().ranked.len(), 1);
        reputation.forgive(&remote());
        assert!(reputation.lock().of.is_empty() && reputation.lock().ranked.is_empty());
    }
}

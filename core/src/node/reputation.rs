//! One score for each remote, over all transports: misdeeds weigh, time heals, below a threshold it is out.

use std::collections::BTreeMap;
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
#[derive(Debug, Default)]
pub(crate) struct Reputation(Mutex<BTreeMap<Remote, Score>>);

#[derive(Clone, Copy, Debug)]
struct Score {
    value: f64,
    at: Instant,
    banned_until: Option<Instant>,
}

impl Score {
    fn now(&self) -> f64 {
        self.value * 0.5_f64.powf(self.at.elapsed().div_duration_f64(HALF_LIFE))
    }

    fn banned(&self) -> bool {
        self.banned_until.is_some_and(|until| Instant::now() < until)
    }
}

impl Misdeed {
    fn weight(self) -> f64 {
        match self {
            Self::Malformed | Self::WrongBytes => 20.0,
            Self::Spam => 5.0,
            Self::BrokenPromise => 2.0,
            Self::Stalled => 1.0,
        }
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

    fn lower(&self, remote: &Remote, by: f64) -> bool {
        let mut scores = self.lock();
        if scores.len() >= MAX_SCORES && !scores.contains_key(remote) {
            forget_the_best(&mut scores);
        }
        let now = Instant::now();
        let fresh = Score { value: 0.0, at: now, banned_until: None };
        let score = scores.entry(remote.clone()).or_insert(fresh);
        let was_banned = score.banned();
        *score = Score { value: score.now() - by, at: now, ..*score };
        if score.value <= OUT && !was_banned {
            score.banned_until = Some(now + BAN);
        }
        score.banned() && !was_banned
    }

    /// Bans a remote outright.
    pub(crate) fn ban(&self, remote: &Remote) {
        let now = Instant::now();
        let score = Score { value: OUT, at: now, banned_until: Some(now + BAN) };
        self.lock().insert(remote.clone(), score);
    }

    /// Forgets everything about a remote.
    pub(crate) fn forgive(&self, remote: &Remote) {
        self.lock().remove(remote);
    }

    /// Whether a remote may not connect.
    pub(crate) fn banned(&self, remote: &Remote) -> bool {
        self.lock().get(remote).is_some_and(Score::banned)
    }

    /// Whether messages go to a remote and are taken from it.
    pub(crate) fn relays(&self, remote: &Remote) -> bool {
        self.lock().get(remote).is_none_or(|score| !score.banned() && score.now() > QUIET)
    }

    /// The score now: 0 is the best, −100 is out.
    pub(crate) fn score(&self, remote: &Remote) -> f64 {
        self.lock().get(remote).map_or(0.0, Score::now)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Remote, Score>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn forget_the_best(scores: &mut BTreeMap<Remote, Score>) {
    let best =
        scores.iter().filter(|(_, score)| !score.banned()).max_by(|a, b| a.1.now().total_cmp(&b.1.now()));
    if let Some(remote) = best.or_else(|| scores.iter().next()).map(|(remote, _)| remote.clone()) {
        scores.remove(&remote);
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
    async fn a_score_halves_in_its_time() {
        let reputation = Reputation::default();
        reputation.blame(&remote(), Misdeed::WrongBytes);
        tokio::time::advance(HALF_LIFE).await;
        assert!((reputation.score(&remote()) + 10.0).abs() < 1e-6);
    }
}

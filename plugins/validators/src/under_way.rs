//! What was judged good and is not accepted yet: messages of one author are judged at once, and each must count with the
//! others although those after this validator may still refuse it.

use std::time::Duration;

use carrick_core::MessageId;
use tokio::time::Instant;

/// How long an accepted message may take from the end of its judging until it is told: the most that `reorder` may be. One
/// that was refused elsewhere is forgotten after it, for of that nobody tells.
const TOLD_WITHIN: Duration = Duration::from_secs(10);

/// Of one author at most so many are under way at once: as many as a node's gate holds by default.
pub(crate) const AT_ONCE: usize = 1_024;

/// Messages under way, each with when it is forgotten.
#[derive(Debug, Default)]
pub(crate) struct UnderWay(Vec<(MessageId, Instant)>);

impl UnderWay {
    /// Forgets those that took too long, and one that is judged again after a Defer.
    pub(crate) fn tidy(&mut self, now: Instant, again: &MessageId) {
        self.0.retain(|(id, until)| *until > now && id != again);
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// Adds one whose judging ends at `deadline`, unless there are [`AT_ONCE`]; `false` then. `at_most`: how long it can
    /// matter.
    pub(crate) fn begin(&mut self, id: MessageId, deadline: Instant, at_most: Duration) -> bool {
        let fits = self.0.len() < AT_ONCE;
        if fits {
            let until = (deadline + TOLD_WITHIN).min(Instant::now() + at_most);
            self.0.push((id, until));
        }
        fits
    }

    /// It was accepted.
    pub(crate) fn end(&mut self, id: &MessageId) {
        self.0.retain(|(other, _)| other != id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn id(n: u64) -> MessageId {
        MessageId::of(&n.to_be_bytes())
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_forgotten_when_it_ends_or_takes_too_long_or_is_judged_again() {
        let mut under_way = UnderWay::default();
        let now = Instant::now();
        for n in 0..3 {
            assert!(under_way.begin(id(n), now, DAY));
        }
        assert!(under_way.begin(id(3), now, Duration::from_secs(1)));
        under_way.end(&id(0));
        assert_eq!(under_way.count(), 3);
        under_way.tidy(now, &id(1));
        assert_eq!(under_way.count(), 2);
        under_way.tidy(now + Duration::from_secs(1), &id(9));
        assert_eq!(under_way.count(), 1);
        under_way.tidy(now + TOLD_WITHIN, &id(9));
        assert_eq!(under_way.count(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_room_for_so_many() {
        let mut under_way = UnderWay::default();
        let mut begin = |n| under_way.begin(id(n), Instant::now(), DAY);
        assert!((0..AT_ONCE as u64).all(&mut begin));
        assert!(!begin(AT_ONCE as u64));
        under_way.end(&id(0));
        assert!(under_way.begin(id(AT_ONCE as u64), Instant::now(), DAY));
    }
}

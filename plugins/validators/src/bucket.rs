//! A leaky bucket on a clock that may go back or jump.

use carrick_core::Time;

/// How much may be poured in, and how fast it leaks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    messages: u64,
    window_ms: u64,
}

impl Rule {
    /// So many messages within a window, which may come all at once. Neither is 0; their product fits 64 bits.
    pub(crate) fn new(messages: u32, window_ms: u64) -> Self {
        Self { messages: messages.max(1).into(), window_ms: window_ms.max(1) }
    }

    /// In units of which one message takes `window_ms` and each millisecond lets `messages` leak: so all is whole numbers.
    fn capacity(self) -> u64 {
        self.messages.saturating_mul(self.window_ms)
    }
}

/// The messages of one author that count still.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bucket {
    filled: u64,
    at: Time,
}

impl Bucket {
    /// How many more messages fit now.
    ///
    /// Where the clock goes back nothing leaks, and it leaks on from there: a jump back costs no more than what had leaked
    /// till then would take again. A jump forward empties it.
    pub(crate) fn room(&mut self, rule: Rule, now: Time) -> u64 {
        let elapsed = now.as_millis().saturating_sub(self.at.as_millis());
        self.filled = self.filled.saturating_sub(elapsed.saturating_mul(rule.messages));
        self.at = now;
        (rule.capacity() - self.filled.min(rule.capacity())) / rule.window_ms
    }

    /// Pours a message in. What does not fit flows over: nothing that was accepted locks an author out for longer than a
    /// full bucket does.
    pub(crate) fn pour(&mut self, rule: Rule, now: Time) {
        self.room(rule, now);
        self.filled = self.filled.saturating_add(rule.window_ms).min(rule.capacity());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: fn() -> Rule = || Rule::new(4, 1_000);

    fn full(at: u64) -> Bucket {
        let mut bucket = Bucket::default();
        (0..4).for_each(|_| bucket.pour(RULE(), Time(at)));
        bucket
    }

    #[test]
    fn a_burst_of_all_passes_and_then_one_each_share_of_the_window() {
        let mut bucket = Bucket::default();
        assert_eq!(bucket.room(RULE(), Time(5_000)), 4);
        let mut bucket = full(5_000);
        for (at, room) in [(5_000, 0), (5_249, 0), (5_250, 1), (5_999, 3), (6_000, 4), (u64::MAX, 4)] {
            assert_eq!(bucket.room(RULE(), Time(at)), room, "at {at}");
        }
    }

    #[test]
    fn in_no_window_do_more_than_twice_as_many_pass() {
        let (rule, mut bucket) = (RULE(), Bucket::default());
        let mut passed = Vec::new();
        for at in (0..20_000).step_by(7) {
            if bucket.room(rule, Time(at)) > 0 {
                bucket.pour(rule, Time(at));
                passed.push(at);
            }
        }
        assert!(
            passed.windows(9).all(|nine| nine[8] - nine[0] >= 1_000),
            "a burst and what leaked meanwhile"
        );
        assert!(passed.len() >= 80, "{} passed in 20 windows", passed.len());
    }

    #[test]
    fn a_clock_that_goes_back_or_jumps_locks_nobody_out() {
        let mut bucket = full(u64::MAX);
        assert_eq!(bucket.room(RULE(), Time(0)), 0);
        assert_eq!(bucket.room(RULE(), Time(250)), 1, "it leaks on from there");
        assert_eq!(bucket.room(RULE(), Time(1_000)), 4);
        let mut bucket = full(0);
        assert_eq!(bucket.room(RULE(), Time(u64::MAX)), 4);
    }

    #[test]
    fn the_largest_rule_overflows_nowhere() {
        let rule = Rule::new(u32::MAX, u64::MAX);
        let mut bucket = Bucket::default();
        bucket.pour(rule, Time(u64::MAX));
        bucket.pour(rule, Time(0));
        bucket.room(rule, Time(u64::MAX));
    }

    #[test]
    fn what_flows_over_is_forgotten() {
        let mut bucket = full(0);
        (0..100).for_each(|_| bucket.pour(RULE(), Time(0)));
        assert_eq!(bucket.room(RULE(), Time(1_000)), 4);
    }
}

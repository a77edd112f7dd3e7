//! How fast messages are published.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

/// Spreads messages over time.
pub(crate) struct Pace {
    step: Duration,
    next: Mutex<Instant>,
}

impl Pace {
    pub(crate) fn new(rate: u32) -> Self {
        Self { step: Duration::from_secs(1) / rate.max(1), next: Mutex::new(Instant::now()) }
    }

    /// Waits for its turn; false when that would take longer than `patience`.
    pub(super) async fn wait(&self, patience: Duration) -> bool {
        let now = Instant::now();
        let turn = {
            let mut next = self.next.lock().await;
            let turn = (*next).max(now);
            if turn - now > patience {
                return false;
            }
            *next = turn + self.step;
            turn
        };
        // A timer that is due already still takes until its next tick, which is most of what a message needs.
        if turn > now {
            sleep_until(turn).await;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn messages_are_spread_over_time_and_do_not_wait_for_ever() {
        let (pace, began) = (Pace::new(100), Instant::now());
        for _ in 0..11 {
            assert!(pace.wait(Duration::from_secs(1)).await);
        }
        assert_eq!(began.elapsed(), Duration::from_millis(100));
        assert!(!pace.wait(Duration::ZERO).await, "it would have to wait");
    }
}

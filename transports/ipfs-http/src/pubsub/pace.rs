//! How fast messages are published.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Spreads messages over time.
pub(super) struct Pace {
    step: Duration,
    next: Instant,
}

impl Pace {
    pub(super) fn new(rate: u32) -> Self {
        Self { step: Duration::from_secs(1) / rate.max(1), next: Instant::now() }
    }

    /// Waits until the next message may go.
    pub(super) async fn turn(&self) {
        // A timer that is due already still takes until its next tick, which is most of what a message needs.
        if self.next > Instant::now() {
            sleep_until(self.next).await;
        }
    }

    /// Notes that one goes.
    pub(super) fn goes(&mut self) {
        self.next = self.next.max(Instant::now()) + self.step;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn messages_are_spread_over_time() {
        let (mut pace, began) = (Pace::new(100), Instant::now());
        for _ in 0..11 {
            pace.turn().await;
            pace.goes();
        }
        assert_eq!(began.elapsed(), Duration::from_millis(100));
    }
}

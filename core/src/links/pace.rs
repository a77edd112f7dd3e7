//! How many records of peers a link may be told, and how many of those it brought are passed on.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

/// Told at once, and again each second.
const TOLD: (f64, f64) = (128.0, 8.0);
/// Passed on of what one link brought, a quarter of that: so no link alone decides what others are told.
const PASSED: (f64, f64) = (32.0, 2.0);

/// What one link may still be told of records, which anybody can make without end, and have passed on.
///
/// Its far end counts each record that comes ([`Misdeed::Needless`](crate::Misdeed::Needless)). What a link is told, 128 at once
/// and 8 again each second, leaves room for all else that is counted, for a link that was stuck for half a minute, and for
/// other transports between the same two.
#[derive(Debug)]
pub struct Pace {
    told: Bucket,
    passed: Bucket,
}

impl Pace {
    /// Of a new link.
    pub fn new() -> Self {
        Self { told: Bucket::new(TOLD), passed: Bucket::new(PASSED) }
    }

    /// Whether the link may be told one more now.
    pub fn tells(&self) -> bool {
        self.told.take()
    }

    /// Whether one more that the link brought goes on to others now. Its far end's `own` always does: that is told once, and
    /// all are to know of it.
    pub fn passes(&self, own: bool) -> bool {
        own || self.passed.take()
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Debug)]
struct Bucket {
    at_once: f64,
    a_second: f64,
    left: Mutex<Left>,
}

#[derive(Debug)]
struct Left {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn new((at_once, a_second): (f64, f64)) -> Self {
        Self { at_once, a_second, left: Mutex::new(Left { tokens: at_once, at: Instant::now() }) }
    }

    fn take(&self) -> bool {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let in_time = now.duration_since(left.at).as_secs_f64() * self.a_second;
        left.tokens = (left.tokens + in_time).min(self.at_once);
        left.at = now;
        let some = left.tokens >= 1.0;
        left.tokens -= f64::from(u8::from(some));
        some
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn some_go_at_once_and_some_again_in_time() {
        let pace = Pace::new();
        let gone = || std::iter::from_fn(|| pace.tells().then_some(())).count();
        assert_eq!(gone(), 128);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(gone(), 16);
        tokio::time::advance(Duration::from_secs(86_400)).await;
        assert_eq!(gone(), 128);
    }
}

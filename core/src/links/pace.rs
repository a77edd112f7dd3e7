//! How many records of peers a link may be told, and how many of those it brought are passed on.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

/// A bucket of tokens for records, which anybody can make without end.
///
/// Its far end counts each record that comes ([`Misdeed::Needless`](crate::Misdeed::Needless)). What a link is told leaves room
/// for all else that is counted, for a link that was stuck for half a minute, and for other transports between the same two.
#[derive(Debug)]
pub struct Pace {
    at_once: f64,
    a_second: f64,
    left: Mutex<Left>,
}

#[derive(Debug)]
struct Left {
    tokens: f64,
    at: Instant,
}

impl Pace {
    /// Of a link that is told: 128 at once, and 8 again each second.
    pub fn told() -> Self {
        Self::new(128.0, 8.0)
    }

    /// Of a link that brought what is passed on, a quarter of that: so no link alone decides what others are told.
    pub fn passed() -> Self {
        Self::new(32.0, 2.0)
    }

    fn new(at_once: f64, a_second: f64) -> Self {
        Self { at_once, a_second, left: Mutex::new(Left { tokens: at_once, at: Instant::now() }) }
    }

    /// Whether one more may go now.
    pub fn take(&self) -> bool {
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
        let pace = Pace::told();
        let gone = || std::iter::from_fn(|| pace.take().then_some(())).count();
        assert_eq!(gone(), 128);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(gone(), 16);
        tokio::time::advance(Duration::from_secs(86_400)).await;
        assert_eq!(gone(), 128);
    }
}

//! Wall-clock time, passed in so that a seeded run repeats.

use std::fmt::Debug;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A moment in Unix milliseconds, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(pub u64);

impl Time {
    /// The milliseconds since the Unix epoch.
    pub fn as_millis(self) -> u64 {
        self.0
    }

    /// The distance between two moments, whichever is first.
    pub fn abs_diff(self, other: Self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0.abs_diff(other.0))
    }
}

/// Where a node reads the time. Tests and simulations pass their own.
pub trait Clock: Debug + Send + Sync + 'static {
    /// The present moment. Need not be monotonic.
    fn now(&self) -> Time;
}

/// The operating system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Time {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Time(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

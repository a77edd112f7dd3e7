//! Times in the tables of plugins.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::refuse;
use crate::{Error, ErrorKind};

/// A time as configuration writes it: seconds, with a fraction if need be, from 0.001 to `MOST`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seconds<const MOST: u64 = 3_600>(pub Duration);

impl<const MOST: u64> Seconds<MOST> {
    /// So many whole seconds.
    pub const fn new(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl<const MOST: u64> Serialize for Seconds<MOST> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(self.0.as_secs_f64())
    }
}

impl<'de, const MOST: u64> Deserialize<'de> for Seconds<MOST> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(from)?;
        match Duration::try_from_secs_f64(seconds) {
            Ok(time) if time >= Duration::from_millis(1) && time <= Duration::from_secs(MOST) => {
                Ok(Self(time))
            }
            _ => {
                let detail = format!("{seconds} s; allowed is 0.001 to {MOST}");
                Err(refuse(&Error::new(ErrorKind::Config, "configuration", detail)))
            }
        }
    }
}

//! What is made of the log: the latest reading and the mean of each sensor.

use std::collections::BTreeMap;

use carrick::PeerId;
use carrick::ledger::{Entry, Fold};

use crate::plausible::celsius;

/// What is known of one sensor.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sensor {
    pub(crate) latest: f64,
    pub(crate) readings: u32,
    sum: f64,
}

impl Sensor {
    pub(crate) fn mean(&self) -> f64 {
        self.sum / f64::from(self.readings)
    }
}

pub(crate) struct Summary;

impl Fold for Summary {
    type State = BTreeMap<PeerId, Sensor>;

    fn start(&self) -> Self::State {
        BTreeMap::new()
    }

    fn apply(&self, sensors: &mut Self::State, entry: &Entry) {
        let Some(celsius) = celsius(entry) else { return };
        let sensor = sensors.entry(*entry.author()).or_default();
        sensor.latest = celsius;
        sensor.readings += 1;
        sensor.sum += celsius;
    }
}

//! The roots that this node provides, and when each was announced, over a restart.

use std::time::Duration;

use bytes::Bytes;
use carrick_core::{Cid, RAW, Time};
use libp2p::core::multihash::Multihash;

use super::saver::Saver;
use super::schedule::{Outcome, Schedule};

/// Where they are saved.
pub(super) const PREFIX: &str = "root/";
/// Announcements under way that nobody waits for.
const PARALLEL: usize = 32;

/// The schedule, and its copy on the disk.
#[derive(Debug)]
pub(super) struct Roots {
    saver: Saver,
    pub(super) schedule: Schedule,
}

impl Roots {
    pub(super) fn new(saver: Saver, interval: Option<Duration>) -> Self {
        Self { saver, schedule: Schedule::new(interval, PARALLEL) }
    }

    /// Takes back what an earlier life saved; `false` when it cannot be read.
    pub(super) fn restore(&mut self, name: &str, value: &[u8]) -> bool {
        let root = name.strip_prefix(PREFIX).and_then(|cid| Cid::try_from(cid).ok());
        let told = <[u8; 8]>::try_from(value).map(u64::from_be_bytes);
        let (Some(root), Ok(told)) = (root, told) else { return false };
        self.schedule.restore(root.hash().to_bytes().into(), (told > 0).then_some(Time(told)));
        true
    }

    /// Somebody wants a root announced as soon as it has its turn.
    pub(super) fn add(&mut self, root: &Bytes) {
        if !self.schedule.contains(root) {
            self.note(root, Some(Time(0)));
        }
        if !self.schedule.is_running(root) {
            self.schedule.restore(root.clone(), None);
        }
    }

    /// Somebody wants a root announced now.
    pub(super) fn begin(&mut self, root: &Bytes) {
        if !self.schedule.contains(root) {
            self.note(root, Some(Time(0)));
        }
        self.schedule.begin(root);
    }

    /// An announcement ended.
    pub(super) fn done(&mut self, root: &Bytes, outcome: Outcome, now: Time) {
        if outcome == Outcome::Told && self.schedule.contains(root) {
            self.note(root, Some(now));
        }
        self.schedule.done(root, outcome, now);
    }

    /// It is provided no more; `false` when it was not.
    pub(super) fn remove(&mut self, root: &Bytes) -> bool {
        let was = self.schedule.remove(root);
        if was {
            self.note(root, None);
        }
        was
    }

    fn note(&self, root: &Bytes, told: Option<Time>) {
        if let Ok(hash) = Multihash::from_bytes(root) {
            let value = told.map(|told| Bytes::copy_from_slice(&told.as_millis().to_be_bytes()));
            self.saver.note(format!("{PREFIX}{}", Cid::new_v1(RAW, hash)), value);
        }
    }
}

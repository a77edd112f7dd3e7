//! What must survive a restart, on its way to the disk: written soon after it changed, never by the swarm's task.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use carrick_core::{Host, Result};
use tokio::sync::Notify;

/// Least time between two writes.
const PAUSE: Duration = Duration::from_millis(200);
/// Entries of one write; as many as the host takes.
const AT_ONCE: usize = 256;
/// With so many that wait nothing is added that could be spared.
const BEHIND: usize = 4_096;

/// Writes entries through the host. Clones are the same one.
///
/// What waits is bounded by the number of keys, which are those of roots, of known peers, and, as long as not [too much
/// waits](Self::is_behind), of strangers' records: a newer value replaces the one that waits. The first by name is written first.
#[derive(Clone, Debug)]
pub(crate) struct Saver(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    host: Host,
    waiting: Mutex<BTreeMap<String, Option<Bytes>>>,
    changed: Notify,
    writing: tokio::sync::Mutex<()>,
}

impl Saver {
    /// One that writes for as long as the node lives.
    pub(crate) fn new(host: &Host) -> Self {
        let saver = Self(Arc::new(Shared {
            host: host.clone(),
            waiting: Mutex::default(),
            changed: Notify::new(),
            writing: tokio::sync::Mutex::default(),
        }));
        host.spawn(saver.clone().write());
        saver
    }

    /// Has an entry written soon; `None` deletes.
    pub(crate) fn note(&self, key: String, value: Option<Bytes>) {
        self.waiting().insert(key, value);
        self.0.changed.notify_one();
    }

    /// Whether more waits than is written in a few seconds.
    pub(crate) fn is_behind(&self) -> bool {
        self.waiting().len() > BEHIND
    }

    /// Writes what waits now.
    ///
    /// # Errors
    /// Those of [`Host::save`]; what was not written waits again.
    ///
    /// # Cancel safety
    /// Safe: what was not written waits again.
    pub(crate) async fn flush(&self) -> Result<()> {
        let _one = self.0.writing.lock().await;
        loop {
            let mut taken = Taken { saver: self, entries: self.take() };
            if taken.entries.is_empty() {
                return Ok(());
            }
            self.0.host.save(&taken.entries).await?;
            taken.entries.clear();
        }
    }

    async fn write(self) {
        let mut failures = 0;
        loop {
            self.0.changed.notified().await;
            while let Err(error) = self.flush().await {
                tracing::warn!(%error, "where peers are and what is provided could not be saved");
                self.0.host.count("save_failed", 1);
                tokio::time::sleep(self.0.host.backoff(failures)).await;
                failures = failures.saturating_add(1);
            }
            failures = 0;
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn take(&self) -> Vec<(String, Option<Bytes>)> {
        let mut waiting = self.waiting();
        let mut taken = Vec::new();
        while taken.len() < AT_ONCE
            && let Some(entry) = waiting.pop_first()
        {
            taken.push(entry);
        }
        taken
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<String, Option<Bytes>>> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Entries on their way. Those that did not arrive wait again, unless there is something newer.
struct Taken<'a> {
    saver: &'a Saver,
    entries: Vec<(String, Option<Bytes>)>,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut waiting = self.saver.waiting();
        for (key, value) in self.entries.drain(..) {
            waiting.entry(key).or_insert(value);
        }
    }
}

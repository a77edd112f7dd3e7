//! What a node remembers across restarts: the numbers authors used, and where peers listen. What topics keep within bounds is
//! noted where it is kept; here its entries go.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;

use super::book;
use super::core::Core;
use super::gate::NUMBERS_PREFIX;
use super::shelf::PREFIX as KEPT_PREFIX;
use crate::{PeerRecord, Remote, Result};

/// Least time between two writes, so that a busy node does not flush for every message.
const PAUSE: Duration = Duration::from_millis(200);

impl Core {
    /// Takes back what an earlier life saved.
    pub(crate) async fn restore(&self) -> Result<()> {
        let mut numbers = self.store.list_meta(NUMBERS_PREFIX);
        while let Some(entry) = numbers.next().await {
            let (key, value) = entry?;
            self.gate.numbers.restore(&key, &value);
        }
        drop(numbers);
        let mut peers = self.store.list_meta(book::PREFIX);
        while let Some(entry) = peers.next().await {
            match PeerRecord::decode(entry?.1, &self.network) {
                Ok(record) => {
                    self.book.learn(&Remote::Peer(*record.peer()), record, |_| false);
                }
                Err(error) => tracing::debug!(%error, "a saved peer record is damaged"),
            }
        }
        Ok(())
    }

    /// Saves whenever something changed, for as long as the node lives.
    pub(crate) fn save_on_change(self: &Arc<Self>) {
        let core = Arc::clone(self);
        self.tasks.spawn(async move {
            loop {
                core.unsaved.notified().await;
                core.save().await;
                tokio::time::sleep(PAUSE).await;
            }
        });
    }

    /// Saves what changed.
    pub(crate) async fn save(&self) {
        let mut entries = self.gate.numbers.take_dirty();
        entries.extend(self.book.take_dirty());
        entries.extend(self.shelves.take_left().into_iter().map(|entry| (entry, None)));
        if entries.is_empty() {
            return;
        }
        let mut saving = Saving { core: self, entries };
        match self.store.set_meta(&saving.entries).await {
            Ok(()) => saving.entries.clear(),
            Err(error) => {
                tracing::error!(%error, "the node could not save what it must remember");
                self.counters.count(super::counters::NODE, "save_failed");
            }
        }
    }
}

/// Entries on their way to the disk. Those that did not get there, because the store failed or the saving was cancelled,
/// are to be saved the next time.
struct Saving<'a> {
    core: &'a Core,
    entries: Vec<(String, Option<Bytes>)>,
}

impl Drop for Saving<'_> {
    fn drop(&mut self) {
        for (name, value) in self.entries.drain(..) {
            if name.starts_with(NUMBERS_PREFIX) {
                self.core.gate.numbers.unsaved(&name);
            } else if name.starts_with(KEPT_PREFIX) {
                self.core.shelves.unsaved(name);
            } else {
                self.core.book.unsaved(name, value);
            }
        }
    }
}

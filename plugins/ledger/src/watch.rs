//! Telling what changes.

use std::pin::Pin;
use std::task::{Context, Poll};

use carrick_core::Cid;
use futures::Stream;
use futures::stream::BoxStream;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use crate::Entry;

/// Changes that one who watches may be behind; then it is told how many it missed.
const BEHIND: usize = 1_024;

/// What changed in a ledger.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Change {
    /// An entry came that stands behind all others.
    Appended(Entry),
    /// A late one came, and stands before others: at this rank, from 0. A fold over the log is to be done again from there.
    Inserted {
        /// Its rank.
        at: usize,
        /// The entry.
        entry: Entry,
    },
    /// So many changes were missed: read the entries again.
    Lagged(u64),
}

impl Change {
    /// The entry that came.
    pub fn entry(&self) -> Option<&Entry> {
        match self {
            Self::Appended(entry) | Self::Inserted { entry, .. } => Some(entry),
            Self::Lagged(_) => None,
        }
    }
}

/// The changes of a ledger from the moment it was made, as a stream; it ends with the ledger.
pub struct Watch(BoxStream<'static, Change>);

impl Stream for Watch {
    type Item = Change;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Change>> {
        self.0.as_mut().poll_next(cx)
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watch")
    }
}

/// A change, and when it happened.
pub(crate) type Told = (Instant, Change);

/// Where changes are told.
#[derive(Debug)]
pub(crate) struct Changes(broadcast::Sender<Told>);

impl Changes {
    pub(crate) fn new() -> Self {
        Self(broadcast::Sender::new(BEHIND))
    }

    pub(crate) fn tell(&self, change: Change) {
        // Nobody need watch.
        let _ = self.0.send((Instant::now(), change));
    }

    pub(crate) fn listen(&self) -> broadcast::Receiver<Told> {
        self.0.subscribe()
    }

    pub(crate) fn watch(&self) -> Watch {
        let changes =
            futures::stream::unfold(self.listen(), async |mut changes| match changes.recv().await {
                Ok((_, change)) => Some((change, changes)),
                Err(RecvError::Lagged(missed)) => Some((Change::Lagged(missed), changes)),
                Err(RecvError::Closed) => None,
            });
        Watch(Box::pin(changes))
    }
}

/// What became of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Appended {
    /// The entry's address.
    pub cid: Cid,
    /// Its clock.
    pub clock: u64,
}

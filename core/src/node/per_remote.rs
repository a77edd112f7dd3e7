//! Room for each remote, so that one cannot take what is there for all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::Semaphore;

use super::core::lock;
use crate::Remote;

/// Remotes for which room is kept count of; those that use none of it go first.
const MAX_REMOTES: usize = 4_096;

/// The same room for each remote.
#[derive(Debug)]
pub(crate) struct PerRemote {
    room: usize,
    remotes: Mutex<BTreeMap<Remote, Arc<Semaphore>>>,
}

impl PerRemote {
    pub(crate) fn new(room: usize) -> Self {
        Self { room, remotes: Mutex::default() }
    }

    /// The room of a remote.
    pub(crate) fn of(&self, remote: &Remote) -> Arc<Semaphore> {
        let mut remotes = lock(&self.remotes);
        if let Some(room) = remotes.get(remote) {
            return Arc::clone(room);
        }
        if remotes.len() >= MAX_REMOTES {
            remotes.retain(|_, room| Arc::strong_count(room) > 1);
        }
        let room = Arc::new(Semaphore::new(self.room));
        remotes.insert(remote.clone(), Arc::clone(&room));
        room
    }
}

//! Who is connected over which transport, and who takes part in which topics.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use super::core::lock;
use super::host::Mount;
use crate::{Remote, Topic};

#[derive(Debug, Default)]
pub(crate) struct Links(Mutex<BTreeMap<(u8, Remote), Link>>);

/// What a transport told of a remote.
#[derive(Debug, Default)]
struct Link {
    /// False where it takes part in topics without being connected: the node's own daemon does, for other programs.
    up: bool,
    topics: BTreeSet<Topic>,
}

impl Links {
    pub(super) fn up(&self, mount: &Mount, remote: &Remote) {
        lock(&self.0).entry((mount.index, remote.clone())).or_default().up = true;
    }

    pub(super) fn down(&self, mount: &Mount, remote: &Remote) {
        lock(&self.0).remove(&(mount.index, remote.clone()));
    }

    pub(super) fn joined(&self, mount: &Mount, remote: &Remote, topic: &Topic) {
        lock(&self.0).entry((mount.index, remote.clone())).or_default().topics.insert(topic.clone());
    }

    pub(super) fn left(&self, mount: &Mount, remote: &Remote, topic: &Topic) {
        let (mut links, key) = (lock(&self.0), (mount.index, remote.clone()));
        let Some(link) = links.get_mut(&key) else { return };
        link.topics.remove(topic);
        if !link.up && link.topics.is_empty() {
            links.remove(&key);
        }
    }

    /// The topics a remote takes part in.
    pub(crate) fn topics(&self, mount: &Mount, remote: &Remote) -> Vec<Topic> {
        let links = lock(&self.0);
        let link = links.get(&(mount.index, remote.clone()));
        link.into_iter().flat_map(|link| &link.topics).cloned().collect()
    }

    /// Everybody who is connected, over whatever transport.
    pub(crate) fn remotes(&self) -> BTreeSet<Remote> {
        let links = lock(&self.0);
        links.iter().filter(|(_, link)| link.up).map(|((_, remote), _)| remote.clone()).collect()
    }

    pub(crate) fn connected_on(&self, mount: &Mount, remote: &Remote) -> bool {
        lock(&self.0).get(&(mount.index, remote.clone())).is_some_and(|link| link.up)
    }

    pub(crate) fn connected(&self, remote: &Remote) -> bool {
        lock(&self.0).iter().any(|((_, of), link)| of == remote && link.up)
    }

    pub(crate) fn count(&self) -> usize {
        lock(&self.0).values().filter(|link| link.up).count()
    }

    /// How many are known to take part in a topic.
    pub(crate) fn in_topic(&self, topic: &Topic) -> usize {
        let links = lock(&self.0);
        let on = links.iter().filter(|(_, link)| link.topics.contains(topic));
        on.map(|((_, remote), _)| remote).collect::<BTreeSet<_>>().len()
    }
}

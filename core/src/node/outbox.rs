//! Messages that nobody was there for: kept for a while, sent at the first who joins.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use super::core::{Core, lock};
use super::counters::NODE;
use super::events::Event;
use super::hold::Hold;
use super::router::Router;
use crate::{MessageId, Outgoing, Topic};

/// Outgoing messages by topic, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Outbox(Mutex<BTreeMap<Topic, VecDeque<Outgoing>>>);

impl Outbox {
    /// Adds one; answers which was pushed out for it, and how many wait now.
    fn push(&self, outgoing: Outgoing, max: usize) -> (Option<Outgoing>, usize) {
        let mut topics = lock(&self.0);
        let queue = topics.entry(outgoing.topic.clone()).or_default();
        queue.push_back(outgoing);
        let pushed_out = if queue.len() > max { queue.pop_front() } else { None };
        (pushed_out, queue.len())
    }

    fn remove(&self, topic: &Topic, id: &MessageId) -> bool {
        let mut topics = lock(&self.0);
        let Some(queue) = topics.get_mut(topic) else { return false };
        let before = queue.len();
        queue.retain(|outgoing| outgoing.id != *id);
        let removed = queue.len() < before;
        if queue.is_empty() {
            topics.remove(topic);
        }
        removed
    }

    fn first(&self, topic: &Topic) -> Option<Outgoing> {
        lock(&self.0).get(topic)?.front().cloned()
    }

    /// Whether anything waits for somebody to join a topic.
    pub(crate) fn has(&self, topic: &Topic) -> bool {
        lock(&self.0).contains_key(topic)
    }
}

impl Core {
    /// Keeps a message until somebody joins its topic or its time is up.
    pub(crate) fn keep_for_later(self: &Arc<Self>, outgoing: Outgoing) {
        let (topic, id) = (outgoing.topic.clone(), outgoing.id);
        let (pushed_out, held) = self.outbox.push(outgoing, self.limits.outbox);
        self.peaks.note(NODE, [("outbox", held, self.limits.outbox)]);
        if let Some(pushed_out) = pushed_out {
            self.expired(pushed_out.topic, pushed_out.id);
        }
        let core = Arc::downgrade(self);
        let time = self.limits.outbox_time;
        self.tasks.spawn(async move {
            tokio::time::sleep(time).await;
            if let Some(core) = core.upgrade()
                && core.outbox.remove(&topic, &id)
            {
                core.expired(topic, id);
            }
        });
    }

    /// Somebody joined: what was kept goes out.
    pub(crate) fn flush_outbox(&self, topic: &Topic) {
        let (Some(router), true) = (self.router(), self.outbox.has(topic)) else { return };
        let topic = topic.clone();
        self.tasks.spawn(async move {
            // What is published meanwhile goes after it.
            let _line = router.pen.line(&topic).await;
            router.send_kept(&topic).await;
        });
    }

    /// Holds the payload of a message for as long as it may wait here for somebody who joins, and readers for the payload.
    pub(crate) fn linger(&self, hold: Hold) {
        let time = self.limits.outbox_time + self.limits.defer_time;
        self.tasks.spawn(async move {
            tokio::time::sleep(time).await;
            drop(hold);
        });
    }

    fn expired(&self, topic: Topic, id: MessageId) {
        self.counters.count(NODE, "expired");
        self.events.tell(&Event::Expired { topic, id });
    }
}

impl Router {
    /// Sends what was kept for a topic, the oldest first; stops at the first that reaches nobody. Each is kept until it went,
    /// so that none is lost when this is dropped. For whoever holds the topic's line.
    pub(crate) async fn send_kept(&self, topic: &Topic) {
        while let Some(outgoing) = self.core.outbox.first(topic) {
            if !self.broadcast(&outgoing).await.reached() {
                return;
            }
            self.core.outbox.remove(topic, &outgoing.id);
        }
    }
}

//! Who reads the accepted messages of a topic.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures::Stream;

use super::core::Core;
use super::counters::NODE;
use super::events::Gap;
use super::feed::{Fed, Feed, Reader, feed};
use crate::{Limits, Message, Topic};

/// What a subscriber reads.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Delivery {
    /// An accepted message.
    Message(Message),
    /// The reader was too slow: so many messages were dropped before the next one.
    Lagged(u64),
    /// Messages are missing that this node never saw. On a topic that keeps its messages it is told once they could not be
    /// had; those that could come as [`Message`](Self::Message), later than the one that follows them.
    Gap(Box<Gap>),
}

/// The accepted messages of a topic, from the moment it was made, as a stream.
///
/// One author's messages come in the order in which they arrived at the node, and none before the one it follows if that
/// comes within [`Limits::reorder`](crate::Limits::reorder), or has to be fetched; no other order is promised. Our own are not among them.
/// Dropping it unsubscribes.
#[derive(Debug)]
pub struct Subscription {
    topic: Topic,
    reader: Reader<Delivery>,
    /// Leaves the topic when the last of its subscriptions goes.
    _interest: Interest,
}

impl Subscription {
    pub(crate) fn new(reader: Reader<Delivery>, interest: Interest) -> Self {
        Self { topic: interest.topic.clone(), reader, _interest: interest }
    }

    /// Which topic.
    pub fn topic(&self) -> &Topic {
        &self.topic
    }
}

impl Stream for Subscription {
    type Item = Delivery;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Delivery>> {
        self.reader.poll_next(cx).map(|fed| {
            fed.map(|fed| match fed {
                Fed::Item(delivery) => delivery,
                Fed::Lagged(n) => Delivery::Lagged(n),
            })
        })
    }
}

/// One reader's share in a topic's being joined.
pub(crate) struct Interest {
    pub(crate) core: std::sync::Weak<Core>,
    pub(crate) topic: Topic,
}

impl std::fmt::Debug for Interest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.topic.fmt(f)
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        let Some(core) = self.core.upgrade() else { return };
        let Some(router) = core.router() else { return };
        let topic = self.topic.clone();
        core.tasks.spawn(async move { router.lose_interest(&topic).await });
    }
}

/// All subscriptions of a node.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions(Mutex<BTreeMap<Topic, Vec<Feed<Delivery>>>>);

impl Subscriptions {
    /// A reader's queue. It comes before the joining, so that the first message after that is not missed.
    pub(crate) fn add(&self, core: &Core, topic: &Topic) -> Reader<Delivery> {
        let (writer, reader) = feed(core.limits.subscriber_messages, core.limits.subscriber_bytes);
        let mut topics = self.lock();
        topics.retain(|_, readers| {
            readers.retain(|reader| !reader.ended());
            !readers.is_empty()
        });
        topics.entry(topic.clone()).or_default().push(writer);
        reader
    }

    /// Hands a message to everybody who reads its topic.
    pub(crate) fn hand_out(&self, core: &Core, message: &Message) {
        self.each(core, Some(message.topic()), || (Delivery::Message(message.clone()), message.held_bytes()));
    }

    /// Tells a gap to the readers of its topic, or to all.
    pub(crate) fn tell_gap(&self, core: &Core, gap: &Gap) {
        self.each(core, gap.topic.as_ref(), || (Delivery::Gap(Box::new(gap.clone())), 0));
    }

    fn each(&self, core: &Core, topic: Option<&Topic>, item: impl Fn() -> (Delivery, usize)) {
        let mut topics = self.lock();
        let readers = match topic {
            Some(topic) => topics.get_mut(topic).into_iter().collect::<Vec<_>>(),
            None => topics.values_mut().collect(),
        };
        for readers in readers {
            readers.retain(|reader| !reader.ended());
            for reader in readers.iter() {
                let (delivery, size) = item();
                let dropped = reader.push(delivery, size);
                if dropped > 0 {
                    core.counters.add(NODE, "lagged", dropped);
                }
                let (messages, bytes) = reader.held();
                let Limits { subscriber_messages, subscriber_bytes, .. } = core.limits;
                core.peaks.note(
                    NODE,
                    [
                        ("subscriber_messages", messages, subscriber_messages),
                        ("subscriber_bytes", bytes, subscriber_bytes),
                    ],
                );
            }
        }
    }

    /// Ends every subscription's stream.
    pub(crate) fn end(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Topic, Vec<Feed<Delivery>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

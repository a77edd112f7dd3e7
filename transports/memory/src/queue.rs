//! What waits to cross a link in one direction: bounded, in lanes.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use carrick_core::{Bytes, Lane, LaneQueue, PeerId, PeerRecord, Pushed, Topic};
use tokio::sync::Notify;

/// Records that wait at most; the oldest goes first.
const MAX_RECORDS: usize = 128;

/// A message on the wire. Who sent it first, and that peer's own number for it, go along from link to link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) topic: Topic,
    pub(crate) bytes: Bytes,
    pub(crate) source: PeerId,
    pub(crate) number: u64,
}

impl Message {
    /// The wire's own name of it, which tells apart two equal payloads on a raw topic.
    pub(crate) fn wire_id(&self) -> Bytes {
        [&self.source.to_bytes()[..], &self.number.to_be_bytes()].concat().into()
    }

    /// What it takes up while it waits: an empty message is not free.
    pub(crate) fn cost(&self) -> usize {
        size_of::<Self>() + self.topic.as_str().len() + self.bytes.len()
    }

    /// As it arrives: nothing is shared with the sender, as little as over any other wire.
    fn copied(&self) -> Self {
        Self { bytes: Bytes::copy_from_slice(&self.bytes), ..self.clone() }
    }
}

/// One direction of a link.
#[derive(Debug)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

#[derive(Debug)]
struct Waiting {
    messages: LaneQueue<Message>,
    records: VecDeque<PeerRecord>,
}

impl Queue {
    /// An empty queue.
    pub(crate) fn new(max_bytes: usize) -> Self {
        let waiting = Waiting { messages: LaneQueue::new(max_bytes), records: VecDeque::new() };
        Self { waiting: Mutex::new(waiting), arrived: Notify::new() }
    }

    /// Sends a message. Makes room by dropping the oldest of the last lane, but never of a lane before `lane`: then the
    /// new message itself is dropped.
    pub(crate) fn push(&self, lane: Lane, message: &Message) -> Pushed {
        let copied = message.copied();
        let bytes = copied.cost();
        let pushed = self.lock().messages.push(lane, copied, bytes);
        self.arrived.notify_one();
        pushed
    }

    /// How many bytes of messages wait.
    pub(crate) fn bytes(&self) -> usize {
        self.lock().messages.bytes()
    }

    /// Sends a peer record.
    pub(crate) fn push_record(&self, record: PeerRecord) {
        let mut waiting = self.lock();
        if waiting.records.len() == MAX_RECORDS {
            waiting.records.pop_front();
        }
        waiting.records.push_back(record);
        self.arrived.notify_one();
    }

    /// Waits until something is there. For one reader.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn ready(&self) {
        while self.lock().is_empty() {
            self.arrived.notified().await;
        }
    }

    /// Receives the oldest record.
    pub(crate) fn pop_record(&self) -> Option<PeerRecord> {
        self.lock().records.pop_front()
    }

    /// Receives the oldest message of the first lane.
    pub(crate) fn pop(&self) -> Option<Message> {
        self.lock().messages.pop()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.records.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carrick_core::Keypair;

    fn message(name: u8, bytes: usize) -> Message {
        Message {
            topic: Topic::new("t").expect("a topic"),
            bytes: vec![name; bytes].into(),
            source: Keypair::generate_ed25519().public().to_peer_id(),
            number: 0,
        }
    }

    #[test]
    fn bytes_are_copied_across() {
        let queue = Queue::new(1_000);
        let sent = message(1, 10);
        queue.push(Lane::Own, &sent);
        let received = queue.pop().expect("it waits");
        assert_eq!(received, sent);
        assert_ne!(received.bytes.as_ptr(), sent.bytes.as_ptr());
    }

    #[tokio::test]
    async fn what_came_before_the_wait_is_not_missed() {
        let queue = Queue::new(1_000);
        queue.push(Lane::Own, &message(1, 10));
        queue.ready().await;
        assert!(queue.pop().is_some());
        assert!(futures::poll!(std::pin::pin!(queue.ready())).is_pending());
    }
}

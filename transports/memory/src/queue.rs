//! What waits to cross a link in one direction: bounded, in lanes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use carrick_core::{Bytes, Lane, PeerId, PeerRecord, Topic};
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

    /// As it arrives: nothing is shared with the sender, as little as over any other wire.
    fn copied(&self) -> Self {
        Self { bytes: Bytes::copy_from_slice(&self.bytes), ..self.clone() }
    }
}

/// What a push did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pushed {
    /// Whether the message waits now.
    pub(crate) taken: bool,
    /// How many were dropped, the new one included.
    pub(crate) dropped: u64,
}

/// One direction of a link.
#[derive(Debug)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Notify,
    max_bytes: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    lanes: BTreeMap<Lane, VecDeque<Message>>,
    bytes: usize,
    records: VecDeque<PeerRecord>,
}

impl Queue {
    /// An empty queue.
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { waiting: Mutex::default(), arrived: Notify::new(), max_bytes }
    }

    /// Sends a message. Makes room by dropping the oldest of the last lane, but never of a lane before `lane`: then the
    /// new message itself is dropped.
    pub(crate) fn push(&self, lane: Lane, message: &Message) -> Pushed {
        let mut waiting = self.lock();
        let mut dropped = 0;
        while waiting.bytes + message.bytes.len() > self.max_bytes {
            if !waiting.drop_one(lane) {
                return Pushed { taken: false, dropped: dropped + 1 };
            }
            dropped += 1;
        }
        waiting.bytes += message.bytes.len();
        waiting.lanes.entry(lane).or_default().push_back(message.copied());
        self.arrived.notify_one();
        Pushed { taken: true, dropped }
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

    /// Whether a message waits.
    pub(crate) fn has_message(&self) -> bool {
        !self.lock().lanes.is_empty()
    }

    /// Receives the oldest message of the first lane.
    pub(crate) fn pop(&self) -> Option<Message> {
        let mut waiting = self.lock();
        let lane = *waiting.lanes.keys().next()?;
        waiting.take(lane)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.lanes.is_empty() && self.records.is_empty()
    }

    /// Drops the oldest message of the last lane, unless that is before `lane`.
    fn drop_one(&mut self, lane: Lane) -> bool {
        let last = self.lanes.keys().next_back().copied().filter(|last| *last >= lane);
        last.is_some_and(|last| self.take(last).is_some())
    }

    fn take(&mut self, lane: Lane) -> Option<Message> {
        let queue = self.lanes.get_mut(&lane)?;
        let message = queue.pop_front();
        if queue.is_empty() {
            self.lanes.remove(&lane);
        }
        self.bytes -= message.as_ref().map_or(0, |message| message.bytes.len());
        message
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

    fn names(queue: &Queue) -> Vec<u8> {
        std::iter::from_fn(|| queue.pop()).map(|message| message.bytes[0]).collect()
    }

    #[test]
    fn own_goes_before_relayed_before_mended() {
        let queue = Queue::new(100);
        for (name, lane) in [(3, Lane::Repair), (2, Lane::Relay), (1, Lane::Own), (4, Lane::Repair)] {
            assert_eq!(queue.push(lane, &message(name, 10)), Pushed { taken: true, dropped: 0 });
        }
        assert_eq!(names(&queue), [1, 2, 3, 4]);
        assert!(!queue.has_message() && queue.lock().bytes == 0);
    }

    #[test]
    fn a_full_queue_drops_the_oldest_of_the_last_lane() {
        let queue = Queue::new(40);
        for (name, lane) in [(1, Lane::Own), (2, Lane::Relay), (3, Lane::Repair), (4, Lane::Repair)] {
            queue.push(lane, &message(name, 10));
        }
        assert_eq!(queue.push(Lane::Relay, &message(5, 10)), Pushed { taken: true, dropped: 1 });
        assert_eq!(queue.push(Lane::Own, &message(6, 20)), Pushed { taken: true, dropped: 2 });
        assert_eq!(queue.push(Lane::Repair, &message(7, 10)), Pushed { taken: false, dropped: 1 });
        assert_eq!(names(&queue), [1, 6, 5]);
    }

    #[test]
    fn bytes_are_copied_across() {
        let queue = Queue::new(100);
        let sent = message(1, 10);
        queue.push(Lane::Own, &sent);
        let received = queue.pop().expect("it waits");
        assert_eq!(received, sent);
        assert_ne!(received.bytes.as_ptr(), sent.bytes.as_ptr());
    }

    #[tokio::test]
    async fn what_came_before_the_wait_is_not_missed() {
        let queue = Queue::new(100);
        queue.push(Lane::Own, &message(1, 10));
        queue.ready().await;
        assert!(queue.pop().is_some());
        assert!(futures::poll!(std::pin::pin!(queue.ready())).is_pending());
    }
}

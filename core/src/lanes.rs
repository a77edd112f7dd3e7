//! What waits to be sent to one peer, for transports: bounded in bytes, in lanes.

use std::collections::{BTreeMap, VecDeque};

use crate::Lane;

/// Messages by lane. When it is full, the oldest of the last lane goes first.
///
/// It neither locks nor waits: that is the transport's part.
#[derive(Debug)]
pub struct LaneQueue<T> {
    lanes: BTreeMap<Lane, VecDeque<(usize, T)>>,
    bytes: usize,
    max_bytes: usize,
}

/// What a push did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pushed {
    /// Whether the message waits now.
    pub taken: bool,
    /// How many were dropped, the new one included. To be told by [`Notice::Dropped`](crate::Notice::Dropped).
    pub dropped: u64,
}

impl<T> LaneQueue<T> {
    /// An empty queue for at most so many bytes, such as [`Limits::send_queue_bytes`](crate::Limits::send_queue_bytes).
    pub fn new(max_bytes: usize) -> Self {
        Self { lanes: BTreeMap::new(), bytes: 0, max_bytes }
    }

    /// Lets a message of so many bytes wait, what it costs to keep included. Makes room from the last lane on, but never
    /// at the cost of an earlier one: then the new message itself is dropped.
    pub fn push(&mut self, lane: Lane, message: T, bytes: usize) -> Pushed {
        let mut dropped = 0;
        while self.bytes + bytes > self.max_bytes {
            if !self.drop_one(lane) {
                return Pushed { taken: false, dropped: dropped + 1 };
            }
            dropped += 1;
        }
        self.bytes += bytes;
        self.lanes.entry(lane).or_default().push_back((bytes, message));
        Pushed { taken: true, dropped }
    }

    /// Takes the oldest message of the first lane.
    pub fn pop(&mut self) -> Option<T> {
        let first = *self.lanes.keys().next()?;
        self.take(first)
    }

    /// How much waits.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// Drops the oldest message of the last lane, unless that is before `lane`.
    fn drop_one(&mut self, lane: Lane) -> bool {
        let last = self.lanes.keys().next_back().copied().filter(|last| *last >= lane);
        last.is_some_and(|last| self.take(last).is_some())
    }

    fn take(&mut self, lane: Lane) -> Option<T> {
        let queue = self.lanes.get_mut(&lane)?;
        let taken = queue.pop_front();
        if queue.is_empty() {
            self.lanes.remove(&lane);
        }
        let (bytes, message) = taken?;
        self.bytes -= bytes;
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(queue: &mut LaneQueue<u8>) -> Vec<u8> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn own_goes_before_relayed_before_mended() {
        let mut queue = LaneQueue::new(100);
        for (name, lane) in [(3, Lane::Repair), (2, Lane::Relay), (1, Lane::Own), (4, Lane::Repair)] {
            assert_eq!(queue.push(lane, name, 10), Pushed { taken: true, dropped: 0 });
        }
        assert_eq!(names(&mut queue), [1, 2, 3, 4]);
        assert_eq!(queue.bytes(), 0);
    }

    #[test]
    fn a_full_queue_drops_the_oldest_of_the_last_lane() {
        let mut queue = LaneQueue::new(40);
        queue.push(Lane::Own, 1, 10);
        queue.push(Lane::Relay, 2, 10);
        queue.push(Lane::Repair, 3, 10);
        queue.push(Lane::Repair, 4, 10);
        assert_eq!(queue.push(Lane::Relay, 5, 10), Pushed { taken: true, dropped: 1 });
        assert_eq!(queue.push(Lane::Own, 6, 20), Pushed { taken: true, dropped: 2 });
        assert_eq!(names(&mut queue), [1, 6, 5]);
    }

    #[test]
    fn a_later_lane_never_displaces_an_earlier_one() {
        let mut queue = LaneQueue::new(20);
        queue.push(Lane::Own, 1, 20);
        assert_eq!(queue.push(Lane::Relay, 2, 1), Pushed { taken: false, dropped: 1 });
        assert_eq!(queue.push(Lane::Own, 3, 20), Pushed { taken: true, dropped: 1 });
        assert_eq!(names(&mut queue), [3]);
    }

    #[test]
    fn what_can_never_fit_is_dropped() {
        let mut queue = LaneQueue::new(20);
        assert_eq!(queue.push(Lane::Own, 1, 21), Pushed { taken: false, dropped: 1 });
        assert_eq!(queue.pop(), None);
    }
}

//! What waits to be sent to one peer: bounded in bytes, in lanes.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use carrick_core::Lane;

/// A message ready to be written: its head, shared by all peers it goes to, and its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Length, kind, topic.
    pub(crate) head: Bytes,
    /// The message.
    pub(crate) bytes: Bytes,
}

impl Frame {
    fn len(&self) -> usize {
        self.head.len() + self.bytes.len()
    }
}

/// What a push did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pushed {
    /// Whether the frame waits now.
    pub(crate) taken: bool,
    /// How many frames were dropped, the new one included.
    pub(crate) dropped: u64,
}

/// Frames by lane. When it is full, the oldest of the last lane goes first.
#[derive(Debug)]
pub(crate) struct Queue {
    lanes: BTreeMap<Lane, VecDeque<Frame>>,
    bytes: usize,
    max_bytes: usize,
}

impl Queue {
    /// An empty queue.
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { lanes: BTreeMap::new(), bytes: 0, max_bytes }
    }

    /// Lets a frame wait. Makes room from the last lane on, but never at the cost of an earlier one: then the
    /// new frame itself is dropped.
    pub(crate) fn push(&mut self, lane: Lane, frame: Frame) -> Pushed {
        let mut dropped = 0;
        while self.bytes + frame.len() > self.max_bytes {
            if !self.drop_one(lane) {
                return Pushed { taken: false, dropped: dropped + 1 };
            }
            dropped += 1;
        }
        self.bytes += frame.len();
        self.lanes.entry(lane).or_default().push_back(frame);
        Pushed { taken: true, dropped }
    }

    /// Drops the oldest frame of the last lane, if that is not before `lane`.
    fn drop_one(&mut self, lane: Lane) -> bool {
        let Some(mut last) = self.lanes.last_entry().filter(|last| *last.key() >= lane) else { return false };
        let gone = last.get_mut().pop_front();
        if last.get().is_empty() {
            last.remove();
        }
        self.bytes -= gone.as_ref().map_or(0, Frame::len);
        gone.is_some()
    }

    /// How much waits.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes the oldest frame of the first lane.
    pub(crate) fn pop(&mut self) -> Option<Frame> {
        let mut first = self.lanes.first_entry()?;
        let frame = first.get_mut().pop_front();
        if first.get().is_empty() {
            first.remove();
        }
        self.bytes -= frame.as_ref().map_or(0, Frame::len);
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(name: u8, bytes: usize) -> Frame {
        Frame { head: Bytes::new(), bytes: vec![name; bytes].into() }
    }

    fn names(queue: &mut Queue) -> Vec<u8> {
        std::iter::from_fn(|| queue.pop()).map(|frame| frame.bytes[0]).collect()
    }

    #[test]
    fn own_goes_before_relayed_before_mended() {
        let mut queue = Queue::new(100);
        for (name, lane) in [(3, Lane::Repair), (2, Lane::Relay), (1, Lane::Own), (4, Lane::Repair)] {
            assert_eq!(queue.push(lane, frame(name, 10)), Pushed { taken: true, dropped: 0 });
        }
        assert_eq!(names(&mut queue), [1, 2, 3, 4]);
        assert_eq!(queue.bytes(), 0);
    }

    #[test]
    fn a_full_queue_drops_the_oldest_of_the_last_lane() {
        let mut queue = Queue::new(40);
        queue.push(Lane::Own, frame(1, 10));
        queue.push(Lane::Relay, frame(2, 10));
        queue.push(Lane::Repair, frame(3, 10));
        queue.push(Lane::Repair, frame(4, 10));
        assert_eq!(queue.push(Lane::Relay, frame(5, 10)), Pushed { taken: true, dropped: 1 });
        assert_eq!(queue.push(Lane::Own, frame(6, 20)), Pushed { taken: true, dropped: 2 });
        assert_eq!(names(&mut queue), [1, 6, 5]);
    }

    #[test]
    fn a_later_lane_never_displaces_an_earlier_one() {
        let mut queue = Queue::new(20);
        queue.push(Lane::Own, frame(1, 20));
        assert_eq!(queue.push(Lane::Relay, frame(2, 1)), Pushed { taken: false, dropped: 1 });
        assert_eq!(queue.push(Lane::Own, frame(3, 20)), Pushed { taken: true, dropped: 1 });
        assert_eq!(names(&mut queue), [3]);
    }

    #[test]
    fn what_can_never_fit_is_dropped() {
        let mut queue = Queue::new(20);
        assert_eq!(queue.push(Lane::Own, frame(1, 21)), Pushed { taken: false, dropped: 1 });
        assert_eq!(queue.pop(), None);
    }
}

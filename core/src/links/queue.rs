//! What waits to be sent over one link, and its writer that waits for it.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::{Host, Lane, LaneQueue, Limits, Notice, Remote, Skip};

/// Messages that wait to be written to one peer: a [`LaneQueue`] whose writer can wait.
pub struct SendQueue<T> {
    queue: Mutex<LaneQueue<T>>,
    ready: Notify,
    closed: AtomicBool,
}

impl<T> SendQueue<T> {
    /// An empty queue for [`Limits::send_queue_bytes`].
    pub fn new(limits: &Limits) -> Self {
        let queue = Mutex::new(LaneQueue::new(limits.send_queue_bytes));
        Self { queue, ready: Notify::new(), closed: AtomicBool::new(false) }
    }

    /// Lets a message of so many bytes wait for the writer, or answers why not: the reputation of its peer is low, or the
    /// queue is full. The node is told of every message that falls out.
    pub fn push(&self, host: &Host, to: &Remote, lane: Lane, message: T, bytes: usize) -> Option<Skip> {
        if !host.relays_to(to) {
            return Some(Skip::Banned);
        }
        let pushed = self.queue().push(lane, message, bytes);
        self.ready.notify_one();
        if pushed.dropped > 0 {
            host.notice(Notice::Dropped { remote: to.clone(), count: pushed.dropped });
        }
        (!pushed.taken).then_some(Skip::QueueFull)
    }

    /// Gives `each` the next message, and more until they are `bytes` or more; waits for the first. Answers `false` once the queue is
    /// closed and empty.
    ///
    /// # Cancel safety
    /// Safe: nothing is taken before it returns.
    pub async fn take(&self, bytes: usize, mut each: impl FnMut(T)) -> bool {
        loop {
            // Looked at first: what was queued before the end is taken all the same.
            let closed = self.closed.load(Ordering::Acquire);
            if self.take_now(bytes, &mut each) {
                return true;
            }
            if closed {
                return false;
            }
            self.ready.notified().await;
        }
    }

    /// The next message; waits for it. `None` once the queue is closed and empty.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn pop(&self) -> Option<T> {
        let mut next = None;
        self.take(0, |message| next = Some(message)).await;
        next
    }

    /// Drops all that waits: its peer is not to have it any more.
    pub fn clear(&self) {
        self.take_now(usize::MAX, &mut drop);
    }

    /// The writer learns that nothing more will come. What waits still goes out.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.ready.notify_one();
    }

    /// Whether the writer was told that nothing more will come.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// How many bytes wait.
    pub fn bytes(&self) -> usize {
        self.queue().bytes()
    }

    fn take_now(&self, bytes: usize, each: &mut impl FnMut(T)) -> bool {
        let mut queue = self.queue();
        let before = queue.bytes();
        let mut any = false;
        // The first goes whatever it weighs.
        while (!any || before - queue.bytes() < bytes)
            && let Some(message) = queue.pop()
        {
            any = true;
            each(message);
        }
        any
    }

    fn queue(&self) -> MutexGuard<'_, LaneQueue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> fmt::Debug for SendQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendQueue").field("bytes", &self.bytes()).field("closed", &self.is_closed()).finish()
    }
}

//! What waits to be handed to the daemon.

use std::sync::Mutex;
use std::time::Duration;

use carrick_core::{Lane, LaneQueue, Limits, Outgoing};
use tokio::sync::{Notify, oneshot};

use crate::rpc::Fault;
use crate::shared::lock;

/// Messages in lanes, each with whoever waits for its fate. What is passed on for others makes room for our own.
pub(crate) struct Waiting {
    queue: Mutex<LaneQueue<Job>>,
    filled: Notify,
    /// What a message counts at least, in bytes.
    least: usize,
}

/// A message, and who is told how it went. That is nobody where it fell out of the queue.
pub(super) struct Job {
    pub(super) message: Outgoing,
    pub(super) done: oneshot::Sender<Result<(), Fault>>,
}

impl Waiting {
    /// Room for [`Limits::send_queue_bytes`], and no more messages than are sent while their publishers have patience.
    pub(crate) fn new(limits: &Limits, rate: u32, patience: Duration) -> Self {
        let bytes = limits.send_queue_bytes + size_of::<Job>();
        let messages = f64::from(rate) * patience.as_secs_f64();
        let queue = Mutex::new(LaneQueue::new(bytes));
        Self { queue, filled: Notify::new(), least: (bytes as f64 / messages.max(1.0)) as usize }
    }

    /// Lets it wait. Answers how many fell out for it, itself included.
    pub(super) fn push(&self, job: Job) -> u64 {
        let lane = job.message.lane;
        // Who publishes holds the bytes in any case, and publishes one at a time on a topic.
        let held = if lane == Lane::Own { 0 } else { job.message.bytes.len() };
        let pushed = lock(&self.queue).push(lane, job, (size_of::<Job>() + held).max(self.least));
        self.filled.notify_one();
        pushed.dropped
    }

    /// Waits until there is any.
    pub(super) async fn any(&self) {
        while lock(&self.queue).is_empty() {
            self.filled.notified().await;
        }
    }

    /// The first that somebody still waits for.
    pub(super) fn next(&self) -> Option<Job> {
        let mut queue = lock(&self.queue);
        std::iter::from_fn(|| queue.pop()).find(|job| !job.done.is_closed())
    }
}

#[cfg(test)]
mod tests {
    use carrick_core::{MessageId, Topic};

    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;

    fn job(lane: Lane) -> (Job, oneshot::Receiver<Result<(), Fault>>) {
        let (bytes, topic) = (bytes::Bytes::from_static(b"said"), Topic::new("t").expect("a topic"));
        let (done, told) = oneshot::channel();
        (Job { message: Outgoing { id: MessageId::of(&bytes), topic, bytes, lane }, done }, told)
    }

    #[test]
    fn what_is_passed_on_makes_room_for_our_own_and_is_sent_after_it() {
        let waiting = Waiting::new(&Limits::default(), 3, Duration::from_secs(1));
        let (mut told, mut dropped) = (vec![], vec![]);
        for lane in [Lane::Relay, Lane::Repair, Lane::Own, Lane::Own] {
            let (job, at) = job(lane);
            dropped.push(waiting.push(job));
            told.push(at);
        }
        assert_eq!(dropped, [0, 0, 0, 1]);
        assert!(matches!(told[1].try_recv(), Err(TryRecvError::Closed)), "its publisher learns it");
        drop(told.remove(2));
        let lanes: Vec<_> = std::iter::from_fn(|| waiting.next()).map(|job| job.message.lane).collect();
        assert_eq!(lanes, [Lane::Own, Lane::Relay], "nobody waits for the other one");
    }
}

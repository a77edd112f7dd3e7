//! What is on its way over a link.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::queue::Message;
use crate::{Conditions, MemoryNetwork};

/// Most bytes on their way. No message leaves while half of it is: the largest, sent twice, takes less than the rest.
pub(crate) const IN_FLIGHT: usize = 8 << 20;

/// What is on its way over one direction of a link.
#[derive(Debug, Default)]
pub(crate) struct Flight {
    /// By when they arrive, and of those that arrive together the first sent first.
    messages: BTreeMap<(Instant, u64), Message>,
    sent: u64,
    /// Nothing that keeps its order arrives before.
    last: Option<Instant>,
    bytes: usize,
    pipe: Arc<Pipe>,
}

impl Flight {
    /// Nothing, on one end of a pipe.
    pub(crate) fn over(pipe: Arc<Pipe>) -> Self {
        Self { pipe, ..Self::default() }
    }

    /// Whether another message may leave.
    pub(crate) fn has_room(&self, conditions: &Conditions) -> bool {
        self.messages.is_empty() || (!conditions.is_perfect() && self.bytes < IN_FLIGHT / 2)
    }

    /// How many bytes are on their way.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Lets a message leave, if it is not lost.
    pub(crate) fn leave(&mut self, network: &MemoryNetwork, conditions: &Conditions, message: Message) {
        if network.happens(conditions.loss) {
            return;
        }
        let copies = if network.happens(conditions.duplicate) { 2 } else { 1 };
        for _ in 0..copies {
            let mut due = self.pipe.arrival(network, conditions, message.bytes.len());
            if !network.happens(conditions.reorder) {
                due = self.last.map_or(due, |last| due.max(last));
                self.last = Some(due);
            }
            self.sent += 1;
            self.bytes += message.cost();
            self.messages.insert((due, self.sent), message.clone());
        }
    }

    /// Waits for the next one that arrives; for ever when there is none.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn arrives(&mut self) -> Message {
        let Some((&(due, _), _)) = self.messages.first_key_value() else {
            return std::future::pending().await;
        };
        if due > Instant::now() {
            tokio::time::sleep_until(due).await;
        }
        match self.messages.pop_first() {
            Some((_, message)) => {
                self.bytes -= message.cost();
                message
            }
            // It was there, and nobody else takes it.
            None => std::future::pending().await,
        }
    }
}

/// What bytes go through one after the other.
#[derive(Debug, Default)]
pub(crate) struct Pipe(Mutex<Option<Instant>>);

impl Pipe {
    /// When so many bytes that leave now arrive.
    fn arrival(&self, network: &MemoryNetwork, conditions: &Conditions, bytes: usize) -> Instant {
        let now = Instant::now();
        let mut left = now;
        if let Some(bandwidth) = conditions.bandwidth {
            let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            left = free.map_or(left, |free| free.max(left));
            left += Duration::from_secs_f64(bytes as f64 / bandwidth.max(1) as f64);
            *free = Some(left);
        }
        now + in_milliseconds(left + conditions.delay + network.part_of(conditions.jitter) - now)
    }

    /// Waits while a part of a request or an answer crosses. What is lost is sent again.
    pub(crate) async fn cross(&self, network: &MemoryNetwork, conditions: &Conditions, bytes: usize) {
        if conditions.is_perfect() {
            return;
        }
        let mut due = self.arrival(network, conditions, bytes);
        let mut tries = 0;
        while tries < MAX_TRIES && network.happens(conditions.loss) {
            due += 2 * conditions.delay + RETRY;
            tries += 1;
        }
        tokio::time::sleep_until(due).await;
    }
}

/// Rounded up. Timers have no finer grain, and how they round a part of it is not for the seed to decide.
fn in_milliseconds(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX))
}

/// How long a sender waits, beyond a round trip, before it sends again.
const RETRY: Duration = Duration::from_millis(100);
/// Where all is lost, time-outs end it.
const MAX_TRIES: u32 = 64;

/// The way to a neighbour and back.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub(crate) network: MemoryNetwork,
    pub(crate) conditions: Conditions,
    pub(crate) there: Arc<Pipe>,
    pub(crate) back: Arc<Pipe>,
}

impl Way {
    /// Waits while a request goes there.
    pub(crate) async fn ask(&self) {
        self.there.cross(&self.network, &self.conditions, REQUEST).await;
    }

    /// Waits while an answer comes back.
    pub(crate) async fn answer(&self, bytes: usize) {
        self.back.cross(&self.network, &self.conditions, bytes).await;
    }

    /// Waits while more of an answer comes back: it left right behind what came before.
    pub(crate) async fn go_on(&self, bytes: usize) {
        let close_behind = Conditions { delay: Duration::ZERO, jitter: Duration::ZERO, ..self.conditions };
        self.back.cross(&self.network, &close_behind, bytes).await;
    }
}

/// What a request takes up on its way, about.
const REQUEST: usize = 64;

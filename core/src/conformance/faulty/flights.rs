//! Messages that take their time to arrive.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until};

use super::here::Here;
use crate::{Inbound, Relay, Remote};

/// Messages of one remote that are on their way at most.
const MAX_MESSAGES: usize = 1_024;
/// Bytes of one remote that are on their way at most.
const MAX_BYTES: usize = 4 << 20;

/// What is on its way to one node. A remote has an entry while something of it is.
pub(super) struct Flights {
    here: Here,
    from: Mutex<BTreeMap<Remote, Flight>>,
}

/// What is on its way over one link.
#[derive(Default)]
struct Flight {
    /// By when they are due, and of those due together the first sent first.
    messages: BTreeMap<(Instant, u64), Crossing>,
    sent: u64,
    /// Nothing that keeps its order arrives before.
    last: Option<Instant>,
    bytes: usize,
    changed: Arc<Notify>,
}

/// A message on its way, and who is to be given its verdict.
struct Crossing {
    inbound: Inbound,
    tell: oneshot::Sender<Verdict>,
}

/// What a delivery answers.
pub(super) type Verdict = BoxFuture<'static, Relay>;

impl Flights {
    pub(super) fn new(here: Here) -> Self {
        Self { here, from: Mutex::default() }
    }

    /// Whether nothing of a remote is on its way.
    pub(super) fn is_clear(&self, from: &Remote) -> bool {
        !self.lock().contains_key(from)
    }

    /// Lets a message set out that arrives at `due`, or right after the one before it. `None` when too much is on its way.
    pub(super) fn leave(
        self: &Arc<Self>,
        inbound: Inbound,
        due: Instant,
        keeps_order: bool,
    ) -> Option<oneshot::Receiver<Verdict>> {
        let from = inbound.from.clone();
        let mut flights = self.lock();
        let (flight, is_new) = match flights.entry(from.clone()) {
            Entry::Occupied(there) => (there.into_mut(), false),
            Entry::Vacant(free) => (free.insert(Flight::default()), true),
        };
        let told = flight.leave(inbound, due, keeps_order);
        drop(flights);
        if is_new {
            self.here.host.spawn(self.clone().carry(from));
        }
        told
    }

    /// Delivers what comes from a remote when it is due, until nothing is left.
    async fn carry(self: Arc<Self>, from: Remote) {
        while let Some((due, changed)) = self.next(&from) {
            tokio::select! {
                biased;
                () = changed.notified() => continue,
                () = sleep_until(due) => {}
            }
            self.here.until_it_moves(&from).await;
            let slot = self.here.host.slot(&from).await;
            let Some(Crossing { inbound, tell }) = self.take(&from) else { continue };
            if self.here.is_parted(&from) {
                self.here.host.count("faulty_parted", 1);
                continue;
            }
            // Where nobody waits any more the verdict is dropped here, and the node relays in the transport's place.
            let _ = tell.send(slot.deliver(inbound).boxed());
        }
    }

    /// When the next one is due, and what wakes whoever waits for it. Forgets the remote when there is none.
    fn next(&self, from: &Remote) -> Option<(Instant, Arc<Notify>)> {
        let mut flights = self.lock();
        let flight = flights.get(from)?;
        if let Some(((due, _), _)) = flight.messages.first_key_value() {
            return Some((*due, flight.changed.clone()));
        }
        flights.remove(from);
        None
    }

    /// The next message, if it is due.
    fn take(&self, from: &Remote) -> Option<Crossing> {
        let mut flights = self.lock();
        let flight = flights.get_mut(from)?;
        // Where the link ended and came back meanwhile, what waits now is another one.
        let next = flight.messages.first_entry().filter(|next| next.key().0 <= Instant::now())?;
        let crossing = next.remove();
        flight.bytes -= cost(&crossing.inbound);
        Some(crossing)
    }

    /// The link ended, and with it what was on its way over it. Answers how many that were.
    pub(super) fn end(&self, from: &Remote) -> usize {
        let mut flights = self.lock();
        let Some(flight) = flights.get_mut(from) else { return 0 };
        let lost = std::mem::take(&mut flight.messages).len();
        (flight.bytes, flight.last) = (0, None);
        flight.changed.notify_one();
        lost
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Remote, Flight>> {
        self.from.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flight {
    fn leave(
        &mut self,
        inbound: Inbound,
        mut due: Instant,
        keeps_order: bool,
    ) -> Option<oneshot::Receiver<Verdict>> {
        let bytes = self.bytes + cost(&inbound);
        if self.messages.len() == MAX_MESSAGES || bytes > MAX_BYTES {
            return None;
        }
        if keeps_order {
            due = self.last.map_or(due, |last| due.max(last));
            self.last = Some(due);
        }
        let (tell, told) = oneshot::channel();
        self.sent += 1;
        self.bytes = bytes;
        self.messages.insert((due, self.sent), Crossing { inbound, tell });
        self.changed.notify_one();
        Some(told)
    }
}

impl fmt::Debug for Flights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flights(from {} remotes)", self.lock().len())
    }
}

/// What a message takes up: an empty one is not free.
fn cost(inbound: &Inbound) -> usize {
    size_of::<Crossing>() + inbound.topic.as_str().len() + inbound.bytes.len()
}

//! Turns: one author's messages on one topic are handed out in the order in which they arrived, while validators run
//! concurrently. Those that are in the gate together go in the order of their numbers, in which they were sent. On a ledger
//! there are none.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use libp2p_identity::PeerId;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::{Message, Topic};

type Key = (PeerId, Topic);

/// The queues of all authors and topics that have a message in the gate.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    next: u64,
    queues: HashMap<Key, Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    places: VecDeque<Place>,
    /// Whoever is next shall wait for nobody who is not here.
    hurried: bool,
    /// Whose turn it is: nobody is put before that one, nor has a turn beside it.
    on_turn: Option<u64>,
}

#[derive(Debug)]
struct Place {
    number: u64,
    seqno: u64,
    wake: Option<oneshot::Sender<()>>,
}

/// A place in a queue. Dropping it lets the next one go.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Arc<Turns>,
    key: Key,
    number: u64,
}

impl Turns {
    /// Takes a place: the last, but for those of higher numbers that do not go yet.
    pub(super) fn take(self: &Arc<Self>, author: PeerId, message: &Message) -> Turn {
        let key = (author, message.topic().clone());
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        let queue = state.queues.entry(key.clone()).or_default();
        let at = queue.place_of(message);
        queue.places.insert(at, Place { number, seqno: message.seqno(), wake: None });
        if at == 0 {
            // Whoever was first may wait for this very message.
            queue.wake(1);
        }
        drop(state);
        Turn { turns: Arc::clone(self), key, number }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn place_of(&self, message: &Message) -> usize {
        // From the end: what comes in order is compared with one.
        let before = self.places.iter().rposition(|place| place.seqno <= message.seqno());
        before.map_or(0, |at| at + 1)
    }

    /// Whether a place is the next one to go, or goes already.
    fn is_next(&self, number: u64) -> bool {
        match self.on_turn {
            Some(on_turn) => on_turn == number,
            None => self.places.front().is_none_or(|first| first.number == number),
        }
    }

    fn wake(&mut self, at: usize) {
        if let Some(wake) = self.places.get_mut(at).and_then(|place| place.wake.take()) {
            // Nobody listens when that one was dropped too; its own drop goes on.
            let _ = wake.send(());
        }
    }
}

impl Turn {
    /// Waits until all that come before are gone.
    pub(super) async fn come(&self) {
        loop {
            let woken = {
                let mut state = self.turns.lock();
                let Some(queue) = state.queues.get_mut(&self.key) else { return };
                if queue.is_next(self.number) {
                    queue.on_turn = Some(self.number);
                    return;
                }
                let Some(woken) = self.sleep(queue) else { return };
                woken
            };
            // The sender is kept until the turn comes, so an error means that the gate is gone.
            if woken.await.is_err() {
                return;
            }
        }
    }

    /// Whether nobody goes before it.
    pub(super) fn is_next(&self) -> bool {
        self.turns.lock().queues.get(&self.key).is_none_or(|queue| queue.is_next(self.number))
    }

    /// Those who are next, before this one, shall no longer wait for somebody who is not here.
    pub(super) fn hurry(&self) {
        if let Some(queue) = self.turns.lock().queues.get_mut(&self.key) {
            queue.hurried = true;
            queue.wake(0);
        }
    }

    /// Whether it is to wait for nobody who is not here.
    pub(super) fn is_hurried(&self) -> bool {
        self.turns.lock().queues.get(&self.key).is_none_or(|queue| queue.hurried)
    }

    /// Gives the turn up until another message has come before this one, it is hurried, or until then; and waits for it
    /// to come again.
    pub(super) async fn step_back(&self, until: Instant) {
        let woken = {
            let mut state = self.turns.lock();
            let Some(queue) = state.queues.get_mut(&self.key) else { return };
            queue.on_turn = None;
            if queue.hurried {
                None
            } else if queue.is_next(self.number) {
                self.sleep(queue)
            } else {
                queue.wake(0);
                None
            }
        };
        if let Some(woken) = woken {
            // Whether it was woken or the time is up: the turn is asked for again.
            let _ = timeout_at(until, woken).await;
        }
        self.come().await;
    }

    fn sleep(&self, queue: &mut Queue) -> Option<oneshot::Receiver<()>> {
        let place = queue.places.iter_mut().find(|place| place.number == self.number)?;
        let (wake, woken) = oneshot::channel();
        place.wake = Some(wake);
        Some(woken)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.turns.lock();
        let Some(queue) = state.queues.get_mut(&self.key) else { return };
        queue.places.retain(|place| place.number != self.number);
        if queue.on_turn == Some(self.number) {
            queue.on_turn = None;
            queue.hurried = false;
        }
        if queue.places.is_empty() {
            state.queues.remove(&self.key);
        } else if queue.on_turn.is_none() {
            queue.wake(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::FutureExt as _;

    use super::*;
    use crate::types::{Body, Draft};

    fn message(key: &libp2p_identity::Keypair, seqno: u64) -> Message {
        let (network, topic) =
            (crate::NetworkId::new("n").expect("a network"), Topic::new("t").expect("a topic"));
        let body = Body::Inline(bytes::Bytes::new());
        let time = crate::Time(0);
        let draft = Draft { network: &network, topic: &topic, seqno, time, parents: vec![], body };
        draft.sign(key).expect("signs")
    }

    #[tokio::test]
    async fn turns_come_in_order_and_a_dropped_one_is_passed_over() {
        let (turns, key) = (Arc::new(Turns::default()), libp2p_identity::Keypair::generate_ed25519());
        let author = key.public().to_peer_id();
        let [a, b, c] = [1, 2, 2].map(|n| turns.take(author, &message(&key, n)));
        assert!(a.come().now_or_never().is_some());
        assert!(b.come().now_or_never().is_none() && c.come().now_or_never().is_none());
        let mut waiting = Box::pin(c.come());
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(b);
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(a);
        waiting.await;
        drop(c);
        assert!(turns.lock().queues.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lower_number_goes_first_but_not_beside_one_that_has_its_turn() {
        let (turns, key) = (Arc::new(Turns::default()), libp2p_identity::Keypair::generate_ed25519());
        let author = key.public().to_peer_id();
        let later = turns.take(author, &message(&key, 2));
        later.come().await;
        let earlier = turns.take(author, &message(&key, 1));
        assert!(earlier.come().now_or_never().is_none(), "the other has its turn");
        let until = Instant::now() + std::time::Duration::from_secs(1);
        let mut back = Box::pin(later.step_back(until));
        assert!(back.as_mut().now_or_never().is_none());
        earlier.come().await;
        assert!(back.as_mut().now_or_never().is_none());
        drop(earlier);
        back.await;
        assert!(Instant::now() < until);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_hurried_waits_for_nobody_who_is_not_there() {
        let (turns, key) = (Arc::new(Turns::default()), libp2p_identity::Keypair::generate_ed25519());
        let [first, second] = [2, 3].map(|n| turns.take(key.public().to_peer_id(), &message(&key, n)));
        first.come().await;
        let until = Instant::now() + std::time::Duration::from_secs(1);
        let mut back = Box::pin(first.step_back(until));
        assert!(back.as_mut().now_or_never().is_none());
        second.hurry();
        back.await;
        assert!(first.is_hurried() && Instant::now() < until);
        drop(first);
        assert!(second.is_next() && !second.is_hurried());
    }
}

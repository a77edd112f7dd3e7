//! Turns: one author's messages on one topic are handed out in the order in which they arrived, while validators run
//! concurrently.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use libp2p_identity::PeerId;
use tokio::sync::oneshot;

use crate::Topic;

type Key = (PeerId, Topic);

/// The queues of all authors and topics that have a message in the gate.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    next: u64,
    queues: HashMap<Key, VecDeque<Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
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
    /// Takes the last place.
    pub(super) fn take(self: &Arc<Self>, author: PeerId, topic: &Topic) -> Turn {
        let key = (author, topic.clone());
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        state.queues.entry(key.clone()).or_default().push_back(Waiting { number, wake: None });
        drop(state);
        Turn { turns: Arc::clone(self), key, number }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// Waits until all that came before are gone.
    pub(super) async fn come(&self) {
        let woken = {
            let mut state = self.turns.lock();
            let Some(queue) = state.queues.get_mut(&self.key) else { return };
            if queue.front().is_none_or(|first| first.number == self.number) {
                return;
            }
            let Some(place) = queue.iter_mut().find(|place| place.number == self.number) else { return };
            let (wake, woken) = oneshot::channel();
            place.wake = Some(wake);
            woken
        };
        // The sender is kept until the turn comes, so an error means that the gate is gone.
        let _ = woken.await;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.turns.lock();
        let Some(queue) = state.queues.get_mut(&self.key) else { return };
        queue.retain(|place| place.number != self.number);
        match queue.front_mut() {
            Some(first) => {
                if let Some(wake) = first.wake.take() {
                    // Nobody listens when that one was dropped too; its own drop goes on.
                    let _ = wake.send(());
                }
            }
            None => {
                state.queues.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    #[tokio::test]
    async fn turns_come_in_order_and_a_dropped_one_is_passed_over() {
        let turns = Arc::new(Turns::default());
        let author = libp2p_identity::Keypair::generate_ed25519().public().to_peer_id();
        let topic = Topic::new("t").expect("topic");
        let [a, b, c] = [(); 3].map(|()| turns.take(author, &topic));
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
}

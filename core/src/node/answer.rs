//! An answer that is told once to whoever waits for it.
//!
//! Those who wait wake in a fixed order; tokio's `watch` wakes them in one drawn by chance, which a seeded run could not
//! repeat.

use std::sync::{Mutex, PoisonError};

use futures::FutureExt as _;
use futures::future::Shared;
use tokio::sync::oneshot;

/// Tells the answer.
#[derive(Debug)]
pub(crate) struct Teller<T>(Mutex<Option<oneshot::Sender<T>>>);

/// Waits for the answer. Cloning is cheap.
#[derive(Clone, Debug)]
pub(crate) struct Answer<T: Clone>(Shared<oneshot::Receiver<T>>);

/// Both ends.
pub(crate) fn answer<T: Clone>() -> (Teller<T>, Answer<T>) {
    let (tell, told) = oneshot::channel();
    (Teller(Mutex::new(Some(tell))), Answer(told.shared()))
}

impl<T> Teller<T> {
    /// Tells the answer; only the first one counts.
    pub(crate) fn tell(&self, answer: T) {
        if let Some(tell) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Nobody may be waiting any more.
            let _ = tell.send(answer);
        }
    }
}

impl<T: Clone> Answer<T> {
    /// The answer; `None` when whoever should tell it is gone.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn told(self) -> Option<T> {
        self.0.await.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn those_who_wait_wake_in_their_order() {
        for _ in 0..20 {
            let (teller, told) = answer();
            let woken = Arc::new(Mutex::new(Vec::new()));
            let waiters = (0..8).map(|n| {
                let (told, woken) = (told.clone(), woken.clone());
                tokio::spawn(async move {
                    assert_eq!(told.told().await, Some(7));
                    woken.lock().expect("lock").push(n);
                })
            });
            let waiters: Vec<_> = waiters.collect();
            tokio::task::yield_now().await;
            teller.tell(7);
            teller.tell(8);
            futures::future::join_all(waiters).await;
            assert_eq!(*woken.lock().expect("lock"), [0, 1, 2, 3, 4, 5, 6, 7]);
        }
    }

    #[tokio::test]
    async fn without_somebody_to_tell_it_there_is_none() {
        let (teller, told) = answer::<u8>();
        drop(teller);
        assert_eq!(told.told().await, None);
    }
}

//! An answer that is told once to whoever waits for it.
//!
//! Those who wait wake in a fixed order; tokio's `watch` wakes them in one drawn by chance, which a seeded run could not
//! repeat.

use std::sync::Arc;

use tokio::sync::SetOnce;

/// Tells the answer. Dropping it tells that there is none.
#[derive(Debug)]
pub(crate) struct Teller<T>(Arc<SetOnce<Option<T>>>);

/// Waits for the answer. Cloning is cheap.
#[derive(Debug)]
pub(crate) struct Answer<T>(Arc<SetOnce<Option<T>>>);

/// Both ends.
pub(crate) fn answer<T>() -> (Teller<T>, Answer<T>) {
    let told = Arc::new(SetOnce::new());
    (Teller(Arc::clone(&told)), Answer(told))
}

impl<T> Teller<T> {
    /// Tells the answer; only the first one counts.
    pub(crate) fn tell(&self, answer: T) {
        let _ = self.0.set(Some(answer));
    }
}

impl<T> Drop for Teller<T> {
    fn drop(&mut self) {
        let _ = self.0.set(None);
    }
}

impl<T> Clone for Answer<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Clone> Answer<T> {
    /// The answer; `None` when whoever should tell it is gone.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn told(self) -> Option<T> {
        self.0.wait().await.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

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

//! Everything a node spawns: tracked, cancelled together, ended in bounded time.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

/// The tasks of one node.
#[derive(Clone, Debug)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    end: Arc<End>,
    /// Where they run. What is dropped outside of it, such as a subscription at the end of `main`, may still begin one.
    runtime: Handle,
}

/// Whether all are to end.
#[derive(Debug, Default)]
struct End {
    here: AtomicBool,
    came: Notify,
}

impl Tasks {
    /// None yet. They will run where this is called.
    pub(crate) fn here() -> Self {
        Self { tracker: TaskTracker::new(), end: Arc::default(), runtime: Handle::current() }
    }

    /// Runs a task until it ends or all are cancelled.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let end = Arc::clone(&self.end);
        let task = async move {
            let (mut came, mut task) = (pin!(end.came.notified()), pin!(task));
            let mut waits = false;
            poll_fn(|cx| {
                if end.here.load(Ordering::Acquire) || task.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                // A task is woken by one waker all its life, so it says once that it waits for the end. To say it each time
                // would take longer than most of what a task does.
                if std::mem::replace(&mut waits, true) { Poll::Pending } else { came.as_mut().poll(cx) }
            })
            .await;
        };
        self.tracker.spawn_on(task, &self.runtime);
    }

    /// Tells every task to end, without waiting.
    pub(crate) fn cancel(&self) {
        self.end.here.store(true, Ordering::Release);
        self.end.came.notify_waiters();
    }

    /// Cancels all and waits until they are gone; answers how many would not go in time.
    pub(crate) async fn end(&self, within: Duration) -> usize {
        self.cancel();
        self.tracker.close();
        // A timeout is answered by the count.
        let _ = tokio::time::timeout(within, self.tracker.wait()).await;
        self.tracker.len()
    }
}

//! Everything a node spawns: tracked, cancelled together, ended in bounded time.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The tasks of one node.
#[derive(Clone, Debug)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    cancel: CancellationToken,
    /// Where they run. What is dropped outside of it, such as a subscription at the end of `main`, may still begin one.
    runtime: Handle,
}

impl Tasks {
    /// None yet. They will run where this is called.
    pub(crate) fn here() -> Self {
        Self { tracker: TaskTracker::new(), cancel: CancellationToken::new(), runtime: Handle::current() }
    }

    /// Runs a task until it ends or all are cancelled.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let cancel = self.cancel.clone();
        let task = async move {
            tokio::select! {
                biased;
                () = cancel.cancelled() => {}
                () = task => {}
            }
        };
        self.tracker.spawn_on(task, &self.runtime);
    }

    /// Tells every task to end, without waiting.
    pub(crate) fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Cancels all and waits until they are gone; answers how many would not go in time.
    pub(crate) async fn end(&self, within: Duration) -> usize {
        self.cancel.cancel();
        self.tracker.close();
        // A timeout is answered by the count.
        let _ = tokio::time::timeout(within, self.tracker.wait()).await;
        self.tracker.len()
    }
}

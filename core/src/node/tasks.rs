//! Everything a node spawns: tracked, cancelled together, ended in bounded time.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use super::core::lock;

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

    /// Runs a task here until it waits for something, and once that came where all others run: another thread is not woken to
    /// see that there is nothing to do yet.
    pub(crate) fn begin(&self, mut task: BoxFuture<'static, ()>) {
        let sleeper = Arc::new(Sleeper { tasks: self.clone(), sleep: Mutex::new(Sleep::NotYet) });
        let waker = Waker::from(Arc::clone(&sleeper));
        if task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            sleeper.lie_down(task);
        }
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

/// A task that waits for the first time. Whoever wakes it has it run.
struct Sleeper {
    tasks: Tasks,
    sleep: Mutex<Sleep>,
}

enum Sleep {
    /// It runs still.
    NotYet,
    Asleep(BoxFuture<'static, ()>),
    /// It was woken; later it has another waker.
    Over,
}

impl Sleeper {
    fn lie_down(&self, task: BoxFuture<'static, ()>) {
        let mut sleep = lock(&self.sleep);
        if let Sleep::NotYet = *sleep {
            *sleep = Sleep::Asleep(task);
        } else {
            self.tasks.spawn(task);
        }
    }
}

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        let slept = std::mem::replace(&mut *lock(&self.sleep), Sleep::Over);
        if let Sleep::Asleep(task) = slept {
            self.tasks.spawn(task);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use tokio::sync::oneshot;

    use super::*;

    /// Begins a task that waits to be told something and passes it on.
    fn begin(tasks: &Tasks) -> (oneshot::Sender<u8>, oneshot::Receiver<u8>) {
        let ((tell, told), (pass, passed)) = (oneshot::channel(), oneshot::channel());
        tasks.begin(
            async move {
                if let Ok(told) = told.await {
                    let _ = pass.send(told);
                }
            }
            .boxed(),
        );
        (tell, passed)
    }

    #[tokio::test]
    async fn what_is_begun_goes_on_when_what_it_waits_for_comes() {
        let tasks = Tasks::here();
        let (tell, mut passed) = begin(&tasks);
        tokio::task::yield_now().await;
        assert!((&mut passed).now_or_never().is_none());
        assert_eq!(tasks.tracker.len(), 0, "it waits and is no task yet");
        tell.send(7).expect("it waits");
        assert_eq!(passed.await, Ok(7));
    }

    #[tokio::test]
    async fn what_is_woken_while_it_runs_goes_on() {
        let tasks = Tasks::here();
        let (tell, told) = oneshot::channel();
        tasks.begin(
            async move {
                tokio::task::yield_now().await;
                let _ = tell.send(7);
            }
            .boxed(),
        );
        assert_eq!(told.await, Ok(7));
    }

    #[tokio::test]
    async fn what_is_begun_ends_with_the_others() {
        let tasks = Tasks::here();
        let (tell, passed) = begin(&tasks);
        assert_eq!(tasks.end(Duration::ZERO).await, 0);
        let _ = tell.send(7);
        assert!(passed.await.is_err(), "it does not go on");
    }
}

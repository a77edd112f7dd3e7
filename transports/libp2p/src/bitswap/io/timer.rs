//! Time passes.

use std::sync::Arc;

use tokio::time::sleep_until;

use super::Shared;

impl Shared {
    /// Wakes the machines when something is due.
    pub(super) async fn tick(self: Arc<Self>) {
        loop {
            let due = self.lock().armed;
            let sleep = async {
                match due {
                    Some(due) => sleep_until(self.began + due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = sleep => {}
                () = self.timer.notified() => continue,
            }
            self.with(|state, now| {
                state.armed = None;
                state.client.wake(now);
                state.server.wake(now);
            });
        }
    }
}

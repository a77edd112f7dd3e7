//! How long what a node told is followed: as long as entries come of it.

use std::sync::Mutex;
use std::time::Duration;

use carrick_core::{Error, ErrorKind};
use tokio::time::{Instant, timeout_at};

use crate::failed::Failed;
use crate::inner::lock;

/// How long nothing may become an entry here while what a node told is fetched. No shorter than one block may take; and a short
/// log, where a wire brings single blocks, comes one after the other before the first is judged.
pub(crate) const LONGEST: Duration = Duration::from_secs(60);
/// So many bytes of entries a second count as if one came: large ones over a slow link are no lie.
const PACE: usize = 64 << 10;
/// So many of them count until one becomes an entry: as many as are fetched before the first is judged.
const MOST: usize = 64 << 20;

/// How long one attempt to catch up may go on with nothing to show for it.
#[derive(Debug)]
pub(crate) struct Patience(Mutex<State>);

#[derive(Clone, Copy, Debug)]
struct State {
    until: Instant,
    /// Bytes that count.
    bytes: usize,
}

impl State {
    fn new() -> Self {
        Self { until: Instant::now() + LONGEST, bytes: MOST }
    }
}

impl Patience {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State::new()))
    }

    /// Begins anew: something became an entry, or what took time was no fault of whoever is asked.
    pub(crate) fn renew(&self) {
        *lock(&self.0) = State::new();
    }

    /// So many bytes came that may become entries.
    pub(crate) fn bytes(&self, bytes: usize) {
        let state = &mut *lock(&self.0);
        let bytes = bytes.min(state.bytes);
        state.bytes -= bytes;
        let earned = Duration::from_millis((bytes * 1_000 / PACE) as u64);
        state.until = (state.until + earned).min(Instant::now() + LONGEST);
    }

    /// Goes on with some work until it is done; drops it once nothing has come for too long.
    ///
    /// # Errors
    /// `Misled`, with `Rejected`, where it was dropped.
    pub(crate) async fn bears<T>(&self, work: impl Future<Output = T>) -> Result<T, Failed> {
        let mut work = std::pin::pin!(work);
        loop {
            let until = lock(&self.0).until;
            match timeout_at(until, &mut work).await {
                Ok(done) => return Ok(done),
                Err(_) if lock(&self.0).until > until => {}
                Err(_) => {
                    let detail = format!("nothing became an entry for {} s", LONGEST.as_secs());
                    return Err(Failed::Misled(Error::new(ErrorKind::Rejected, "catch up", detail)));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::sleep;

    use super::*;

    /// How long work is borne that never ends, while something comes every so often.
    async fn borne(every: Duration, comes: impl Fn(&Patience)) -> Duration {
        let (patience, began) = (Patience::new(), Instant::now());
        let coming = async {
            for _ in 0..10 {
                sleep(every).await;
                comes(&patience);
            }
            pending::<()>().await
        };
        patience.bears(coming).await.expect_err("it never ends");
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn it_lasts_while_entries_come_and_no_longer() {
        let often = Duration::from_secs(50);
        assert_eq!(borne(often, Patience::renew).await, 10 * often + LONGEST);
        assert_eq!(borne(often, |_| ()).await, LONGEST);
        assert_eq!(borne(2 * LONGEST, Patience::renew).await, LONGEST);
        let done = Patience::new().bears(async { 7 }).await;
        assert_eq!(done.expect("at once"), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_earn_time_and_cannot_be_saved_up() {
        let every = Duration::from_secs(10);
        let second = PACE;
        assert_eq!(borne(every, |patience| patience.bytes(10 * second)).await, 10 * every + LONGEST);
        assert_eq!(borne(every, |patience| patience.bytes(100 * second)).await, 10 * every + LONGEST);
        assert_eq!(borne(every, |patience| patience.bytes(second)).await, LONGEST + Duration::from_secs(6));
        assert_eq!(borne(every, |patience| patience.bytes(MOST)).await, every + LONGEST);
    }
}

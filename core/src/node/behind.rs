//! Blocks on their way to the store: one batch is written while the next one comes.

use tokio::sync::oneshot;

use super::tasks::Tasks;
use crate::dag::{Batch, BlockSink, BlockWriter};
use crate::{Block, Error, ErrorKind, Result};

/// There are two batches at most: one that fills and one that is written.
const BATCH_BYTES: usize = 4 << 20;

/// Writes many blocks at a time, and behind the caller's back: nothing is promised before [`flush`](Self::flush).
#[must_use = "the last batch is written by `flush`"]
pub(super) struct Behind<W> {
    writer: W,
    tasks: Tasks,
    batch: Batch,
    writing: Option<oneshot::Receiver<Result<()>>>,
}

impl<W: BlockWriter + Clone + 'static> Behind<W> {
    /// Nothing to write yet; the batches are written by these tasks.
    pub(super) fn new(writer: W, tasks: &Tasks) -> Self {
        Self { writer, tasks: tasks.clone(), batch: Batch::new(BATCH_BYTES), writing: None }
    }

    /// Writes what is left. `Ok`: every block handed in since the last time is durable.
    pub(super) async fn flush(&mut self) -> Result<()> {
        self.begin().await?;
        self.settle().await
    }

    async fn begin(&mut self) -> Result<()> {
        self.settle().await?;
        let (writer, batch) = (self.writer.clone(), self.batch.take());
        if batch.is_empty() {
            return Ok(());
        }
        let (written, writing) = oneshot::channel();
        self.writing = Some(writing);
        self.tasks.spawn(async move {
            // Whoever is gone needs no answer.
            let _ = written.send(writer.write(&batch).await);
        });
        Ok(())
    }

    async fn settle(&mut self) -> Result<()> {
        // Taken only once it has answered: whoever drops this may ask again.
        let Some(writing) = &mut self.writing else { return Ok(()) };
        let written = writing.await;
        self.writing = None;
        written.unwrap_or_else(|_| Err(Error::new(ErrorKind::Closed, "write", "the write was cut off")))
    }
}

impl<W: BlockWriter + Clone + 'static> BlockSink for Behind<W> {
    async fn put(&mut self, block: Block) -> Result<()> {
        if self.batch.push(block) { self.begin().await } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt as _;

    use super::*;
    use crate::RAW;

    /// Fails after a while.
    #[derive(Clone)]
    struct Failing;

    impl BlockWriter for Failing {
        async fn write(&self, _: &[Block]) -> Result<()> {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Err(Error::new(ErrorKind::Full, "write", "no room"))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_is_told_however_often_somebody_stops_waiting_for_it() {
        let mut behind = Behind::new(Failing, &Tasks::here());
        behind.put(Block::new(RAW, vec![1; BATCH_BYTES])).await.expect("the first is written behind");
        let second = Block::new(RAW, vec![2; BATCH_BYTES]);
        assert!(behind.put(second).now_or_never().is_none(), "it waits for the first");
        assert_eq!(behind.flush().await.expect_err("told").kind(), ErrorKind::Full);
    }
}

//! Making entries: the next one is made while those before it are on their way to the disk.

use carrick_core::{Bytes, Published, Result};
use tokio::sync::oneshot;

use crate::inner::{Inner, lock};

/// An append that has not returned.
struct Append<'a> {
    ledger: &'a Inner,
    made: bool,
}

impl Drop for Append<'_> {
    fn drop(&mut self) {
        lock(&self.ledger.under_way).end_append(self.made);
    }
}

impl Inner {
    /// Makes an entry, whose turn is over as soon as it is judged.
    pub(crate) async fn make(&self, payload: Bytes) -> Result<Published> {
        let node = self.node()?;
        let turn = self.appending.lock().await;
        lock(&self.under_way).begin_append();
        let mut append = Append { ledger: self, made: false };
        let parents = self.with_index(|index| lock(&self.under_way).next_parents(&index.heads))?;
        let (judge, judged) = oneshot::channel();
        *lock(&self.judged) = Some(judge);
        let mut publishing = std::pin::pin!(node.publish_following(&self.topic, payload, parents));
        let published = tokio::select! {
            biased;
            published = &mut publishing => published,
            _ = judged => {
                drop(turn);
                publishing.await
            }
        };
        append.made = published.is_ok();
        published
    }
}

//! What the cryptography and the store cost without a ledger: each message written or checked, and one durable put.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use carrick_core::{Block, DAG_CBOR, Store};
use carrick_plugin_store_fjall::FjallStore;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tempfile::TempDir;

use super::member::store_in;
use super::{NAME, Ran, SPAN, payload, tell};
use crate::Result;
use crate::envelope::{Chain, Checker};
use crate::process::Usage;

/// Messages that are written before checking them is timed; where they do not last for all of the time, it ends early.
pub(super) const SUPPLY: u64 = 120_000;

pub(super) fn chain() -> Result<Chain> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    Ok(Chain::new(NAME, format!("ledger/{NAME}"), u64::try_from(now)?))
}

/// Signs, hashes and stores.
pub(super) async fn append(at_once: usize) -> Result<()> {
    let (mut chain, mut n) = (chain()?, 0);
    put_while_there_is_time(at_once, move || {
        n += 1;
        chain.next(&payload(n)).map(Some)
    })
    .await
}

/// Checks the signature, hashes and stores.
pub(super) async fn accept(at_once: usize) -> Result<()> {
    let mut chain = chain()?;
    let messages = (0..SUPPLY).map(|n| Ok(chain.next(&payload(n))?.into_bytes()));
    let mut messages = messages.collect::<Result<Vec<_>>>()?.into_iter();
    let mut checker = Checker::of(&chain.author())?;
    put_while_there_is_time(at_once, move || {
        let Some(bytes) = messages.next() else { return Ok(None) };
        checker.check(&bytes)?;
        Ok(Some(Block::new(DAG_CBOR, bytes)))
    })
    .await
}

/// Tells how many blocks there were, one after the other, so many at once.
async fn put_while_there_is_time(
    at_once: usize,
    next: impl FnMut() -> Result<Option<Block>> + Send + 'static,
) -> Result<()> {
    let folder = TempDir::new()?;
    let store = Arc::new(store_in(folder.path()).await?);
    // In a task, as the other side runs.
    let ran = tokio::spawn(put(Arc::clone(&store), at_once, next)).await??;
    store.close().await?;
    tell(&ran)
}

async fn put(
    store: Arc<FjallStore>,
    at_once: usize,
    mut next: impl FnMut() -> Result<Option<Block>>,
) -> Result<Ran> {
    let (mut entries, mut putting) = (0, FuturesUnordered::new());
    let (before, start) = (Usage::now()?, Instant::now());
    loop {
        while putting.len() < at_once
            && start.elapsed() < SPAN
            && let Some(block) = next()?
        {
            let store = &store;
            putting.push(async move { store.put(std::slice::from_ref(&block)).await });
        }
        let Some(put) = putting.next().await else { break };
        put?;
        entries += 1;
    }
    let (seconds, usage) = (start.elapsed().as_secs_f64(), Usage::now()?.since(&before));
    Ok(Ran { entries, seconds, usage })
}

//! Telling the routing what is to be had here. It takes the public network seconds and minutes, so nobody waits for it.

use std::sync::Arc;
use std::time::Duration;

use carrick_core::{Cid, ErrorKind, Result};
use futures::stream::{self, StreamExt as _};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::config::Provide;
use crate::rpc::calls::{RoutingProvide, millis};
use crate::shared::Shared;

/// How many may wait to be announced.
pub(crate) const MAX_WAITING: usize = 1_024;
/// How many are announced at once.
const AT_ONCE: usize = 4;
/// How often one is tried, over two minutes and more: a daemon that was just started is connected to nobody.
const TRIES: u32 = 10;
/// How long one try may take, and the most that is read of its answer.
const PATIENCE: Duration = Duration::from_secs(120);
const MAX_ANSWER: usize = 1 << 20;

/// Has a root announced, where the configuration wants it.
pub(crate) fn root(shared: &Shared, cid: &Cid) -> Result<()> {
    if shared.config.provide == Provide::None || wait(shared, cid) {
        return Ok(());
    }
    let detail = format!("{MAX_WAITING} roots wait to be announced");
    Err(shared.fail(ErrorKind::Busy, "announce", detail))
}

/// Has blocks announced, where the configuration wants it for each.
pub(crate) fn blocks(shared: &Shared, cids: &[Cid]) {
    if shared.config.provide == Provide::All {
        let dropped = cids.iter().filter(|cid| !wait(shared, cid)).count();
        shared.host.count("announce_dropped", dropped as u64);
    }
}

fn wait(shared: &Shared, cid: &Cid) -> bool {
    shared.announcing.try_send(*cid).is_ok()
}

/// Announces what waits.
pub(crate) async fn keep_announcing(shared: Arc<Shared>, mut waiting: mpsc::Receiver<Cid>) {
    let waiting = stream::poll_fn(move |cx| waiting.poll_recv(cx));
    waiting.for_each_concurrent(AT_ONCE, |cid| announce(&shared, cid)).await;
}

async fn announce(shared: &Shared, cid: Cid) {
    for attempt in 0..TRIES {
        // Among the searches, so that neither blocks nor what the daemon answers by itself need wait for it.
        let call = RoutingProvide { arg: cid.to_string(), timeout: millis(PATIENCE) };
        match timeout(PATIENCE, shared.rpc.search(call, PATIENCE, MAX_ANSWER)).await {
            Ok(Ok(_)) => return,
            Ok(Err(fault)) => tracing::debug!(%fault, %cid, attempt, "not announced"),
            Err(_) => tracing::debug!(%cid, attempt, "not announced in time"),
        }
        sleep(shared.host.backoff(attempt)).await;
    }
    shared.host.count("announce_failed", 1);
}

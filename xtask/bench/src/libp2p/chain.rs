//! A chain of blocks over a link that takes its time.

use std::time::Duration;

use super::relay::Relay;
use super::{Served, Task, start};
use crate::Result;
use crate::process::Fetched;
use crate::table::Row;

const BLOCKS: u64 = 1_000;
/// There and back.
const ROUND_TRIP: Duration = Duration::from_millis(50);

/// One run each: what a run takes is round trips, which do not vary.
pub(super) async fn run() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (way, dag) in [("bitswap", false), ("/carrick/dag", true)] {
        let fetched = get(dag).await?;
        let trips = fetched.seconds / ROUND_TRIP.as_secs_f64();
        let what = format!("libp2p, chain of {BLOCKS} blocks over 50 ms, {way}");
        let detail = format!("{trips:.1} round trips, {:.2} s of CPU", fetched.usage.cpu_seconds);
        rows.push(Row::told(&what, " s", &[fetched.seconds]).detail(detail));
    }
    Ok(rows)
}

async fn get(dag: bool) -> Result<Fetched> {
    let mut server = start(&Task::ServeChain { blocks: BLOCKS })?;
    let Served { addr, root } = server.line().await?;
    let relay = Relay::to(&addr, ROUND_TRIP / 2).await?;
    let mut client = start(&Task::Get { addr: relay.addr().to_owned(), root, dag })?;
    let fetched: Fetched = client.line().await?;
    client.end().await?;
    server.end().await?;
    Ok(fetched)
}

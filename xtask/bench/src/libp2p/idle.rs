//! The memory of a node to which many are connected that say nothing.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::gossip::Side;
use super::member::Order;
use super::{Task, start};
use crate::Result;
use crate::stats::median;
use crate::table::{Good, Row};

const PEERS: usize = 100;
/// Until nothing of the beginning goes on: mesh, identify, pings.
const SETTLED: Duration = Duration::from_secs(4);
const LOST: Duration = Duration::from_secs(60);

/// All pairs, in the order ABBA.
pub(super) async fn run(pairs: u32) -> Result<Vec<Row>> {
    let mut turns = Vec::new();
    for pair in 0..pairs.min(5) {
        let mut mib = [0.0; 2];
        for side in Side::in_turn(pair) {
            mib[side as usize] = resident(side).await?;
        }
        let [ours, bare] = mib;
        eprintln!("{PEERS} idle peers, pair {}: node {ours:.1} MiB, bare {bare:.1} MiB", pair + 1);
        turns.push(mib);
    }
    let ratios: Vec<f64> = turns.iter().map(|[ours, bare]| ours / bare).collect();
    let of = |side: usize| median(turns.iter().map(|turn| turn[side]).collect());
    let what = format!("libp2p, memory with {PEERS} idle peers, of the library");
    let detail = format!("{:.1} MiB, the library alone {:.1} MiB", of(0), of(1));
    Ok(vec![Row::new(&what, "×", &ratios, Good::AtMost, 1.5, 1.2).detail(detail)])
}

async fn resident(side: Side) -> Result<f64> {
    let mut member = start(&side.task())?;
    let addr = member.line().await?;
    let mut crowd = start(&Task::Crowd { addr, count: PEERS })?;
    timeout(LOST, crowd.line::<()>()).await.map_err(|_| "a peer does not connect")??;
    member.tell(&serde_json::to_string(&Order::Ready(PEERS))?).await?;
    timeout(LOST, member.line::<()>()).await.map_err(|_| "a peer is not there")??;
    sleep(SETTLED).await;
    member.tell(&serde_json::to_string(&Order::Resident)?).await?;
    let resident = member.line().await?;
    member.end().await?;
    crowd.end().await?;
    Ok(resident)
}

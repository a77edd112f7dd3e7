//! From the append to its delivery on the last of ten nodes, one append at a time.

use std::time::Duration;

use carrick_core::PeerAddr;
use futures::StreamExt as _;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::time::{sleep, timeout};

use super::member::{Member, quic};
use super::{Task, payload, start, tell};
use crate::Result;
use crate::process::Role;
use crate::table::Row;

const NODES: usize = 10;
/// As a node looks for by itself unless told otherwise.
const NEIGHBOURS: usize = 8;
/// Appends of one round.
const APPENDS: usize = 100;
/// Between two of them, so that none meets another.
const PAUSE: Duration = Duration::from_millis(20);
/// Longer than any delivery takes that is not lost.
const LOST: Duration = Duration::from_secs(60);

/// What a member tells, with the time in nanoseconds of the clock that all processes share.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Told {
    Begun(u64),
    Delivered(u64),
}

/// All rounds, each with another writer, after one that does not count.
pub(super) async fn run(rounds: u32) -> Result<Vec<Row>> {
    let mut members = open().await?;
    let [mut middles, mut slowest] = [const { Vec::new() }; 2];
    for round in 0..=rounds {
        let mut took = Vec::new();
        for _ in 0..APPENDS {
            took.push(append(&mut members, round as usize % NODES).await?);
            sleep(PAUSE).await;
        }
        took.sort_by(f64::total_cmp);
        let at = |share: f64| took[((APPENDS - 1) as f64 * share).round() as usize];
        eprintln!("delivered to {NODES} nodes: p50 {:.1} ms, p99 {:.1} ms", at(0.5), at(0.99));
        if round > 0 {
            middles.push(at(0.5));
            slowest.push(at(0.99));
        }
    }
    for member in members {
        member.end().await?;
    }
    let row = |what, values: &[f64]| Row::told(what, " ms", values);
    Ok(vec![
        row("ledger, append to the last of 10 nodes, p50", &middles)
            .detail("each stores it durably before it hands it out and passes it on".into()),
        row("ledger, append to the last of 10 nodes, p99", &slowest),
    ])
}

/// Ten nodes that know one of them, and find the others.
async fn open() -> Result<Vec<Role>> {
    let mut first = start(&Task::Member { bootstrap: None })?;
    let bootstrap: PeerAddr = first.line().await?;
    let mut members = vec![first];
    for _ in 1..NODES {
        let mut member = start(&Task::Member { bootstrap: Some(bootstrap.clone()) })?;
        member.line::<PeerAddr>().await?;
        members.push(member);
    }
    for (at, member) in members.iter_mut().enumerate() {
        // The first is known to all others.
        let others = if at == 0 { NODES - 1 } else { 1 };
        member.tell(&format!("ready {others}")).await?;
        timeout(LOST, member.line::<()>()).await.map_err(|_| "the nodes do not find each other")??;
    }
    Ok(members)
}

/// Milliseconds until the last has it.
async fn append(members: &mut [Role], writer: usize) -> Result<f64> {
    members[writer].tell("append").await?;
    let Told::Begun(begun) = members[writer].line().await? else {
        return Err("an entry came twice; the run is void".into());
    };
    let mut last = begun;
    for member in members {
        let told = timeout(LOST, member.line()).await.map_err(|_| "an entry was lost; the run is void")??;
        let Told::Delivered(at) = told else {
            return Err("a node spoke out of turn; the run is void".into());
        };
        last = last.max(at);
    }
    Ok((last - begun) as f64 / 1e6)
}

/// Does what standard input says, and tells what is delivered.
pub(super) async fn member(bootstrap: Option<PeerAddr>) -> Result<()> {
    let folder = TempDir::new()?;
    let mut config = quic()?;
    config.neighbours = NEIGHBOURS;
    config.bootstrap.extend(bootstrap);
    let member = Member::on_disk(folder.path(), config).await?;
    tell(&member.addr()?)?;
    let Member { node, ledger } = member;
    let mut changes = ledger.watch();
    let delivering = async {
        while let Some(change) = changes.next().await {
            if change.entry().is_some() {
                tell(&Told::Delivered(now()))?;
            }
        }
        Result::<()>::Ok(())
    };
    let obeying = async {
        let (mut lines, mut n) = (BufReader::new(tokio::io::stdin()).lines(), 0);
        while let Some(line) = lines.next_line().await? {
            match line.strip_prefix("ready ") {
                Some(peers) => {
                    node.ready(ledger.topic(), peers.parse()?).await?;
                    tell(&())?;
                }
                None => {
                    tell(&Told::Begun(now()))?;
                    n += 1;
                    ledger.append(payload(n)).await?;
                }
            }
        }
        Result::<()>::Ok(())
    };
    tokio::select! {
        ended = delivering => ended?,
        ended = obeying => ended?,
    }
    Ok(node.close().await?)
}

/// Nanoseconds of a clock that all processes of the machine share.
fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

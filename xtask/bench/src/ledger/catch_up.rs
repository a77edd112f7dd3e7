//! A node that comes late and fetches all entries of another one over QUIC, through a relay that counts the bytes.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use carrick_core::PeerAddr;
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::time::timeout;

use super::build::Built;
use super::member::{Member, quic};
use super::relay::Relay;
use super::requests::{Asked, Requests};
use super::{Ran, Task, start, tell};
use crate::Result;
use crate::process::{Usage, answer_usage};
use crate::stats::median;
use crate::table::{Good, Row};

/// Entries of the shorter ledger, whose bytes are bounded.
const FEW: u64 = 10_000;
/// Runs of either, fewer where fewer pairs are wanted: each takes long.
const RUNS: u32 = 3;
/// How long the next entry may be in coming: heads are told every 15 s at the latest.
const STALLED: Duration = Duration::from_secs(45);

/// What a node that came late tells.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Caught {
    ran: Ran,
    /// Until the first entry was there.
    first_seconds: f64,
    asked: Asked,
}

/// One catch-up, seen from all sides.
struct Run {
    caught: Caught,
    received: u64,
    sent: u64,
    serving: Usage,
}

/// The shorter ledger, and one of so many entries.
pub(super) async fn run(many: u64, pairs: u32) -> Result<Vec<Row>> {
    let few = runs_of(FEW, pairs.min(RUNS)).await?;
    let mut rows = vec![speed(FEW, &few)];
    rows.extend(bytes(FEW, &few));
    let many_runs = runs_of(many, 1).await?;
    rows.push(speed(many, &many_runs));
    rows.extend(bytes(many, &many_runs));
    Ok(rows)
}

/// All runs of one ledger, which is made once and served by one node. A run that ended early is the last.
async fn runs_of(entries: u64, runs: u32) -> Result<Measured> {
    let built = Built::new(entries).await?;
    let mut server = start(&Task::Serve { folder: built.folder()? })?;
    let addr: PeerAddr = server.line().await?;
    let mut measured = Vec::new();
    for _ in 0..runs {
        let relay = Relay::to(&addr)?;
        let before = server.usage().await?;
        let task = Task::CatchUp { server: relay.addr.clone(), entries: usize::try_from(entries)? };
        let mut joiner = start(&task)?;
        let caught: Caught = joiner.line().await?;
        let serving = server.usage().await?.since(&before);
        let (received, sent) = relay.bytes();
        joiner.end().await?;
        eprintln!("caught up: {} of {entries} in {:.1} s", caught.ran.entries, caught.ran.seconds);
        measured.push(Run { caught, received, sent, serving });
        if caught.ran.entries < entries {
            break;
        }
    }
    server.end().await?;
    Ok(Measured { runs: measured, bytes: built.facts.bytes })
}

/// The runs of one ledger.
struct Measured {
    runs: Vec<Run>,
    /// Of its entries.
    bytes: u64,
}

impl Measured {
    fn of(&self, value: impl Fn(&Run) -> f64) -> Vec<f64> {
        self.runs.iter().map(value).collect()
    }

    fn middle(&self, value: impl Fn(&Run) -> f64) -> f64 {
        median(self.of(value))
    }

    fn complete(&self, entries: u64) -> bool {
        self.runs.iter().all(|run| run.caught.ran.entries == entries)
    }
}

/// Entries a second, and what it cost both ends.
fn speed(entries: u64, measured: &Measured) -> Row {
    let what = format!("ledger, catch-up of {entries} entries");
    let row = Row::told(&what, "/s", &measured.of(|run| run.caught.ran.rate()));
    if !measured.complete(entries) {
        let last = measured.runs.last().map_or(0, |run| run.caught.ran.entries);
        return row.detail(format!(
            "NOT REACHED: given up at {last} entries, after {} s without a new one, in which {:.0} MiB were received",
            STALLED.as_secs(),
            measured.middle(|run| run.received as f64 / 1_048_576.0)
        ));
    }
    let middle = |value: fn(&Run) -> f64| measured.middle(value);
    row.detail(format!(
        "{:.1} s, the first after {:.1} s; CPU of the late node {:.1} s, of the serving one {:.1} s; at most {:.0} MiB resident",
        middle(|run| run.caught.ran.seconds),
        middle(|run| run.caught.first_seconds),
        middle(|run| run.caught.ran.usage.cpu_seconds),
        middle(|run| run.serving.cpu_seconds),
        middle(|run| run.caught.ran.usage.peak_mib),
    ))
}

/// Bytes received, of the entries as they were signed. None where they did not all come.
fn bytes(entries: u64, measured: &Measured) -> Option<Row> {
    if !measured.complete(entries) {
        return None;
    }
    let what = format!("ledger, bytes received, {entries} entries");
    let ratios = measured.of(|run| run.received as f64 / measured.bytes as f64);
    let middle = |value: fn(&Run) -> f64| measured.middle(value);
    Some(Row::bounded(&what, "×", &ratios, Good::AtMost, 1.2).detail(format!(
        "{:.2} MiB of entries; {:.2} MiB received and {:.2} MiB sent; {:.0} requests for heads and all before them, {:.0} for single entries",
        measured.bytes as f64 / 1_048_576.0,
        middle(|run| run.received as f64 / 1_048_576.0),
        middle(|run| run.sent as f64 / 1_048_576.0),
        middle(|run| run.caught.asked.dags as f64),
        middle(|run| run.caught.asked.blocks as f64),
    )))
}

/// Serves what is in a folder.
pub(super) async fn serve(folder: &Path) -> Result<()> {
    let member = Member::on_disk(folder, quic()?).await?;
    tell(&member.addr()?)?;
    answer_usage().await?;
    Ok(member.node.close().await?)
}

/// Joins with nothing, and waits until all is there or nothing more comes.
pub(super) async fn catch_up(server: &PeerAddr, entries: usize) -> Result<()> {
    let (folder, requests) = (TempDir::new()?, Arc::<Requests>::default());
    let Member { node, ledger } = Member::counting(folder.path(), &requests).await?;
    let mut changes = ledger.watch();
    let (before, start) = (Usage::now()?, Instant::now());
    node.connect(server).await?;
    let (mut first, mut last) = (None, start);
    while ledger.count()? < entries
        && let Ok(Some(_)) = timeout(STALLED, changes.next()).await
    {
        last = Instant::now();
        first.get_or_insert(last);
    }
    let took = |until: Instant| until.duration_since(start).as_secs_f64();
    let ran =
        Ran { entries: ledger.count()? as u64, seconds: took(last), usage: Usage::now()?.since(&before) };
    // One that got nothing took as long as it waited.
    let ran = if first.is_none() { Ran { seconds: took(Instant::now()), ..ran } } else { ran };
    tell(&Caught { ran, first_seconds: first.map_or(0.0, took), asked: requests.asked() })?;
    Ok(node.close().await?)
}

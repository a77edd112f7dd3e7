//! A large ledger on disk: how long until it is open, until an entry in its middle is read, and what it takes in memory.

use std::path::Path;
use std::time::Instant;

use carrick_core::Cid;
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};

use super::build::Built;
use super::member::{Member, quic};
use super::{Task, start, tell};
use crate::Result;
use crate::process::{Usage, resident_mib};
use crate::stats::median;
use crate::table::{Good, Row};

/// One node that opened it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Opened {
    entries: u64,
    open_seconds: f64,
    open_cpu_seconds: f64,
    resident_mib: f64,
    peak_mib: f64,
    first_ms: f64,
}

/// One node after the other opens the same ledger, each after the one before it stopped; the first does not count.
pub(super) async fn run(entries: u64, runs: u32) -> Result<Vec<Row>> {
    let built = Built::new(entries).await?;
    let mut opened = Vec::new();
    for run in 0..=runs {
        let task = Task::Open { folder: built.folder()?, from: built.facts.middle.clone() };
        let mut node = start(&task)?;
        let one: Opened = node.line().await?;
        node.end().await?;
        if one.entries != built.entries {
            return Err(format!("{} of {entries} entries are there; the run is void", one.entries).into());
        }
        if run > 0 {
            opened.push(one);
        }
    }
    Ok(rows(entries, &opened))
}

fn rows(entries: u64, opened: &[Opened]) -> Vec<Row> {
    let of = |value: fn(&Opened) -> f64| opened.iter().map(value).collect::<Vec<_>>();
    let (cpu, peak) = (median(of(|one| one.open_cpu_seconds)), median(of(|one| one.peak_mib)));
    let empty = format!("ledger of {entries} entries");
    vec![
        Row::bounded(&format!("{empty}, open"), " s", &of(|one| one.open_seconds), Good::AtMost, 2.0)
            .detail(format!("{cpu:.2} s of CPU; after a clean stop, its files in the system's cache")),
        Row::told(&format!("{empty}, first line"), " ms", &of(|one| one.first_ms))
            .detail("of the log from the middle, without the control socket".into()),
        Row::told(&format!("{empty}, memory"), " MiB", &of(|one| one.resident_mib))
            .detail(format!("resident once it is open; {peak:.0} MiB at most meanwhile")),
    ]
}

/// Opens it, and reads the entry that is named.
pub(super) async fn open(folder: &Path, from: &str) -> Result<()> {
    let from: Cid = from.parse()?;
    let (before, start) = (Usage::now()?, Instant::now());
    let Member { node, ledger } = Member::on_disk(folder, quic()?).await?;
    let open_seconds = start.elapsed().as_secs_f64();
    let usage = Usage::now()?;
    let (resident_mib, entries) = (resident_mib()?, ledger.count()? as u64);
    let start = Instant::now();
    let first = ledger.entries(Some(from)).next().await.ok_or("the log has no line")??;
    let first_ms = start.elapsed().as_secs_f64() * 1e3;
    if *first.cid() != from {
        return Err("the log begins elsewhere; the run is void".into());
    }
    node.close().await?;
    tell(&Opened {
        entries,
        open_seconds,
        open_cpu_seconds: usage.since(&before).cpu_seconds,
        resident_mib,
        peak_mib: usage.peak_mib,
        first_ms,
    })
}

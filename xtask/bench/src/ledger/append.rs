//! Durable appends of one writer, one after the other and many at once.

use std::time::Instant;

use carrick_plugin_ledger::Ledger;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tempfile::TempDir;

use super::member::{Member, quic};
use super::{Ran, SPAN, Task, both, payload, ran, ratios, tell};
use crate::Result;
use crate::process::Usage;
use crate::table::{Good, Row};

/// How many appends are under way.
const AT_ONCE: [usize; 2] = [1, 64];

/// All pairs, in the order ABBA.
pub(super) async fn run(pairs: u32) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for at_once in AT_ONCE {
        let mut measured = Vec::new();
        for pair in 0..pairs {
            let [ours, alone] = [Task::Append { at_once }, Task::AppendAlone { at_once }];
            let pair = match pair % 2 {
                0 => [ran(&ours).await?, ran(&alone).await?],
                _ => {
                    let alone = ran(&alone).await?;
                    [ran(&ours).await?, alone]
                }
            };
            eprintln!(
                "appends, {at_once} at once: {:.0} a second, alone {:.0}",
                pair[0].rate(),
                pair[1].rate()
            );
            measured.push(pair);
        }
        let what = format!("ledger, appends, {at_once} at once, of it alone");
        rows.push(Row::new(&what, "×", &ratios(&measured), Good::AtLeast, 0.5, 0.8).detail(both(&measured)));
    }
    Ok(rows)
}

/// Appends through a ledger on disk that nobody listens to.
pub(super) async fn through_a_ledger(at_once: usize) -> Result<()> {
    let folder = TempDir::new()?;
    let Member { node, ledger } = Member::on_disk(folder.path(), quic()?).await?;
    let writing = ledger.clone();
    let ran = tokio::spawn(async move { append(&writing, at_once).await }).await??;
    if ledger.count()? as u64 != ran.entries {
        return Err(format!(
            "{} of {} appends are in the ledger; the run is void",
            ledger.count()?,
            ran.entries
        )
        .into());
    }
    node.close().await?;
    tell(&ran)
}

/// As a server does, in a task of its own.
async fn append(ledger: &Ledger, at_once: usize) -> Result<Ran> {
    let (mut entries, mut n, mut appending) = (0, 0, FuturesUnordered::new());
    let (before, start) = (Usage::now()?, Instant::now());
    loop {
        while appending.len() < at_once && start.elapsed() < SPAN {
            n += 1;
            appending.push(ledger.append(payload(n)));
        }
        let Some(appended) = appending.next().await else { break };
        appended?;
        entries += 1;
    }
    let (seconds, usage) = (start.elapsed().as_secs_f64(), Usage::now()?.since(&before));
    Ok(Ran { entries, seconds, usage })
}

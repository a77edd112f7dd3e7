//! A large ledger on disk, made fast: its entries are appended in memory, and what its store then holds is written to disk in
//! large parts.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use carrick_core::{Block, MemoryStore, NetworkId, Node, Store};
use carrick_plugin_ledger::Ledger;
use carrick_transport_memory::MemoryNetwork;
use futures::{StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::member::{Member, quic, store_in};
use super::{NAME, Task, payload, start, tell};
use crate::Result;

/// Blocks or records that are written at once.
const PART: usize = 4_096;
/// Pins that are on their way at once: as many as share a flush.
const PINS: usize = 1_024;

/// A ledger on disk, which goes when this is dropped.
pub(super) struct Built {
    pub(super) folder: TempDir,
    pub(super) entries: u64,
    pub(super) facts: Facts,
}

/// What its builder knows of it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Facts {
    /// Of the entries as they were signed.
    pub(super) bytes: u64,
    /// The entry in the middle.
    pub(super) middle: String,
    /// How long the appends in memory took.
    pub(super) append_seconds: f64,
}

impl Built {
    /// Has a process make one of so many entries.
    pub(super) async fn new(entries: u64) -> Result<Self> {
        let (folder, begun) = (TempDir::new()?, Instant::now());
        let mut builder = start(&Task::Build { folder: folder_of(&folder)?, entries })?;
        let facts: Facts = builder.line().await?;
        builder.end().await?;
        let (seconds, rate) = (begun.elapsed().as_secs_f64(), entries as f64 / facts.append_seconds);
        eprintln!(
            "made a ledger of {entries} entries in {seconds:.0} s, {rate:.0} appends a second in memory"
        );
        Ok(Self { folder, entries, facts })
    }

    pub(super) fn folder(&self) -> Result<String> {
        folder_of(&self.folder)
    }
}

fn folder_of(folder: &TempDir) -> Result<String> {
    Ok(folder.path().to_str().ok_or("the folder for temporary files is not UTF-8")?.to_owned())
}

/// Makes one, and opens and stops it once, as every node does that has a ledger on disk.
pub(super) async fn build(folder: &Path, entries: u64) -> Result<()> {
    let ledger = Ledger::new(NAME, vec![])?;
    // In that folder, so that its author is the node that opens it later.
    let builder = Node::builder().network(NetworkId::new(NAME)?).data_dir(folder);
    let builder = builder.store(Arc::new(MemoryStore::default()));
    let wire = MemoryNetwork::new(0);
    let Member { node, ledger } = Member::open(builder.mount("memory", wire.transport()), ledger).await?;
    let (mut middle, start) = (None, Instant::now());
    for n in 0..entries {
        let appended = ledger.append(payload(n)).await?;
        if n == entries / 2 {
            middle = Some(appended.cid);
        }
    }
    let append_seconds = start.elapsed().as_secs_f64();
    let bytes = node.store().usage().await?.bytes;
    write(&**node.store(), folder).await?;
    node.close().await?;
    let Member { node, ledger } = Member::on_disk(folder, quic()?).await?;
    let has = ledger.count()? as u64;
    node.close().await?;
    if has != entries {
        return Err(format!("{has} of {entries} entries were made").into());
    }
    let middle = middle.ok_or("no entry in the middle")?.to_string();
    tell(&Facts { bytes, middle, append_seconds })
}

/// Writes all that a store holds into a new one on disk.
async fn write(from: &dyn Store, folder: &Path) -> Result<()> {
    let to = store_in(folder).await?;
    let mut cids = from.blocks().try_chunks(PART);
    while let Some(part) = cids.next().await {
        let mut blocks: Vec<Block> = Vec::with_capacity(PART);
        for cid in part.map_err(|failed| failed.1)? {
            blocks.extend(from.get(&cid).await?);
        }
        to.put(&blocks).await?;
    }
    from.pins(None).try_for_each_concurrent(PINS, async |pin| to.pin(&pin).await).await?;
    let mut records = from.list_meta("").map_ok(|(key, value)| (key, Some(value))).try_chunks(PART);
    while let Some(part) = records.next().await {
        to.set_meta(&part.map_err(|failed| failed.1)?).await?;
    }
    Ok(to.close().await?)
}

//! A ledger against what it is built on: its signatures, its hashes and its store.
//!
//! Every node is a process of its own, with the store on disk that a node has unless told otherwise. What takes long to
//! prepare is made once a run.

mod accept;
mod alone;
mod append;
mod build;
mod catch_up;
mod delivery;
mod disk;
mod member;
mod relay;
mod requests;

use std::time::Duration;

use carrick_core::PeerAddr;
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use crate::Result;
use crate::process::{Role, Usage};
use crate::stats::median;
use crate::table::Row;

/// The network and the ledger of all rows.
const NAME: &str = "bench";
/// Bytes of a payload.
const PAYLOAD: usize = 256;
/// How long appending or accepting is timed for.
const SPAN: Duration = Duration::from_secs(3);

/// What a process of these rows does.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Task {
    /// Appends on disk, so many at once.
    Append { at_once: usize },
    /// Signs, hashes and stores as many at once.
    AppendAlone { at_once: usize },
    /// Sends entries, never further ahead of the reader.
    Write { ahead: u64 },
    /// Takes on disk what a writer appends.
    Accept { writer: PeerAddr },
    /// Checks, hashes and stores.
    AcceptAlone { at_once: usize },
    /// Makes a ledger on disk.
    Build { folder: String, entries: u64 },
    /// Opens a ledger on disk, and serves it.
    Serve { folder: String },
    /// Fetches all that a server has.
    CatchUp { server: PeerAddr, entries: usize },
    /// Appends when it is told to, and tells what comes.
    Member { bootstrap: Option<PeerAddr> },
    /// Opens a ledger on disk, and reads one entry.
    Open { folder: String, from: String },
}

/// What was done, and what it took.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Ran {
    entries: u64,
    seconds: f64,
    usage: Usage,
}

impl Ran {
    fn rate(&self) -> f64 {
        self.entries as f64 / self.seconds
    }

    fn micros_each(&self) -> f64 {
        self.usage.cpu_seconds * 1e6 / self.entries as f64
    }
}

/// How large the ledgers are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Entries that a late node fetches.
    pub(crate) catch_up: u64,
    /// Entries of the ledger that is opened.
    pub(crate) on_disk: u64,
}

/// All rows.
pub(crate) fn run(runtime: &Runtime, sizes: Sizes, pairs: u32) -> Result<Vec<Row>> {
    runtime.block_on(async {
        let mut rows = append::run(pairs).await?;
        rows.extend(accept::run(pairs).await?);
        rows.extend(catch_up::run(sizes.catch_up, pairs).await?);
        rows.extend(delivery::run(pairs).await?);
        rows.extend(disk::run(sizes.on_disk, pairs).await?);
        Ok(rows)
    })
}

/// What a process of these rows does, until its parent has heard enough.
pub(crate) async fn perform(task: &str) -> Result<()> {
    match serde_json::from_str(task)? {
        Task::Append { at_once } => append::through_a_ledger(at_once).await,
        Task::AppendAlone { at_once } => alone::append(at_once).await,
        Task::Write { ahead } => accept::write(ahead).await,
        Task::Accept { writer } => accept::accept(&writer).await,
        Task::AcceptAlone { at_once } => alone::accept(at_once).await,
        Task::Build { folder, entries } => build::build(folder.as_ref(), entries).await,
        Task::Serve { folder } => catch_up::serve(folder.as_ref()).await,
        Task::CatchUp { server, entries } => catch_up::catch_up(&server, entries).await,
        Task::Member { bootstrap } => delivery::member(bootstrap).await,
        Task::Open { folder, from } => disk::open(folder.as_ref(), &from).await,
    }
}

/// Starts a process that does it.
fn start(task: &Task) -> Result<Role> {
    Role::start(&["--role", "ledger", "--task", &serde_json::to_string(task)?])
}

/// A process that does it and tells at its end what it took.
async fn ran(task: &Task) -> Result<Ran> {
    let mut role = start(task)?;
    let ran = role.line().await?;
    role.end().await?;
    Ok(ran)
}

/// Prints what a parent reads.
fn tell(what: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string(what)?);
    Ok(())
}

/// A payload that no other entry has.
fn payload(n: u64) -> Vec<u8> {
    let mut payload = vec![0; PAYLOAD];
    payload[..8].copy_from_slice(&n.to_be_bytes());
    payload
}

/// The ratios of pairs: the ledger first in each, then what it is measured against.
fn ratios(pairs: &[[Ran; 2]]) -> Vec<f64> {
    pairs.iter().map(|[ours, alone]| ours.rate() / alone.rate()).collect()
}

/// The middle speeds and costs of both sides.
fn both(pairs: &[[Ran; 2]]) -> String {
    let of =
        |side: usize, value: fn(&Ran) -> f64| median(pairs.iter().map(|pair| value(&pair[side])).collect());
    let [ours, alone] = [0, 1].map(|side| (of(side, Ran::rate), of(side, Ran::micros_each)));
    format!(
        "{:.0} a second for {:.0} µs of CPU each; alone {:.0} for {:.0} µs",
        ours.0, ours.1, alone.0, alone.1
    )
}

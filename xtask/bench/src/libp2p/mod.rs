//! The transport `libp2p` against the bare library, and against Kubo.
//!
//! Every node is a process of its own, over TCP on the loopback.

mod bare;
mod chain;
mod files;
mod gossip;
mod idle;
mod member;
mod node;
mod relay;

use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use crate::Result;
use crate::process::{Role, Usage};
use crate::table::Row;

/// The network of all rows.
const NETWORK: &str = "bench";
/// The topic of the messages, and its name on the wire.
const TOPIC: &str = "load";
const WIRE_TOPIC: &str = "carrick/bench/load";

/// What a process of these rows does.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Task {
    /// A node that publishes and listens as it is told.
    Node,
    /// The same with the library alone.
    Bare,
    /// So many peers of the library alone, connected to one address, that say nothing.
    Crowd { addr: String, count: usize },
    /// A node with a file on disk that nobody has seen.
    ServeFile { size_mib: u64 },
    /// A node with a chain of so many blocks.
    ServeChain { blocks: u64 },
    /// Gets a DAG into a store on disk.
    Get { addr: String, root: String, dag: bool },
}

/// Where something is, and its name.
#[derive(Debug, Serialize, Deserialize)]
struct Served {
    addr: String,
    root: String,
}

/// All rows. The files are of a quarter of `size_mib`.
pub(crate) fn run(runtime: &Runtime, size_mib: u64, pairs: u32) -> Result<Vec<Row>> {
    runtime.block_on(async {
        let mut rows = gossip::run(pairs).await?;
        rows.extend(idle::run(pairs).await?);
        rows.extend(chain::run().await?);
        rows.extend(files::run(size_mib / 4, pairs).await?);
        Ok(rows)
    })
}

/// What a process of these rows does, until its parent has heard enough.
pub(crate) async fn perform(task: &str) -> Result<()> {
    match serde_json::from_str(task)? {
        Task::Node => member::node().await,
        Task::Bare => bare::member().await,
        Task::Crowd { addr, count } => bare::crowd(&addr, count).await,
        Task::ServeFile { size_mib } => node::serve_file(size_mib).await,
        Task::ServeChain { blocks } => node::serve_chain(blocks).await,
        Task::Get { addr, root, dag } => node::get(&addr, &root, dag).await,
    }
}

/// Starts a process that does it.
fn start(task: &Task) -> Result<Role> {
    Role::start(&["--role", "libp2p", "--task", &serde_json::to_string(task)?])
}

/// Prints what a parent reads.
fn tell(what: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string(what)?);
    Ok(())
}

/// What a transfer took, at both ends.
#[derive(Clone, Copy, Debug)]
struct Took {
    seconds: f64,
    cpu_seconds: f64,
    peak_mib: f64,
}

impl Took {
    fn new(seconds: f64, ends: [Usage; 2]) -> Self {
        let [cpu_seconds, peak_mib] =
            [ends.map(|end| end.cpu_seconds).iter().sum(), ends.map(|end| end.peak_mib).iter().sum()];
        Self { seconds, cpu_seconds, peak_mib }
    }
}

//! Measures Carrick against what it is built on: `cargo xtask bench`.
//!
//! Both sides run in one go, in turns, so that a busy machine slows both. What is compared is the ratio of each pair of
//! runs; the median of the ratios and its interval are printed, and the CPU time of both ends beside it. Every end is
//! a process of its own: this program started again in another role.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark talks to the person who started it"
)]

mod content;
mod envelope;
mod fetch;
mod gate;
mod ipfs_http;
mod ledger;
mod libp2p;
mod node;
mod process;
mod raw;
mod sim;
mod stats;
mod table;

use clap::{Parser, ValueEnum};

use crate::table::Row;

/// A benchmark's result; the text says what failed, for a person.
type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

/// What to measure, and how often.
#[derive(Debug, Parser)]
#[command(name = "bench", about = "Measures Carrick against what it is built on, in one run")]
struct Args {
    /// MiB that each fetch brings.
    #[arg(long, default_value_t = 1024)]
    size_mib: u64,
    /// Pairs of runs, at least 3.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(3..))]
    pairs: u32,
    /// Entries that a late node of a ledger fetches.
    #[arg(long, default_value_t = 100_000)]
    catch_up: u64,
    /// Entries of the ledger that is opened from disk.
    #[arg(long, default_value_t = 1_000_000)]
    on_disk: u64,
    /// One benchmark alone.
    #[arg(long)]
    only: Option<Bench>,
    /// One JSON object a row instead of the table.
    #[arg(long)]
    json: bool,
    /// What this process is; set by the benchmark itself.
    #[arg(long, hide = true)]
    role: Option<Role>,
    /// Where a client finds its server.
    #[arg(long, hide = true)]
    server: Option<String>,
    /// What a process of the ledger's and of libp2p's rows does.
    #[arg(long, hide = true)]
    task: Option<String>,
}

/// The benchmarks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Bench {
    /// A verified fetch between two processes, against raw quinn.
    Fetch,
    /// New messages through the gate, against their cryptography alone.
    Gate,
    /// A simulated network of a hundred nodes.
    Sim,
    /// A ledger on disk, against its cryptography and its store alone.
    Ledger,
    /// The transport over Kubo daemons, against the daemons without it.
    IpfsHttp,
    /// The transport over libp2p, against the library alone and against Kubo.
    Libp2p,
}

/// The ends of a fetch, and what it is measured against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Role {
    /// Sends over quinn alone.
    RawServer,
    /// Receives over quinn alone.
    RawClient,
    /// A Carrick node that has the content.
    NodeServer,
    /// A Carrick node that fetches it.
    NodeClient,
    /// A Carrick node that gets a file through a daemon.
    IpfsHttpClient,
    /// Hashes the content on one thread.
    Hash,
    /// A node with a ledger, or what that is measured against.
    Ledger,
    /// A node over libp2p, or what that is measured against.
    Libp2p,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let server = || args.server.clone().ok_or("--server is missing");
    let task = || args.task.as_deref().ok_or("--task is missing");
    match args.role {
        Some(Role::RawServer) => runtime.block_on(raw::serve(args.size_mib)),
        Some(Role::RawClient) => runtime.block_on(raw::fetch(&server()?)),
        Some(Role::NodeServer) => runtime.block_on(node::serve(args.size_mib)),
        Some(Role::NodeClient) => runtime.block_on(node::fetch(&server()?)),
        Some(Role::IpfsHttpClient) => runtime.block_on(ipfs_http::fetch(&server()?)),
        Some(Role::Hash) => content::hash(args.size_mib),
        Some(Role::Ledger) => runtime.block_on(ledger::perform(task()?)),
        Some(Role::Libp2p) => runtime.block_on(libp2p::perform(task()?)),
        None => report(&args, &runtime),
    }
}

fn report(args: &Args, runtime: &tokio::runtime::Runtime) -> Result<()> {
    let mut rows: Vec<Row> = Vec::new();
    let wanted = |bench| args.only.is_none_or(|only| only == bench);
    if wanted(Bench::Fetch) {
        rows.extend(runtime.block_on(fetch::run(args.size_mib, args.pairs))?);
    }
    if wanted(Bench::Gate) {
        rows.extend(gate::run(args.pairs)?);
    }
    if wanted(Bench::Sim) {
        rows.extend(sim::run(args.pairs)?);
    }
    if wanted(Bench::Ledger) {
        let sizes = ledger::Sizes { catch_up: args.catch_up, on_disk: args.on_disk };
        rows.extend(ledger::run(runtime, sizes, args.pairs)?);
    }
    // What cannot be measured does not take away what was.
    let mut failed = Vec::new();
    type Bencher = fn(&tokio::runtime::Runtime, u64, u32) -> Result<Vec<Row>>;
    let with_kubo: [(Bench, &str, Bencher); 2] =
        [(Bench::IpfsHttp, "ipfs-http", ipfs_http::run), (Bench::Libp2p, "libp2p", libp2p::run)];
    for (_, name, run) in with_kubo.into_iter().filter(|(bench, ..)| wanted(*bench)) {
        match run(runtime, args.size_mib, args.pairs) {
            Ok(more) => rows.extend(more),
            Err(error) => failed.push(format!("{name} was not measured: {error}")),
        }
    }
    table::print(&rows, args.json)?;
    if failed.is_empty() { Ok(()) } else { Err(failed.join("; ").into()) }
}

//! A whole file from one daemon to another: into a node's store, against the program `ipfs`.
//!
//! The content is new in each run, and so are the daemons of each pair: nothing is there before it is fetched.

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use carrick_core::{Cid, GetOptions, Node, Store};
use carrick_interop::{Daemon, Kubo};
use carrick_plugin_store_fjall::{FjallConfig, FjallStore};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::runtime::Runtime;

use super::plain::Plain;
use super::{kubo, multiaddr, open};
use crate::process::{Fetched, Role, Usage};
use crate::stats::median;
use crate::table::{Good, Row};
use crate::{Result, content};

/// Longer than a transfer takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(600);
/// As every node puts a file unless told otherwise: `Layout::UnixfsV1_2025`.
const ADD: &str =
    "add?cid-version=1&chunker=size-1048576&max-file-links=1024&pin=false&progress=false&quieter=true";

/// What a fetching node is told.
#[derive(Serialize, Deserialize)]
struct ToFetch {
    api: String,
    root: String,
}

/// All pairs, in the order ABBA, and one large get.
pub(super) fn run(runtime: &Runtime, size_mib: u64, pairs: u32) -> Result<Vec<Row>> {
    let part_mib = size_mib / 4;
    let mut turns = Vec::new();
    for pair in 0..pairs {
        let kubo = durable()?;
        let mut seconds = [0.0; 2];
        for side in [pair % 2, (pair + 1) % 2] {
            let getting = async {
                let root = add(&kubo.daemons()[0], part_mib).await?;
                match side {
                    0 => with_program(&kubo.daemons()[1], &root, part_mib).await,
                    _ => Ok(with_node(&kubo.daemons()[1], &root, part_mib).await?.seconds),
                }
            };
            seconds[side as usize] = runtime.block_on(getting)?;
        }
        let [theirs, ours] = seconds.map(|seconds| part_mib as f64 / seconds);
        eprintln!("get, pair {}: ipfs {theirs:.0} MiB/s, node {ours:.0} MiB/s", pair + 1);
        turns.push([theirs, ours]);
    }
    let kubo = durable()?;
    let large = runtime.block_on(async {
        let root = add(&kubo.daemons()[0], size_mib).await?;
        with_node(&kubo.daemons()[1], &root, size_mib).await
    })?;
    Ok(rows(&turns, part_mib, &large, size_mib))
}

/// Daemons that write to the disk what they say is stored, as Kubo does unless told otherwise, and as the node's store does.
fn durable() -> Result<Kubo> {
    kubo(&["--durable"])
}

fn rows(turns: &[[f64; 2]], part_mib: u64, large: &Fetched, size_mib: u64) -> Vec<Row> {
    let ratios: Vec<f64> = turns.iter().map(|[theirs, ours]| ours / theirs).collect();
    let of = |side: usize| median(turns.iter().map(|turn| turn[side]).collect());
    let get = format!("ipfs-http, get of {part_mib} MiB, of `ipfs get`");
    let memory = format!("ipfs-http, resident memory, get of {size_mib} MiB");
    let speed = size_mib as f64 / large.seconds;
    let cpu = large.usage.cpu_seconds * 1024.0 / size_mib as f64;
    vec![
        Row::new(&get, "×", &ratios, Good::AtLeast, 0.9, 1.0).detail(format!(
            "{:.0} MiB/s, ipfs {:.0} MiB/s; the node stores and hands over, ipfs writes a file",
            of(1),
            of(0)
        )),
        Row::new(&memory, " MiB", &[large.usage.peak_mib], Good::AtMost, 96.0, 64.0)
            .detail(format!("{speed:.0} MiB/s, {cpu:.2} s of CPU a GiB")),
    ]
}

/// Gives a daemon a file that nobody has seen.
pub(crate) async fn add(daemon: &Daemon, size_mib: u64) -> Result<Cid> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Added {
        hash: String,
    }
    let first: u64 = rand::random();
    let blocks = (0..size_mib).map(move |n| content::block(n.wrapping_add(first)));
    let answer = Plain::new(daemon).give(ADD, blocks).await?;
    let last = answer.trim_ascii().rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    Ok(serde_json::from_slice::<Added>(last)?.hash.parse()?)
}

/// Seconds that `ipfs get` takes to write the file.
pub(crate) async fn with_program(daemon: &Daemon, root: &Cid, size_mib: u64) -> Result<f64> {
    let folder = TempDir::new()?;
    let (file, api) = (folder.path().join("file"), multiaddr(daemon));
    let start = Instant::now();
    let status = Command::new(&daemon.program)
        .args(["--api", &api, "get", "--progress=false", "--output"])
        .arg(&file)
        .arg(root.to_string())
        .env("IPFS_PATH", folder.path())
        .env("IPFS_TELEMETRY", "off")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await?;
    let seconds = start.elapsed().as_secs_f64();
    complete("ipfs get", std::fs::metadata(&file).map_or(0, |file| file.len()), size_mib)?;
    if status.success() { Ok(seconds) } else { Err(format!("ipfs get failed: {status}").into()) }
}

/// What a process of its own takes for it.
async fn with_node(daemon: &Daemon, root: &Cid, size_mib: u64) -> Result<Fetched> {
    let to_fetch = serde_json::to_string(&ToFetch { api: daemon.api.clone(), root: root.to_string() })?;
    let mut role = Role::start(&["--role", "ipfs-http-client", "--server", &to_fetch])?;
    let fetched: Fetched = role.line().await?;
    role.end().await?;
    complete("the node", fetched.bytes, size_mib)?;
    Ok(fetched)
}

/// With what is beside the content, such as the root, it is a little more.
pub(crate) fn complete(who: &str, bytes: u64, size_mib: u64) -> Result<()> {
    let expected = size_mib * content::BLOCK as u64;
    if bytes >= expected {
        return Ok(());
    }
    Err(format!("{who} brought {bytes} bytes of {expected}; the run is void").into())
}

/// Gets a file into a store on disk.
pub(crate) async fn fetch(to_fetch: &str) -> Result<()> {
    let to_fetch: ToFetch = serde_json::from_str(to_fetch)?;
    let root: Cid = to_fetch.root.parse()?;
    let folder = TempDir::new()?;
    let store = async |site| {
        let store: Arc<dyn Store> = Arc::new(FjallStore::open(FjallConfig::default(), site).await?);
        Ok(store)
    };
    let builder = Node::builder().data_dir(folder.path()).store_at(store);
    let (node, _) = open(&to_fetch.api, builder).await?;
    let options = GetOptions { deadline: Some(DEADLINE), ..GetOptions::default() };
    let before = Usage::now()?;
    let got = node.get(&root, options).await?;
    let usage = Usage::now()?.since(&before);
    node.close().await?;
    let fetched = Fetched { bytes: got.bytes, seconds: got.time.as_secs_f64(), usage };
    println!("{}", serde_json::to_string(&fetched)?);
    Ok(())
}

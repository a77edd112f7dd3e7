//! `carrick get`: a file or folder by its CID.

use std::path::Path;
use std::time::Instant;

use carrick::dag::{self, EntryKind};
use carrick::{Cid, CidPolicy, ErrorKind};
use futures::TryStreamExt;
use serde::Serialize;

use super::Cx;
use super::args::Get;
use crate::control::client::Client;
use crate::control::content::NodeBlocks;
use crate::control::wire::{Source, ToFetch};
use crate::fault::{Failure, Fault, Outcome};

/// What was got.
#[derive(Debug, Serialize)]
struct Got {
    cid: String,
    bytes: u64,
    blocks: u64,
    seconds: f64,
    sources: Vec<Source>,
}

pub(super) async fn run(cx: &Cx, args: &Get) -> Outcome {
    let started = Instant::now();
    let output = args.output.as_deref().filter(|path| *path != Path::new("-"));
    check_target(output)?;
    CidPolicy::check(&args.content.root)?;
    let client = cx.client()?;
    let cid = within(args, begin(&client, args, output.is_none())).await?;
    let want = ToFetch {
        cid: cid.to_string(),
        deadline: args.deadline.map(|limit| limit.saturating_sub(started.elapsed()).as_secs_f64()),
        idle: args.idle.map(|idle| idle.as_secs_f64()),
    };
    // Kept until all is written.
    let (fetched, _kept) = cx.fetch(&client, &want).await?;
    let (bytes, blocks) = write(cx, &client, &cid, output).await?;
    let seconds = started.elapsed().as_secs_f64();
    let got = Got { cid: cid.to_string(), bytes, blocks, seconds, sources: fetched.sources };
    match output {
        Some(path) => cx.term.answer(&got, path.display()),
        None if cx.term.json => cx.term.json_aside(&got),
        None => Ok(()),
    }
}

/// Refused before anything is fetched: a folder in the way, or no folder to write into.
fn check_target(output: Option<&Path>) -> Outcome {
    let Some(path) = output else { return Ok(()) };
    let special = |found: std::fs::Metadata| !found.is_file() && !found.is_dir();
    if std::fs::metadata(path).is_ok_and(special) {
        let message = format!("{} is neither a file nor a folder; it is not replaced", path.display());
        return Err(Fault::new(ErrorKind::Config, "get", message)
            .mend("leave out -o, and the data goes to standard output")
            .into());
    }
    if path.is_dir() {
        let fault = Fault::new(
            ErrorKind::Config,
            "get",
            format!("{} is a folder; it is not replaced", path.display()),
        );
        return Err(fault
            .mend(format!("name something in it, such as -o {}", path.join("NAME").display()))
            .into());
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        let message = format!("{} cannot be written: {} is no folder", path.display(), folder.display());
        let fault = Fault::new(ErrorKind::Config, "get", message);
        return Err(fault.mend("make the folder first, or write elsewhere").into());
    }
    Ok(())
}

/// Follows the path, so that only what it leads to is fetched, and looks whether that fits the output.
async fn begin(client: &Client, args: &Get, to_stdout: bool) -> Outcome<Cid> {
    let blocks = NodeBlocks(client);
    let cid = dag::resolve(&blocks, &args.content.root, &args.content.path).await?;
    match dag::stat(&blocks, &cid).await?.kind {
        EntryKind::Directory { .. } | EntryKind::Sharded if to_stdout => {
            let message = format!("{cid} is a folder, which standard output cannot take");
            Err(Fault::new(ErrorKind::Config, "get", message)
                .mend("name the folder to write: -o PATH")
                .into())
        }
        EntryKind::Block => {
            let message = format!("{cid} is a block of another kind, neither file nor folder");
            Err(Fault::new(ErrorKind::Unsupported, "get", message).into())
        }
        _ => Ok(cid),
    }
}

/// The first blocks count against the deadline as well.
async fn within<T>(args: &Get, work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    let Some(limit) = args.deadline else { return work.await };
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        let message = format!("{} was not found within {} s", args.content.root, limit.as_secs_f64());
        Err(Failure::from(
            Fault::new(ErrorKind::Timeout, "get", message).mend("ask again with a longer --deadline"),
        ))
    })
}

/// Writes what is in the node's store by now; answers bytes of content and blocks read.
async fn write(cx: &Cx, client: &Client, cid: &Cid, output: Option<&Path>) -> Outcome<(u64, u64)> {
    let blocks = NodeBlocks(client);
    if let Some(path) = output {
        let bar = cx.term.progress("writing", None);
        let written = dag::write_path(&blocks, cid, path, |progress| bar.set_position(progress.bytes)).await;
        bar.finish_and_clear();
        let written = written?;
        return Ok((written.bytes, written.blocks));
    }
    let counted = Counted { blocks, count: Default::default() };
    let mut content = std::pin::pin!(dag::read(&counted, cid, ..));
    let mut bytes = 0;
    while let Some(part) = content.try_next().await? {
        bytes += part.len() as u64;
        cx.term.bytes(&part)?;
    }
    Ok((bytes, counted.count.load(std::sync::atomic::Ordering::Relaxed)))
}

/// Counts the blocks that are read.
struct Counted<S> {
    blocks: S,
    count: std::sync::atomic::AtomicU64,
}

impl<S: dag::BlockSource> dag::BlockSource for Counted<S> {
    async fn block(&self, cid: &Cid) -> carrick::Result<carrick::Block> {
        self.count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.blocks.block(cid).await
    }
}

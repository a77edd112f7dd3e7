//! `carrick put`: files and folders into the store.

use std::path::Path;

use carrick::ErrorKind;
use carrick::dag::{AddOptions, Added, NullSink, add_file, add_path};
use indicatif::ProgressBar;
use serde::Serialize;

use super::Cx;
use super::args::Put;
use crate::control::client::Client;
use crate::control::content::{put_path, put_reader};
use crate::fault::{Fault, Outcome};

/// What was put.
#[derive(Debug, Serialize)]
struct Root {
    cid: String,
    name: Option<String>,
    bytes: u64,
    blocks: u64,
}

pub(super) async fn run(cx: &Cx, args: &Put) -> Outcome {
    let client = if args.only_cid { None } else { Some(cx.client()?) };
    // A slip in the last name should not leave the first ones in the store.
    args.paths.iter().try_for_each(|path| check_exists(path))?;
    for path in &args.paths {
        let bar = cx.term.progress("putting", total_of(path));
        let added = add(client.as_ref(), args, path, &bar).await;
        bar.finish_and_clear();
        let added = added?;
        let root = Root {
            cid: added.cid.to_string(),
            name: name_of(path),
            bytes: added.bytes,
            blocks: added.blocks,
        };
        let line =
            if args.paths.len() > 1 { format!("{} {}", root.cid, path.display()) } else { root.cid.clone() };
        cx.term.answer(&root, line)?;
    }
    Ok(())
}

async fn add(client: Option<&Client>, args: &Put, path: &Path, bar: &ProgressBar) -> Outcome<Added> {
    if is_stdin(path) {
        let input = bar.wrap_async_read(tokio::io::stdin());
        return Ok(match client {
            Some(client) => put_reader(client, input, args.layout).await?,
            None => add_file(input, args.layout, &mut NullSink).await?,
        });
    }
    let options = AddOptions::new(args.layout).progress(|progress| bar.set_position(progress.bytes));
    Ok(match client {
        Some(client) => put_path(client, path, options).await?,
        None => add_path(path, options, &mut NullSink).await?,
    })
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

fn check_exists(path: &Path) -> Outcome {
    if is_stdin(path) || std::fs::symlink_metadata(path).is_ok() {
        return Ok(());
    }
    let fault = Fault::new(ErrorKind::NotFound, "put", format!("{}: no such file or folder", path.display()));
    Err(fault.mend("look at the name; it counts from the current folder").into())
}

/// The length of a file, for its bar. A folder's would take a walk.
fn total_of(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().filter(|meta| meta.is_file()).map(|meta| meta.len())
}

fn name_of(path: &Path) -> Option<String> {
    if is_stdin(path) {
        return None;
    }
    let absolute = std::fs::canonicalize(path).ok();
    absolute.as_deref().unwrap_or(path).file_name().map(|name| name.to_string_lossy().into_owned())
}

//! `carrick ls`: what a folder holds, or what a block links to.

use carrick::dag::{self, BlockSource as _, EntryKind};
use carrick::{Cid, CidPolicy};
use serde::Serialize;

use super::Cx;
use super::args::ContentPath;
use crate::control::content::NodeBlocks;
use crate::fault::Outcome;
use crate::terminal::{name, show, size, table};

/// An entry of a folder, or a link.
#[derive(Debug, Serialize)]
struct Item {
    /// As its author wrote it; a link has none.
    name: Option<String>,
    cid: String,
    /// What all blocks under it have, as the author of the folder says.
    bytes: Option<u64>,
}

pub(super) async fn run(cx: &Cx, content: &ContentPath) -> Outcome {
    CidPolicy::check(&content.root)?;
    let client = cx.client()?;
    let items = items(&NodeBlocks(&client), content).await?;
    if cx.term.json {
        return items.iter().try_for_each(|item| cx.term.json(item));
    }
    if items.is_empty() {
        cx.term.note("there is nothing in it");
        return Ok(());
    }
    let mut table = table(&["name", "cid", "bytes"]);
    for item in &items {
        let name = item.name.as_deref().map(name).unwrap_or_default();
        table.add_row([&*name, &item.cid, &*item.bytes.map(size).unwrap_or_default()]);
    }
    cx.term.line(show(table))
}

async fn items(blocks: &NodeBlocks<'_>, content: &ContentPath) -> Outcome<Vec<Item>> {
    let cid: Cid = dag::resolve(blocks, &content.root, &content.path).await?;
    if matches!(dag::stat(blocks, &cid).await?.kind, EntryKind::Directory { .. } | EntryKind::Sharded) {
        let entries = dag::list(blocks, &cid).await?.into_iter();
        return Ok(entries
            .map(|entry| Item {
                name: Some(entry.name),
                cid: entry.cid.to_string(),
                bytes: Some(entry.tsize),
            })
            .collect());
    }
    let links = dag::links(&blocks.block(&cid).await?)?.into_iter();
    Ok(links.map(|link| Item { name: None, cid: link.to_string(), bytes: None }).collect())
}

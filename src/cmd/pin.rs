//! `carrick pin`: what no garbage collection takes.

use carrick::{Cid, PinDepth};

use super::Cx;
use super::args::Pin;
use crate::control::wire::{PinLine, Pinned, ToFetch};
use crate::fault::Outcome;
use crate::terminal::{name, show, table};

pub(super) async fn run(cx: &Cx, what: &Pin) -> Outcome {
    match what {
        Pin::Add { cids } => add(cx, cids).await,
        Pin::Rm { cids } => rm(cx, cids).await,
        Pin::Ls { all } => ls(cx, *all).await,
    }
}

/// Pins what is here whole; what is missing is fetched first.
async fn add(cx: &Cx, cids: &[Cid]) -> Outcome {
    let client = cx.client()?;
    for cid in cids {
        let want = ToFetch { cid: cid.to_string(), deadline: None, idle: None };
        let (_, _kept) = cx.fetch(&client, &want).await?;
        let pinned = client.pin(&cid.to_string()).await?;
        cx.term.answer(&pinned, format!("pinned {cid}"))?;
    }
    Ok(())
}

async fn rm(cx: &Cx, cids: &[Cid]) -> Outcome {
    let client = cx.client()?;
    for cid in cids {
        let unpinned = client.unpin(&cid.to_string()).await?;
        cx.term.answer(&unpinned, format!("no longer pinned: {cid}"))?;
    }
    Ok(())
}

async fn ls(cx: &Cx, all: bool) -> Outcome {
    let mut lines = cx.client()?.pins(all).await?;
    let mut pins = Vec::new();
    while let Some(line) = lines.next().await? {
        match line {
            PinLine::Pin(pin) if cx.term.json => cx.term.json(&pin)?,
            PinLine::Pin(pin) => pins.push(pin),
            PinLine::Error { error } => return Err(error.into()),
        }
    }
    match pins.is_empty() {
        true if cx.term.json => Ok(()),
        true => {
            cx.term
                .note("nothing is pinned; `carrick put` pins what it puts, `carrick pin add CID` the rest");
            Ok(())
        }
        false => cx.term.line(show(table_of(&pins))),
    }
}

/// Pins for a person.
pub(super) fn table_of(pins: &[Pinned]) -> comfy_table::Table {
    let mut table = table(&["cid", "owner", "holds"]);
    for pin in pins {
        let holds = match pin.depth {
            PinDepth::Block => "the block",
            PinDepth::Recursive => "all under it",
        };
        table.add_row([&pin.cid, &*name(&pin.owner), holds]);
    }
    table
}

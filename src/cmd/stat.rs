//! `carrick stat`: what a CID is, what is here of it, and who holds it.

use carrick::Cid;

use super::{Cx, pin};
use crate::fault::Outcome;
use crate::terminal::{show, size};

pub(super) async fn run(cx: &Cx, cid: &Cid) -> Outcome {
    let stat = cx.client()?.stat(&cid.to_string()).await?;
    if cx.term.json {
        return cx.term.json(&stat);
    }
    let here = match stat.missing {
        0 => format!("{} blocks, all of it", stat.blocks),
        missing => format!("{} blocks; {missing} that they link to are not", stat.blocks),
    };
    cx.term.line(format!("cid      {}", stat.cid))?;
    cx.term.line(format!("is       {}, {}", stat.kind, size(stat.bytes)))?;
    cx.term.line(format!("block    {}, {}, {} links", stat.codec, size(stat.block_bytes), stat.links))?;
    cx.term.line(format!("here     {here}"))?;
    match stat.pins.is_empty() {
        true => cx.term.line("pinned   no; a pin on something above it may hold it"),
        false => cx.term.line(show(pin::table_of(&stat.pins))),
    }
}

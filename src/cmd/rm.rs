//! `carrick rm` and `carrick gc`: what the store lets go.

use carrick::node::Collected;
use carrick::{Cid, ErrorKind};

use super::Cx;
use crate::fault::{Fault, Outcome};
use crate::terminal::size;

/// Removes one after the other. What is not there keeps no other back, and is told.
pub(super) async fn run(cx: &Cx, cids: &[Cid]) -> Outcome {
    let client = cx.client()?;
    let mut absent: Option<Fault> = None;
    for cid in cids {
        match client.remove(&cid.to_string()).await {
            Ok(removed) => {
                cx.term.answer(&removed, format!("{cid}: {}", told(&removed.collected)))?;
                if removed.collected.kept > 0 {
                    cx.term.note("what stays is held by other pins; `carrick pin ls --all` lists them");
                }
            }
            Err(fault) if fault.kind == ErrorKind::NotFound => {
                if let Some(before) = absent.replace(fault) {
                    cx.term.fault(&before);
                }
            }
            Err(fault) => return Err(fault.into()),
        }
    }
    absent.map_or(Ok(()), |fault| Err(fault.into()))
}

pub(super) async fn gc(cx: &Cx) -> Outcome {
    let collected = cx.client()?.collect_garbage().await?;
    cx.term.answer(&collected, told(&collected))
}

fn told(collected: &Collected) -> String {
    let Collected { kept, deleted, bytes, .. } = collected;
    format!("{deleted} blocks deleted, {}; {kept} stay", size(*bytes))
}

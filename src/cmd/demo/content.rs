//! One node puts, the others get by the CID and compare.

use std::path::Path;
use std::time::Instant;

use carrick::dag::{AddOptions, Layout, write_path};
use carrick::{Cid, ErrorKind};
use serde_json::json;

use super::super::Cx;
use super::fleet::Fleet;
use super::input;
use super::member::Member;
use super::report::{Report, Share};
use crate::control::content::{NodeBlocks, fetch, put_path};
use crate::control::wire::{Fetched, ToFetch};
use crate::fault::{Fault, Outcome};

/// Node 1 puts the input; the others get it one after the other, so that the later ones may ask the earlier ones.
pub(super) async fn share(
    cx: &Cx,
    fleet: &Fleet,
    input: &Path,
    place: &Path,
    report: &mut Report,
) -> Outcome {
    let [first, others @ ..] = fleet.nodes.as_slice() else { return Ok(()) };
    let bar = cx.term.progress("putting", None);
    let options = AddOptions::new(Layout::default()).progress(|progress| bar.set_position(progress.bytes));
    let added = put_path(&first.client, input, options).await?;
    bar.finish_and_clear();
    report.cid = added.cid.to_string();
    report.bytes = added.bytes;
    let line = json!({ "step": "put", "node": 1, "cid": report.cid, "bytes": added.bytes });
    cx.note_step(&line, &format!("node 1 put {} as {}", crate::terminal::size(added.bytes), added.cid));
    for member in others {
        let share = get(cx, member, &added.cid, input, place).await?;
        let line = json!({
            "step": "get", "node": member.number, "bytes": share.fetched.bytes, "seconds": share.seconds,
            "sources": share.fetched.sources, "verified": share.same,
        });
        cx.note_step(
            &line,
            &format!(
                "node {} got {}",
                member.number,
                if share.same { "it, byte for byte" } else { "OTHER BYTES" }
            ),
        );
        report.shares.insert(member.number, share);
    }
    Ok(())
}

async fn get(cx: &Cx, member: &Member, cid: &Cid, input: &Path, place: &Path) -> Outcome<Share> {
    let started = Instant::now();
    // Kept until all is written.
    let (fetched, _kept) = cx.fetch(&member.client, &want(cid)).await?;
    let seconds = started.elapsed().as_secs_f64();
    let copy = place.join(format!("got-by-{}", member.number));
    write_path(&NodeBlocks(&member.client), cid, &copy, |_| ()).await?;
    let (input, copied) = (input.to_path_buf(), copy.clone());
    let same = tokio::task::spawn_blocking(move || input::same(&input, &copied)).await;
    let same = same.ok().and_then(Result::ok).unwrap_or(false);
    Ok(Share { fetched, seconds, same })
}

/// A node that was killed has everything it fetched before: nothing comes over the network.
pub(super) async fn still_there(fleet: &Fleet, report: &Report, node: usize) -> Outcome {
    let cid: Cid = report.cid.parse().map_err(|error| {
        Fault::new(ErrorKind::Unexpected, "demo", format!("{:?} is no CID: {error}", report.cid))
    })?;
    let member = &fleet.nodes[node];
    let (Fetched { blocks, .. }, _) = fetch(&member.client, &want(&cid), |_| ()).await?;
    if blocks == 0 {
        return Ok(());
    }
    let message = format!("node {} lost {blocks} blocks when it was killed", member.number);
    Err(Fault::new(ErrorKind::Integrity, "demo", message).into())
}

fn want(cid: &Cid) -> ToFetch {
    ToFetch { cid: cid.to_string(), deadline: None, idle: None }
}

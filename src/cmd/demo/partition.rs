//! The network falls in two and becomes one again. The links between the halves are cut as `carrick disconnect` cuts them,
//! after which neither end dials the other by itself, whatever addresses it knows, until `carrick connect` tells it to.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use carrick::ErrorKind;
use futures::future::try_join_all;
use serde_json::json;

use super::super::Cx;
use super::fleet::Fleet;
use super::ledger::Ledger;
use super::member::Member;
use crate::fault::{Fault, Outcome};

/// How long the halves stay parted after all of them appended.
const PARTED: Duration = Duration::from_secs(2);

/// Both halves append while they are parted; then they are joined, and have one log again.
pub(super) async fn play(cx: &Cx, fleet: &Fleet, ledger: &mut Ledger) -> Outcome {
    let halves = fleet.halves();
    let cut = super::step("part", part(cx, fleet, &halves)).await?;
    let before = ledger.all();
    let [first, second] = &halves;
    let ours = append(cx, fleet, ledger, first, &before).await?;
    let theirs = append(cx, fleet, ledger, second, &before).await?;
    // Long enough for a link that would come back by itself, and for what would come over it.
    tokio::time::sleep(PARTED).await;
    let first = ledger.agree(cx, fleet, first.clone(), &ours).await?;
    let second = ledger.agree(cx, fleet, second.clone(), &theirs).await?;
    let sides = [&first.heads, &second.heads];
    let line = json!({
        "step": "parted", "entries": sides.map(|side| side.entries), "heads": sides.map(|side| &side.heads),
    });
    let text = format!(
        "both sides appended: one has {} entries, the other {}, and in {} s nothing came across",
        sides[0].entries,
        sides[1].entries,
        PARTED.as_secs()
    );
    cx.note_step(&line, &text);

    super::step("join", join(fleet, &cut)).await?;
    let agreed = ledger.agree(cx, fleet, 0..fleet.nodes.len(), &ledger.all()).await?;
    cx.note_step(&ledger.line("join", &agreed), &format!("joined with carrick connect: {}", agreed.text()));
    Ok(())
}

/// A half appends, and all of it has that. Answers which entries it has now.
async fn append(
    cx: &Cx,
    fleet: &Fleet,
    ledger: &mut Ledger,
    half: &Range<usize>,
    before: &BTreeSet<String>,
) -> Outcome<BTreeSet<String>> {
    let known = ledger.all();
    ledger.append(fleet, half.clone(), 1).await?;
    let new: BTreeSet<_> = ledger.all().difference(&known).cloned().collect();
    let has = before | &new;
    ledger.agree(cx, fleet, half.clone(), &has).await?;
    Ok(has)
}

/// Cuts every link between the halves, and answers whose they were: those who cut them, and to whom.
async fn part(cx: &Cx, fleet: &Fleet, halves: &[Range<usize>; 2]) -> Outcome<Vec<(usize, usize)>> {
    let [first, second] = [&fleet.nodes[halves[0].clone()], &fleet.nodes[halves[1].clone()]];
    let mut cut = Vec::new();
    // The later nodes first: it is they who were told of the others, and who dial.
    for member in second {
        let linked = disconnect(member, first).await?;
        cut.extend(linked.into_iter().map(|other| (member.number - 1, other)));
    }
    for member in first {
        disconnect(member, second).await?;
    }
    let parted = |member, others| async move { until_parted(member, others).await };
    try_join_all(first.iter().map(|member| parted(member, second))).await?;
    try_join_all(second.iter().map(|member| parted(member, first))).await?;
    let numbers = [first, second].map(|half| half.iter().map(|member| member.number).collect::<Vec<_>>());
    let text = format!(
        "parted with carrick disconnect, {} | {}: every link between them is cut",
        named(&numbers[0]),
        named(&numbers[1])
    );
    cx.note_step(&json!({ "step": "part", "halves": numbers, "cut": cut.len() }), &text);
    Ok(cut)
}

/// Ends all links of a node to others; answers to which.
async fn disconnect(member: &Member, others: &[Member]) -> Outcome<Vec<usize>> {
    let mut cut = Vec::new();
    for peer in member.client.peers().await? {
        let Some(other) = others.iter().find(|other| other.link == peer.peer) else { continue };
        match member.client.disconnect(&peer.peer).await {
            // The other end may have been faster.
            Err(fault) if fault.kind == ErrorKind::NotFound => {}
            ended => cut.extend(ended.map(|_| other.number - 1)),
        }
    }
    Ok(cut)
}

/// Waits until a node has no link to others.
async fn until_parted(member: &Member, others: &[Member]) -> Outcome {
    let across = |link: &str| others.iter().any(|other| other.link == link);
    member.until_peers(|peers| !peers.iter().any(|peer| across(&peer.peer))).await
}

/// Makes the links again that were cut.
async fn join(fleet: &Fleet, cut: &[(usize, usize)]) -> Outcome {
    for (node, other) in cut {
        let Some(address) = fleet.nodes[*other].address() else {
            return Err(Fault::new(ErrorKind::Unexpected, "demo", "a node listens nowhere").into());
        };
        fleet.nodes[*node].client.connect(address).await?;
    }
    Ok(())
}

/// Nodes by their numbers, for a person.
fn named(numbers: &[usize]) -> String {
    match numbers {
        [one] => format!("node {one}"),
        [one, two] => format!("nodes {one} and {two}"),
        [one, .., last] => format!("nodes {one} to {last}"),
        [] => "nobody".into(),
    }
}

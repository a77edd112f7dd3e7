//! The ledger of the readings: who appended what, and what each node has of it.

use std::collections::{BTreeMap, BTreeSet};

use carrick::ErrorKind;
use futures::future::try_join_all;
use indicatif::ProgressBar;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::super::Cx;
use super::fleet::Fleet;
use super::member::Member;
use super::{PATIENCE, readings};
use crate::control::client::Lines;
use crate::control::ledger::{Heads, LogEntry, LogLine, ToRead};
use crate::fault::{Fault, Outcome};

/// The ledger, and the topic on which its entries travel.
pub(super) const LEDGER: &str = "readings";
pub(super) const TOPIC: &str = "ledger/readings";

/// All that was appended, and what each node has.
pub(super) struct Ledger {
    appended: BTreeMap<String, Appended>,
    logs: Vec<Log>,
}

/// An entry that a node made.
struct Appended {
    /// The node, from 0, and who it is.
    node: usize,
    author: String,
    payload: Vec<u8>,
}

/// The log of one node, as it tells it.
struct Log {
    lines: Lines,
    has: BTreeSet<String>,
}

/// Nodes that agree: how far they are, and how long it took.
pub(super) struct Agreed {
    pub(super) heads: Heads,
    pub(super) seconds: f64,
}

impl Ledger {
    /// Follows the logs of all nodes.
    pub(super) async fn follow(fleet: &Fleet) -> Outcome<Self> {
        let logs = try_join_all(fleet.nodes.iter().map(Log::of)).await?;
        Ok(Self { appended: BTreeMap::new(), logs })
    }

    /// Follows the log of a node that started again.
    pub(super) async fn follow_again(&mut self, fleet: &Fleet, node: usize) -> Outcome {
        self.logs[node] = Log::of(&fleet.nodes[node]).await?;
        Ok(())
    }

    /// Some nodes append so many readings each, all of them at once.
    pub(super) async fn append(
        &mut self,
        fleet: &Fleet,
        nodes: impl IntoIterator<Item = usize>,
        count: usize,
    ) -> Outcome {
        let nodes = nodes.into_iter().map(|node| append(node, &fleet.nodes[node], count));
        let made = super::step("append", try_join_all(nodes)).await?;
        self.appended.extend(made.into_iter().flatten());
        Ok(())
    }

    /// Waits until each of some nodes has all that these authors appended, and compares their heads. A node that has anything
    /// else is told.
    ///
    /// # Errors
    /// `Timeout` where an entry does not come, `Integrity` for one that nobody made, and where the nodes differ.
    pub(super) async fn agree(
        &mut self,
        cx: &Cx,
        fleet: &Fleet,
        nodes: impl IntoIterator<Item = usize>,
        wanted: &BTreeSet<String>,
    ) -> Outcome<Agreed> {
        let nodes: BTreeSet<usize> = nodes.into_iter().collect();
        let (began, appended) = (Instant::now(), &self.appended);
        let logs = || self.logs.iter().enumerate().filter(|(node, _)| nodes.contains(node));
        let lacking: usize = logs().map(|(_, log)| wanted.difference(&log.has).count()).sum();
        let bar = cx.term.count("agreeing", lacking as u64);
        let logs = self.logs.iter_mut().enumerate().filter(|(node, _)| nodes.contains(node));
        try_join_all(logs.map(|(node, log)| log.until_it_has(node, wanted, appended, &bar))).await?;
        bar.finish_and_clear();
        let members: Vec<_> = nodes.iter().map(|node| &fleet.nodes[*node]).collect();
        let heads = super::step("heads", same_heads(&members, wanted.len())).await?;
        Ok(Agreed { heads, seconds: began.elapsed().as_secs_f64() })
    }

    /// All that was appended so far.
    pub(super) fn all(&self) -> BTreeSet<String> {
        self.appended.keys().cloned().collect()
    }

    /// How many entries of the others a node should have.
    pub(super) fn expected(&self, node: usize) -> u64 {
        self.appended.values().filter(|entry| entry.node != node).count() as u64
    }

    /// How many of them it has.
    pub(super) fn received(&self, node: usize) -> u64 {
        let of_others = |cid: &&String| self.appended.get(*cid).is_some_and(|entry| entry.node != node);
        self.logs[node].has.iter().filter(of_others).count() as u64
    }

    /// Where the nodes are, as a step.
    pub(super) fn line(&self, step: &str, agreed: &Agreed) -> Value {
        let sum = |count: &dyn Fn(usize) -> u64| (0..self.logs.len()).map(count).sum::<u64>();
        json!({
            "step": step, "expected": sum(&|node| self.expected(node)), "received": sum(&|node| self.received(node)),
            "entries": agreed.heads.entries, "heads": agreed.heads.heads, "seconds": agreed.seconds,
        })
    }
}

impl Agreed {
    /// For a person.
    pub(super) fn text(&self) -> String {
        let Heads { heads, entries } = &self.heads;
        let heads = match heads.as_slice() {
            [one] => format!("the same head {}", short(one)),
            several => format!("the same {} heads", several.len()),
        };
        format!("all have the same {entries} entries and {heads} ({:.1} s)", self.seconds)
    }
}

impl Log {
    async fn of(member: &Member) -> Outcome<Self> {
        let want = ToRead { ledger: LEDGER.into(), follow: true, ..ToRead::default() };
        Ok(Self { lines: member.client.log(&want).await?, has: BTreeSet::new() })
    }

    /// Reads on until it has all that is wanted.
    async fn until_it_has(
        &mut self,
        node: usize,
        wanted: &BTreeSet<String>,
        appended: &BTreeMap<String, Appended>,
        bar: &ProgressBar,
    ) -> Outcome {
        let until = Instant::now() + PATIENCE;
        while !wanted.is_subset(&self.has) {
            let Ok(entry) = timeout_at(until, next(&mut self.lines)).await else {
                let message = format!(
                    "node {} has {} of {} entries after {} s",
                    node + 1,
                    self.has.intersection(wanted).count(),
                    wanted.len(),
                    PATIENCE.as_secs()
                );
                return Err(Fault::new(ErrorKind::Timeout, "demo", message).mend(super::LOGS).into());
            };
            let entry = entry?;
            was_made(&entry, node, appended)?;
            self.has.insert(entry.cid);
            bar.inc(1);
        }
        Ok(())
    }
}

/// A node appends readings, one after the other.
async fn append(node: usize, member: &Member, count: usize) -> Outcome<Vec<(String, Appended)>> {
    let mut made = Vec::new();
    for reading in 1..=count {
        let reading = readings::take(member.number, reading, &member.ready.control);
        let payload = serde_json::to_vec(&reading)
            .map_err(|error| Fault::new(ErrorKind::Unexpected, "demo", error.to_string()))?;
        let appended = member.client.append(LEDGER, &payload).await?;
        made.push((appended.cid, Appended { node, author: appended.author, payload }));
    }
    Ok(made)
}

/// The heads of nodes that all have so many entries.
async fn same_heads(members: &[&Member], entries: usize) -> Outcome<Heads> {
    let all = try_join_all(members.iter().map(|member| member.client.heads(LEDGER))).await?;
    for (member, heads) in members.iter().zip(&all) {
        if heads.entries != entries || heads.heads != all[0].heads {
            let message = format!(
                "node {} has {} entries and the heads {}, and should have {entries} and {}",
                member.number,
                heads.entries,
                heads.heads.join(" "),
                all[0].heads.join(" ")
            );
            return Err(Fault::new(ErrorKind::Integrity, "demo", message).mend(super::LOGS).into());
        }
    }
    let first = all.into_iter().next();
    Ok(first.ok_or_else(|| Fault::new(ErrorKind::Unexpected, "demo", "no node was asked"))?)
}

/// An entry that a node has must be one that was appended.
fn was_made(entry: &LogEntry, node: usize, appended: &BTreeMap<String, Appended>) -> Outcome {
    let made = appended.get(&entry.cid);
    if made.is_some_and(|made| made.author == entry.author && made.payload == entry.payload) {
        return Ok(());
    }
    let message = format!("node {} has the entry {}, which nobody made", node + 1, entry.cid);
    Err(Fault::new(ErrorKind::Integrity, "demo", message).mend(super::LOGS).into())
}

async fn next(lines: &mut Lines) -> Outcome<LogEntry> {
    match lines.next().await? {
        Some(LogLine::Entry(entry)) => Ok(*entry),
        Some(LogLine::Error { error }) => Err(error.into()),
        Some(LogLine::Lagged { lagged }) => {
            let message = format!("{lagged} entries were left out of a log that was followed");
            Err(Fault::new(ErrorKind::Unexpected, "demo", message).into())
        }
        None => Err(Fault::new(ErrorKind::Closed, "demo", "a node ended its log").into()),
    }
}

/// A CID by its end, in which they differ.
pub(super) fn short(cid: &str) -> String {
    let end: String = cid.chars().rev().take(8).collect();
    format!("…{}", end.chars().rev().collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Failure;

    #[test]
    fn only_what_was_appended_may_be_in_a_log() {
        let made = Appended { node: 1, author: "b".into(), payload: b"21".to_vec() };
        let appended = BTreeMap::from([("cid".to_string(), made)]);
        let look = |cid: &str, author: &str, payload: &[u8]| {
            let (cid, author, payload) = (cid.into(), author.into(), payload.into());
            let entry =
                LogEntry { cid, clock: 1, author, time: 0, parents: vec![], payload, text: None, at: None };
            was_made(&entry, 0, &appended)
        };
        assert!(look("cid", "b", b"21").is_ok());
        for (cid, author, payload) in [("other", "b", b"21"), ("cid", "c", b"21"), ("cid", "b", b"22")] {
            let Err(Failure::Fault(fault)) = look(cid, author, payload) else { panic!("it was taken") };
            assert_eq!(fault.kind, ErrorKind::Integrity);
        }
    }

    #[test]
    fn a_name_is_told_by_its_end() {
        assert_eq!((short("bafyreifil7mgjul6cm7"), short("abc")), ("…gjul6cm7".into(), "…abc".into()));
    }
}

//! Everybody speaks, everybody must hear all of it. What comes out of its order, as on a busy machine, is heard all the same;
//! what a wire lost is said again, as any program would on a topic that keeps nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::try_join_all;
use indicatif::ProgressBar;
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use carrick::ErrorKind;

use super::super::Cx;
use super::fleet::{Fleet, Member};
use super::{PATIENCE, TOPIC, readings};
use crate::control::client::Lines;
use crate::control::wire::{Heard, Message};
use crate::fault::{Fault, Outcome};

/// How long nothing new is heard before what is missing is said again, and how often that is done.
const SILENCE: Duration = Duration::from_secs(5);
const REPEATS: u32 = 5;
const _: () =
    assert!(SILENCE.as_secs() * (REPEATS as u64 + 1) < PATIENCE.as_secs(), "a step has no time for it");

/// What was said and heard so far.
pub(super) struct Talk {
    ears: Vec<Lines>,
    said: Vec<Said>,
    /// How many readings were said again.
    pub(super) repeated: usize,
}

/// A reading that a node published, once or more often.
struct Said {
    /// The node, from 0, and who it is.
    node: usize,
    author: String,
    payload: Vec<u8>,
    ids: Vec<String>,
    /// The nodes that have it.
    heard: BTreeSet<usize>,
}

impl Said {
    fn by(node: usize, member: &Member, reading: usize) -> Outcome<Self> {
        let reading = readings::take(member.number, reading, &member.ready.control);
        let payload = serde_json::to_vec(&reading)
            .map_err(|error| Fault::new(ErrorKind::Unexpected, "demo", error.to_string()))?;
        let author = member.ready.peer.clone();
        Ok(Self { node, author, payload, ids: vec![], heard: BTreeSet::new() })
    }

    fn is_missing_at(&self, node: usize) -> bool {
        node != self.node && !self.heard.contains(&node)
    }

    fn is_in(&self, message: &Message) -> bool {
        message.author.as_deref() == Some(&self.author)
            && message.payload == self.payload
            && self.ids.contains(&message.id)
    }
}

impl Talk {
    /// Every node subscribes; ends when every link knows it.
    pub(super) async fn begin(fleet: &Fleet) -> Outcome<Self> {
        let mut ears = Vec::new();
        for member in &fleet.nodes {
            ears.push(subscribe(member).await?);
        }
        fleet.connected(Some(TOPIC)).await?;
        Ok(Self { ears, said: vec![], repeated: 0 })
    }

    /// A node that started again subscribes again.
    pub(super) async fn rejoin(&mut self, fleet: &Fleet, node: usize) -> Outcome {
        self.ears[node] = subscribe(&fleet.nodes[node]).await?;
        fleet.connected(Some(TOPIC)).await
    }

    /// Nodes publish so many readings each; ends when every other node has all of them, or has heard nothing new for too long.
    pub(super) async fn exchange(&mut self, cx: &Cx, fleet: &Fleet, rounds: &[(usize, usize)]) -> Outcome {
        for (node, count) in rounds {
            for reading in 1..=*count {
                self.said.push(Said::by(*node, &fleet.nodes[*node], reading)?);
            }
        }
        let missing: u64 = (0..self.ears.len()).map(|node| self.expected(node) - self.received(node)).sum();
        let bar = cx.term.count("hearing", missing);
        for repeat in 0..=REPEATS {
            let missing = self.missing();
            if missing.is_empty() {
                break;
            }
            let count = missing.len();
            say(fleet, missing).await?;
            if repeat > 0 {
                self.repeated += count;
                bar.suspend(|| cx.note_step(&json!({ "step": "repeat", "readings": count }), &again(count)));
            }
            self.hear(&bar).await?;
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// What somebody has not heard yet.
    fn missing(&mut self) -> Vec<&mut Said> {
        let nodes = self.ears.len();
        self.said.iter_mut().filter(|said| (0..nodes).any(|node| said.is_missing_at(node))).collect()
    }

    /// Every node listens until it has all, or hears nothing new any more.
    async fn hear(&mut self, bar: &ProgressBar) -> Outcome {
        let ears = self.ears.iter_mut().enumerate();
        let heard = ears.map(|(node, ear)| listen(async || next(ear).await, node, &self.said, bar));
        for (node, heard) in try_join_all(heard).await?.into_iter().enumerate() {
            for at in heard {
                self.said[at].heard.insert(node);
            }
        }
        Ok(())
    }

    /// How many readings of the others a node should have.
    pub(super) fn expected(&self, node: usize) -> u64 {
        self.said.iter().filter(|said| said.node != node).count() as u64
    }

    /// How many of them it has.
    pub(super) fn received(&self, node: usize) -> u64 {
        self.said.iter().filter(|said| said.heard.contains(&node)).count() as u64
    }

    fn sums(&self) -> (u64, u64) {
        let nodes = 0..self.ears.len();
        (nodes.clone().map(|node| self.expected(node)).sum(), nodes.map(|node| self.received(node)).sum())
    }

    /// The state for a person: the good news only when every node has all.
    pub(super) fn verdict(&self, good: &str) -> String {
        let (expected, received) = self.sums();
        match expected == received {
            true => good.to_string(),
            false => format!("NOT all agree: {received} of {expected} readings arrived"),
        }
    }

    /// The state as a step.
    pub(super) fn line(&self, step: &str) -> serde_json::Value {
        let (expected, received) = self.sums();
        json!({ "step": step, "expected": expected, "received": received })
    }
}

/// That so many readings are said again, for a person.
fn again(missing: usize) -> String {
    let readings = if missing == 1 { "reading is" } else { "readings are" };
    format!("{missing} {readings} missing somewhere after {} s of silence, and said again", SILENCE.as_secs())
}

async fn say(fleet: &Fleet, said: Vec<&mut Said>) -> Outcome {
    for said in said {
        let published = fleet.nodes[said.node].client.publish(TOPIC, &said.payload).await?;
        said.ids.push(published.id);
    }
    Ok(())
}

/// Which of the readings that a node is missing it hears now.
///
/// # Errors
/// `Integrity` for what nobody said.
async fn listen(
    mut next: impl AsyncFnMut() -> Outcome<Message>,
    node: usize,
    said: &[Said],
    bar: &ProgressBar,
) -> Outcome<Vec<usize>> {
    let mut missing: Vec<_> = (0..said.len()).filter(|at| said[*at].is_missing_at(node)).collect();
    let (mut heard, mut until) = (Vec::new(), Instant::now() + SILENCE);
    while !missing.is_empty() {
        let Ok(message) = timeout_at(until, next()).await else { break };
        let message = message?;
        if !said.iter().any(|said| said.is_in(&message)) {
            let what = format!("node {} heard {}, which nobody said", node + 1, message.id);
            return Err(Fault::new(ErrorKind::Integrity, "demo", what).into());
        }
        // What was said again comes twice to those who had it.
        if let Some(at) = missing.iter().position(|at| said[*at].is_in(&message)) {
            heard.push(missing.remove(at));
            until = Instant::now() + SILENCE;
            bar.inc(1);
        }
    }
    Ok(heard)
}

async fn subscribe(member: &Member) -> Outcome<Lines> {
    let mut lines = member.client.subscribe(TOPIC).await?;
    match lines.next().await? {
        Some(Heard::Subscribed { .. }) => Ok(lines),
        _ => Err(Fault::new(ErrorKind::Unexpected, "demo", "a node did not subscribe").into()),
    }
}

async fn next(lines: &mut Lines) -> Outcome<Message> {
    loop {
        match lines.next().await? {
            Some(Heard::Message(message)) => return Ok(message),
            Some(Heard::Error { error }) => return Err(error.into()),
            Some(_) => {}
            None => return Err(Fault::new(ErrorKind::Closed, "demo", "a node ended its subscription").into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Failure;

    fn said(node: usize, payload: &[u8]) -> Said {
        let author = node.to_string();
        let ids = ["first", "again"].map(|id| format!("{id} {author}"));
        Said { node, author, payload: payload.to_vec(), ids: ids.into(), heard: BTreeSet::new() }
    }

    fn message(author: &str, id: &str, payload: &[u8]) -> Message {
        Message {
            author: Some(author.into()),
            id: format!("{id} {author}"),
            payload: payload.to_vec(),
            topic: TOPIC.into(),
            seqno: 1,
            time: 0,
            text: None,
        }
    }

    /// What node 0 takes of some messages, after which nothing comes.
    async fn heard(messages: impl IntoIterator<Item = Message>) -> Outcome<Vec<usize>> {
        let all = [said(1, b"21"), said(2, b"22"), said(0, b"its own")];
        let mut messages = messages.into_iter();
        let next = async || match messages.next() {
            Some(message) => Ok(message),
            None => std::future::pending().await,
        };
        listen(next, 0, &all, &ProgressBar::hidden()).await
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_said_is_heard_whatever_its_order_and_what_is_lost_is_missing() {
        let (one, two) = (message("1", "first", b"21"), message("2", "again", b"22"));
        assert_eq!(heard([two.clone(), one.clone()]).await.expect("both"), [1, 0]);
        assert_eq!(heard([two.clone(), two.clone()]).await.expect("one of them twice"), [1]);
        assert!(heard([]).await.expect("silence").is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_said_is_no_silence() {
        for forged in
            [message("3", "first", b"21"), message("1", "other", b"21"), message("1", "first", b"22")]
        {
            let Err(Failure::Fault(fault)) = heard([forged]).await else { panic!("it was taken") };
            assert_eq!(fault.kind, ErrorKind::Integrity);
        }
    }
}

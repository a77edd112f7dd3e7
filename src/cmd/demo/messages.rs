//! Everybody speaks, everybody must hear all of it. What comes out of its order, as on a busy machine, is heard all the same;
//! what a wire lost is said again, as any program would on a topic that keeps nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::try_join_all;
use indicatif::ProgressBar;
use serde_json::json;
use tokio::time::timeout;

use carrick::ErrorKind;

use super::super::Cx;
use super::fleet::{Fleet, Member};
use super::{TOPIC, readings};
use crate::control::client::Lines;
use crate::control::wire::{Heard, Message};
use crate::fault::{Fault, Outcome};

/// How long a node hears nothing before what it is missing is said again, and how often that is done: all of it
/// within a step's patience.
const SILENCE: Duration = Duration::from_secs(5);
const REPEATS: usize = 5;

/// What was said and heard so far.
pub(super) struct Talk {
    ears: Vec<Lines>,
    /// For each node: how many readings of the others it should have, and has.
    pub(super) expected: Vec<u64>,
    pub(super) received: Vec<u64>,
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
        let zeros = vec![0; fleet.nodes.len()];
        Ok(Self { ears, expected: zeros.clone(), received: zeros })
    }

    /// A node that started again subscribes again.
    pub(super) async fn rejoin(&mut self, fleet: &Fleet, node: usize) -> Outcome {
        self.ears[node] = subscribe(&fleet.nodes[node]).await?;
        fleet.connected(Some(TOPIC)).await
    }

    /// Nodes publish so many readings each; ends when every other node has all of them, or has been silent for too long.
    pub(super) async fn exchange(&mut self, cx: &Cx, fleet: &Fleet, rounds: &[(usize, usize)]) -> Outcome {
        let mut said = Vec::new();
        for (node, count) in rounds {
            for reading in 1..=*count {
                said.push(Said::by(*node, &fleet.nodes[*node], reading)?);
            }
        }
        let all = said.len() * (fleet.nodes.len() - 1);
        let bar = cx.term.count("hearing", all as u64);
        for repeat in 0..=REPEATS {
            let missing = self.missing(&mut said);
            if missing.is_empty() {
                break;
            }
            if repeat > 0 {
                let (line, text) = again(missing.len());
                bar.suspend(|| cx.note_step(&line, &text));
            }
            say(fleet, missing).await?;
            self.hear(&mut said, &bar).await?;
        }
        bar.finish_and_clear();
        for node in 0..fleet.nodes.len() {
            let of_others = || said.iter().filter(|said| said.node != node);
            self.expected[node] += of_others().count() as u64;
            self.received[node] += of_others().filter(|said| said.heard.contains(&node)).count() as u64;
        }
        Ok(())
    }

    /// What somebody has not heard yet.
    fn missing<'a>(&self, said: &'a mut [Said]) -> Vec<&'a mut Said> {
        let nodes = self.ears.len();
        said.iter_mut().filter(|said| (0..nodes).any(|node| said.is_missing_at(node))).collect()
    }

    /// Every node listens until it has all, or hears nothing any more.
    async fn hear(&mut self, said: &mut [Said], bar: &ProgressBar) -> Outcome {
        let ears = self.ears.iter_mut().enumerate();
        let heard = try_join_all(ears.map(|(node, ear)| listen(ear, node, said, bar))).await?;
        for (node, heard) in heard.into_iter().enumerate() {
            for at in heard {
                said[at].heard.insert(node);
            }
        }
        Ok(())
    }

    /// The state for a person.
    pub(super) fn verdict(&self, good: &str) -> String {
        verdict(&self.expected, &self.received, good)
    }

    /// The state as a step.
    pub(super) fn line(&self, step: &str) -> serde_json::Value {
        json!({ "step": step, "expected": sum(&self.expected), "received": sum(&self.received) })
    }
}

/// What may be said: the good news only when everything that arrived is what was sent.
fn verdict(expected: &[u64], received: &[u64], good: &str) -> String {
    match expected == received {
        true => good.to_string(),
        false => format!("NOT all agree: {} of {} readings are right", sum(received), sum(expected)),
    }
}

pub(super) fn sum(counts: &[u64]) -> u64 {
    counts.iter().sum()
}

/// That so many readings are said again: as a step, and for a person.
fn again(missing: usize) -> (serde_json::Value, String) {
    let readings = if missing == 1 { "a reading is" } else { "readings are" };
    let text =
        format!("{missing} {readings} missing somewhere after {} s, and said again", SILENCE.as_secs());
    (json!({ "step": "repeat", "messages": missing }), text)
}

async fn say(fleet: &Fleet, said: Vec<&mut Said>) -> Outcome {
    for said in said {
        let published = fleet.nodes[said.node].client.publish(TOPIC, &said.payload).await?;
        said.ids.push(published.id);
    }
    Ok(())
}

/// Which of the readings that a node is missing it hears now.
async fn listen(ear: &mut Lines, node: usize, said: &[Said], bar: &ProgressBar) -> Outcome<Vec<usize>> {
    let mut missing: Vec<_> = (0..said.len()).filter(|at| said[*at].is_missing_at(node)).collect();
    let mut heard = Vec::new();
    while !missing.is_empty() {
        let Ok(message) = timeout(SILENCE, next(ear)).await else { break };
        let message = message?;
        if let Some(at) = missing.iter().position(|at| said[*at].is_in(&message)) {
            heard.push(missing.remove(at));
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

    #[test]
    fn good_news_waits_for_the_comparison() {
        assert_eq!(verdict(&[2, 2], &[2, 2], "all have all"), "all have all");
        assert_eq!(verdict(&[2, 2], &[2, 1], "all have all"), "NOT all agree: 3 of 4 readings are right");
    }

    #[test]
    fn a_reading_is_heard_from_its_author_alone_under_an_id_that_it_had() {
        let ids = vec!["first".to_owned(), "again".to_owned()];
        let said =
            Said { node: 0, author: "a".into(), payload: b"21".to_vec(), ids, heard: BTreeSet::from([1]) };
        let message = |author: &str, id: &str, payload: &[u8]| Message {
            author: Some(author.into()),
            id: id.into(),
            payload: payload.to_vec(),
            topic: TOPIC.into(),
            seqno: 1,
            time: 0,
            text: None,
        };
        assert!(said.is_in(&message("a", "first", b"21")) && said.is_in(&message("a", "again", b"21")));
        assert!(!said.is_in(&message("b", "first", b"21")) && !said.is_in(&message("a", "other", b"21")));
        assert!(!said.is_in(&message("a", "first", b"22")));
        assert_eq!([0, 1, 2].map(|node| said.is_missing_at(node)), [false, false, true]);
    }
}

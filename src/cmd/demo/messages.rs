//! Everybody speaks, everybody must hear all of it. A message that is later than a node waits for comes out of its order,
//! which a busy machine can do; so the order is no part of it.

use std::collections::BTreeMap;

use serde_json::json;

use carrick::ErrorKind;

use super::super::Cx;
use super::fleet::{Fleet, Member};
use super::{TOPIC, readings};
use crate::control::client::Lines;
use crate::control::wire::{Heard, Message};
use crate::fault::{Fault, Outcome};

/// What was said and heard so far.
pub(super) struct Talk {
    ears: Vec<Lines>,
    /// For each node: how many messages of the others it should have, and has.
    pub(super) expected: Vec<u64>,
    pub(super) received: Vec<u64>,
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

    /// Nodes publish so many readings each; ends when every other node has all of them.
    pub(super) async fn exchange(&mut self, cx: &Cx, fleet: &Fleet, rounds: &[(usize, usize)]) -> Outcome {
        let mut said: BTreeMap<&str, Vec<(String, Vec<u8>)>> = BTreeMap::new();
        for (node, count) in rounds {
            let member = &fleet.nodes[*node];
            for reading in 1..=*count {
                let payload =
                    serde_json::to_vec(&readings::take(member.number, reading, &member.ready.control));
                let payload = payload.unwrap_or_default();
                let published = member.client.publish(TOPIC, &payload).await?;
                said.entry(&member.ready.peer).or_default().push((published.id, payload));
            }
        }
        let total = |said: &BTreeMap<&str, Vec<_>>, member: &Member| -> usize {
            said.iter().filter(|(author, _)| **author != member.ready.peer).map(|(_, said)| said.len()).sum()
        };
        let all: usize = fleet.nodes.iter().map(|member| total(&said, member)).sum();
        let bar = cx.term.count("hearing", all as u64);
        for (at, member) in fleet.nodes.iter().enumerate() {
            let expected = total(&said, member);
            self.expected[at] += expected as u64;
            let mut heard: BTreeMap<String, Vec<(String, Vec<u8>)>> = BTreeMap::new();
            for _ in 0..expected {
                let message = next(&mut self.ears[at]).await?;
                let author = message.author.unwrap_or_default();
                heard.entry(author).or_default().push((message.id, message.payload));
                bar.inc(1);
            }
            self.received[at] += agreeing(&said, &heard);
        }
        bar.finish_and_clear();
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

/// How many of the messages that were said were heard, each counted once.
fn agreeing(
    said: &BTreeMap<&str, Vec<(String, Vec<u8>)>>,
    heard: &BTreeMap<String, Vec<(String, Vec<u8>)>>,
) -> u64 {
    let same = |(author, heard): (&String, &Vec<(String, Vec<u8>)>)| {
        let said = said.get(author.as_str()).map(Vec::as_slice).unwrap_or_default();
        said.iter().filter(|said| heard.contains(said)).count() as u64
    };
    heard.iter().map(same).sum()
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
    fn only_what_was_said_agrees_whatever_its_order() {
        let message = |id: &str| (id.to_string(), id.as_bytes().to_vec());
        let said = BTreeMap::from([("a", vec![message("1"), message("2")])]);
        let heard =
            |ids: &[&str]| BTreeMap::from([("a".to_string(), ids.iter().map(|id| message(id)).collect())]);
        assert_eq!(agreeing(&said, &heard(&["1", "2"])), 2);
        assert_eq!(agreeing(&said, &heard(&["2", "1"])), 2, "one may be late");
        assert_eq!(agreeing(&said, &heard(&["1", "1"])), 1, "twice is not both");
        assert_eq!(agreeing(&said, &heard(&["1", "3"])), 1);
    }
}

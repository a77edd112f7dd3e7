//! What the demo showed, at its end.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::super::Cx;
use super::super::args::Demo;
use super::IPFS_HTTP;
use super::TOPIC;
use super::fleet::Fleet;
use super::messages::Talk;
use crate::control::wire::Fetched;
use crate::fault::Outcome;
use crate::terminal::{show, size, table};

/// Everything that is compared.
#[derive(Debug, Default)]
pub(super) struct Report {
    nodes: usize,
    transport: String,
    peers: Vec<String>,
    network: String,
    expected: Vec<u64>,
    received: Vec<u64>,
    repeated: usize,
    pub(super) cid: String,
    pub(super) bytes: u64,
    /// By the number of the node.
    pub(super) shares: BTreeMap<usize, Share>,
    pub(super) seconds: f64,
}

/// What one node got.
#[derive(Debug)]
pub(super) struct Share {
    pub(super) fetched: Fetched,
    pub(super) seconds: f64,
    /// Whether its bytes are those of the input.
    pub(super) same: bool,
}

/// The last line of `--json`.
#[derive(Serialize)]
struct Last<'a> {
    ok: bool,
    nodes: usize,
    messages: Messages,
    content: Content<'a>,
    seconds: f64,
}

#[derive(Serialize)]
struct Messages {
    expected: u64,
    received: u64,
    /// Readings that were said again, because somebody did not hear them.
    repeated: usize,
}

#[derive(Serialize)]
struct Content<'a> {
    cid: &'a str,
    bytes: u64,
    /// Whether every other node got the same bytes.
    verified: bool,
}

fn sum(counts: &[u64]) -> u64 {
    counts.iter().sum()
}

impl Report {
    pub(super) fn new(args: &Demo) -> Self {
        Self { nodes: args.nodes.into(), transport: args.transport.clone(), ..Self::default() }
    }

    /// Takes over who the nodes are and what they heard.
    pub(super) fn messages(&mut self, fleet: &Fleet, talk: &Talk) {
        self.peers = fleet.nodes.iter().map(|member| member.ready.peer.clone()).collect();
        self.network = fleet.nodes.first().map(|member| member.ready.network.clone()).unwrap_or_default();
        let nodes = 0..fleet.nodes.len();
        self.expected = nodes.clone().map(|node| talk.expected(node)).collect();
        self.received = nodes.map(|node| talk.received(node)).collect();
        self.repeated = talk.repeated;
    }

    fn verified(&self) -> bool {
        self.shares.len() + 1 == self.nodes && self.shares.values().all(|share| share.same)
    }

    /// Whether everything agreed.
    pub(super) fn ok(&self) -> bool {
        self.expected == self.received && sum(&self.expected) > 0 && self.verified()
    }

    pub(super) fn print(&self, cx: &Cx, kept: &Option<&Path>) -> Outcome {
        if cx.term.json {
            return cx.term.json(&Last {
                ok: self.ok(),
                nodes: self.nodes,
                messages: Messages {
                    expected: sum(&self.expected),
                    received: sum(&self.received),
                    repeated: self.repeated,
                },
                content: Content { cid: &self.cid, bytes: self.bytes, verified: self.verified() },
                seconds: self.seconds,
            });
        }
        cx.term.line("")?;
        cx.term.line(show(self.table()))?;
        cx.term.line("")?;
        if self.repeated > 0 {
            cx.term.line(format!("{} readings were lost on their way, and said again.", self.repeated))?;
        }
        let verdict = if self.ok() { "All nodes agree" } else { "The nodes do NOT agree" };
        cx.term.line(format!("{verdict}, after {:.1} s. The same by hand:", self.seconds))?;
        for (command, what) in self.by_hand() {
            cx.term.line(format!("  {command:<48}  # {what}"))?;
        }
        if let Some(dir) = kept {
            cx.term.note(format!("the nodes' folders are in {}", dir.display()));
        }
        Ok(())
    }

    fn table(&self) -> comfy_table::Table {
        let mut table = table(&["node", "peer", "messages", "content", "seconds", "from"]);
        for (at, peer) in self.peers.iter().enumerate() {
            let number = at + 1;
            let messages = format!("{} of {}", self.received[at], self.expected[at]);
            let (content, seconds, from) = match self.shares.get(&number) {
                Some(share) if share.same => (
                    format!("{}, equal", size(self.bytes)),
                    format!("{:.2}", share.seconds),
                    self.sources(share),
                ),
                Some(share) => ("NOT EQUAL".into(), format!("{:.2}", share.seconds), self.sources(share)),
                None => (format!("{}, its own", size(self.bytes)), String::new(), String::new()),
            };
            table.add_row([number.to_string(), peer.clone(), messages, content, seconds, from]);
        }
        table
    }

    /// Who served a node.
    fn sources(&self, share: &Share) -> String {
        let name = |peer: &String| match self.peers.iter().position(|known| known == peer) {
            Some(at) => format!("node {}", at + 1),
            None => peer.clone(),
        };
        let sources = share.fetched.sources.iter();
        if self.transport == IPFS_HTTP && sources.len() == 0 {
            // Whom a daemon asked it does not say.
            return "its daemon".to_owned();
        }
        sources
            .map(|source| format!("{} ({})", name(&source.peer), size(source.bytes)))
            .collect::<Vec<_>>()
            .join(", ")
    }

    fn by_hand(&self) -> Vec<(String, &'static str)> {
        let line = |command: &str, what| (command.to_string(), what);
        let kubo = self.transport == IPFS_HTTP;
        let (with, second) = match kubo {
            true => {
                (" --transport ipfs-http", "a second node, where another daemon runs: cd two && carrick up")
            }
            false => ("", "a second node: cd two && carrick up"),
        };
        let listen = if kubo { "" } else { " --listen /ip4/0.0.0.0/udp/4601/quic-v1" };
        let daemon = line(
            "ipfs config --json Pubsub.Enabled true && ipfs daemon",
            "a Kubo daemon, with pubsub; ipfs init before the first time",
        );
        let mut lines = if kubo { vec![daemon] } else { vec![] };
        lines.extend([
            line(&format!("carrick init one{with}"), "a folder for a node; prints NETWORK"),
            line("cd one && carrick up", "runs it; prints ADDRESS"),
            line(&format!("carrick init two{with} --network NETWORK --bootstrap ADDRESS{listen}"), second),
            line(&format!("carrick subscribe {TOPIC}"), "in two: prints what comes"),
            line(
                &format!("carrick publish {TOPIC} \"$(cat /proc/loadavg)\""),
                "in one: all on the topic get it",
            ),
            line("carrick put PATH", "in one: prints the CID"),
            line("carrick get CID -o copy", "in two: fetched, checked, written"),
        ]);
        lines
    }
}

//! What the demo showed, at its end.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use serde_json::json;

use super::super::Cx;
use super::super::args::Demo;
use super::fleet::Fleet;
use super::ledger::{LEDGER, Ledger, short};
use super::member::Member;
use super::{IPFS_HTTP, LIBP2P};
use crate::control::ledger::{Heads, ToVerify};
use crate::control::wire::Fetched;
use crate::fault::Outcome;
use crate::terminal::{show, size, table};

/// Everything that is compared.
#[derive(Debug, Default)]
pub(super) struct Report {
    nodes: usize,
    transport: String,
    peers: Vec<String>,
    expected: Vec<u64>,
    received: Vec<u64>,
    /// How far each node says that its ledger is, after it read all of it and checked it.
    ledgers: Vec<Heads>,
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
    /// That of all nodes, where they agree; else that of the first.
    ledger: Option<&'a Heads>,
    content: Content<'a>,
    seconds: f64,
}

#[derive(Serialize)]
struct Messages {
    expected: u64,
    received: u64,
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

    /// Has each node check its whole log, and takes over who the nodes are and what they have.
    pub(super) async fn verify(&mut self, cx: &Cx, fleet: &Fleet, ledger: &Ledger) -> Outcome {
        for (node, Member { client, ready, .. }) in fleet.nodes.iter().enumerate() {
            let want = ToVerify { ledger: LEDGER.into(), all: true, ..ToVerify::default() };
            let entries = client.verify(&want, |_, _| ()).await?.entries;
            self.ledgers.push(client.heads(LEDGER).await?);
            self.peers.push(ready.peer.clone());
            self.expected.push(ledger.expected(node));
            self.received.push(ledger.received(node));
            cx.note_step(
                &json!({ "step": "verify", "node": node + 1, "entries": entries }),
                &format!("node {} read its whole log and checked it: {entries} entries, all sound", node + 1),
            );
        }
        Ok(())
    }

    fn verified(&self) -> bool {
        self.shares.len() + 1 == self.nodes && self.shares.values().all(|share| share.same)
    }

    /// Whether everything agreed.
    pub(super) fn ok(&self) -> bool {
        let same = self.ledgers.windows(2).all(|two| two[0] == two[1]);
        same && self.expected == self.received && sum(&self.expected) > 0 && self.verified()
    }

    pub(super) fn print(&self, cx: &Cx, kept: &Option<&Path>) -> Outcome {
        if cx.term.json {
            return cx.term.json(&Last {
                ok: self.ok(),
                nodes: self.nodes,
                messages: Messages { expected: sum(&self.expected), received: sum(&self.received) },
                ledger: self.ledgers.first(),
                content: Content { cid: &self.cid, bytes: self.bytes, verified: self.verified() },
                seconds: self.seconds,
            });
        }
        cx.term.line("")?;
        cx.term.line(show(self.table()))?;
        cx.term.line("")?;
        let verdict = if self.ok() { "All nodes agree" } else { "The nodes do NOT agree" };
        cx.term.line(format!("{verdict}, after {:.1} s. The same by hand:", self.seconds))?;
        for (command, what) in self.by_hand() {
            cx.term.line(format!("  {command:<56}  # {what}"))?;
        }
        if let Some(dir) = kept {
            cx.term.note(format!("the nodes' folders are in {}", dir.display()));
        }
        Ok(())
    }

    fn table(&self) -> comfy_table::Table {
        let mut table = table(&["node", "peer", "messages", "entries", "head", "content", "seconds", "from"]);
        for (at, peer) in self.peers.iter().enumerate() {
            let number = at + 1;
            let messages = format!("{} of {}", self.received[at], self.expected[at]);
            let Heads { heads, entries } = &self.ledgers[at];
            let heads = heads.iter().map(|head| short(head)).collect::<Vec<_>>().join(" ");
            let (content, seconds, from) = match self.shares.get(&number) {
                Some(share) if share.same => (
                    format!("{}, equal", size(self.bytes)),
                    format!("{:.2}", share.seconds),
                    self.sources(share),
                ),
                Some(share) => ("NOT EQUAL".into(), format!("{:.2}", share.seconds), self.sources(share)),
                None => (format!("{}, its own", size(self.bytes)), String::new(), String::new()),
            };
            let (number, peer, entries) = (number.to_string(), short(peer), entries.to_string());
            table.add_row([number, peer, messages, entries, heads, content, seconds, from]);
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
        let second = "a second node: cd two && carrick up";
        let (with, listen, second) = match self.transport.as_str() {
            IPFS_HTTP => (
                " --transport ipfs-http",
                "",
                "a second node, where another daemon runs: cd two && carrick up",
            ),
            LIBP2P => (" --transport libp2p", " --listen /ip4/0.0.0.0/tcp/4602", second),
            _ => ("", " --listen /ip4/0.0.0.0/udp/4601/quic-v1", second),
        };
        let daemon = line(
            "ipfs config --json Pubsub.Enabled true && ipfs daemon",
            "a Kubo daemon, with pubsub; ipfs init before the first time",
        );
        let mut lines = if kubo { vec![daemon] } else { vec![] };
        let append = format!("carrick ledger append {LEDGER} \"$(cat /proc/loadavg)\"");
        let init =
            format!("carrick init two{with} --ledger {LEDGER} --network NETWORK --bootstrap ADDRESS{listen}");
        lines.extend([
            line(&format!("carrick init one{with} --ledger {LEDGER}"), "a folder for a node; prints NETWORK"),
            line("cd one && carrick up", "runs it; prints ADDRESS"),
            line(&init, second),
            line(&append, "in either, again and again: an entry, signed and on disk"),
            line(&format!("carrick ledger log {LEDGER}"), "in both: the same entries in the same order"),
            line(&format!("carrick ledger heads {LEDGER}"), "in both: the same, once they agree"),
            line(&format!("carrick ledger verify {LEDGER}"), "in both: checks the log"),
            line("carrick disconnect PEER", "in two: parts them; PEER is in carrick peers; append in both"),
            line("carrick connect ADDRESS", "in two: joins them, and they have one log again"),
            line(
                "kill -9 $(cat data/node.lock)",
                "in two: as a power cut; append in one, and carrick up again",
            ),
            line("carrick put PATH", "in one: prints the CID"),
            line("carrick get CID -o copy", "in two: fetched, checked, written"),
        ]);
        lines
    }
}

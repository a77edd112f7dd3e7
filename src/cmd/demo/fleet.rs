//! The nodes of the demo: real ones, each a process that runs `carrick up`, in a folder made as by `carrick init`.

use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use carrick::{Clock, ErrorKind, NetworkId, PeerAddr, SystemClock};
use rand::Rng;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::super::args::{Demo, Init};
use super::super::{CONFIG_FILE, Cx, init};
use super::daemons::Daemons;
use super::{IPFS_HTTP, QUIC};
use crate::control::client::{self, Client};
use crate::control::wire::{Event, Peer, Ready};
use crate::fault::{Failure, Fault, Outcome};

/// All nodes.
pub(super) struct Fleet {
    pub(super) nodes: Vec<Member>,
}

/// One node.
pub(super) struct Member {
    /// From 1, as people count.
    pub(super) number: usize,
    pub(super) ready: Ready,
    pub(super) client: Client,
    /// How others name the link to it: by its id, or that of its daemon.
    link: String,
    dir: PathBuf,
    /// What differs from its configuration, as `--set` takes it.
    set: Vec<String>,
    process: Process,
    /// Since when it runs, in Unix milliseconds.
    started: u64,
}

/// A child that dies with us: it is killed when this is dropped, and stops by itself when its standard input ends.
struct Process {
    child: Child,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl Fleet {
    /// Makes the folders and starts the nodes, each with the address of one before it.
    pub(super) async fn start(cx: &Cx, args: &Demo, place: &Path, daemons: &mut Daemons) -> Outcome<Self> {
        let network = NetworkId::new(format!("demo-{:08x}", rand::rng().random::<u32>()))?;
        let mut fleet = Self { nodes: vec![] };
        for number in 1..=usize::from(args.nodes) {
            let dir = place.join(format!("node-{number}"));
            let first = neighbour(number).and_then(|number| fleet.nodes[number - 1].address());
            init::make(&Init {
                dir: dir.clone(),
                network: Some(network.clone()),
                transport: args.transport.clone(),
                listen: listen(&args.transport)?,
                bootstrap: first.map(|addr| addr.parse::<PeerAddr>()).transpose()?.into_iter().collect(),
                ledger: None,
                force: false,
            })?;
            let daemon = super::step("start", daemons.start(&place.join(format!("kubo-{number}")))).await?;
            let set =
                daemon.iter().map(|daemon| format!("transport.{IPFS_HTTP}.api={:?}", daemon.api)).collect();
            let mut member = Member::start(number, dir, set).await?;
            if let Some(daemon) = daemon {
                member.link.clone_from(&daemon.id);
            }
            let line = json!({ "step": "start", "node": number, "peer": member.ready.peer, "pid": member.ready.pid });
            cx.note_step(&line, &format!("node {number} runs: {}", member.ready.peer));
            fleet.nodes.push(member);
        }
        Ok(fleet)
    }

    /// Waits until both ends of every link of the chain are up and, where one is given, take part in the topic.
    pub(super) async fn connected(&self, topic: Option<&str>) -> Outcome {
        for member in &self.nodes {
            if let Some(number) = neighbour(member.number) {
                let other = &self.nodes[number - 1];
                member.until_linked(other, topic).await?;
                other.until_linked(member, topic).await?;
            }
        }
        Ok(())
    }

    /// Kills the last node as a power cut would, and starts it again in its folder.
    pub(super) async fn crash_last(&mut self, cx: &Cx) -> Outcome {
        let Some(last) = self.nodes.pop() else { return Ok(()) };
        let Member { number, dir, mut process, link, set, .. } = last;
        let killed = process.child.kill().await;
        killed
            .map_err(|error| Fault::new(ErrorKind::Unexpected, "demo", format!("node {number}: {error}")))?;
        let member = Member { link, ..Member::start(number, dir, set).await? };
        let line =
            json!({ "step": "restart", "node": number, "peer": member.ready.peer, "pid": member.ready.pid });
        cx.note_step(&line, &format!("node {number} was killed and runs again"));
        self.nodes.push(member);
        Ok(())
    }

    /// Ends all nodes at once; each must end well.
    pub(super) async fn stop(mut self) -> Outcome {
        for member in &mut self.nodes {
            drop(member.process.child.stdin.take());
        }
        for member in self.nodes {
            let Member { number, dir, mut process, .. } = member;
            let ended = process.child.wait().await;
            if !ended.as_ref().is_ok_and(std::process::ExitStatus::success) {
                return Err(broken(number, &dir, "did not end well"));
            }
        }
        Ok(())
    }
}

impl Member {
    async fn start(number: usize, dir: PathBuf, set: Vec<String>) -> Outcome<Self> {
        let started = SystemClock.now().as_millis();
        let mut process = Process::start(&dir, &set)
            .map_err(|error| Fault::new(ErrorKind::Unexpected, "demo", format!("node {number}: {error}")))?;
        let first = super::step("start", async { Ok(process.stdout.next_line().await?) }).await?;
        let ready = first.and_then(|line| serde_json::from_str::<Ready>(&line).ok());
        let Some(ready) = ready else { return Err(broken(number, &dir, "did not start")) };
        let (client, link) = (Client::new(ready.control.clone()), ready.peer.clone());
        Ok(Self { number, client, link, ready, dir, set, process, started })
    }

    /// Where others reach it.
    fn address(&self) -> Option<String> {
        self.ready.transports.iter().flat_map(|transport| &transport.listen).next().cloned()
    }

    /// Waits until this node has a link to `other` that is not older than either of them.
    async fn until_linked(&self, other: &Self, topic: Option<&str>) -> Outcome {
        let fresh = self.started.max(other.started);
        let linked = |peer: &Peer| {
            peer.peer == other.link
                && peer.since.is_none_or(|since| since >= fresh)
                && topic.is_none_or(|topic| peer.topics.iter().any(|joined| joined == topic))
        };
        // The events come first, so that none is missed between looking and waiting.
        let mut events = self.client.events().await?;
        while !self.client.peers().await?.iter().any(linked) {
            next_event(&mut events).await?;
        }
        Ok(())
    }
}

/// Reads on to an event that may have changed something.
async fn next_event(events: &mut client::Lines) -> Outcome {
    match events.next::<Event>().await? {
        Some(_) => Ok(()),
        None => Err(Fault::new(ErrorKind::Closed, "demo", "a node ended its events").into()),
    }
}

impl Process {
    fn start(dir: &Path, set: &[String]) -> std::io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["up", "--json", "--until-stdin-ends", "--config"]).arg(dir.join(CONFIG_FILE));
        set.iter().for_each(|value| {
            command.arg("--set").arg(value);
        });
        for (name, _) in std::env::vars_os() {
            // What is set for a node of the user's own is not meant for these.
            if name.to_string_lossy().starts_with("CARRICK_") {
                command.env_remove(name);
            }
        }
        let log = File::options().create(true).append(true).open(log_of(dir))?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).kill_on_drop(true);
        let mut child = command.spawn()?;
        let stdout = child.stdout.take().ok_or_else(|| std::io::Error::other("no standard output"))?;
        Ok(Self { child, stdout: BufReader::new(stdout).lines() })
    }
}

fn log_of(dir: &Path) -> PathBuf {
    dir.join("log")
}

/// The node whose address another one is given: a chain at first, so that not everybody knows everybody.
fn neighbour(number: usize) -> Option<usize> {
    match number {
        1 => None,
        3 => Some(2),
        _ => Some(1),
    }
}

/// An address that no other machine reaches, with a port of the system's choice.
fn listen(transport: &str) -> Outcome<Vec<carrick::Multiaddr>> {
    if transport != QUIC {
        return Ok(vec![]);
    }
    let addr = "/ip4/127.0.0.1/udp/0/quic-v1".parse();
    Ok(vec![addr.map_err(|error| Fault::new(ErrorKind::Unexpected, "demo", format!("{error}")))?])
}

/// A node that failed, with the last lines of its log.
fn broken(number: usize, dir: &Path, what: &str) -> Failure {
    let log = std::fs::read_to_string(log_of(dir)).unwrap_or_default();
    let mut last = VecDeque::new();
    for line in log.lines().filter(|line| !line.trim().is_empty()) {
        last.push_back(line);
        if last.len() > 3 {
            last.pop_front();
        }
    }
    let said = if last.is_empty() { "it said nothing".into() } else { last.make_contiguous().join(" | ") };
    let fault = Fault::new(ErrorKind::Unexpected, "demo", format!("node {number} {what}: {said}"));
    fault.mend("--keep DIR keeps the whole log").into()
}

#[cfg(test)]
mod tests {
    use super::neighbour;

    #[test]
    fn every_node_is_reached_from_the_first_and_not_all_at_once() {
        assert_eq!((1..=5).map(neighbour).collect::<Vec<_>>(), [None, Some(1), Some(2), Some(1), Some(1)]);
    }
}

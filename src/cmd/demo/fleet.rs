//! The nodes of the demo, and who is linked with whom.

use std::ops::Range;
use std::path::Path;

use carrick::{ErrorKind, NetworkId, PeerAddr};
use rand::Rng;
use serde_json::json;

use super::super::args::{Demo, Init};
use super::super::{Cx, init};
use super::daemons::Daemons;
use super::ledger::{LEDGER, TOPIC};
use super::member::{Home, Member};
use super::{IPFS_HTTP, LIBP2P, QUIC};
use crate::fault::{Failure, Fault, Outcome};

/// All nodes.
pub(super) struct Fleet {
    pub(super) nodes: Vec<Member>,
    /// How many there are when none is dead.
    size: usize,
    /// Whether each finds all others by itself.
    meet: bool,
}

impl Fleet {
    /// Makes the folders and starts the nodes, each with the address of one before it.
    pub(super) async fn start(cx: &Cx, args: &Demo, place: &Path, daemons: &mut Daemons) -> Outcome<Self> {
        let network = NetworkId::new(format!("demo-{:08x}", rand::rng().random::<u32>()))?;
        let mut fleet = Self {
            nodes: vec![],
            size: args.nodes.into(),
            meet: [QUIC, LIBP2P].contains(&args.transport.as_str()),
        };
        for number in 1..=fleet.size {
            let dir = place.join(format!("node-{number}"));
            let first = fleet.bootstrap(number - 1).and_then(|node| fleet.nodes[node].address());
            init::make(&Init {
                dir: dir.clone(),
                network: Some(network.clone()),
                transport: args.transport.clone(),
                listen: listen(&args.transport)?,
                bootstrap: first.map(|addr| addr.parse::<PeerAddr>()).transpose()?.into_iter().collect(),
                ledger: Some(LEDGER.into()),
                force: false,
            })?;
            let daemon = super::step("start", daemons.start(&place.join(format!("kubo-{number}")))).await?;
            let set = match daemon {
                Some(daemon) => vec![format!("transport.{IPFS_HTTP}.api={:?}", daemon.api)],
                None if fleet.meet => vec![format!("transport.{}.neighbours={}", args.transport, fleet.size)],
                None => vec![],
            };
            let daemon = daemon.map(|daemon| daemon.id.clone());
            let member = Member::start(number, Home { dir, set, daemon }).await?;
            let line = json!({ "step": "start", "node": number, "peer": member.ready.peer, "pid": member.ready.pid });
            cx.note_step(&line, &format!("node {number} runs: {}", member.ready.peer));
            fleet.nodes.push(member);
        }
        Ok(fleet)
    }

    /// Waits until both ends of every link are up and take part in the ledger.
    pub(super) async fn connected(&self, cx: &Cx) -> Outcome {
        for (node, member) in self.nodes.iter().enumerate() {
            let told = self.bootstrap(node).map_or(0..0, |one| one..one + 1);
            let before = if self.meet { 0..node } else { told };
            for other in &self.nodes[before] {
                member.until_linked(other, TOPIC).await?;
                other.until_linked(member, TOPIC).await?;
            }
        }
        let found = if self.meet { ": each was told of one other, and found the rest" } else { "" };
        cx.note_step(&json!({ "step": "connect", "nodes": self.size }), &format!("all are connected{found}"));
        Ok(())
    }

    /// The node whose address another one is given: the first one of its half, whose own is the first of all.
    fn bootstrap(&self, node: usize) -> Option<usize> {
        let [first, second] = self.halves();
        let of = if node < first.end { first.start } else { second.start };
        if node == of { (node > 0).then_some(0) } else { Some(of) }
    }

    /// The nodes in two halves.
    pub(super) fn halves(&self) -> [Range<usize>; 2] {
        let middle = self.size.div_ceil(2);
        [0..middle, middle..self.size]
    }

    /// Kills the last node; answers what is left of it, to be started again.
    pub(super) async fn kill_last(&mut self, cx: &Cx) -> Outcome<Home> {
        let last = self.nodes.pop();
        let last = last.ok_or_else(|| Fault::new(ErrorKind::Unexpected, "demo", "there is no node"))?;
        let (number, pid) = (last.number, last.ready.pid);
        let home = last.kill().await?;
        let line = json!({ "step": "kill", "node": number, "pid": pid });
        cx.note_step(&line, &format!("node {number} was killed, as by a power cut"));
        Ok(home)
    }

    /// Starts it again.
    pub(super) async fn start_last(&mut self, home: Home) -> Outcome {
        self.nodes.push(Member::start(self.size, home).await?);
        Ok(())
    }

    /// That a node ended by itself, where one did: whatever else failed, failed for that.
    pub(super) fn fallen(&mut self) -> Option<Failure> {
        self.nodes.iter_mut().find_map(Member::fallen)
    }

    /// Ends all nodes at once; each must end well.
    pub(super) async fn stop(mut self) -> Outcome {
        self.nodes.iter_mut().for_each(Member::stop);
        for member in self.nodes {
            member.ended().await?;
        }
        Ok(())
    }
}

/// An address that no other machine reaches, with a port of the system's choice.
fn listen(transport: &str) -> Outcome<Vec<carrick::Multiaddr>> {
    let addr = match transport {
        QUIC => "/ip4/127.0.0.1/udp/0/quic-v1",
        LIBP2P => "/ip4/127.0.0.1/tcp/0",
        _ => return Ok(vec![]),
    };
    let addr = addr.parse();
    Ok(vec![addr.map_err(|error| Fault::new(ErrorKind::Unexpected, "demo", format!("{error}")))?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_half_hangs_together_by_itself_and_one_link_joins_them() {
        let told = |size| {
            let fleet = Fleet { nodes: vec![], size, meet: false };
            (0..size).map(|node| fleet.bootstrap(node)).collect::<Vec<_>>()
        };
        assert_eq!(told(2), [None, Some(0)]);
        assert_eq!(told(3), [None, Some(0), Some(0)]);
        assert_eq!(told(5), [None, Some(0), Some(0), Some(0), Some(3)]);
    }
}

//! What a node says of itself.

use std::collections::BTreeMap;

use multiaddr::Multiaddr;
use serde::Serialize;

use super::Node;
use super::counters::NODE;
use super::peaks::Peak;
use crate::{Capabilities, Direction, Remote, Result, Time, Topic, Usage};

/// A connected remote, over one transport.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Peer {
    /// Who it is.
    pub remote: Remote,
    /// The address in use.
    pub addr: Option<Multiaddr>,
    /// The transport instance.
    pub transport: String,
    /// Who opened the connection.
    pub direction: Option<Direction>,
    /// Since when.
    pub since: Option<Time>,
    /// The topics it takes part in.
    pub topics: Vec<Topic>,
    /// Its score: 0 is the best, −100 is out.
    pub reputation: f64,
}

/// A transport instance.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct TransportInfo {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub listen: Vec<Multiaddr>,
    /// Whether broadcast is routed over it.
    pub broadcast: bool,
    /// Whether fetches are routed over it.
    pub fetch: bool,
    /// What it promises.
    pub capabilities: Capabilities,
    /// What it found out about what is behind it, such as the version of its daemon; empty where there is nothing to find
    /// out.
    pub facts: BTreeMap<String, String>,
}

/// The state of a node.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// The node's id.
    pub peer: String,
    /// Its network.
    pub network: String,
    /// Where it can be dialled, with `/p2p/`.
    pub addresses: Vec<Multiaddr>,
    /// Its transports.
    pub transports: Vec<TransportInfo>,
    /// How many links are up.
    pub links: usize,
    /// The topics it takes part in.
    pub topics: Vec<Topic>,
    /// What its store holds.
    pub store: Usage,
    /// Everything that was counted, by scope.
    pub counters: BTreeMap<String, BTreeMap<String, u64>>,
    /// How full the bounded queues ever were, by scope.
    pub peaks: BTreeMap<String, BTreeMap<String, Peak>>,
}

impl Node {
    /// Its transports, in the order of mounting.
    pub fn transports(&self) -> Vec<TransportInfo> {
        let router = &self.0.router;
        let info = |(at, mounted): (usize, &super::router::Mounted)| TransportInfo {
            name: mounted.mount.name.to_string(),
            listen: mounted.transport.listen_addrs(),
            broadcast: router.broadcast.contains(&at),
            fetch: router.fetch.contains(&at),
            capabilities: mounted.transport.capabilities(),
            facts: self.core().facts.of(&mounted.mount.name),
        };
        router.transports.iter().enumerate().map(info).collect()
    }

    /// What its transports promise together; `None` without any.
    pub fn capabilities(&self) -> Option<Capabilities> {
        let each = self.0.router.transports.iter().map(|mounted| mounted.transport.capabilities());
        each.reduce(|all, one| all.together(&one))
    }

    /// The connected remotes, over each transport.
    ///
    /// # Errors
    /// What a transport answers, `Closed`.
    pub async fn peers(&self) -> Result<Vec<Peer>> {
        let mut peers = Vec::new();
        for mounted in &self.open("peers")?.transports {
            for info in mounted.transport.peers().await? {
                peers.push(Peer {
                    addr: info.addrs.into_iter().next(),
                    transport: mounted.mount.name.to_string(),
                    direction: info.direction,
                    since: info.since,
                    topics: self.core().links.topics(&mounted.mount, &info.remote),
                    reputation: self.core().reputation.score(&info.remote),
                    remote: info.remote,
                });
            }
        }
        Ok(peers)
    }

    /// One of the node's own counters, such as `accepted`, summed over all scopes.
    pub fn counter(&self, name: &str) -> u64 {
        self.core().counters.all().values().filter_map(|counts| counts.get(name)).sum()
    }

    /// How full the bounded queues ever were, by scope: `node`, or the name of a transport instance. One that held nothing
    /// yet is left out.
    pub fn peaks(&self) -> BTreeMap<String, BTreeMap<String, Peak>> {
        self.core().peaks.all()
    }

    /// Everything `carrick status` shows.
    ///
    /// # Errors
    /// What the store answers, `Closed`.
    pub async fn status(&self) -> Result<Status> {
        self.open("status")?;
        let mut counters = self.core().counters.all();
        counters.entry(NODE.to_owned()).or_default();
        Ok(Status {
            peer: self.peer_id().to_string(),
            network: self.network().to_string(),
            addresses: self.listen_addrs(),
            transports: self.transports(),
            links: self.core().links.count(),
            topics: self.core().topics.joined(),
            store: self.store().usage().await?,
            counters,
            peaks: self.peaks(),
        })
    }
}

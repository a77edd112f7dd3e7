//! `[transport.libp2p]`.

mod gossipsub;
mod key;

use carrick_core::config::{Seconds, refuse};
use carrick_core::{Error, ErrorKind, Multiaddr, PeerAddr, Result, checked};
use libp2p::pnet::PreSharedKey;
use serde::{Deserialize, Deserializer, Serialize};
use std::path::PathBuf;

use crate::routing::{DhtMode, REPROVIDE_S, Routing, Settings, check_reprovide};
use crate::way::{self, Way};

pub use gossipsub::GossipsubConfig;

/// Most peers that a node may be told to look for.
const MAX_NEIGHBOURS: usize = 64;
/// Most addresses to listen on, or to announce.
const MAX_ADDRS: usize = 16;
/// The port that is listened on by default, over TCP and over UDP.
const PORT: u16 = 4_601;

/// The table `[transport.libp2p]`. Keys are called what Kubo and libp2p call them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Libp2pConfig {
    /// Where to listen: `/ip4/ADDRESS/tcp/PORT`, `/ip6/ADDRESS/tcp/PORT`, the same with `/udp/PORT/quic-v1`, or a relay,
    /// `/ip4/…/p2p/RELAY/p2p-circuit`; at most 16.
    ///
    /// `0.0.0.0` and `::` listen on every interface of their family; port 0 takes a free one. Empty: this node dials and is
    /// never dialled. Default `/ip4/0.0.0.0/tcp/4601` and `/ip4/0.0.0.0/udp/4601/quic-v1`; with a `swarm_key` the first alone.
    #[serde(deserialize_with = "checked_listen")]
    pub listen: Option<Vec<Multiaddr>>,
    /// Addresses that others are told instead of those listened on, at most 16: where a router or a load balancer passes
    /// connections on to this node. As Kubo's `Addresses.Announce`. Default none: those listened on.
    #[serde(deserialize_with = "checked_announce")]
    pub announce: Vec<Multiaddr>,
    /// Peers to stay connected to, as `/ip4/10.0.0.7/tcp/4601/p2p/12D3KooW…`; `/dns4/`, `/dns6/` and `/dns/` names are looked
    /// up at every dial. Kubo, Helia and others are dialled as well as nodes of Carrick.
    ///
    /// They are dialled again for ever, waiting 0.5 s at first and 30 s in the end. Default none.
    #[serde(deserialize_with = "checked_bootstrap")]
    pub bootstrap: Vec<PeerAddr>,
    /// How many nodes of its own network the node looks for by itself: while it has fewer, it dials peers whose signed
    /// records others passed on, and that mDNS finds.
    ///
    /// 0 dials the bootstrap peers alone. Range 0 to 64, default 8.
    #[serde(deserialize_with = "checked_neighbours")]
    pub neighbours: usize,
    /// The file with the key of a private network, an absolute path: Kubo's `swarm.key`. Whoever has not the same key cannot
    /// connect. Only TCP can carry it, as in Kubo. Default none.
    pub swarm_key: Option<PathBuf>,
    /// How content of strangers is found, and how they find ours. Default `private`.
    pub routing: Routing,
    /// Whether this node answers what others ask of the tables of `routing`. Default `auto`.
    pub dht: DhtMode,
    /// How long what was announced to the tables stands before it is announced again, in seconds; 0: it is announced once. Others
    /// forget it after 48 hours. Default 79,200, as Kubo; range 60 to 169,200, or 0.
    #[serde(deserialize_with = "checked_reprovide")]
    pub reprovide_interval: u64,
    /// Whether whole DAGs are asked of other nodes of Carrick in one request, over `/carrick/dag/1.0.0`; else all of them are
    /// asked by bitswap, as strangers are. Default true.
    pub dag: bool,
    /// Whether peers of this network are looked for on the local network by multicast. Default false.
    pub mdns: bool,
    /// Whether others are asked if they can dial this node, and asked back, so that it learns which of its addresses work.
    /// Default false.
    pub autonat: bool,
    /// Whether this node can be reached through a relay: name one in `listen`. Default false.
    pub relay_client: bool,
    /// Whether two nodes behind routers try to connect directly once a relay connected them (DCUtR). Needs
    /// `relay_client`. Default false.
    pub hole_punching: bool,
    /// How long a connection stays over which nothing is sent and that nobody asked to keep, in seconds. Default 60, range
    /// 0.001 to 3600.
    pub idle_timeout: Seconds,
    /// Memory of the process, in bytes, above which no new connection is taken. Default none.
    pub max_memory: Option<usize>,
    /// How messages spread.
    pub gossipsub: GossipsubConfig,
}

impl Default for Libp2pConfig {
    fn default() -> Self {
        Self {
            listen: None,
            announce: vec![],
            bootstrap: vec![],
            neighbours: 8,
            swarm_key: None,
            routing: Routing::default(),
            dht: DhtMode::default(),
            reprovide_interval: REPROVIDE_S,
            dag: true,
            mdns: false,
            autonat: false,
            relay_client: false,
            hole_punching: false,
            idle_timeout: Seconds::new(60),
            max_memory: None,
            gossipsub: GossipsubConfig::default(),
        }
    }
}

impl Libp2pConfig {
    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// `Config` names the key, what was found and what is allowed.
    pub fn check(&self) -> Result<()> {
        check_listen(&self.listen)?;
        check_announce(&self.announce)?;
        check_bootstrap(&self.bootstrap)?;
        check_neighbours(&self.neighbours)?;
        self.gossipsub.check()?;
        check_reprovide(&self.reprovide_interval)?;
        if self.hole_punching && !self.relay_client {
            return Err(wrong("hole_punching needs a relay that connects the two first")
                .mend("set relay_client = true, and name a relay in listen"));
        }
        self.check_private()
    }

    /// Where to listen.
    pub(crate) fn listen_addrs(&self) -> Vec<Multiaddr> {
        self.listen.clone().unwrap_or_else(|| {
            let all = [way::everywhere(Way::Tcp, PORT), way::everywhere(Way::Quic, PORT)];
            all.into_iter().take(if self.swarm_key.is_some() { 1 } else { 2 }).collect()
        })
    }

    /// The key of the private network.
    ///
    /// # Errors
    /// `Config` for a file that cannot be read or holds no key.
    pub(crate) fn read_swarm_key(&self) -> Result<Option<PreSharedKey>> {
        self.swarm_key.as_deref().map(key::read).transpose()
    }

    /// How routing is set up.
    ///
    /// # Errors
    /// `Config`.
    pub(crate) fn routing(&self) -> Result<Settings> {
        Settings::new(self.routing, self.dht, self.reprovide_interval)
    }

    fn check_private(&self) -> Result<()> {
        let Some(path) = &self.swarm_key else { return Ok(()) };
        if path.is_relative() {
            return Err(wrong(format!("swarm_key {} is a relative path", path.display()))
                .mend("write it as an absolute path: /etc/carrick/swarm.key"));
        }
        match self.listen_addrs().iter().find(|addr| way::is_quic(addr)) {
            Some(addr) => Err(wrong(format!(
                "listen has {addr}, and QUIC cannot carry a swarm_key: its encryption has no place for it"
            ))
            .mend("leave that address out, or the key")),
            None => Ok(()),
        }
    }
}

/// Whether a text is a swarm key: for the test of decoders.
#[cfg(feature = "fuzzing")]
pub(crate) fn is_swarm_key(text: &str) -> bool {
    key::parse(text).is_ok()
}

fn check_listen(listen: &Option<Vec<Multiaddr>>) -> Result<()> {
    let listen = listen.as_deref().unwrap_or_default();
    at_most("listen", listen.len())?;
    match listen.iter().find(|addr| !way::is_to_listen(addr)) {
        None => Ok(()),
        Some(addr) => Err(no_listen_address(&addr.to_string())),
    }
}

fn no_listen_address(found: &str) -> Error {
    wrong(format!("listen has {found:?}, which is no address to listen on"))
        .mend("write it as /ip4/0.0.0.0/tcp/4601 or /ip4/0.0.0.0/udp/4601/quic-v1")
}

fn check_announce(announce: &[Multiaddr]) -> Result<()> {
    at_most("announce", announce.len())?;
    match announce.iter().find(|addr| way::way(addr).is_none()) {
        None => Ok(()),
        Some(addr) => Err(wrong(format!("announce has {addr}, at which nobody can dial this node"))
            .mend("write it as /dns4/node.example.org/tcp/4601 or /ip4/198.51.100.7/udp/4601/quic-v1")),
    }
}

fn at_most(key: &str, found: usize) -> Result<()> {
    if found <= MAX_ADDRS {
        return Ok(());
    }
    Err(wrong(format!("{key} has {found} addresses; at most {MAX_ADDRS} are allowed")))
}

fn check_bootstrap(bootstrap: &[PeerAddr]) -> Result<()> {
    match bootstrap.iter().find(|peer| !peer.addrs.iter().any(|addr| way::way(addr).is_some())) {
        None => Ok(()),
        Some(peer) => Err(wrong(format!("bootstrap has {peer}, which is no address of libp2p"))
            .mend("write it as /ip4/10.0.0.7/tcp/4601/p2p/12D3KooW…")),
    }
}

fn check_neighbours(neighbours: &usize) -> Result<()> {
    if *neighbours > MAX_NEIGHBOURS {
        return Err(wrong(format!("neighbours is {neighbours}; allowed is 0 to {MAX_NEIGHBOURS}")));
    }
    Ok(())
}

/// Reads texts first: what is no address at all is named like one that is of no use.
fn checked_listen<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<Multiaddr>>, D::Error> {
    let texts = Option::<Vec<String>>::deserialize(from)?;
    let read = |text: String| text.parse().map_err(|_| no_listen_address(&text));
    let listen = texts.map(|texts| texts.into_iter().map(read).collect::<Result<Vec<_>>>()).transpose();
    let listen = listen.map_err(|error| refuse(&error))?;
    check_listen(&listen).map_err(|error| refuse(&error))?;
    Ok(listen)
}

checked!(checked_announce, Vec<Multiaddr>, check_announce);
checked!(checked_bootstrap, Vec<PeerAddr>, check_bootstrap);
checked!(checked_neighbours, usize, check_neighbours);
checked!(checked_reprovide, u64, check_reprovide);

fn wrong(detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, "configuration", detail.into())
}

#[cfg(test)]
mod tests;

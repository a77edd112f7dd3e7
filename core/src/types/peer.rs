//! The far end of a link.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use libp2p_identity::PeerId;
use multiaddr::Multiaddr;
use serde::{Deserialize, Serialize};

use crate::Time;

/// The other end of a link: a peer that proved its key, or a foreign party that has none of ours.
///
/// A Kubo daemon has a key of its own and a stock BitTorrent client none at all; both are `Foreign`, named in the
/// transport's own words, and never confused with a peer of the network.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Remote {
    /// A peer that proved the key behind its id on this link.
    Peer(PeerId),
    /// Anybody else, under a name that means something on its transport.
    Foreign(Arc<str>),
}

impl Remote {
    /// The proven peer id, if there is one.
    pub fn peer(&self) -> Option<&PeerId> {
        match self {
            Self::Peer(peer) => Some(peer),
            Self::Foreign(_) => None,
        }
    }
}

impl From<PeerId> for Remote {
    fn from(peer: PeerId) -> Self {
        Self::Peer(peer)
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(peer) => peer.fmt(f),
            Self::Foreign(name) => f.write_str(name),
        }
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Who opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The other end dialled us.
    Inbound,
    /// We dialled.
    Outbound,
}

/// A connected remote, as its transport sees it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PeerInfo {
    /// Who it is.
    pub remote: Remote,
    /// Where it is reached now; the address in use first.
    pub addrs: Vec<Multiaddr>,
    /// The last measured round trip, where the wire knows.
    pub rtt: Option<Duration>,
    /// Who opened the connection, where the wire knows.
    pub direction: Option<Direction>,
    /// Since when it is connected, where the wire knows.
    pub since: Option<Time>,
}

impl PeerInfo {
    /// A remote of which nothing more is known.
    pub fn new(remote: Remote) -> Self {
        Self { remote, addrs: vec![], rtt: None, direction: None, since: None }
    }
}

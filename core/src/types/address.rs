//! Where a peer can be dialled.

use std::fmt;
use std::str::FromStr;

use libp2p_identity::PeerId;
use multiaddr::{Multiaddr, Protocol};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::refuse;
use crate::{Error, ErrorKind, Result};

/// A peer to dial: its addresses and, where known, the id it must prove.
///
/// Written as one multiaddr, `/ip4/10.0.0.7/udp/4600/quic-v1/p2p/12D3KooW…`; without `/p2p/` whoever answers is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAddr {
    /// The id the far end must prove; `None` takes whoever answers.
    pub peer: Option<PeerId>,
    /// Where to try, in order, without the peer's `/p2p/`; that of a daemon which listens for it stays.
    pub addrs: Vec<Multiaddr>,
}

impl PeerAddr {
    /// A peer by its id, with addresses from elsewhere.
    pub fn new(peer: PeerId, addrs: Vec<Multiaddr>) -> Self {
        Self { peer: Some(peer), addrs }
    }
}

impl From<Multiaddr> for PeerAddr {
    fn from(mut addr: Multiaddr) -> Self {
        let peer = match addr.iter().last() {
            Some(Protocol::P2p(peer)) => Some(peer),
            _ => None,
        };
        if peer.is_some() {
            addr.pop();
        }
        Self { peer, addrs: if addr.is_empty() { vec![] } else { vec![addr] } }
    }
}

impl FromStr for PeerAddr {
    type Err = Error;

    /// Reads a multiaddr, or a bare peer id whose addresses the node may know.
    fn from_str(text: &str) -> Result<Self> {
        if let Ok(peer) = text.parse::<PeerId>() {
            return Ok(Self::new(peer, vec![]));
        }
        text.parse::<Multiaddr>().map(Self::from).map_err(|source| {
            Error::new(ErrorKind::Config, "address", format!("{text:?} is no address: {source}"))
                .mend("write it as /ip4/10.0.0.7/udp/4600/quic-v1/p2p/12D3KooW…; `carrick up` prints it")
        })
    }
}

impl fmt::Display for PeerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.addrs.first(), &self.peer) {
            (Some(addr), Some(peer)) => write!(f, "{addr}/p2p/{peer}"),
            (Some(addr), None) => addr.fmt(f),
            (None, Some(peer)) => peer.fmt(f),
            (None, None) => f.write_str("nowhere"),
        }
    }
}

impl Serialize for PeerAddr {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PeerAddr {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(|error| refuse(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_splits_into_peer_and_place() {
        let peer = libp2p_identity::Keypair::generate_ed25519().public().to_peer_id();
        let text = format!("/ip4/10.0.0.7/udp/4600/quic-v1/p2p/{peer}");
        let addr: PeerAddr = text.parse().expect("a good address");
        assert_eq!(addr.peer, Some(peer));
        assert_eq!(addr.addrs[0].to_string(), "/ip4/10.0.0.7/udp/4600/quic-v1");
        assert_eq!(addr.to_string(), text);
    }

    #[test]
    fn nonsense_is_refused_with_the_form_to_use() {
        let error = "10.0.0.7:4600".parse::<PeerAddr>().expect_err("no multiaddr");
        assert!(error.hint().is_some_and(|hint| hint.contains("/ip4/")));
    }
}

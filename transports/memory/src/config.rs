//! `[transport.memory]`.

use carrick_core::{Error, ErrorKind, Multiaddr, PeerAddr, Protocol, Result};
use serde::{Deserialize, Serialize};

/// The table `[transport.memory]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct MemoryConfig {
    /// Which network of this process to join; nodes meet only within one. Default `default`.
    pub network: String,
    /// The address to listen on, `/memory/N`; `/memory/0` takes a free one. Default a free one.
    pub listen: Multiaddr,
    /// Peers to stay connected to, as `/memory/7`, with or without `/p2p/12D3KooW…`, at most 64.
    ///
    /// They are dialled again for ever, waiting 0.5 s at first and 30 s in the end. Default none.
    pub bootstrap: Vec<PeerAddr>,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self { network: "default".into(), listen: address(0), bootstrap: vec![] }
    }
}

/// Most peers that a node may be told to look for.
const MAX_BOOTSTRAP: usize = 64;

impl MemoryConfig {
    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// `Config` names the key, what was found and what is allowed.
    pub fn check(&self) -> Result<()> {
        if number(&self.listen).is_none() {
            return Err(wrong(format!("listen is {}, which is no /memory/N", self.listen)));
        }
        if self.bootstrap.len() > MAX_BOOTSTRAP {
            let found = self.bootstrap.len();
            return Err(wrong(format!("bootstrap has {found} peers; at most {MAX_BOOTSTRAP} are allowed")));
        }
        match self.bootstrap.iter().find(|peer| numbers(peer).next().is_none()) {
            Some(peer) => Err(wrong(format!("bootstrap has {peer}, which is no /memory/N"))),
            None => Ok(()),
        }
    }
}

fn wrong(detail: String) -> Error {
    Error::new(ErrorKind::Config, "open", detail).mend("write addresses of this transport as /memory/7")
}

/// The address of a place.
pub(crate) fn address(number: u64) -> Multiaddr {
    Multiaddr::empty().with(Protocol::Memory(number))
}

/// The place that an address means, if it is one of this transport.
pub(crate) fn number(addr: &Multiaddr) -> Option<u64> {
    let mut parts = addr.iter();
    match (parts.next(), parts.next()) {
        (Some(Protocol::Memory(number)), None) => Some(number),
        _ => None,
    }
}

/// The places where a peer may be.
pub(crate) fn numbers(peer: &PeerAddr) -> impl Iterator<Item = u64> + '_ {
    peer.addrs.iter().filter_map(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_number_and_nothing_else() {
        assert_eq!(number(&address(7)), Some(7));
        for other in ["/ip4/10.0.0.7/udp/4600/quic-v1", "/memory/7/tcp/1"] {
            assert_eq!(number(&other.parse().expect("an address")), None);
        }
    }

    #[test]
    fn a_wrong_address_is_named() {
        MemoryConfig::default().check().expect("the defaults are valid");
        let quic: PeerAddr = "/ip4/10.0.0.7/udp/4600/quic-v1".parse().expect("an address");
        let config = MemoryConfig { bootstrap: vec![quic], ..MemoryConfig::default() };
        let error = config.check().expect_err("not of this transport");
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.detail().starts_with("bootstrap has /ip4/10.0.0.7"), "{error}");
    }
}

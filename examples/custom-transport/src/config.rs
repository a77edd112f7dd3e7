//! `[transport.tcp]`, and the addresses of this transport.

use std::net::{Ipv4Addr, SocketAddr};

use carrick_core::{Error, ErrorKind, Multiaddr, PeerAddr, Protocol, Result};
use serde::Deserialize;

/// What an address of this transport looks like.
pub(crate) const EXAMPLE: &str = "/ip4/10.0.0.7/tcp/4700/p2p/12D3KooW…";

/// The table `[transport.tcp]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct TcpConfig {
    /// Where to listen, `/ip4/ADDRESS/tcp/PORT` or `/ip6/ADDRESS/tcp/PORT`; port 0 takes a free one.
    ///
    /// Others are told this address, so it must be one at which they reach us: `0.0.0.0` is refused. Default
    /// `/ip4/127.0.0.1/tcp/4700`.
    pub listen: Multiaddr,
    /// Peers to stay connected to, as `/ip4/10.0.0.7/tcp/4700/p2p/12D3KooW…`.
    ///
    /// They are dialled again for ever, waiting 0.5 s at first and 30 s in the end. Default none.
    pub bootstrap: Vec<PeerAddr>,
}

impl Default for TcpConfig {
    fn default() -> Self {
        Self { listen: multiaddr((Ipv4Addr::LOCALHOST, 4700).into()), bootstrap: vec![] }
    }
}

impl TcpConfig {
    /// Checks what the types cannot say; answers where to listen.
    ///
    /// # Errors
    /// `Config` names the key, what was found and what is allowed.
    pub fn check(&self) -> Result<SocketAddr> {
        let wrong = |detail| {
            let error = Error::new(ErrorKind::Config, "configuration", detail);
            error.mend(format!("write addresses as {EXAMPLE}"))
        };
        let is_ours = |peer: &PeerAddr| peer.addrs.iter().any(|addr| socket_addr(addr).is_some());
        if let Some(peer) = self.bootstrap.iter().find(|peer| !is_ours(peer)) {
            return Err(wrong(format!("bootstrap has {peer}, which is no address of this transport")));
        }
        let listen = socket_addr(&self.listen).filter(|addr| !addr.ip().is_unspecified());
        listen.ok_or_else(|| wrong(format!("listen is {}, at which nobody reaches this node", self.listen)))
    }
}

/// The socket that an address means, if it is one of this transport.
pub(crate) fn socket_addr(addr: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = addr.iter();
    match (parts.next()?, parts.next()?, parts.next()) {
        (Protocol::Ip4(ip), Protocol::Tcp(port), None) => Some((ip, port).into()),
        (Protocol::Ip6(ip), Protocol::Tcp(port), None) => Some((ip, port).into()),
        _ => None,
    }
}

/// The address of a socket.
pub(crate) fn multiaddr(socket: SocketAddr) -> Multiaddr {
    Multiaddr::from(socket.ip()).with(Protocol::Tcp(socket.port()))
}

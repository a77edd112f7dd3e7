//! How an address is dialled.

use std::net::Ipv4Addr;

use carrick_core::{Multiaddr, Protocol};

/// What carries a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// TCP, with Noise and Yamux over it.
    Tcp,
    /// QUIC.
    Quic,
    /// A peer between the two.
    Relay,
}

/// How an address is dialled, with or without the peer at its end; `None` for one of another transport, or of nobody.
pub(crate) fn way(addr: &Multiaddr) -> Option<Way> {
    let mut parts = addr.iter().peekable();
    let host = parts.next()?;
    let named = match host {
        Protocol::Ip4(ip) => !ip.is_unspecified(),
        Protocol::Ip6(ip) => !ip.is_unspecified(),
        Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_) | Protocol::Dnsaddr(_) => true,
        _ => false,
    };
    let way = match (&host, parts.next()) {
        (Protocol::Dnsaddr(_), None | Some(Protocol::P2p(_))) => return named.then_some(Way::Tcp),
        (_, Some(Protocol::Tcp(port))) if port != 0 => Way::Tcp,
        (_, Some(Protocol::Udp(port))) if port != 0 && parts.next() == Some(Protocol::QuicV1) => Way::Quic,
        _ => return None,
    };
    let way = match (parts.next(), parts.next(), parts.next()) {
        (None | Some(Protocol::P2p(_)), None, None) => way,
        (Some(Protocol::P2p(_)), Some(Protocol::P2pCircuit), None | Some(Protocol::P2p(_))) => Way::Relay,
        _ => return None,
    };
    (named && parts.next().is_none()).then_some(way)
}

/// Whether an address can be listened on: wildcards and port 0 are allowed, names are not.
pub(crate) fn is_to_listen(addr: &Multiaddr) -> bool {
    let parts: Vec<_> = addr.iter().collect();
    match parts[..] {
        [Protocol::Ip4(_) | Protocol::Ip6(_), Protocol::Tcp(_)]
        | [Protocol::Ip4(_) | Protocol::Ip6(_), Protocol::Udp(_), Protocol::QuicV1] => true,
        _ => parts.last() == Some(&Protocol::P2pCircuit) && way(addr) == Some(Way::Relay),
    }
}

/// Whether an address is one of QUIC, to dial or to listen on.
pub(crate) fn is_quic(addr: &Multiaddr) -> bool {
    addr.iter().any(|part| matches!(part, Protocol::QuicV1 | Protocol::Quic))
}

/// Every interface of this machine.
pub(crate) fn everywhere(way: Way, port: u16) -> Multiaddr {
    let addr = Multiaddr::from(Ipv4Addr::UNSPECIFIED);
    match way {
        Way::Quic => addr.with(Protocol::Udp(port)).with(Protocol::QuicV1),
        Way::Tcp | Way::Relay => addr.with(Protocol::Tcp(port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

    fn addr(text: &str) -> Multiaddr {
        text.replace("PEER", PEER).parse().expect(text)
    }

    #[test]
    fn addresses_of_this_transport_are_known_by_their_way() {
        for (text, expected) in [
            ("/ip4/10.0.0.7/tcp/4601", Some(Way::Tcp)),
            ("/ip4/10.0.0.7/tcp/4601/p2p/PEER", Some(Way::Tcp)),
            ("/dns4/example.org/udp/4601/quic-v1/p2p/PEER", Some(Way::Quic)),
            ("/dnsaddr/bootstrap.example.org", Some(Way::Tcp)),
            ("/ip6/::1/tcp/1/p2p/PEER/p2p-circuit", Some(Way::Relay)),
            ("/ip6/::1/tcp/1/p2p/PEER/p2p-circuit/p2p/PEER", Some(Way::Relay)),
            ("/ip4/0.0.0.0/tcp/4601", None),
            ("/ip4/10.0.0.7/tcp/0", None),
            ("/ip4/10.0.0.7/udp/4601", None),
            ("/ip4/10.0.0.7/tcp/4601/ws", None),
            ("/memory/7", None),
            ("/p2p/PEER", None),
        ] {
            assert_eq!(way(&addr(text)), expected, "{text}");
        }
    }

    #[test]
    fn wildcards_can_be_listened_on_and_names_cannot() {
        for (text, expected) in [
            ("/ip4/0.0.0.0/tcp/0", true),
            ("/ip6/::/udp/4601/quic-v1", true),
            ("/ip4/10.0.0.7/tcp/1/p2p/PEER/p2p-circuit", true),
            ("/dns4/example.org/tcp/4601", false),
            ("/ip4/10.0.0.7/tcp/1/p2p/PEER", false),
        ] {
            assert_eq!(is_to_listen(&addr(text)), expected, "{text}");
        }
    }
}

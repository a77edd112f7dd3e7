//! Multiaddrs of QUIC, and the sockets behind them.

use std::net::{IpAddr, SocketAddr};

use carrick_core::{Multiaddr, Protocol};

/// What to dial: a socket, or a name to look up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// An address of IPv4 or IPv6.
    Socket(SocketAddr),
    /// A name and a port.
    Name(String, u16, Family),
}

/// Which addresses of a name count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// All.
    Any,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

impl Family {
    /// Whether an address belongs to it.
    pub(crate) fn has(self, addr: &SocketAddr) -> bool {
        match self {
            Self::Any => true,
            Self::V4 => addr.is_ipv4(),
            Self::V6 => addr.is_ipv6(),
        }
    }
}

/// The target of `/…/udp/PORT/quic-v1`; `None` for an address of another transport, or of nobody.
pub(crate) fn target(addr: &Multiaddr) -> Option<Target> {
    let mut parts = addr.iter();
    let host = parts.next()?;
    let (Protocol::Udp(port), Protocol::QuicV1) = (parts.next()?, parts.next()?) else { return None };
    if port == 0 || !matches!(parts.next(), None | Some(Protocol::P2p(_))) || parts.next().is_some() {
        return None;
    }
    let socket = |ip: IpAddr| (!ip.is_unspecified()).then_some(Target::Socket((ip, port).into()));
    match host {
        Protocol::Ip4(ip) => socket(ip.into()),
        Protocol::Ip6(ip) => socket(ip.into()),
        Protocol::Dns(name) => Some(Target::Name(name.into_owned(), port, Family::Any)),
        Protocol::Dns4(name) => Some(Target::Name(name.into_owned(), port, Family::V4)),
        Protocol::Dns6(name) => Some(Target::Name(name.into_owned(), port, Family::V6)),
        _ => None,
    }
}

/// Whether this transport can dial an address.
pub(crate) fn is_quic(addr: &Multiaddr) -> bool {
    target(addr).is_some()
}

/// The socket to listen on; here wildcards and port 0 are allowed, names are not.
pub(crate) fn to_listen(addr: &Multiaddr) -> Option<SocketAddr> {
    let parts: Vec<_> = addr.iter().collect();
    match parts[..] {
        [Protocol::Ip4(ip), Protocol::Udp(port), Protocol::QuicV1] => Some((ip, port).into()),
        [Protocol::Ip6(ip), Protocol::Udp(port), Protocol::QuicV1] => Some((ip, port).into()),
        _ => None,
    }
}

/// The address of a socket.
pub(crate) fn of_socket(socket: SocketAddr) -> Multiaddr {
    Multiaddr::empty()
        .with(socket.ip().to_canonical().into())
        .with(Protocol::Udp(socket.port()))
        .with(Protocol::QuicV1)
}

/// The addresses that others can dial: a wildcard becomes those of the interfaces of its family.
///
/// Loopback stands for a wildcard only where there is nothing else, and addresses that need a zone never: on
/// another machine they mean something else.
pub(crate) fn reachable(bound: SocketAddr, interfaces: &[IpAddr]) -> Vec<Multiaddr> {
    if !bound.ip().is_unspecified() {
        return vec![of_socket(bound)];
    }
    let family = interfaces.iter().filter(|ip| ip.is_ipv4() == bound.is_ipv4());
    let (loopback, mut ips): (Vec<_>, Vec<_>) =
        family.copied().filter(|ip| !needs_zone(ip)).partition(IpAddr::is_loopback);
    if ips.is_empty() {
        ips = loopback;
    }
    ips.sort_unstable();
    ips.dedup();
    ips.into_iter().map(|ip| of_socket((ip, bound.port()).into())).collect()
}

fn needs_zone(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> Multiaddr {
        text.parse().expect("a multiaddr")
    }

    #[test]
    fn quic_addresses_are_told_from_others() {
        let socket = Target::Socket("10.0.0.7:4600".parse().expect("socket"));
        assert_eq!(target(&addr("/ip4/10.0.0.7/udp/4600/quic-v1")), Some(socket));
        let name = Target::Name("example.org".into(), 1, Family::V6);
        assert_eq!(target(&addr("/dns6/example.org/udp/1/quic-v1")), Some(name));
        assert!(is_quic(&addr("/ip6/::1/udp/4600/quic-v1")));
        for other in [
            "/ip4/10.0.0.7/tcp/4600",
            "/ip4/10.0.0.7/udp/4600",
            "/ip4/10.0.0.7/udp/0/quic-v1",
            "/ip4/0.0.0.0/udp/4600/quic-v1",
            "/ip4/10.0.0.7/udp/4600/quic-v1/webtransport",
        ] {
            assert!(!is_quic(&addr(other)), "{other}");
        }
    }

    #[test]
    fn a_wildcard_becomes_the_interfaces_of_its_family() {
        let ips: Vec<IpAddr> = ["127.0.0.1", "10.0.0.7", "169.254.1.1", "fe80::1", "fd00::7", "::1"]
            .map(|ip| ip.parse().expect("ip"))
            .into();
        let text = |bound: &str, ips: &[IpAddr]| -> Vec<String> {
            reachable(bound.parse().expect("socket"), ips).iter().map(ToString::to_string).collect()
        };
        assert_eq!(text("0.0.0.0:4600", &ips), ["/ip4/10.0.0.7/udp/4600/quic-v1"]);
        assert_eq!(text("[::]:4600", &ips), ["/ip6/fd00::7/udp/4600/quic-v1"]);
        assert_eq!(text("0.0.0.0:1", &ips[..1]), ["/ip4/127.0.0.1/udp/1/quic-v1"]);
        assert_eq!(text("127.0.0.1:2", &ips), ["/ip4/127.0.0.1/udp/2/quic-v1"]);
    }
}

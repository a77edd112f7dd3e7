//! Which addresses are told to others, and which are taken from them.
//!
//! An address means something only where it can be reached: `127.0.0.1` is another machine for everybody else, and
//! `10.0.0.7` another one in every house. The library passes all of them on. Here each is put into a [`Class`], and a
//! [`Rule`] says which classes pass: one for the own network, one for a LAN, one for the public IPFS network. What does not
//! pass is neither told nor dialled. That holds for addresses in numbers: a name is judged by its ending alone, and whoever
//! owns it decides what it leads to when it is dialled, also to a service of this house.

use std::net::{Ipv4Addr, Ipv6Addr};

use carrick_core::{Multiaddr, PeerId, Protocol};

/// Most addresses kept of one peer.
pub(crate) const MAX_OF_PEER: usize = 16;
/// Most bytes of the addresses of one peer: an answer of a table names 40 peers.
pub(crate) const MAX_BYTES_OF_PEER: usize = 1_200;
/// Longest address, in bytes; those of relays with certificate hashes take about 200.
pub(crate) const MAX_BYTES: usize = 512;

/// From where an address can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// This machine alone.
    Loopback,
    /// One link, with a zone.
    LinkLocal,
    /// One house or network: RFC 1918, unique local, names such as `printer.local`.
    Private,
    /// One provider: RFC 6598, behind its address translation.
    Shared,
    /// Nowhere: examples in documents.
    Documentation,
    /// Everywhere.
    Global,
    /// Nowhere: wildcards, multicast, port 0, without an address at all.
    Unusable,
}

/// Among whom addresses are passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The own network, whoever is in it and wherever.
    Private,
    /// Machines that reach each other without the internet.
    Lan,
    /// Everybody.
    World,
}

/// Which addresses pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// Among whom.
    pub(crate) scope: Scope,
    /// Whether loopback counts: because this node listens nowhere else, or the one at the far end is on it, too. Never in
    /// [`Scope::World`].
    pub(crate) loopback: bool,
}

impl Rule {
    /// A rule without loopback.
    pub(crate) fn new(scope: Scope) -> Self {
        Self { scope, loopback: false }
    }

    /// The same rule towards a peer whose connection has this address: on loopback its loopback addresses count.
    pub(crate) fn towards(self, remote: &Multiaddr) -> Self {
        Self { loopback: self.loopback || class(remote) == Class::Loopback, ..self }
    }

    /// Whether an address of ours is told, and one of somebody else is taken, so that it may be dialled and passed on.
    pub(crate) fn passes(self, addr: &Multiaddr) -> bool {
        addr.len() <= MAX_BYTES
            && match (class(addr), self.scope) {
                (Class::Global, _) => true,
                (Class::Documentation | Class::Unusable, _) | (_, Scope::World) => false,
                (Class::Loopback, _) => self.loopback,
                (Class::LinkLocal | Class::Private | Class::Shared, _) => true,
            }
    }

    /// The addresses of a peer that are taken: each once, without the peer's own `/p2p/`, at most [`MAX_OF_PEER`] and
    /// [`MAX_BYTES_OF_PEER`].
    pub(crate) fn of_peer<'a>(
        self,
        peer: &PeerId,
        addrs: impl IntoIterator<Item = &'a Multiaddr>,
    ) -> Vec<Multiaddr> {
        let (mut kept, mut bytes) = (Vec::new(), 0);
        for addr in addrs {
            if kept.len() == MAX_OF_PEER {
                break;
            }
            let Some(addr) = without_peer(addr, peer) else { continue };
            let fits = bytes + addr.len() <= MAX_BYTES_OF_PEER;
            if fits && self.passes(&addr) && !kept.contains(&addr) {
                bytes += addr.len();
                kept.push(addr);
            }
        }
        kept
    }
}

/// Whether a node that listens on these addresses can be reached on loopback alone. Nowhere is not loopback.
pub(crate) fn only_loopback<'a>(listening: impl IntoIterator<Item = &'a Multiaddr>) -> bool {
    let mut listening = listening.into_iter().map(class).filter(|class| *class != Class::Unusable).peekable();
    listening.peek().is_some() && listening.all(|class| class == Class::Loopback)
}

/// Whether an address leads over a relay.
pub(crate) fn is_relayed(addr: &Multiaddr) -> bool {
    addr.iter().any(|part| part == Protocol::P2pCircuit)
}

/// An address without the `/p2p/` of its peer at the end; `None` when it names another peer there.
///
/// What stands before `/p2p-circuit` is the relay and stays.
pub(crate) fn without_peer(addr: &Multiaddr, peer: &PeerId) -> Option<Multiaddr> {
    let mut bare = addr.clone();
    match addr.iter().last()? {
        Protocol::P2p(named) if named == *peer => bare.pop(),
        Protocol::P2p(_) => return None,
        _ => return Some(bare),
    };
    (!bare.is_empty()).then_some(bare)
}

/// From where an address can be reached; that of a relayed one is the relay's.
pub(crate) fn class(addr: &Multiaddr) -> Class {
    let mut parts = addr.iter().peekable();
    parts.next_if(|part| matches!(part, Protocol::Ip6zone(_)));
    let class = match parts.next() {
        Some(Protocol::Ip4(ip)) => of_ip4(ip),
        Some(Protocol::Ip6(ip)) => of_ip6(ip),
        Some(Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name) | Protocol::Dnsaddr(name)) => {
            of_name(&name)
        }
        // In one process.
        Some(Protocol::Memory(port)) if port != 0 => return Class::Loopback,
        _ => return Class::Unusable,
    };
    match parts.next() {
        Some(Protocol::Tcp(0) | Protocol::Udp(0)) => Class::Unusable,
        _ => class,
    }
}

fn of_ip4(ip: Ipv4Addr) -> Class {
    match ip.octets() {
        [127, ..] => Class::Loopback,
        [169, 254, ..] => Class::LinkLocal,
        // The last are for measurements between two networks, and used like the others.
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [198, 18..=19, ..] => Class::Private,
        [100, 64..=127, ..] => Class::Shared,
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Class::Documentation,
        [0, ..] | [192, 0, 0, _] | [224..=255, ..] => Class::Unusable,
        _ => Class::Global,
    }
}

fn of_ip6(ip: Ipv6Addr) -> Class {
    if ip.is_loopback() {
        return Class::Loopback;
    }
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        of_ip4(Ipv4Addr::new(a, b, c, d))
    };
    match ip.segments() {
        // An IPv4 address in another form: mapped, translated, 6to4.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        [0x2002, high, low, ..] => embedded(high, low),
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Class::Documentation,
        [0xfe80..=0xfebf, ..] => Class::LinkLocal,
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => Class::Private,
        [0x2000..=0x3fff, ..] => Class::Global,
        _ => Class::Unusable,
    }
}

/// Names are not looked up here: what is private by its ending is, all others may be anywhere.
fn of_name(name: &str) -> Class {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    match name.rsplit_once('.').map_or(name.as_str(), |(_, end)| end) {
        "" => Class::Unusable,
        "localhost" => Class::Loopback,
        "local" | "internal" | "lan" | "home" | "intranet" => Class::Private,
        "example" | "test" | "invalid" => Class::Documentation,
        _ if name == "home.arpa" || name.ends_with(".home.arpa") => Class::Private,
        // One word is a machine of the house.
        _ if !name.contains('.') => Class::Private,
        _ => Class::Global,
    }
}

#[cfg(test)]
mod tests;

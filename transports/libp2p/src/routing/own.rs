//! The addresses of this node, as one table tells them.

use carrick_core::Multiaddr;
use libp2p::swarm::FromSwarm;

use crate::address::{Class, MAX_OF_PEER, Rule, Scope, class, is_relayed, only_loopback};

/// What this node listens on, what was confirmed from outside, and what of it is told.
#[derive(Debug)]
pub(super) struct Own {
    scope: Scope,
    listening: Vec<Multiaddr>,
    confirmed: Vec<Multiaddr>,
    told: Vec<Multiaddr>,
}

impl Own {
    pub(super) fn new(scope: Scope) -> Self {
        Self { scope, listening: vec![], confirmed: vec![], told: vec![] }
    }

    pub(super) fn scope(&self) -> Scope {
        self.scope
    }

    /// Loopback counts where this node can be reached nowhere else.
    pub(super) fn rule(&self) -> Rule {
        let all = self.listening.iter().chain(&self.confirmed);
        Rule { scope: self.scope, loopback: self.scope != Scope::World && only_loopback(all) }
    }

    /// Whether somebody outside confirmed an address that leads here without a relay.
    pub(super) fn is_public(&self) -> bool {
        self.confirmed.iter().any(|addr| class(addr) == Class::Global && !is_relayed(addr))
    }

    /// Takes an event about our own addresses; `false` for every other.
    pub(super) fn on_swarm_event(&mut self, event: &FromSwarm<'_>) -> bool {
        match event {
            FromSwarm::NewListenAddr(event) => add(&mut self.listening, event.addr),
            FromSwarm::ExpiredListenAddr(event) => self.listening.retain(|addr| addr != event.addr),
            FromSwarm::ExternalAddrConfirmed(event) => add(&mut self.confirmed, event.addr),
            FromSwarm::ExternalAddrExpired(event) => self.confirmed.retain(|addr| addr != event.addr),
            _ => return false,
        }
        true
    }

    /// Which addresses are told no more, and which are new. Those that were confirmed come first.
    pub(super) fn changes(&mut self) -> (Vec<Multiaddr>, Vec<Multiaddr>) {
        let rule = self.rule();
        let mut told: Vec<Multiaddr> = Vec::new();
        for addr in self.confirmed.iter().chain(&self.listening) {
            if told.len() < MAX_OF_PEER && rule.passes(addr) && !told.contains(addr) {
                told.push(addr.clone());
            }
        }
        let gone = self.told.iter().filter(|addr| !told.contains(addr)).cloned().collect();
        let come = told.iter().filter(|addr| !self.told.contains(addr)).cloned().collect();
        self.told = told;
        (gone, come)
    }
}

fn add(list: &mut Vec<Multiaddr>, addr: &Multiaddr) {
    if !list.contains(addr) {
        list.push(addr.clone());
    }
}

#[cfg(test)]
mod tests {
    use libp2p::core::transport::ListenerId;
    use libp2p::swarm::behaviour::{ExternalAddrConfirmed, ExternalAddrExpired, NewListenAddr};

    use super::*;

    fn addr(text: &str) -> Multiaddr {
        text.parse().expect("a multiaddr")
    }

    fn listening(scope: Scope, addrs: &[&str]) -> Own {
        let mut own = Own::new(scope);
        for text in addrs {
            let (listener_id, addr) = (ListenerId::next(), &addr(text));
            assert!(own.on_swarm_event(&FromSwarm::NewListenAddr(NewListenAddr { listener_id, addr })));
        }
        own
    }

    fn confirm(own: &mut Own, text: &str) {
        own.on_swarm_event(&FromSwarm::ExternalAddrConfirmed(ExternalAddrConfirmed { addr: &addr(text) }));
    }

    fn told(own: &mut Own) -> Vec<String> {
        own.changes();
        own.told.iter().map(ToString::to_string).collect()
    }

    const EVERYWHERE: [&str; 3] = ["/ip4/127.0.0.1/tcp/1", "/ip4/10.0.0.7/tcp/1", "/ip6/2606:4700::7/tcp/1"];

    #[test]
    fn the_world_is_told_global_addresses_alone() {
        let mut own = listening(Scope::World, &EVERYWHERE);
        confirm(&mut own, "/ip4/192.168.0.1/tcp/1");
        assert_eq!(told(&mut own), ["/ip6/2606:4700::7/tcp/1"]);
        assert!(told(&mut listening(Scope::World, &["/ip4/127.0.0.1/tcp/1"])).is_empty());
    }

    #[test]
    fn the_own_network_is_told_all_but_loopback_and_that_too_where_there_is_nothing_else() {
        for scope in [Scope::Private, Scope::Lan] {
            assert_eq!(told(&mut listening(scope, &EVERYWHERE)), EVERYWHERE[1..]);
            let mut own = listening(scope, &EVERYWHERE[..1]);
            assert_eq!(told(&mut own), EVERYWHERE[..1]);
            confirm(&mut own, "/ip4/10.0.0.7/tcp/1");
            let (gone, come) = own.changes();
            assert_eq!((gone, come), (vec![addr(EVERYWHERE[0])], vec![addr(EVERYWHERE[1])]));
        }
    }

    #[test]
    fn a_node_is_public_while_an_address_is_confirmed_that_leads_to_it_without_a_relay() {
        let relay = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
        let mut own = listening(Scope::World, &EVERYWHERE);
        assert!(!own.is_public(), "nobody outside said so");
        for no in ["/ip4/10.0.0.7/tcp/1", &format!("/ip4/8.8.8.8/tcp/1/p2p/{relay}/p2p-circuit")] {
            confirm(&mut own, no);
            assert!(!own.is_public(), "{no}");
        }
        confirm(&mut own, "/ip4/8.8.8.8/tcp/4001");
        assert!(own.is_public());
        let addr = &addr("/ip4/8.8.8.8/tcp/4001");
        own.on_swarm_event(&FromSwarm::ExternalAddrExpired(ExternalAddrExpired { addr }));
        assert!(!own.is_public());
    }
}

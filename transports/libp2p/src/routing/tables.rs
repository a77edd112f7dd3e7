//! The tables of a node: none, its own or that of the LAN, or the LAN's beside the public one.

use carrick_core::{Host, Multiaddr, PeerId, Result};
use libp2p::StreamProtocol;
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;

use super::config::Settings;
use super::dht::Dht;
use super::found::Found;
use super::records::{Bounds, Records};
use crate::address::{Class, Rule, Scope, class};

/// One of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Which {
    /// That of the network or the LAN.
    Near,
    /// The public one.
    World,
}

/// All of them, for the swarm.
#[derive(NetworkBehaviour)]
pub(crate) struct Tables {
    near: Toggle<Dht>,
    world: Toggle<Dht>,
}

impl Tables {
    /// Those that are configured.
    pub(super) fn new(settings: &Settings, host: &Host) -> Result<Self> {
        let (mut near, mut world) = (None, None);
        for (name, scope) in settings.routing.tables(host.network().as_str()) {
            let protocol = StreamProtocol::try_from_owned(name).map_err(|error| {
                carrick_core::Error::new(carrick_core::ErrorKind::Config, "open", error.to_string())
            })?;
            let records = Records::new(host.me(), Rule::new(scope), Bounds::default());
            let table = Dht::new(host.me(), protocol, scope, settings.dht, records);
            let place = if scope == Scope::World { &mut world } else { &mut near };
            *place = Some(table);
        }
        Ok(Self { near: near.into(), world: world.into() })
    }

    /// Each that there is.
    pub(super) fn each(&mut self) -> impl Iterator<Item = (Which, &mut Dht)> {
        let near = self.near.as_mut().map(|table| (Which::Near, table));
        near.into_iter().chain(self.world.as_mut().map(|table| (Which::World, table)))
    }

    /// One of them.
    pub(super) fn get(&mut self, which: Which) -> Option<&mut Dht> {
        match which {
            Which::Near => self.near.as_mut(),
            Which::World => self.world.as_mut(),
        }
    }

    /// Whether there is none.
    pub(super) fn is_none(&self) -> bool {
        !self.near.is_enabled() && !self.world.is_enabled()
    }

    /// A peer said what it speaks and where it listens: it is in each table that it answers in. Answers their protocols.
    ///
    /// Who is connected over the internet does not belong into the LAN's table beside the public one.
    pub(super) fn identified(
        &mut self,
        peer: &PeerId,
        protocols: &[StreamProtocol],
        addrs: &[Multiaddr],
        remote: Option<&Multiaddr>,
    ) -> Vec<String> {
        let far = self.world.is_enabled() && remote.is_some_and(|remote| class(remote) == Class::Global);
        let mut serves = Vec::new();
        for (which, table) in self.each() {
            if protocols.contains(table.protocol()) && !(far && which == Which::Near) {
                table.add(peer, addrs, remote);
                serves.push(table.protocol().to_string());
            } else {
                table.remove(peer);
            }
        }
        serves
    }
}

impl From<TablesEvent> for (Which, Found) {
    fn from(event: TablesEvent) -> Self {
        match event {
            TablesEvent::Near(found) => (Which::Near, found),
            TablesEvent::World(found) => (Which::World, found),
        }
    }
}

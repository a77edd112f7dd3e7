//! What happens in the swarm, and who hears of it.

use std::sync::Arc;

use carrick_core::links::Reason;
use carrick_core::{Misdeed, Multiaddr, PeerId, Remote};
use libp2p::core::ConnectedPoint;
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{ConnectionId, SwarmEvent};
use libp2p::{identify, mdns, ping};
use tokio::time::Instant;

use super::command::End;
use super::{Task, bare};
use crate::error::refusal;
use crate::net::BehaviourEvent;
use crate::{bitswap, dag, link, streams, way};

impl Task {
    /// Something happened in the swarm.
    pub(super) fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour(event),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.connected(peer_id, connection_id, &endpoint);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, num_established, .. } => {
                if num_established == 0 {
                    self.gone(&peer_id);
                } else if let Some(ends) = self.ends.get_mut(&peer_id) {
                    ends.retain(|end| end.connection != connection_id);
                }
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                if let Some(reply) = self.dials.remove(&connection_id) {
                    let _ = reply.send(Err(refusal(error)));
                }
            }
            SwarmEvent::IncomingConnectionError { .. } => self.shared.host.count("handshakes_failed", 1),
            SwarmEvent::NewListenAddr { .. }
            | SwarmEvent::ExternalAddrConfirmed { .. }
            | SwarmEvent::ExternalAddrExpired { .. } => self.listens(),
            SwarmEvent::ExpiredListenAddr { address, .. } => self.listens_no_more(&address),
            SwarmEvent::ListenerClosed { listener_id, addresses, .. } => {
                self.relays.remove(&listener_id);
                addresses.iter().for_each(|addr| self.listens_no_more(addr));
            }
            SwarmEvent::ListenerError { error, .. } => tracing::debug!(%error, "a listener failed"),
            _ => {}
        }
    }

    fn connected(&mut self, peer: PeerId, id: ConnectionId, end: &ConnectedPoint) {
        let addr = bare(end.get_remote_address());
        let end =
            End { connection: id, addr, dialled: end.is_dialer(), since: Instant::now(), parted: false };
        let (asked, linked) = (self.dials.contains_key(&id), self.shared.hub.link(&peer).is_some());
        if end.dialled && !asked && !linked && self.shared.hub.is_settled(&peer) {
            // Kademlia dialled whom a user parted from.
            self.swarm.close_connection(id);
            return;
        }
        self.ends.entry(peer).or_default().push(end.clone());
        if let Some(reply) = self.dials.remove(&id) {
            let _ = reply.send(Ok((peer, end)));
        } else if end.dialled && !linked {
            // Kademlia dialled it, for example.
            let shared = Arc::clone(&self.shared);
            self.shared.hub.spawn(async move {
                let greeting = shared.greet(peer, end.addr);
                if let Some(Err(why)) = shared.hub.closing().run_until_cancelled(greeting).await {
                    tracing::debug!(%peer, ?why, "no link");
                }
            });
        }
    }

    /// The last connection to a peer ended.
    fn gone(&mut self, peer: &PeerId) {
        self.ends.remove(peer);
        self.shared.rtt().remove(peer);
        self.shared.without_dag().remove(peer);
        self.sessions.remove(peer);
        self.shared.bitswap.disconnected(peer);
        self.gossip.gone(&mut self.swarm.behaviour_mut().gossipsub, peer);
        if let Some(link) = self.shared.hub.link(peer) {
            self.shared.hub.end(&link, Reason::Goodbye);
        }
    }

    fn on_behaviour(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Gossipsub(event) => {
                self.gossip.on_event(&mut self.swarm.behaviour_mut().gossipsub, event);
            }
            BehaviourEvent::Streams(streams::Event::Inbound(inbound)) => self.take(inbound),
            BehaviourEvent::Streams(streams::Event::Refused { peer, again }) => {
                let misdeed = if again { Misdeed::Spam } else { Misdeed::Needless };
                self.shared.host.report(&Remote::Peer(peer), misdeed);
                self.shared.host.count("streams_refused", 1);
            }
            BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. }) => {
                self.identified(peer_id, &info);
            }
            // What was told before the last connection ended may come after that.
            BehaviourEvent::Ping(ping::Event { peer, .. }) if !self.ends.contains_key(&peer) => {}
            BehaviourEvent::Ping(ping::Event { peer, connection, result }) => match result {
                Ok(rtt) => {
                    self.shared.rtt().insert(peer, rtt);
                    self.shared.dag.alive(&peer);
                }
                // Not every peer answers pings, but then it says that it does not.
                Err(ping::Failure::Unsupported) => {}
                // QUIC finds out by itself, and there a ping waits behind what the far end does not read.
                Err(_) if self.is_quic(&peer, connection) => {}
                Err(_) => drop(self.swarm.close_connection(connection)),
            },
            BehaviourEvent::Mdns(mdns::Event::Discovered(found)) => self.discovered(found),
            _ => {}
        }
    }

    fn is_quic(&self, peer: &PeerId, connection: ConnectionId) -> bool {
        let mut ends = self.ends.get(peer).into_iter().flatten();
        ends.any(|end| end.connection == connection && way::is_quic(&end.addr))
    }

    /// The far end opened a stream of one of our protocols.
    fn take(&mut self, inbound: streams::Inbound) {
        let shared = Arc::clone(&self.shared);
        if inbound.protocol == dag::PROTOCOL {
            // Who said no hello may be of another network.
            if shared.is_node(&inbound.peer) {
                shared.dag.serve(inbound);
            }
        } else if inbound.protocol != link::PROTOCOL {
            // Before identify says so, or from a node that asks only strangers by bitswap and found us by routing.
            if self.ends.contains_key(&inbound.peer) {
                shared.bitswap.connected(inbound.peer);
            }
            shared.bitswap.inbound(inbound);
        } else {
            let mut ends = self.ends.get(&inbound.peer).into_iter().flatten();
            let end = ends.find(|end| end.connection == inbound.stream.connection);
            let Some(End { addr, .. }) = end.cloned() else { return };
            self.shared.hub.spawn(async move {
                let welcome = Arc::clone(&shared).welcome(inbound, addr);
                shared.hub.closing().run_until_cancelled(welcome).await;
            });
        }
    }

    fn identified(&mut self, peer: PeerId, info: &identify::Info) {
        if !self.ends.contains_key(&peer) {
            return;
        }
        self.swarm.behaviour_mut().routing.identified(peer, info);
        let node = info.protocols.contains(&link::PROTOCOL);
        let dags = node && info.protocols.contains(&dag::PROTOCOL);
        match node && !dags {
            true => self.shared.without_dag().insert(peer),
            false => self.shared.without_dag().remove(&peer),
        };
        let asked_singly = !dags || !self.shared.config.dag;
        if asked_singly && bitswap::protocols().iter().any(|protocol| info.protocols.contains(protocol)) {
            self.shared.bitswap.connected(peer);
        }
        if !node && self.shared.hub.link(&peer).is_none() {
            let end = self.ends.get(&peer).and_then(|ends| ends.last());
            // Whom a user parted from is identified once more before its connection is over.
            let Some(end) = end.filter(|end| !end.parted) else { return };
            self.shared.enter_stranger(peer, end);
        }
    }

    /// Peers on the local network.
    fn discovered(&mut self, found: Vec<(PeerId, Multiaddr)>) {
        let room = self.shared.config.neighbours.saturating_sub(self.shared.hub.peers().len());
        let wanted = |(peer, addr): &(PeerId, Multiaddr)| {
            !self.shared.hub.is_settled(peer) && self.shared.host.admits(peer) && way::way(addr).is_some()
        };
        for (peer, addr) in found.into_iter().filter(wanted).take(room) {
            let opts = DialOpts::peer_id(peer).addresses(vec![addr]).build();
            if let Err(error) = self.swarm.dial(opts) {
                tracing::debug!(%error, "mdns");
            }
        }
    }
}

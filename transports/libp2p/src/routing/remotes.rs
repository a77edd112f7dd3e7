//! The addresses of the connections that there are.

use std::collections::HashMap;

use carrick_core::{Multiaddr, PeerId};
use libp2p::core::ConnectedPoint;
use libp2p::swarm::behaviour::{ConnectionClosed, ConnectionEstablished};
use libp2p::swarm::{ConnectionId, FromSwarm};

/// By peer; bounded by the number of connections.
#[derive(Debug, Default)]
pub(super) struct Remotes(HashMap<PeerId, Vec<Remote>>);

#[derive(Debug)]
struct Remote {
    connection: ConnectionId,
    addr: Multiaddr,
    dialled: bool,
}

impl Remotes {
    /// The address of a connection to a peer: a direct one where there is one.
    pub(super) fn of(&self, peer: &PeerId) -> Option<&Multiaddr> {
        let all = self.0.get(peer)?;
        let direct = all.iter().find(|remote| !crate::address::is_relayed(&remote.addr));
        direct.or(all.first()).map(|remote| &remote.addr)
    }

    /// An address of a peer that was dialled and answered.
    pub(super) fn dialled(&self, peer: &PeerId) -> Option<&Multiaddr> {
        self.0.get(peer)?.iter().find(|remote| remote.dialled).map(|remote| &remote.addr)
    }

    /// Takes note of connections; answers the peer to whom the last one ended.
    pub(super) fn on_swarm_event(&mut self, event: &FromSwarm<'_>) -> Option<PeerId> {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            }) => {
                let dialled = matches!(endpoint, ConnectedPoint::Dialer { .. });
                let addr = endpoint.get_remote_address().clone();
                self.0.entry(*peer_id).or_default().push(Remote {
                    connection: *connection_id,
                    addr,
                    dialled,
                });
                None
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { peer_id, connection_id, .. }) => {
                let all = self.0.get_mut(peer_id)?;
                all.retain(|remote| remote.connection != *connection_id);
                let gone = all.is_empty();
                if gone {
                    self.0.remove(peer_id);
                }
                gone.then_some(*peer_id)
            }
            _ => None,
        }
    }
}

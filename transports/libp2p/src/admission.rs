//! Who may be connected at all.
//!
//! libp2p has no place for that question in its handshakes. It is asked as soon as the far end has proved its key, before any
//! protocol can answer: who is not admitted finds the connection closed.

use std::fmt;
use std::task::{Context, Poll};

use carrick_core::{Host, Multiaddr, PeerId};
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::dummy::ConnectionHandler;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent,
    ToSwarm,
};

/// Asks the host about every connection.
#[derive(Debug)]
pub(crate) struct Behaviour(Host);

impl Behaviour {
    /// Of a node.
    pub(crate) fn new(host: Host) -> Self {
        Self(host)
    }

    fn judge(&self, peer: &PeerId) -> Result<ConnectionHandler, ConnectionDenied> {
        if self.0.admits(peer) {
            return Ok(ConnectionHandler);
        }
        self.0.count("refused", 1);
        Err(ConnectionDenied::new(NotAdmitted(*peer)))
    }
}

/// A peer that may not be connected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NotAdmitted(pub(crate) PeerId);

impl fmt::Display for NotAdmitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not admitted here", self.0)
    }
}

impl std::error::Error for NotAdmitted {}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = ConnectionHandler;
    type ToSwarm = std::convert::Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.judge(&peer)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.judge(&peer)
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

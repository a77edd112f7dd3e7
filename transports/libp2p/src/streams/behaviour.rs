//! The part inside the swarm: which peers are connected, and their handlers.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use carrick_core::{Multiaddr, PeerId};
use libp2p::StreamProtocol;
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::behaviour::{ConnectionClosed, ConnectionEstablished};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm,
};
use tokio::sync::Semaphore;

use super::handler::{Handler, Told};
use crate::way;

use super::{Held, Inbound, OpenError, Request, Requests, lock};

/// What happened.
#[derive(Debug)]
pub(crate) enum Event {
    /// The far end opened a stream.
    Inbound(Inbound),
    /// It opened one more than it may; it was reset.
    Refused {
        /// Who.
        peer: PeerId,
        /// Whether it has gone on so for long: each time that as many were refused as it may have.
        again: bool,
    },
}

/// Streams of our own protocols.
#[derive(Debug)]
pub(crate) struct Behaviour {
    /// What is spoken; the preferred first.
    protocols: Arc<[StreamProtocol]>,
    /// Streams of one peer, in each direction.
    streams: usize,
    requests: Requests,
    peers: HashMap<PeerId, Peer>,
    /// Peers whose connections stay while nothing is sent.
    kept: HashSet<PeerId>,
    events: VecDeque<ToSwarm<Event, Told>>,
    waker: Option<Waker>,
}

#[derive(Debug)]
struct Peer {
    connections: Vec<ConnectionId>,
    inbound: Arc<Semaphore>,
    /// Streams of it that were refused.
    refused: usize,
}

impl Behaviour {
    /// Speaks `protocols` on at most `streams` streams of one peer in each direction.
    pub(crate) fn new(protocols: Vec<StreamProtocol>, streams: usize, requests: Requests) -> Self {
        let (peers, kept, events) = (HashMap::new(), HashSet::new(), VecDeque::new());
        Self { protocols: protocols.into(), streams, requests, peers, kept, events, waker: None }
    }

    /// Whether the connections of a peer stay while nothing is sent over them.
    pub(crate) fn keep(&mut self, peer: PeerId, keep: bool) {
        let changed = if keep { self.kept.insert(peer) } else { self.kept.remove(&peer) };
        if !changed {
            return;
        }
        for connection in self.peers.get(&peer).iter().flat_map(|peer| &peer.connections) {
            self.events.push_back(ToSwarm::NotifyHandler {
                peer_id: peer,
                handler: NotifyHandler::One(*connection),
                event: Told::Keep(keep),
            });
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn handler(&self, connection: ConnectionId, addr: &Multiaddr, peer: &PeerId) -> Handler {
        Handler::new(connection, way::is_quic(addr), Arc::clone(&self.protocols), self.kept.contains(peer))
    }

    /// Passes a request on to a connection of its peer: the newest, because an older one may be dying.
    fn request(&mut self, request: Request) {
        let known = self.peers.get(&request.peer);
        let Some(connection) = known.and_then(|peer| peer.connections.last().copied()) else {
            let _ = request.reply.send(Err(OpenError::NotConnected));
            return;
        };
        self.events.push_back(ToSwarm::NotifyHandler {
            peer_id: request.peer,
            handler: NotifyHandler::One(connection),
            event: Told::Open { protocols: request.protocols, reply: request.reply, place: request.place },
        });
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        addr: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(connection, addr, &peer))
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        addr: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(connection, addr, &peer))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished { peer_id, connection_id, .. }) => {
                let streams = self.streams;
                let peer = self.peers.entry(peer_id).or_insert_with(|| Peer {
                    connections: vec![],
                    // The far end may open the next one before it is seen here that the last one is over.
                    inbound: Arc::new(Semaphore::new(streams.saturating_mul(2))),
                    refused: 0,
                });
                peer.connections.push(connection_id);
                lock(&self.requests.places)
                    .entry(peer_id)
                    .or_insert_with(|| Arc::new(Semaphore::new(streams)));
            }
            FromSwarm::ConnectionClosed(ConnectionClosed {
                peer_id,
                connection_id,
                remaining_established,
                ..
            }) => {
                if remaining_established == 0 {
                    self.peers.remove(&peer_id);
                    if let Some(places) = lock(&self.requests.places).remove(&peer_id) {
                        places.close();
                    }
                    self.kept.remove(&peer_id);
                } else if let Some(peer) = self.peers.get_mut(&peer_id) {
                    peer.connections.retain(|connection| *connection != connection_id);
                }
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        (stream, protocol, quic): THandlerOutEvent<Self>,
    ) {
        let Some(known) = self.peers.get_mut(&peer) else { return };
        let event = match Arc::clone(&known.inbound).try_acquire_owned() {
            Ok(place) => {
                Event::Inbound(Inbound { peer, protocol, stream: Held { stream, connection, quic, place } })
            }
            Err(_) => {
                known.refused += 1;
                Event::Refused { peer, again: known.refused.is_multiple_of(self.streams) }
            }
        };
        self.events.push_back(ToSwarm::GenerateEvent(event));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Poll::Ready(event);
            }
            match self.requests.requests.poll_recv(cx) {
                Poll::Ready(Some(request)) => self.request(request),
                Poll::Ready(None) | Poll::Pending => {
                    self.waker = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            }
        }
    }
}

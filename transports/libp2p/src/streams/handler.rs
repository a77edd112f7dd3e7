//! The part of a connection.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::{Ready, ready};
use libp2p::StreamProtocol;
use libp2p::core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo};
use libp2p::swarm::handler::{
    ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound,
};
use libp2p::swarm::{
    ConnectionHandler, ConnectionHandlerEvent, ConnectionId, Stream, StreamUpgradeError, SubstreamProtocol,
};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{Held, OpenError, Opened};

/// How long the far end may take to agree on a protocol.
const NEGOTIATION: Duration = Duration::from_secs(10);

/// What the behaviour tells the handler of a connection.
#[derive(Debug)]
pub(crate) enum Told {
    /// Open a stream.
    Open {
        /// The preferred first.
        protocols: Arc<[StreamProtocol]>,
        /// Who asked.
        reply: oneshot::Sender<Opened>,
        /// Its place among those of the peer.
        place: OwnedSemaphorePermit,
    },
    /// Whether the connection stays while nothing is sent.
    Keep(bool),
}

/// Who asked for a stream, while it is negotiated.
#[derive(Debug)]
pub(crate) struct Asked {
    reply: oneshot::Sender<Opened>,
    place: OwnedSemaphorePermit,
}

/// The streams of one connection.
#[derive(Debug)]
pub(crate) struct Handler {
    connection: ConnectionId,
    quic: bool,
    protocols: Arc<[StreamProtocol]>,
    keep: bool,
    out: VecDeque<ConnectionHandlerEvent<Spoken, Asked, (Stream, StreamProtocol, bool)>>,
}

impl Handler {
    pub(super) fn new(
        connection: ConnectionId,
        quic: bool,
        protocols: Arc<[StreamProtocol]>,
        keep: bool,
    ) -> Self {
        Self { connection, quic, protocols, keep, out: VecDeque::new() }
    }
}

/// Agrees on one of several protocols, and hands out the stream as it is.
#[derive(Clone, Debug)]
pub(crate) struct Spoken(Arc<[StreamProtocol]>);

impl UpgradeInfo for Spoken {
    type Info = StreamProtocol;
    type InfoIter = std::vec::IntoIter<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.iter().cloned().collect::<Vec<_>>().into_iter()
    }
}

impl InboundUpgrade<Stream> for Spoken {
    type Output = (Stream, StreamProtocol);
    type Error = std::convert::Infallible;
    type Future = Ready<Result<Self::Output, Self::Error>>;

    fn upgrade_inbound(self, stream: Stream, protocol: StreamProtocol) -> Self::Future {
        ready(Ok((stream, protocol)))
    }
}

impl OutboundUpgrade<Stream> for Spoken {
    type Output = (Stream, StreamProtocol);
    type Error = std::convert::Infallible;
    type Future = Ready<Result<Self::Output, Self::Error>>;

    fn upgrade_outbound(self, stream: Stream, protocol: StreamProtocol) -> Self::Future {
        ready(Ok((stream, protocol)))
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Told;
    type ToBehaviour = (Stream, StreamProtocol, bool);
    type InboundProtocol = Spoken;
    type OutboundProtocol = Spoken;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Asked;

    fn listen_protocol(&self) -> SubstreamProtocol<Spoken> {
        SubstreamProtocol::new(Spoken(Arc::clone(&self.protocols)), ()).with_timeout(NEGOTIATION)
    }

    fn connection_keep_alive(&self) -> bool {
        self.keep
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Spoken, Asked, Self::ToBehaviour>> {
        // Whatever is put in is put in by an event, after which the connection polls again.
        self.out.pop_front().map_or(Poll::Pending, Poll::Ready)
    }

    fn on_behaviour_event(&mut self, told: Told) {
        match told {
            Told::Keep(keep) => self.keep = keep,
            // Who asked gave up.
            Told::Open { reply, .. } if reply.is_closed() => {}
            Told::Open { protocols, reply, place } => {
                let protocol = SubstreamProtocol::new(Spoken(protocols), Asked { reply, place });
                self.out.push_back(ConnectionHandlerEvent::OutboundSubstreamRequest {
                    protocol: protocol.with_timeout(NEGOTIATION),
                });
            }
        }
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Spoken, Spoken, (), Asked>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: (stream, protocol),
                ..
            }) => {
                self.out.push_back(ConnectionHandlerEvent::NotifyBehaviour((stream, protocol, self.quic)));
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: (stream, protocol),
                info: Asked { reply, place },
            }) => {
                // Who asked may have given up.
                let _ = reply.send(Ok((
                    protocol,
                    Held { stream, connection: self.connection, quic: self.quic, place },
                )));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info: Asked { reply, .. }, error }) => {
                let why = match error {
                    StreamUpgradeError::NegotiationFailed => OpenError::Unsupported,
                    StreamUpgradeError::Timeout => OpenError::Timeout,
                    _ => OpenError::Broken,
                };
                let _ = reply.send(Err(why));
            }
            _ => {}
        }
    }
}

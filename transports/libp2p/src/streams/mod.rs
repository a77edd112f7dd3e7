//! Streams of our own protocols, opened and answered outside of the swarm's task.
//!
//! The library's protocols keep their state machines inside the swarm. Ours (bitswap, the DAG, the hello) read the store
//! and wait for it, which the swarm's task must not; so they run as tasks of their own, each on a stream it owns. Here
//! those streams begin: [`Streams::open`] asks the connection's handler for one, and what the far end opens comes out of
//! the swarm as an [`Inbound`].
//!
//! Streams of one peer are bounded in both directions. One that the far end opens above that is reset and counted.

mod behaviour;
mod handler;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use carrick_core::PeerId;
use futures::AsyncReadExt as _;
use futures::io::{ReadHalf, WriteHalf};
use libp2p::StreamProtocol;
use libp2p::swarm::{ConnectionId, Stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

pub(crate) use behaviour::{Behaviour, Event};

/// Requests that may wait for the swarm; who asks waits for room.
const WAITING: usize = 256;

/// A stream that the far end opened.
#[derive(Debug)]
pub(crate) struct Inbound {
    /// Who opened it.
    pub(crate) peer: PeerId,
    /// What is spoken on it.
    pub(crate) protocol: StreamProtocol,
    /// The stream, and its place among those of the peer.
    pub(crate) stream: Held,
}

/// A stream with its place among those of its peer: dropping it gives the place back.
#[derive(Debug)]
pub(crate) struct Held {
    /// The stream.
    pub(crate) stream: Stream,
    /// The connection it is on.
    pub(crate) connection: ConnectionId,
    /// Whether that is one of QUIC.
    pub(crate) quic: bool,
    place: OwnedSemaphorePermit,
}

impl Held {
    /// Both directions, and the place, which is to be kept as long as either.
    pub(crate) fn split(self) -> (ReadHalf<Stream>, WriteHalf<Stream>, OwnedSemaphorePermit) {
        let (from, to) = self.stream.split();
        (from, to, self.place)
    }
}

/// Why a stream could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpenError {
    /// There is no connection to the peer, or it ended.
    NotConnected,
    /// The far end speaks none of the protocols.
    Unsupported,
    /// The far end did not agree in time.
    Timeout,
    /// The connection broke.
    Broken,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotConnected => "there is no connection",
            Self::Unsupported => "the far end does not speak the protocol",
            Self::Timeout => "the far end did not agree on a protocol in time",
            Self::Broken => "the connection broke",
        })
    }
}

/// What an [`Streams::open`] is answered with.
type Opened = Result<(StreamProtocol, Held), OpenError>;

/// A request on its way to the handler of a connection.
#[derive(Debug)]
pub(crate) struct Request {
    peer: PeerId,
    /// The preferred first.
    protocols: Arc<[StreamProtocol]>,
    reply: oneshot::Sender<Opened>,
    /// Its place among those of the peer.
    place: OwnedSemaphorePermit,
}

/// Room for streams to each connected peer.
type Places = Arc<Mutex<HashMap<PeerId, Arc<Semaphore>>>>;

/// Opens streams. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    requests: mpsc::Sender<Request>,
    places: Places,
}

/// What the behaviour takes requests from.
#[derive(Debug)]
pub(crate) struct Requests {
    requests: mpsc::Receiver<Request>,
    places: Places,
}

impl Streams {
    /// A handle, and what the behaviour takes from it.
    pub(crate) fn channel() -> (Self, Requests) {
        let (requests, receiver) = mpsc::channel(WAITING);
        let places = Places::default();
        (Self { requests, places: Arc::clone(&places) }, Requests { requests: receiver, places })
    }

    /// Opens a stream to a connected peer that speaks the first of `protocols` the far end knows. Waits while as many are open
    /// as may be.
    ///
    /// # Errors
    /// See [`OpenError`].
    ///
    /// # Cancel safety
    /// Dropping the future gives the stream up.
    pub(crate) async fn open(&self, peer: PeerId, protocols: &Arc<[StreamProtocol]>) -> Opened {
        let places = lock(&self.places).get(&peer).cloned().ok_or(OpenError::NotConnected)?;
        let place = places.acquire_owned().await.map_err(|_| OpenError::NotConnected)?;
        let (reply, opened) = oneshot::channel();
        let request = Request { peer, protocols: Arc::clone(protocols), reply, place };
        self.requests.send(request).await.map_err(|_| OpenError::NotConnected)?;
        opened.await.unwrap_or(Err(OpenError::NotConnected))
    }
}

fn lock(places: &Places) -> MutexGuard<'_, HashMap<PeerId, Arc<Semaphore>>> {
    places.lock().unwrap_or_else(PoisonError::into_inner)
}

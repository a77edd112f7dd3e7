//! `/carrick/dag/1.0.0`: blocks and whole DAGs between Carrick nodes, in one round trip.
//!
//! The requests, the answers and who is to blame for what are [`carrick_core::links::exchange`]; here they get their
//! streams. Whoever asks opens a stream, writes one request, and leaves its own side open until it has the answer: ending it
//! cancels the request, which a far end notices while it writes. `docs/transports/exchange.md` states every byte.
//!
//! A far end that is silent is blamed only if it is known to be there meanwhile: see [`Dag::alive`].

mod asked;
mod stream;

use std::collections::HashMap;
use std::fmt;
use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use carrick_core::links::Miss;
use carrick_core::links::exchange::{self, ByteReply};
use carrick_core::links::frames::Broken;
use carrick_core::{Cid, Claims, Host, PeerId, Remote, Result, Want, WantDag};
use libp2p::StreamProtocol;

use crate::streams::{Inbound, Streams};
use asked::{Asked, Life};
use stream::Io;

/// What is spoken. The name is the version of all frames.
pub(crate) const PROTOCOL: StreamProtocol = StreamProtocol::new("/carrick/dag/1.0.0");

/// Asks connected peers that speak [`PROTOCOL`], and answers them.
pub(crate) struct Dag {
    host: Host,
    streams: Streams,
    protocols: Arc<[StreamProtocol]>,
    /// Blames a peer, and ends its connections.
    broke: Box<dyn Fn(PeerId) + Send + Sync>,
    /// Of peers that are being asked, and of nobody else.
    lives: Mutex<HashMap<PeerId, Weak<Life>>>,
}

impl Dag {
    /// Over streams that `streams` opens. `broke` is told who broke the format, and does not wait: it is to blame that peer
    /// and to end its connections, as [`Hub::end`](carrick_core::links::Hub::end) with `Malformed` does.
    pub(crate) fn new(
        host: Host,
        streams: Streams,
        broke: impl Fn(PeerId) + Send + Sync + 'static,
    ) -> Arc<Self> {
        let (protocols, broke, lives) = ([PROTOCOL].into(), Box::new(broke), Mutex::default());
        Arc::new(Self { host, streams, protocols, broke, lives })
    }

    /// Answers a stream of [`PROTOCOL`] that the far end opened, in a task of the host. How many there may be of one peer is
    /// bounded where they come from, and each takes no longer than the host's `fetch_idle` without a byte moving.
    pub(crate) fn serve(self: &Arc<Self>, inbound: Inbound) {
        let dag = self.clone();
        self.host.spawn(async move {
            let remote = Remote::Peer(inbound.peer);
            let (request, reply) = ByteReply::split(Io::new(inbound.stream, None));
            if let Err(broken) = exchange::serve(&dag.host, &remote, request, reply).await {
                dag.broken(inbound.peer, &broken);
            }
        });
    }

    /// Asks a connected peer for a block: the body of a [`search`](carrick_core::links::search). No longer than `idle` may
    /// pass without a byte.
    ///
    /// # Errors
    /// Why there is none. Who is to blame is blamed already.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the request on the wire and frees both ends.
    pub(crate) async fn block(
        self: &Arc<Self>,
        peer: PeerId,
        want: &Want,
        idle: Duration,
    ) -> std::result::Result<Bytes, Miss> {
        exchange::ask_block(&self.host, &Asked::new(self, peer), want, idle).await
    }

    /// Asks a connected peer whether it has a block, for no longer than the host's `fetch_idle`.
    ///
    /// # Errors
    /// As [`block`](Self::block).
    ///
    /// # Cancel safety
    /// As [`block`](Self::block).
    pub(crate) async fn has(self: &Arc<Self>, peer: PeerId, cid: &Cid) -> std::result::Result<bool, Miss> {
        let idle = self.host.limits().fetch_idle;
        let asked = Asked::new(self, peer);
        let asking = exchange::ask_has(&self.host, &asked, cid, idle);
        tokio::time::timeout(idle, asking).await.unwrap_or(Err(Miss::Stalled))
    }

    /// Fetches a DAG from connected peers, one after the other: the next one is asked for what is still missing. Hints and
    /// whom to avoid are the caller's to heed.
    ///
    /// # Errors
    /// `Config` for no root or more than 64; `NoPeers` without providers. The stream ends as
    /// [`Fetch::dag`](carrick_core::Fetch::dag) says.
    pub(crate) fn dag(self: &Arc<Self>, want: &WantDag, providers: Vec<PeerId>) -> Result<Claims> {
        let dag = self.clone();
        exchange::fetch_dag(&self.host, want, providers, move |peer| ready(Some(Asked::new(&dag, peer))))
    }

    /// A peer answered a ping. One that answers no request for all of `fetch_idle` is blamed only if it answered pings in the second
    /// half of that time. Costs nothing for peers that are not being asked.
    pub(crate) fn alive(&self, peer: &PeerId) {
        if let Some(life) = self.lives().get(peer).and_then(Weak::upgrade) {
            life.pong();
        }
    }

    /// A peer broke the format.
    fn broken(&self, peer: PeerId, broken: &Broken) {
        tracing::debug!(%peer, %broken, "malformed");
        (self.broke)(peer);
    }

    fn lives(&self) -> MutexGuard<'_, HashMap<PeerId, Weak<Life>>> {
        self.lives.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Dag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dag({:?})", self.host)
    }
}

#[cfg(test)]
mod tests;

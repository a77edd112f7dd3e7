//! Bitswap: single blocks by their address, from and to any peer of IPFS.
//!
//! | file | what it is |
//! |---|---|
//! | `message`, `frame`, `address` | the message: read within bounds, written without copying blocks, and what a block is called |
//! | `client` | what we want, as a state machine |
//! | `server` | what others want of us, as a state machine |
//! | `frontier` | a DAG gone through breadth first, many blocks at once |
//! | `io` | streams, tasks and time around them |
//! | `limits` | every bound |
//! | `decoders` | the message, for tests with hostile bytes |
//!
//! A block cannot have wrong bytes: bitswap sends no hash, only its kind, so that what was changed has another address. What
//! came and nobody asked for is dropped, counted, and too much of it is a misdeed.

mod address;
mod client;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod decoders;
mod frame;
mod frontier;
mod io;
mod limits;
mod message;
mod server;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use carrick_core::{Cid, Claims, Fetched, Host, PeerId, Result, Want, WantDag};
use futures::stream::BoxStream;
use libp2p::StreamProtocol;

use crate::streams::{Inbound, Streams};
use io::Shared;

/// Finds peers that provide a block, where no connected peer is known to have it.
pub(crate) trait Finder: Send + Sync + 'static {
    /// Providers as they are found, already connected. Ends when there are no more; dropping it ends the search.
    fn find(&self, cid: Cid) -> BoxStream<'static, PeerId>;
}

/// The names of the protocol, the preferred first.
pub(crate) fn protocols() -> Vec<StreamProtocol> {
    io::PROTOCOLS.map(StreamProtocol::new).into()
}

/// Bitswap at work. Dropping it ends its tasks.
pub(crate) struct Bitswap(Arc<Shared>);

impl Bitswap {
    /// Begins to serve the host's blocks and to fetch for it.
    pub(crate) fn new(host: Host, streams: Streams, finder: Arc<dyn Finder>) -> Arc<Self> {
        let opener = io::swarm_opener(streams, protocols().into());
        Arc::new(Self(Shared::begin(host, opener, finder)))
    }

    /// A peer connected: call it for the first connection only.
    pub(crate) fn connected(&self, peer: PeerId) {
        self.0.connected(peer);
    }

    /// The last connection to a peer is gone.
    pub(crate) fn disconnected(&self, peer: &PeerId) {
        self.0.disconnected(peer);
    }

    /// A peer opened a stream of one of the [`protocols`].
    pub(crate) fn inbound(&self, inbound: Inbound) {
        self.0.inbound(inbound.peer, io::wire(inbound.stream));
    }

    /// Blocks came to this node by other ways: peers that wait for them get them.
    pub(crate) fn arrived(&self, cids: &[Cid]) {
        self.0.arrived(cids);
    }

    /// Asks for one block, as [`Fetch::block`](carrick_core::Fetch::block) has it.
    ///
    /// # Errors
    /// `NotFound` when everybody asked has it not, `NoPeers` when there was nobody to ask, `Timeout`, `TooLarge`,
    /// `Unreachable`, `Busy` when as many blocks are wanted as may be, `Closed`.
    ///
    /// # Cancel safety
    /// Dropping the future tells whoever was asked.
    pub(crate) async fn block(&self, want: &Want) -> Result<Fetched> {
        self.0.block(want).await
    }

    /// Asks for a DAG block by block, breadth first, many at once; answers when the first block came.
    ///
    /// What stands under `have` is asked for only where it is also reached by another way.
    ///
    /// # Errors
    /// As [`block`](Self::block); `Config` without roots or with too many. The stream may end with `NotFound`, `Timeout` and
    /// `TooLarge`, as [`Fetch::dag`](carrick_core::Fetch::dag) has them.
    ///
    /// # Cancel safety
    /// Dropping the future or the stream tells whoever was asked.
    pub(crate) async fn dag(&self, want: &WantDag) -> Result<Claims> {
        self.0.dag(want).await
    }

    /// The connected peers that say they have a block, at most `limit`. It takes up to five seconds where some do not answer.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn having(&self, cid: Cid, limit: usize) -> Vec<PeerId> {
        self.0.having(cid, limit).await
    }
}

impl Drop for Bitswap {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl fmt::Debug for Bitswap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bitswap")
    }
}

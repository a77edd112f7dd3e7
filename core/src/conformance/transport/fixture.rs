//! What the author of a transport writes.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use libp2p_identity::Keypair;
use multiaddr::Multiaddr;

use crate::{Host, NetworkId, PeerAddr, PeerId, Result, Transport};

/// Opens a kind of transport to be tried.
///
/// A value is one wire: nodes opened on it can reach each other, and nobody else can reach them. Where a daemon carries
/// the messages it may be shared by all wires: each case has a [network](Host::network) of its own.
#[async_trait]
pub trait Fixture: Debug + Send + Sync + 'static {
    /// Opens the transport of one node: it listens, knows nobody but `setup.bootstrap`, and dials nobody else by itself.
    ///
    /// # Errors
    /// Those of the transport.
    async fn open(&self, host: Host, setup: Setup) -> Result<Arc<dyn Transport>>;

    /// A well-formed address at which nobody answers.
    fn nowhere(&self) -> PeerAddr;

    /// Breaks the link between two nodes as a torn cable does, so that both ends have to notice. Answers whether it could.
    ///
    /// Default: it cannot.
    async fn cut(&self, one: &PeerId, other: &PeerId) -> bool {
        let _ = (one, other);
        false
    }

    /// Links to a node as a peer with this key and of this network does, and lets the caller speak for it. `None` where
    /// the wire has no frames that could be broken.
    ///
    /// Default: none.
    async fn hostile(&self, to: &PeerAddr, network: &NetworkId, key: &Keypair) -> Option<Box<dyn RawWire>> {
        let _ = (to, network, key);
        None
    }

    /// Waits until the nodes on the wire reach each other and know who joined which topic and who left, where transports
    /// cannot tell: their links prove no peer, so a node waits for none. Where transports do not dial, the wire connects
    /// all nodes opened on it.
    ///
    /// Default: returns at once.
    async fn settle(&self) {}

    /// Bytes that this process has allocated now, where its allocator counts them: then floods are larger, and what they
    /// may take is measured. Nothing else may run in the process meanwhile.
    ///
    /// Default: nobody counts.
    fn allocated(&self) -> Option<usize> {
        None
    }

    /// Longer than anything takes that works: what is not there by then fails. Default 30 s.
    fn patience(&self) -> Duration {
        Duration::from_secs(30)
    }

    /// How long to watch for what must not come. Default 300 ms.
    fn silence(&self) -> Duration {
        Duration::from_millis(300)
    }
}

/// What is different about one node's transport.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Setup {
    /// Peers that it stays connected to.
    pub bootstrap: Vec<PeerAddr>,
    /// Where it listens, as it was told by [`listen_addrs`](Transport::listen_addrs) in an earlier life. Empty: anywhere.
    pub listen: Vec<Multiaddr>,
}

/// A link that the far end took for honest, and over which any bytes can go.
#[async_trait]
pub trait RawWire: Debug + Send {
    /// Sends bytes where the far end expects a frame.
    async fn send(&mut self, bytes: &[u8]);

    /// The beginning of a frame that says it is as long as the wire has words for. Its body is not there.
    fn endless(&self) -> Bytes;

    /// Waits until the far end has ended the link.
    async fn ended(&mut self);
}

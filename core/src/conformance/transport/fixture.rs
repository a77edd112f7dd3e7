//! What the author of a transport writes.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cid::Cid;
use libp2p_identity::Keypair;
use multiaddr::Multiaddr;

use crate::{Error, ErrorKind, Host, NetworkId, PeerAddr, PeerId, PeerRecord, Result, Topic, Transport};

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

    /// Links to a node as a peer with this key and of this network does, and lets the caller speak for it.
    ///
    /// Default: it cannot. Then a stand-in is tried: an honest end of this wire, under a node that is not.
    ///
    /// # Errors
    /// `Unsupported` where there is no such thing; of any other kind where the node takes no such link.
    async fn hostile(&self, to: &PeerAddr, network: &NetworkId, key: &Keypair) -> Result<Box<dyn RawWire>> {
        let _ = (to, network, key);
        Err(unsupported("hostile"))
    }

    /// Connects to a node as a peer with this key does, and then says nothing: the greeting does not come.
    ///
    /// Default: it cannot.
    ///
    /// # Errors
    /// As for [`hostile`](Self::hostile).
    async fn half_open(&self, to: &PeerAddr, key: &Keypair) -> Result<Box<dyn RawWire>> {
        let _ = (to, key);
        Err(unsupported("half_open"))
    }

    /// Waits until the nodes on the wire reach each other and know who joined which topic and who left, where transports
    /// cannot tell: their links prove no peer, so a node waits for none. Where transports do not dial, the wire connects
    /// all nodes opened on it.
    ///
    /// Default: returns at once.
    async fn settle(&self) {}

    /// Has backends with stores of their own take away what nobody holds there any more, where that waits for a garbage
    /// collection.
    ///
    /// Default: it does not wait.
    async fn collect_garbage(&self) {}

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
    /// Whether it is to be linked to nobody but whom it is told to dial, or who dials it: not to those that a search for content
    /// finds. Its capabilities may be others then.
    pub by_hand: bool,
}

/// A link that the far end took for honest, and over which anything can go.
///
/// By itself it reads no message, says that it has whatever it is asked about, and sends nothing of it. What is said once
/// the far end ended the link is lost, which is no error. Each method answers whether the wire has words for that;
/// by default it has not.
#[async_trait]
pub trait RawWire: Debug + Send {
    /// Waits until the far end has ended the link.
    async fn ended(&mut self);

    /// Sends bytes where the far end expects a frame.
    async fn send(&mut self, bytes: &[u8]) -> bool {
        let _ = bytes;
        false
    }

    /// The beginning of a frame that says it is as long as the wire has words for. Its body is not there.
    fn endless(&self) -> Option<Bytes> {
        None
    }

    /// Says that it takes part in a topic, even if it said so before.
    async fn join(&mut self, topic: &Topic) -> bool {
        let _ = topic;
        false
    }

    /// Says that it takes no part in a topic any more, even if it never did.
    async fn leave(&mut self, topic: &Topic) -> bool {
        let _ = topic;
        false
    }

    /// Sends bytes as a message of a topic.
    async fn message(&mut self, topic: &Topic, bytes: &[u8]) -> bool {
        let _ = (topic, bytes);
        false
    }

    /// Says where a peer listens.
    async fn record(&mut self, record: &PeerRecord) -> bool {
        let _ = record;
        false
    }

    /// Asks for all that is under an address, and takes nothing of it.
    async fn ask(&mut self, cid: &Cid) -> bool {
        let _ = cid;
        false
    }
}

fn unsupported(operation: &'static str) -> Error {
    Error::new(ErrorKind::Unsupported, operation, "the fixture has none")
}

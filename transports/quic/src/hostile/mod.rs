//! Peers that prove a key and then break the rules: each gets what it deserves, and the others are still
//! served.

mod askers;
mod frames;
mod gossip;
mod greetings;
mod providers;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use carrick_core::links::frames::FrameKind;
use carrick_core::{Limits, NetworkId, Node, PeerAddr, PeerId, Remote, Topic};
use quinn::{Connection, ConnectionError, RecvStream, SendStream};
use tokio::sync::oneshot;

use crate::address::{Target, target};
use crate::io::Shared;
use crate::io::frames::{Reader, Recv};
use crate::wire::{Head, Hello, Kind, Reason, VERSION};
use crate::{Quic, QuicConfig};

/// Fails a test that waits for what never comes.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), what).await.expect("it never happened")
}

fn topic() -> Topic {
    Topic::new("readings").expect("a topic")
}

fn config() -> QuicConfig {
    QuicConfig {
        listen: vec!["/ip4/127.0.0.1/udp/0/quic-v1".parse().expect("an address")],
        bootstrap: vec![],
        neighbours: 0,
    }
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.handshake = Duration::from_secs(2);
    limits.fetch_idle = Duration::from_secs(1);
    limits
}

/// A node that keeps the rules, and a look inside its transport.
pub(crate) struct Good {
    pub(crate) node: Node,
    pub(crate) shared: Arc<Shared>,
}

impl Good {
    /// Waits until something was counted.
    async fn counts(&self, name: &str, n: u64) {
        soon(async {
            while self.node.counter(name) < n {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    pub(crate) async fn new(network: &str) -> Self {
        Self::with(network, limits()).await
    }

    async fn with(network: &str, limits: Limits) -> Self {
        Self::with_config(network, limits, config()).await
    }

    /// One that looks for neighbours by itself.
    pub(crate) async fn with_neighbours(network: &str, neighbours: usize) -> Self {
        Self::with_config(network, limits(), QuicConfig { neighbours, ..config() }).await
    }

    async fn with_config(network: &str, limits: Limits, config: QuicConfig) -> Self {
        let (tell, told) = oneshot::channel();
        let open = |host| async {
            let quic = Quic::open(config, host).await?;
            assert!(tell.send(quic.shared().clone()).is_ok());
            Ok(quic)
        };
        let network = NetworkId::new(network).expect("a network id");
        let builder = Node::builder().network(network).limits(limits).mount("quic", open);
        let node = builder.open().await.expect("opens");
        Self { node, shared: told.await.expect("opened") }
    }

    pub(crate) fn addr(&self) -> PeerAddr {
        PeerAddr::new(self.node.peer_id(), self.shared.sockets.listen_addrs())
    }

    pub(crate) async fn connect(&self, other: &Good) {
        soon(self.node.connect(&other.addr())).await.expect("connects");
    }

    async fn linked(&self) -> Vec<PeerId> {
        let peers = self.node.peers().await.expect("peers");
        peers.iter().filter_map(|peer| peer.remote.peer().copied()).collect()
    }
}

fn socket(peer: &PeerAddr) -> SocketAddr {
    match target(&peer.addrs[0]) {
        Some(Target::Socket(addr)) => addr,
        other => panic!("no socket: {other:?}"),
    }
}

/// A peer whose TLS stands, and that says what a test makes it say.
struct Foe {
    /// Lends its key; its own transport has nothing to do with the connection.
    lender: Good,
    connection: Connection,
}

/// The control stream of a foe that was taken.
struct Control {
    send: SendStream,
    _reader: Reader,
}

impl Foe {
    /// A foe of the same network.
    async fn against(good: &Good) -> Self {
        Self::dialling(good.node.network().as_str(), &good.addr()).await
    }

    async fn dialling(network: &str, good: &PeerAddr) -> Self {
        let lender = Good::new(network).await;
        let dial = lender.shared.attempt(good.peer, socket(good));
        let connection = soon(dial).await.expect("TLS stands");
        Self { lender, connection }
    }

    fn remote(&self) -> Remote {
        Remote::Peer(self.lender.node.peer_id())
    }

    /// What an honest peer would say.
    fn honest(&self, topics: &[Topic]) -> Hello {
        Hello {
            v: VERSION,
            record: self.lender.shared.host.record().encoded().to_vec(),
            topics: topics.to_vec(),
            network: self.lender.node.network().clone(),
            session: 7,
        }
    }

    /// Sends a first frame and reads what comes back.
    async fn greet(&self, first: Bytes) -> (Control, Head, Bytes) {
        let (mut send, recv) = self.connection.open_bi().await.expect("opens");
        send.write_all(&first).await.expect("writes");
        let mut reader = Reader::new(Recv(recv), &self.lender.shared.host);
        let (head, body) = soon(async {
            let head = reader.expect(Kind::ALL).await.expect("an answer");
            (head, reader.body(head.length).await.expect("reads"))
        })
        .await;
        (Control { send, _reader: reader }, head, body)
    }

    /// Is taken as an honest peer.
    async fn enter(&self, topics: &[Topic]) -> Control {
        let (control, head, _) = self.greet(self.honest(topics).encode()).await;
        assert_eq!(head.kind, Kind::Hello);
        control
    }

    /// The next request of the other side.
    async fn request(&self) -> (SendStream, RecvStream) {
        soon(self.connection.accept_bi()).await.expect("a request")
    }

    /// Why the other side closed the connection.
    async fn closed(&self) -> Reason {
        match soon(self.connection.closed()).await {
            ConnectionError::ApplicationClosed(close) => Reason::from_code(close.error_code.into_inner()),
            other => panic!("closed otherwise: {other}"),
        }
    }
}

/// The good node blamed somebody once for a malformed frame, and still talks to a neighbour.
async fn malformed_and_still_served(good: &Good, neighbour: &Good) {
    assert_eq!(good.node.counter("misdeed_malformed"), 1);
    assert_eq!(good.linked().await, [neighbour.node.peer_id()]);
    let mut at_neighbour = neighbour.node.subscribe(&topic()).await.expect("subscribes");
    soon(good.node.ready(&topic(), 1)).await.expect("ready");
    good.node.publish(&topic(), "still here").await.expect("publishes");
    soon(futures::StreamExt::next(&mut at_neighbour)).await.expect("arrives");
}

//! Nodes whose bitswap runs over streams in memory.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use carrick_core::conformance::host;
use carrick_core::{Block, Cid, Limits, NetworkId, Node, PeerId};
use futures::future::{BoxFuture, FutureExt as _};
use futures::io::{AsyncRead, AsyncWrite};
use futures::stream::{BoxStream, StreamExt as _};
use tokio::io::{AsyncRead as _, AsyncWrite as _, DuplexStream, ReadBuf};

use super::super::Finder;
use super::super::frame::Version;
use super::super::io::{Opened, Opener, Shared};
use crate::streams::OpenError;

/// Bytes that are on their way in a stream.
const PIPE: usize = 256 << 10;

/// A stream in memory, in the words of the library.
pub(super) struct Pipe(pub(super) DuplexStream);

impl AsyncRead for Pipe {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        let read = Pin::new(&mut self.0).poll_read(cx, &mut buf);
        read.map_ok(|()| buf.filled().len())
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Who is on the network.
#[derive(Default)]
pub(super) struct Mesh {
    ends: Mutex<HashMap<PeerId, End>>,
    /// What the finder of every node answers; without an entry it finds nobody.
    pub(super) providers: Mutex<HashMap<Cid, Vec<PeerId>>>,
}

/// One end of streams.
enum End {
    Good(Weak<Shared>),
    /// A test that speaks for itself.
    Bad(tokio::sync::mpsc::UnboundedSender<DuplexStream>),
}

struct MeshOpener {
    mesh: Arc<Mesh>,
    me: PeerId,
    version: Version,
}

impl Opener for MeshOpener {
    fn open(&self, peer: PeerId) -> BoxFuture<'static, Opened> {
        let (near, far) = tokio::io::duplex(PIPE);
        let opened = match self.mesh.ends.lock().expect("unpoisoned").get(&peer) {
            Some(End::Good(shared)) => {
                shared.upgrade().map(|shared| shared.inbound(self.me, Box::new(Pipe(far))))
            }
            Some(End::Bad(streams)) => streams.send(far).ok(),
            None => None,
        };
        let version = self.version;
        async move {
            let stream: Box<dyn super::super::io::Wire> = Box::new(Pipe(near));
            opened.map(|()| (version, stream)).ok_or(OpenError::NotConnected)
        }
        .boxed()
    }
}

impl Finder for Mesh {
    fn find(&self, cid: Cid) -> BoxStream<'static, PeerId> {
        let found = self.providers.lock().expect("unpoisoned").get(&cid).cloned().unwrap_or_default();
        // As one that dials them first: they come a little later.
        let after = tokio::time::sleep(Duration::from_millis(500));
        futures::stream::once(after).flat_map(move |()| futures::stream::iter(found.clone())).boxed()
    }
}

/// A node, and its bitswap.
pub(super) struct Member {
    pub(super) node: Node,
    pub(super) bitswap: Arc<Shared>,
}

impl Mesh {
    pub(super) async fn member(self: &Arc<Self>) -> Member {
        self.member_that_speaks(Version::V1_2).await
    }

    pub(super) async fn member_that_speaks(self: &Arc<Self>, version: Version) -> Member {
        self.member_with(version, Limits::default()).await
    }

    pub(super) async fn member_with(self: &Arc<Self>, version: Version, limits: Limits) -> Member {
        let network = NetworkId::new("bitswap").expect("a network");
        let (node, host) = host::alone(Node::builder().network(network).limits(limits), "libp2p").await;
        let opener = MeshOpener { mesh: Arc::clone(self), me: host.me(), version };
        let bitswap = Shared::begin(host, Box::new(opener), Arc::clone(self) as Arc<dyn Finder>);
        let member = Member { node, bitswap };
        self.mend(&member);
        member
    }

    /// No stream can be opened to a member.
    pub(super) fn cut(&self, member: &Member) {
        self.ends.lock().expect("unpoisoned").remove(&member.id());
    }

    /// It can again.
    pub(super) fn mend(&self, member: &Member) {
        let end = End::Good(Arc::downgrade(&member.bitswap));
        self.ends.lock().expect("unpoisoned").insert(member.id(), end);
    }

    /// A peer that speaks for itself: the streams that others open to it.
    pub(super) fn stranger(&self, peer: PeerId) -> tokio::sync::mpsc::UnboundedReceiver<DuplexStream> {
        let (sender, streams) = tokio::sync::mpsc::unbounded_channel();
        self.ends.lock().expect("unpoisoned").insert(peer, End::Bad(sender));
        streams
    }
}

impl Member {
    pub(super) fn id(&self) -> PeerId {
        self.node.peer_id()
    }

    pub(super) fn connect(&self, other: &Self) {
        self.bitswap.connected(other.id());
        other.bitswap.connected(self.id());
    }

    pub(super) fn disconnect(&self, other: &Self) {
        self.bitswap.disconnected(&other.id());
        other.bitswap.disconnected(&self.id());
    }

    pub(super) async fn put(&self, blocks: &[Block]) {
        self.node.put_blocks(blocks).await.expect("put");
    }

    /// A stream that a stranger opens to this node.
    pub(super) fn accept(&self, from: PeerId) -> DuplexStream {
        let (near, far) = tokio::io::duplex(PIPE);
        self.bitswap.inbound(from, Box::new(Pipe(far)));
        near
    }

    pub(super) fn counter(&self, name: &str) -> u64 {
        self.node.counter(name)
    }
}

/// Fails a test that waits for what never comes.
pub(super) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(600), what).await.expect("it never happened")
}

/// Waits until something is so. Time is the test's, so that this takes none.
pub(super) async fn until(so: impl Fn() -> bool) {
    for _ in 0..100_000 {
        if so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("it never happened");
}

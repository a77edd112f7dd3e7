//! What the tasks need of streams: anything that reads and writes will do, so that tests need no swarm.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use carrick_core::PeerId;
use futures::future::{BoxFuture, FutureExt as _};
use futures::io::{AsyncRead, AsyncWrite};
use libp2p::StreamProtocol;

use super::super::frame::Version;
use crate::streams::{Held, OpenError, Streams};

/// The names of the protocol, the preferred first. The last is what the oldest peers say.
pub(crate) const PROTOCOLS: [&str; 4] =
    ["/ipfs/bitswap/1.2.0", "/ipfs/bitswap/1.1.0", "/ipfs/bitswap/1.0.0", "/ipfs/bitswap"];

/// A stream.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Wire for T {}

/// A stream that was opened, and what is spoken on it.
pub(crate) type Opened = Result<(Version, Box<dyn Wire>), OpenError>;

/// Opens streams.
pub(crate) trait Opener: Send + Sync + 'static {
    /// Opens one to a connected peer.
    fn open(&self, peer: PeerId) -> BoxFuture<'static, Opened>;
}

/// What a protocol name means.
pub(super) fn version(protocol: &str) -> Version {
    match protocol {
        "/ipfs/bitswap/1.2.0" => Version::V1_2,
        "/ipfs/bitswap/1.1.0" => Version::V1_1,
        _ => Version::V1_0,
    }
}

/// Opens streams through the swarm.
pub(crate) fn swarm_opener(streams: Streams, protocols: Arc<[StreamProtocol]>) -> Box<dyn Opener> {
    Box::new(SwarmOpener { streams, protocols })
}

/// A stream of the swarm.
pub(crate) fn wire(stream: Held) -> Box<dyn Wire> {
    Box::new(HeldWire(stream))
}

struct SwarmOpener {
    streams: Streams,
    protocols: Arc<[StreamProtocol]>,
}

impl Opener for SwarmOpener {
    fn open(&self, peer: PeerId) -> BoxFuture<'static, Opened> {
        let (streams, protocols) = (self.streams.clone(), Arc::clone(&self.protocols));
        async move {
            let (protocol, stream) = streams.open(peer, &protocols).await?;
            Ok((version(protocol.as_ref()), wire(stream)))
        }
        .boxed()
    }
}

/// A stream with its place among those of its peer.
struct HeldWire(Held);

impl AsyncRead for HeldWire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for HeldWire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0.stream).poll_close(cx)
    }
}

//! From a socket to a link: Noise proves the keys and encrypts, a multiplexer makes streams, and on the first of them each
//! end says hello.

use std::collections::BTreeSet;
use std::future::pending;
use std::io;
use std::net::SocketAddr;

use carrick_core::links::{Greeted, Hub, Reason};
use carrick_core::{Bytes, Host, PeerId, Topic};
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use libp2p_core::upgrade::{InboundConnectionUpgrade as _, OutboundConnectionUpgrade as _};
use libp2p_noise as noise;
use remoc::chmux::{ChMux, ChMuxError, Client, Listener, Receiver, Sender};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_util::bytes::BytesMut;
use tokio_util::codec::LengthDelimitedCodec;
use tokio_util::compat::{FuturesAsyncReadCompatExt as _, TokioAsyncReadCompatExt as _};

use crate::config::multiaddr;
use crate::wire::{self, Frame, Streams};

/// Noise fails where the two ends do not agree on it: so a node of another version never gets further.
const VERSION: &[u8] = b"carrick tcp 3";

/// Carries all streams of a connection for as long as it is polled, and answers why it ended.
pub(crate) type Carrier = BoxFuture<'static, Result<(), ChMuxError<io::Error, io::Error>>>;

/// A connection whose far end proved its key.
pub(crate) struct Connection {
    pub(crate) peer: PeerId,
    pub(crate) carrier: Carrier,
    /// Opens streams,
    client: Client,
    /// so many at once,
    requests: usize,
    /// and this one takes those that the far end opens.
    pub(crate) listener: Listener,
    /// The first stream.
    pub(crate) to: Sender,
    pub(crate) from: Receiver,
}

impl Connection {
    /// Proves both keys, and opens the first stream.
    pub(crate) async fn new(host: &Host, stream: TcpStream, dialled: bool) -> Result<Self, Reason> {
        stream.set_nodelay(true)?;
        let config = noise::Config::new(host.keypair()).map_err(io::Error::other)?;
        let config = config.with_prologue(VERSION.into());
        let proving = match dialled {
            true => config.upgrade_outbound(stream.compat(), ""),
            false => config.upgrade_inbound(stream.compat(), ""),
        };
        let (peer, encrypted) = proving.await.map_err(io::Error::other)?;
        let config = wire::streams(host.limits());
        let frames = LengthDelimitedCodec::builder()
            .max_frame_length(config.max_frame_length() as usize)
            .new_framed(encrypted.compat());
        let (sink, stream) = frames.split();
        let muxing = ChMux::new(config, sink, stream.map_ok(BytesMut::freeze)).await;
        let (mux, client, mut listener) = muxing.map_err(io::Error::from)?;
        let mut carrier = mux.run().boxed();
        let first = async {
            match dialled {
                true => client.connect().await.ok().ok_or(Reason::Goodbye),
                false => listener.accept().await.ok().flatten().ok_or(Reason::Goodbye),
            }
        };
        let (to, from) = carry(&mut carrier, first).await?;
        Ok(Self { peer, carrier, client, requests: host.limits().streams_per_peer, listener, to, from })
    }

    /// The dialler says hello, and waits for that of the far end.
    pub(crate) async fn greet(&mut self, hub: &Hub<Streams>, addr: SocketAddr) -> Result<Greeted, Reason> {
        let ours = hub.topics();
        let greeting = async {
            self.to.send(hello(hub, &ours)).await.map_err(|_| Reason::Goodbye)?;
            read_hello(hub.host(), &mut self.from).await
        };
        let (session, requests, theirs) = carry(&mut self.carrier, greeting).await?;
        self.requests = self.requests.min(requests);
        Ok(Greeted { peer: self.peer, addr: multiaddr(addr), session, theirs, ours: Some(ours) })
    }

    /// The acceptor waits for a hello. Its own is the first frame of the link.
    pub(crate) async fn greeted(&mut self, host: &Host, addr: SocketAddr) -> Result<Greeted, Reason> {
        let reading = read_hello(host, &mut self.from);
        let (session, requests, theirs) = carry(&mut self.carrier, reading).await?;
        self.requests = self.requests.min(requests);
        Ok(Greeted { peer: self.peer, addr: multiaddr(addr), session, theirs, ours: None })
    }

    /// Says why not, and waits until the far end has closed.
    pub(crate) async fn refuse(&mut self, why: Reason) {
        let refusing = async {
            let _ = self.to.send(Frame::Bye(why as u8).encode()).await;
            pending::<Result<(), Reason>>().await
        };
        let _ = carry(&mut self.carrier, refusing).await;
    }

    /// What a link needs beside the first stream.
    pub(crate) fn streams(&self) -> Streams {
        Streams { client: self.client.clone(), room: Semaphore::new(self.requests) }
    }
}

/// Does something on the streams while they are carried.
async fn carry<T>(
    carrier: &mut Carrier,
    doing: impl Future<Output = Result<T, Reason>>,
) -> Result<T, Reason> {
    tokio::select! {
        done = doing => done,
        _ = carrier => Err(Reason::Goodbye),
    }
}

/// Our hello, which names these topics.
pub(crate) fn hello(hub: &Hub<Streams>, topics: &BTreeSet<Topic>) -> Bytes {
    let (network, topics) = (hub.host().network().as_str(), topics.iter().map(Topic::as_str).collect());
    let requests = wire::requests(hub.host().limits());
    Frame::Hello { network, session: hub.session(), requests, topics }.encode()
}

async fn read_hello(host: &Host, from: &mut Receiver) -> Result<(u64, usize, BTreeSet<Topic>), Reason> {
    let limits = host.limits();
    match Frame::decode(&wire::receive(from, wire::max_hello_bytes(limits)).await?)? {
        Frame::Hello { network, .. } if network != host.network().as_str() => Err(Reason::Network),
        Frame::Hello { session, requests: requests @ 1.., topics, .. } => {
            let topics = topics.into_iter().map(wire::topic).collect::<Result<_, _>>()?;
            Ok((session, requests.into(), topics))
        }
        Frame::Bye(why) => Err(Reason::from_code(why.into())),
        _ => Err(Reason::Malformed),
    }
}

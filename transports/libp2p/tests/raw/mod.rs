//! A peer that keeps no rule but those of libp2p's connections, written from the page of the transport alone.

pub(crate) mod rpc;

use std::time::Duration;

use carrick_core::{Error, ErrorKind, Keypair, Multiaddr, NetworkId, PeerAddr, PeerId, Result};
use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::{NetworkBehaviour, Stream, SwarmEvent, dial_opts::DialOpts};
use libp2p::{StreamProtocol, Swarm, SwarmBuilder, identify, noise, ping, tcp, yamux};
use libp2p_stream::Control;
use serde::Serialize;
use tokio_util::sync::{CancellationToken, DropGuard};

pub(crate) const LINK: StreamProtocol = StreamProtocol::new("/carrick/link/1.0.0");
pub(crate) const DAG: StreamProtocol = StreamProtocol::new("/carrick/dag/1.0.0");
pub(crate) const GOSSIP: StreamProtocol = StreamProtocol::new("/meshsub/1.1.0");

pub(crate) const HELLO: u8 = 1;
pub(crate) const RECORD: u8 = 3;

/// How long a far end may not read.
const UNREAD: Duration = Duration::from_secs(1);

const ASK_HAS: u8 = 0x21;
const PRESENT: u8 = 0x32;

#[derive(NetworkBehaviour)]
struct Behaviour {
    streams: libp2p_stream::Behaviour,
    ping: ping::Behaviour,
    identify: Toggle<identify::Behaviour>,
}

/// A connection whose far end was shown a key.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) key: Keypair,
    pub(crate) far: PeerId,
    control: Streams,
    closed: CancellationToken,
    /// Ends the connection.
    _alive: DropGuard,
}

#[derive(Clone)]
struct Streams(Control);

impl std::fmt::Debug for Streams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Streams")
    }
}

impl Raw {
    /// Proves a key and says nothing, not even who it is.
    pub(crate) async fn silent(to: &PeerAddr, key: &Keypair) -> Result<Self> {
        Self::connect(to, key, &[]).await
    }

    /// Proves a key, and says that it speaks these protocols: streams of them are taken and not read. That of DAGs alone is
    /// answered: everything is here.
    pub(crate) async fn connect(to: &PeerAddr, key: &Keypair, spoken: &[StreamProtocol]) -> Result<Self> {
        let swarm = swarm(key, !spoken.is_empty());
        let mut control = swarm.behaviour().streams.new_control();
        for protocol in spoken {
            let mut incoming = control.accept(protocol.clone()).map_err(refused)?;
            let answers = *protocol == DAG;
            tokio::spawn(async move {
                let mut held = Vec::new();
                while let Some((_, mut stream)) = incoming.next().await {
                    if answers {
                        promise(&mut stream).await;
                    }
                    held.push(stream);
                }
            });
        }
        Self::begin(swarm, to, key).await
    }

    async fn begin(mut swarm: Swarm<Behaviour>, to: &PeerAddr, key: &Keypair) -> Result<Self> {
        let control = Streams(swarm.behaviour().streams.new_control());
        let far = to.peer.expect("a peer is attacked");
        dial(&mut swarm, far, to.addrs.clone()).await?;
        let (closed, alive) = (CancellationToken::new(), CancellationToken::new());
        tokio::spawn(run(swarm, closed.clone(), alive.clone()));
        Ok(Self { key: key.clone(), far, control, closed, _alive: alive.drop_guard() })
    }

    /// Proves a key, and lets the caller answer streams of one protocol.
    pub(crate) async fn answering(
        to: &PeerAddr,
        protocol: StreamProtocol,
    ) -> Result<(Self, impl futures::Stream<Item = Stream> + Unpin + Send + use<>)> {
        let key = Keypair::generate_ed25519();
        let swarm = swarm(&key, true);
        let incoming = swarm.behaviour().streams.new_control().accept(protocol).map_err(refused)?;
        let raw = Self::begin(swarm, to, &key).await?;
        Ok((raw, incoming.map(|(_, stream)| stream)))
    }

    /// Connects as a node of this network does.
    pub(crate) async fn node(to: &PeerAddr, network: &NetworkId, key: &Keypair) -> Result<(Self, Stream)> {
        let raw = Self::connect(to, key, &[LINK, DAG, GOSSIP]).await?;
        let link = raw.greet(network).await?;
        Ok((raw, link))
    }

    /// Says a proper hello, and waits until it is answered by one.
    pub(crate) async fn greet(&self, network: &NetworkId) -> Result<Stream> {
        let mut link = self.open(LINK).await?;
        link.write_all(&frame(HELLO, &hello(network.as_str()))).await.map_err(refused)?;
        link.flush().await.map_err(refused)?;
        let mut head = [0; 2];
        link.read_exact(&mut head).await.map_err(refused)?;
        if head[1] != HELLO {
            return Err(Error::new(ErrorKind::Unauthorized, "hostile", "the hello was not taken"));
        }
        Ok(link)
    }

    /// Opens a stream.
    pub(crate) async fn open(&self, protocol: StreamProtocol) -> Result<Stream> {
        let mut control = self.control.0.clone();
        let opened = self.closed.run_until_cancelled(control.open_stream(self.far, protocol)).await;
        opened.ok_or_else(|| gone("the connection ended"))?.map_err(refused)
    }

    /// Waits until the far end has ended the connection.
    pub(crate) async fn ended(&self) {
        self.closed.cancelled().await;
    }

    /// Writes for as long as there is a connection; `false` where the stream is over, or not read.
    pub(crate) async fn write(&self, stream: &mut Stream, bytes: &[u8]) -> bool {
        let writing = async { stream.write_all(bytes).await.is_ok() && stream.flush().await.is_ok() };
        let writing = tokio::time::timeout(UNREAD, writing);
        matches!(self.closed.run_until_cancelled(writing).await, Some(Ok(true)))
    }
}

fn swarm(key: &Keypair, tells: bool) -> Swarm<Behaviour> {
    let mut muxing = yamux::Config::default();
    muxing.set_max_num_streams(4_096);
    let identify =
        tells.then(|| identify::Behaviour::new(identify::Config::new("ipfs/0.1.0".into(), key.public())));
    SwarmBuilder::with_existing_identity(key.clone())
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, || muxing)
        .expect("a transport")
        .with_quic()
        .with_behaviour(|_| Behaviour {
            streams: libp2p_stream::Behaviour::new(),
            ping: ping::Behaviour::default(),
            identify: identify.into(),
        })
        .expect("a behaviour")
        .with_swarm_config(|config| {
            let many = 1 << 16;
            config
                .with_idle_connection_timeout(Duration::from_secs(600))
                .with_max_negotiating_inbound_streams(many)
        })
        .build()
}

async fn dial(swarm: &mut Swarm<Behaviour>, far: PeerId, addrs: Vec<Multiaddr>) -> Result<()> {
    swarm.dial(DialOpts::peer_id(far).addresses(addrs).build()).map_err(refused)?;
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::ConnectionEstablished { .. } => return Ok(()),
            SwarmEvent::OutgoingConnectionError { error, .. } => return Err(refused(error)),
            _ => {}
        }
    }
}

async fn run(mut swarm: Swarm<Behaviour>, closed: CancellationToken, alive: CancellationToken) {
    let running = async {
        loop {
            if let SwarmEvent::ConnectionClosed { num_established: 0, .. } = swarm.select_next_some().await {
                return;
            }
        }
    };
    alive.run_until_cancelled(running).await;
    closed.cancel();
}

/// Says that whatever is asked for is here.
async fn promise(stream: &mut Stream) {
    let mut head = [0; 5];
    if stream.read_exact(&mut head).await.is_ok() && head[4] == ASK_HAS {
        let _ = stream.write_all(&[0, 0, 0, 1, PRESENT]).await;
        let _ = stream.close().await;
    }
}

/// A frame of the link: length, kind, body.
pub(crate) fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    delimited(&[&[kind], body].concat())
}

/// Bytes with their length before them.
pub(crate) fn delimited(bytes: &[u8]) -> Vec<u8> {
    let mut buffer = unsigned_varint::encode::usize_buffer();
    [unsigned_varint::encode::usize(bytes.len(), &mut buffer), bytes].concat()
}

/// The body of a hello.
pub(crate) fn hello(network: &str) -> Vec<u8> {
    #[derive(Serialize)]
    struct Hello<'a> {
        v: u64,
        network: &'a str,
        session: u64,
    }
    serde_ipld_dagcbor::to_vec(&Hello { v: 1, network, session: number() }).expect("it is a map")
}

/// A number that no other has.
pub(crate) fn number() -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _, RandomState};
    RandomState::new().build_hasher().finish() >> 1
}

pub(crate) fn refused(source: impl std::error::Error + Send + Sync + 'static) -> Error {
    gone(&source.to_string())
}

fn gone(why: &str) -> Error {
    Error::new(ErrorKind::Unauthorized, "hostile", why.to_owned())
}

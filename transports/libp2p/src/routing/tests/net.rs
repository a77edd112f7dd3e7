//! A node that has routing alone, and the swarm that it is in.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use carrick_core::{Clock, Host, Keypair, Membership, Multiaddr, Node, PeerId, Store, Time, Topic};
use futures::StreamExt as _;
use libp2p::core::transport::MemoryTransport;
use libp2p::core::upgrade::Version;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Swarm, SwarmBuilder, Transport as _, identify, noise, tcp, yamux};
use tokio::sync::{mpsc, oneshot};

use super::super::{Behaviour, DhtMode, Finder, Routing, Settings, open};
use super::host::{Disk, node};

/// What all clocks show at first.
pub(super) const NOW: u64 = 1_700_000_000_000;
/// How long an announcement is waited for.
pub(super) const WAITS: Duration = Duration::from_secs(50);
/// How often a condition is looked at while nothing else happens.
const LOOK: Duration = Duration::from_millis(50);

#[derive(NetworkBehaviour)]
pub(super) struct Both {
    pub(super) identify: identify::Behaviour,
    pub(super) routing: Behaviour,
}

/// Something to do inside the swarm's task; answers whether it is done.
type Work = Box<dyn FnMut(&mut Swarm<Both>) -> bool + Send>;

/// A node.
pub(super) struct Peer {
    pub(super) id: PeerId,
    pub(super) addr: Multiaddr,
    pub(super) finder: Finder,
    pub(super) node: Node,
    pub(super) host: Host,
    pub(super) clock: Hands,
    work: mpsc::Sender<Work>,
    swarm: tokio::task::JoinHandle<()>,
}

/// How a node is.
#[derive(Clone)]
pub(super) struct Setup {
    pub(super) routing: Routing,
    pub(super) dht: DhtMode,
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Hands,
    /// On TCP, for peers in other processes.
    pub(super) tcp: bool,
}

impl Default for Setup {
    fn default() -> Self {
        let clock = Hands(Arc::new(NOW.into()));
        Self {
            routing: Routing::Private,
            dht: DhtMode::Auto,
            store: Arc::new(Disk::default()),
            clock,
            tcp: false,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Hands(Arc<AtomicU64>);

impl Hands {
    pub(super) fn advance(&self, time: Duration) {
        self.0.fetch_add(time.as_millis() as u64, Ordering::Relaxed);
    }
}

impl Clock for Hands {
    fn now(&self) -> Time {
        Time(self.0.load(Ordering::Relaxed))
    }
}

pub(super) fn key(n: u8) -> Keypair {
    Keypair::ed25519_from_bytes([n; 32]).expect("32 bytes are a key")
}

pub(super) fn id(n: u8) -> PeerId {
    key(n).public().to_peer_id()
}

pub(super) fn cid(n: u64) -> carrick_core::Cid {
    *carrick_core::Block::new(carrick_core::RAW, n.to_be_bytes().to_vec()).cid()
}

impl Peer {
    /// One with the defaults.
    pub(super) async fn new(n: u8) -> Self {
        Self::with(n, Setup::default()).await
    }

    pub(super) async fn with(n: u8, setup: Setup) -> Self {
        let (node, host) = node(n, &setup).await;
        let settings = Settings::new(setup.routing, setup.dht, super::super::REPROVIDE_S).expect("in range");
        let (routing, finder) = open(&settings, &host).await.expect("opens");
        let both = |identify| Both { identify, routing };
        let mut swarm = if setup.tcp { over_tcp(n, both) } else { swarm(n, both) };
        let listen = if setup.tcp { "/ip4/127.0.0.1/tcp/0" } else { "/memory/0" };
        swarm.listen_on(listen.parse().expect("an address")).expect("listens");
        let addr = loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                break address;
            }
        };
        let (work, inbox) = mpsc::channel(16);
        let swarm = tokio::spawn(run(swarm, inbox));
        Self { id: id(n), addr, finder, node, host, clock: setup.clock, work, swarm }
    }

    /// Does something in the swarm's task.
    pub(super) async fn act<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Swarm<Both>) -> T + Send + 'static,
    ) -> T {
        let (reply, answer) = oneshot::channel();
        let mut once = Some((act, reply));
        let work: Work = Box::new(move |swarm| {
            if let Some((act, reply)) = once.take() {
                let _ = reply.send(act(swarm));
            }
            true
        });
        assert!(self.work.send(work).await.is_ok(), "the swarm runs");
        answer.await.expect("the swarm runs")
    }

    /// Waits until something is so.
    pub(super) async fn until(
        &self,
        what: &str,
        mut is_so: impl FnMut(&mut Swarm<Both>) -> bool + Send + 'static,
    ) {
        let (reply, answer) = oneshot::channel();
        let mut reply = Some(reply);
        let work: Work = Box::new(move |swarm| {
            let so = is_so(swarm);
            if so {
                let _ = reply.take().map(|reply| reply.send(()));
            }
            so
        });
        assert!(self.work.send(work).await.is_ok(), "the swarm runs");
        tokio::time::timeout(Duration::from_secs(30), answer).await.expect(what).expect("the swarm runs");
    }

    /// Connects, and waits until both have each other in their tables.
    pub(super) async fn meet(&self, other: &Self) {
        let addr = other.addr.clone();
        self.act(move |swarm| swarm.dial(addr).expect("dials")).await;
        self.has(other.id).await;
        other.has(self.id).await;
    }

    /// Waits until a peer is in the table.
    pub(super) async fn has(&self, peer: PeerId) {
        self.until("in the table", move |swarm| swarm.behaviour_mut().routing.in_tables(&peer)).await;
    }

    /// Waits until so many records of others are here.
    pub(super) async fn stores(&self, records: usize) {
        self.until("stored", move |swarm| swarm.behaviour_mut().routing.stored() == records).await;
    }

    /// Admits a peer no more.
    pub(super) async fn ban(&self, peer: PeerId) {
        self.node.set_membership(Arc::new(AllBut(peer))).await.expect("open");
    }

    /// Ends it cleanly.
    pub(super) async fn close(self) {
        self.finder.flush().await.expect("saves");
        self.swarm.abort();
        let _ = self.swarm.await;
        self.node.close().await.expect("closes");
    }
}

async fn run(mut swarm: Swarm<Both>, mut inbox: mpsc::Receiver<Work>) {
    let mut waiting: Vec<Work> = Vec::new();
    let mut look = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            event = swarm.select_next_some() => {
                if let SwarmEvent::Behaviour(BothEvent::Identify(identify::Event::Received { peer_id, info, .. })) = event {
                    swarm.behaviour_mut().routing.identified(peer_id, &info);
                }
            }
            work = inbox.recv() => match work {
                Some(work) => waiting.push(work),
                None => return,
            },
            _ = look.tick() => {}
        }
        waiting.retain_mut(|work| !work(&mut swarm));
    }
}

/// A swarm on the transport inside this process.
pub(super) fn swarm<B: NetworkBehaviour>(
    n: u8,
    behaviour: impl FnOnce(identify::Behaviour) -> B,
) -> Swarm<B> {
    SwarmBuilder::with_existing_identity(key(n))
        .with_tokio()
        .with_other_transport(|key| {
            let noise = noise::Config::new(key)?;
            let transport = MemoryTransport::new().upgrade(Version::V1).authenticate(noise);
            Ok(transport.multiplex(yamux::Config::default()))
        })
        .expect("a transport")
        .with_behaviour(|key| behaviour(identify(key)))
        .expect("a behaviour")
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(60)))
        .build()
}

/// The same on TCP.
fn over_tcp<B: NetworkBehaviour>(n: u8, behaviour: impl FnOnce(identify::Behaviour) -> B) -> Swarm<B> {
    SwarmBuilder::with_existing_identity(key(n))
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .expect("a transport")
        .with_behaviour(|key| behaviour(identify(key)))
        .expect("a behaviour")
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(60)))
        .build()
}

fn identify(key: &Keypair) -> identify::Behaviour {
    let config = identify::Config::new("/test/1.0.0".into(), key.public());
    identify::Behaviour::new(config.with_push_listen_addr_updates(true))
}

/// Admits everybody but one.
#[derive(Debug)]
struct AllBut(PeerId);

impl Membership for AllBut {
    fn admits(&self, peer: &PeerId) -> bool {
        *peer != self.0
    }

    fn may_publish(&self, author: &PeerId, _: &Topic) -> bool {
        self.admits(author)
    }
}

/// Fails the test where it would hang.
pub(super) async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), work).await.expect("it hangs")
}

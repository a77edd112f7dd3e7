//! A wire as a daemon such as Kubo offers it: each node has a daemon beside it that carries messages before any verdict,
//! echoes them, tells no reach, keeps blocks of its own, and proves no key but its own.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use carrick_core::conformance::transport::{Fixture, Setup, Wrapped, Wrapper};
use carrick_core::{
    Broadcast, Bytes, Capabilities, Cid, Claim, Claims, Discovery, Error, ErrorKind, Fetch, Fetched, Host,
    Identity, Inbound, Multiaddr, NetworkId, Notice, Outgoing, Overload, PeerAddr, PeerId, PeerInfo,
    PeerRecord, Privacy, Reach, Receipt, Relay, RelayGate, Remote, Result, Serving, Slot, Tap, Topic,
    Transport, Want, WantDag, async_trait,
};
use carrick_transport_memory::MemoryNetwork;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

/// A way for an adapter to be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// What is to be provided is not handed to the daemon.
    UploadsNothing,
    /// Of many that are to be provided only the first is handed over.
    UploadsOne,
    /// What is withdrawn stays with the daemon.
    Keeps,
    /// Says that every message went to one peer.
    MakesUpReach,
    /// Names the daemons as peers.
    TakesDaemonsForPeers,
    /// Names itself as the provider of what came.
    NamesItself,
    /// Says that it dialled.
    PretendsToDial,
}

/// Daemons that all reach each other.
#[derive(Debug)]
pub(crate) struct Daemons {
    wire: MemoryNetwork,
    blocks: Arc<Blocks>,
    running: Mutex<Vec<PeerAddr>>,
    flaw: Option<Flaw>,
}

/// What each daemon has.
type Blocks = Mutex<BTreeMap<(PeerId, Cid), Bytes>>;

impl Daemons {
    pub(crate) fn new(flaw: Option<Flaw>) -> Self {
        Self { wire: MemoryNetwork::new(1), blocks: Arc::default(), running: Mutex::default(), flaw }
    }
}

#[async_trait]
impl Fixture for Daemons {
    async fn open(&self, host: Host, _: Setup) -> Result<Arc<dyn Transport>> {
        let adapter = Arc::new(Adapter {
            net: NetworkId::new("daemons")?,
            host: host.clone(),
            blocks: Arc::clone(&self.blocks),
            inner: OnceLock::new(),
            echoes: AtomicU64::new(0),
            closed: CancellationToken::new(),
            flaw: self.flaw,
        });
        let open = self.wire.transport();
        let opened = Wrapped::open(adapter.clone(), host.clone(), async |host| {
            Ok(Arc::new(open(host).await?) as Arc<dyn Transport>)
        });
        let opened = opened.await?;
        if let Some(daemon) = adapter.inner.get().and_then(Weak::upgrade) {
            let addr = PeerAddr::new(host.me(), daemon.listen_addrs());
            let running = lock(&self.running).clone();
            for other in running {
                // One that is gone by now is nobody's loss.
                let _ = daemon.dial(&other).await;
            }
            lock(&self.running).push(addr);
        }
        Ok(Arc::new(opened))
    }

    fn nowhere(&self) -> PeerAddr {
        "/memory/999999".parse().expect("an address")
    }
}

/// What stands between a node and its daemon.
#[derive(Debug)]
struct Adapter {
    /// That of the daemons, which know nothing of ours.
    net: NetworkId,
    host: Host,
    blocks: Arc<Blocks>,
    /// The daemon.
    inner: OnceLock<Weak<dyn Transport>>,
    echoes: AtomicU64,
    closed: CancellationToken,
    flaw: Option<Flaw>,
}

impl Adapter {
    fn named(&self, remote: &Remote) -> Remote {
        match remote {
            Remote::Peer(peer) if self.flaw != Some(Flaw::TakesDaemonsForPeers) => {
                Remote::Foreign(format!("daemon {peer}").into())
            }
            remote => remote.clone(),
        }
    }

    /// The daemon of this node.
    fn own(&self) -> Remote {
        self.named(&Remote::Peer(self.host.me()))
    }

    /// Our network is part of the topic: daemons carry those of all networks.
    fn wire(&self, topic: &Topic) -> Topic {
        Topic::new(format!("{} {topic}", self.host.network())).expect("a topic")
    }

    fn ours(&self, wire: &Topic) -> Option<Topic> {
        let (_, topic) = wire.as_str().split_once(' ')?;
        let topic = Topic::from_wire(topic).ok()?;
        (self.wire(&topic) == *wire).then_some(topic)
    }

    fn open(&self, operation: &'static str) -> Result<()> {
        match self.closed.is_cancelled() {
            true => Err(Error::new(ErrorKind::Closed, operation, "the adapter is closed")),
            false => Ok(()),
        }
    }

    fn names(&self, remotes: Vec<Remote>) -> Vec<Remote> {
        let mut named: Vec<_> = remotes.iter().map(|remote| self.named(remote)).collect();
        named.sort();
        named
    }

    /// Hands a message of our own in, as the daemon does with what it is given.
    fn echo(&self, message: &Outgoing) {
        let (host, from) = (self.host.clone(), self.own());
        let wire_id = format!("echo {}", self.echoes.fetch_add(1, Ordering::Relaxed)).into();
        let (topic, bytes) = (message.topic.clone(), message.bytes.clone());
        self.host.spawn(async move {
            let slot = host.slot(&from).await;
            slot.deliver(Inbound { from, topic, bytes, wire_id: Some(wire_id) }).await;
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn cannot<T>(operation: &'static str) -> Result<T> {
    Err(Error::new(ErrorKind::Unsupported, operation, "the daemon decides"))
}

impl Tap for Adapter {
    fn network<'a>(&'a self, _: &'a Host) -> &'a NetworkId {
        &self.net
    }

    fn admits(&self, _: &Host, _: &PeerId) -> bool {
        true
    }

    fn relays_to(&self, _: &Host, _: &Remote) -> bool {
        true
    }

    fn slot<'a>(&'a self, host: &'a Host, from: &'a Remote) -> BoxFuture<'a, Slot> {
        async { host.slot(&self.named(from)).await }.boxed()
    }

    fn deliver(&self, slot: Slot, inbound: Inbound) -> BoxFuture<'static, Relay> {
        let Some(topic) = self.ours(&inbound.topic) else { return std::future::ready(Relay::Ignore).boxed() };
        let inbound = Inbound { from: self.named(&inbound.from), topic, ..inbound };
        // Its daemon sent it to all others before: nobody waits for the verdict.
        slot.deliver(inbound).map(|_| Relay::Ignore).boxed()
    }

    fn learn(&self, _: &Host, _: &Remote, _: PeerRecord) -> bool {
        false
    }

    fn notice(&self, host: &Host, notice: Notice) {
        match notice {
            Notice::Up(remote, _) => host.notice(Notice::Up(self.named(&remote), vec![])),
            Notice::Down(remote) => host.notice(Notice::Down(self.named(&remote))),
            Notice::Joined(remote, topic) => {
                if let Some(topic) = self.ours(&topic) {
                    host.notice(Notice::Joined(self.named(&remote), topic));
                }
            }
            Notice::Left(remote, topic) => {
                if let Some(topic) = self.ours(&topic) {
                    host.notice(Notice::Left(self.named(&remote), topic));
                }
            }
            // What a daemon drops it tells nobody; where it listens is no way to this node.
            _ => {}
        }
    }
}

#[async_trait]
impl Wrapper for Adapter {
    fn opened(&self, inner: &Arc<dyn Transport>) {
        let _ = self.inner.set(Arc::downgrade(inner));
    }

    fn capabilities(&self, inner: &dyn Transport) -> Capabilities {
        let mut caps = inner.capabilities();
        caps.identity = Identity::Daemon;
        caps.privacy = Privacy::None;
        (caps.admits_in_handshake, caps.dials, caps.disconnects) = (false, false, false);
        if let Some(broadcast) = &mut caps.broadcast {
            broadcast.relay = RelayGate::BeforeVerdict;
            broadcast.hold_verdict = Duration::ZERO;
            broadcast.overload = Overload::DropsUnseen;
            broadcast.reach = Reach::Unknown;
            broadcast.echoes_own = true;
        }
        if let Some(fetch) = &mut caps.fetch {
            fetch.serving = Serving::FromOwnStore;
            fetch.discovery = Discovery::Routing;
            (fetch.dag_in_one_request, fetch.names_provider, fetch.takes_hints) = (false, false, false);
        }
        caps
    }

    fn listen_addrs(&self, _: &dyn Transport) -> Vec<Multiaddr> {
        vec![]
    }

    async fn dial(&self, _: &Arc<dyn Transport>, peer: &PeerAddr) -> Result<Remote> {
        self.open("dial")?;
        match (self.flaw, peer.peer) {
            (Some(Flaw::PretendsToDial), Some(peer)) => Ok(self.named(&Remote::Peer(peer))),
            _ => cannot("dial"),
        }
    }

    async fn disconnect(&self, _: &dyn Transport, _: &Remote) -> Result<()> {
        self.open("disconnect")?;
        cannot("disconnect")
    }

    async fn peers(&self, inner: &dyn Transport) -> Result<Vec<PeerInfo>> {
        let peers = inner.peers().await?.into_iter().map(|info| info.remote).collect();
        Ok(self.names(peers).into_iter().map(PeerInfo::new).collect())
    }

    async fn join(&self, inner: &dyn Broadcast, topic: &Topic) -> Result<()> {
        inner.join(&self.wire(topic)).await
    }

    async fn leave(&self, inner: &dyn Broadcast, topic: &Topic) -> Result<()> {
        inner.leave(&self.wire(topic)).await
    }

    async fn publish(&self, inner: &dyn Broadcast, message: &Outgoing) -> Result<Receipt> {
        inner.publish(&Outgoing { topic: self.wire(&message.topic), ..message.clone() }).await?;
        self.echo(message);
        match self.flaw {
            Some(Flaw::MakesUpReach) => Ok(Receipt::counted(1, vec![])),
            _ => Ok(Receipt::unknown()),
        }
    }

    async fn topic_peers(&self, inner: &dyn Broadcast, topic: &Topic) -> Result<Vec<Remote>> {
        Ok(self.names(inner.topic_peers(&self.wire(topic)).await?))
    }

    async fn fetch_block(&self, _: &dyn Fetch, want: &Want) -> Result<Fetched> {
        self.open("block")?;
        let found =
            || lock(&self.blocks).iter().find(|((_, cid), _)| *cid == want.cid).map(|(_, b)| b.clone());
        let Some(bytes) = found() else {
            // A daemon asks and asks: nobody can tell it that nobody has it.
            let (kind, detail) = tokio::select! {
                () = self.closed.cancelled() => (ErrorKind::Closed, "the adapter is closed"),
                () = tokio::time::sleep(want.timeout) => (ErrorKind::Timeout, "the daemon found nobody"),
            };
            return Err(Error::new(kind, "block", detail));
        };
        if bytes.len() > want.limit_bytes.min(self.host.limits().block_bytes) {
            return Err(Error::new(ErrorKind::TooLarge, "block", "it is larger than asked for"));
        }
        let from = (self.flaw == Some(Flaw::NamesItself)).then(|| self.own());
        Ok(Fetched { claim: Claim::new(want.cid, bytes), from })
    }

    async fn fetch_dag(&self, _: &dyn Fetch, _: &WantDag) -> Result<Claims> {
        self.open("dag")?;
        cannot("dag")
    }

    async fn provide(&self, _: &dyn Fetch, cids: &[Cid]) -> Result<()> {
        self.open("provide")?;
        self.host.check_provided(cids).await?;
        let few = if self.flaw == Some(Flaw::UploadsOne) { 1 } else { cids.len() };
        for cid in &cids[..few] {
            if lock(&self.blocks).contains_key(&(self.host.me(), *cid)) {
                continue;
            }
            let served = self.host.block(&self.own(), cid).await?;
            let absent = || Error::new(ErrorKind::NotFound, "provide", "the node has it not");
            let bytes = Bytes::copy_from_slice(served.ok_or_else(absent)?.bytes());
            // The daemon hashes what it is given.
            Claim::new(*cid, bytes.clone()).check()?;
            if self.flaw != Some(Flaw::UploadsNothing) {
                lock(&self.blocks).insert((self.host.me(), *cid), bytes);
            }
        }
        Ok(())
    }

    async fn withdraw(&self, _: &dyn Fetch, cids: &[Cid]) -> Result<()> {
        self.open("withdraw")?;
        if self.flaw != Some(Flaw::Keeps) {
            let mut blocks = lock(&self.blocks);
            cids.iter().for_each(|cid| drop(blocks.remove(&(self.host.me(), *cid))));
        }
        Ok(())
    }

    async fn announce(&self, _: &dyn Fetch, _: &Cid) -> Result<()> {
        self.open("announce")
    }

    async fn providers(&self, _: &dyn Fetch, cid: &Cid, limit: usize) -> Result<Vec<PeerAddr>> {
        self.open("providers")?;
        let blocks = lock(&self.blocks);
        let having = blocks.keys().filter(|(_, had)| had == cid).take(limit);
        let daemon = "/ip4/192.0.2.1/tcp/4001".parse::<Multiaddr>().expect("an address");
        Ok(having.map(|_| PeerAddr { peer: None, addrs: vec![daemon.clone()] }).collect())
    }

    async fn close(&self, inner: &dyn Transport) -> Result<()> {
        self.closed.cancel();
        inner.close().await
    }
}

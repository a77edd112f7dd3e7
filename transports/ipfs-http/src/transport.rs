//! The contract, implemented: arguments are checked here, work is done in the modules of each part.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use carrick_core::{
    Broadcast, BroadcastCaps, Capabilities, Cid, Claims, Discovery, ErrorKind, Fetch, FetchCaps, Fetched,
    Host, Identity, Multiaddr, Notice, Outgoing, Overload, PeerAddr, PeerInfo, Reach, Receipt, RelayGate,
    Remote, Result, Serving, Topic, Transport, Want, WantDag,
};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::pubsub::Waiting;
use crate::rpc::Rpc;
use crate::shared::{Shared, lock};
use crate::{IpfsHttpConfig, announce, dial, fetch, probe, pubsub, swarm};

/// A Kubo daemon as a network. Open one by name through the registry, or with [`IpfsHttp::open`].
pub struct IpfsHttp {
    shared: Arc<Shared>,
}

impl IpfsHttp {
    /// Asks the daemon who it is and what it can do, and begins to watch it.
    ///
    /// # Errors
    /// `Config` for a key out of range, a secret or certificate that cannot be read, and a daemon whose pubsub is off;
    /// `Unreachable` and `Timeout` where no daemon answers, `Unauthorized` where it wants another secret, or one that opens
    /// more, `Unsupported` where it is too old or lacks a command, `Unexpected` where something else answers.
    pub async fn open(config: IpfsHttpConfig, host: Host) -> Result<Self> {
        let instance = host.instance().to_owned();
        let named = |error: carrick_core::Error| error.on(instance.clone());
        config.check().map_err(named)?;
        let counted = host.clone();
        let opened = move || counted.count("connections_opened", 1);
        let rpc = Rpc::new(&config.access(), opened).map_err(named)?;
        let found = probe::probe(&rpc, &host, &config).await.map_err(named)?;
        let (announcing, to_announce) = mpsc::channel(announce::MAX_WAITING);
        let waiting = Waiting::new(host.limits(), config.publish_rate, config.request_timeout.0);
        let shared = Arc::new(Shared {
            host,
            config,
            rpc,
            own: swarm::own(&found).into(),
            identified: (Instant::now(), None).into(),
            forgot: Default::default(),
            topics: Default::default(),
            peers: Default::default(),
            links: Default::default(),
            echoes: Default::default(),
            waiting,
            there: AtomicBool::new(true),
            apart: Default::default(),
            giving: Semaphore::new(fetch::GIVING),
            announcing,
            wake: Default::default(),
            closed: CancellationToken::new(),
        });
        shared.host.fact("state", "answers");
        shared.host.notice(Notice::Listening(lock(&shared.own).listen.clone()));
        // Before anything is asked for: whoever is connected to nobody looks no further than its daemon.
        swarm::look(&shared).await.map_err(|fault| shared.failed("open", fault))?;
        spawn(&shared, swarm::watch(Arc::clone(&shared)));
        spawn(&shared, pubsub::keep_sending(Arc::clone(&shared)));
        spawn(&shared, announce::keep_announcing(Arc::clone(&shared), to_announce));
        for peer in &shared.config.bootstrap {
            spawn(&shared, dial::stay_connected(Arc::clone(&shared), peer.clone()));
        }
        Ok(Self { shared })
    }
}

/// Runs a task until the transport closes.
fn spawn(shared: &Shared, task: impl Future<Output = ()> + Send + 'static) {
    let closed = shared.closed.clone();
    shared.host.spawn(async move {
        closed.run_until_cancelled(task).await;
    });
}

impl Drop for IpfsHttp {
    /// The tasks hold what they share, not the transport: without it they end, and their connections with them.
    fn drop(&mut self) {
        self.shared.closed.cancel();
    }
}

impl fmt::Debug for IpfsHttp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IpfsHttp({} at {})", self.shared.daemon(), self.shared.rpc.endpoint())
    }
}

#[async_trait]
impl Transport for IpfsHttp {
    fn capabilities(&self) -> Capabilities {
        let mut broadcast = BroadcastCaps::new(pubsub::max_message_bytes(&self.shared));
        broadcast.relay = RelayGate::BeforeVerdict;
        broadcast.hold_verdict = Duration::ZERO;
        broadcast.overload = Overload::DropsUnseen;
        broadcast.reach = Reach::Unknown;
        broadcast.echoes_own = true;
        broadcast.raw_topics = true;
        let max = fetch::max_block_bytes(&self.shared);
        let mut fetch = FetchCaps::new(max, Serving::FromOwnStore, Discovery::Routing);
        fetch.names_provider = false;
        fetch.takes_hints = false;
        let broadcast = self.shared.config.pubsub.then_some(broadcast);
        Capabilities::new(broadcast, Some(fetch), Identity::Daemon)
    }

    fn listen_addrs(&self) -> Vec<Multiaddr> {
        if self.shared.closed.is_cancelled() { vec![] } else { lock(&self.shared.own).listen.clone() }
    }

    async fn dial(&self, peer: &PeerAddr) -> Result<Remote> {
        self.shared.run("dial", dial::dial(&self.shared, peer)).await
    }

    async fn disconnect(&self, peer: &Remote) -> Result<()> {
        self.shared.run("disconnect", dial::disconnect(&self.shared, peer)).await
    }

    async fn peers(&self) -> Result<Vec<PeerInfo>> {
        let looking = async {
            let found = swarm::look(&self.shared).await;
            found
                .map(|links| links.into_values().collect())
                .map_err(|fault| self.shared.failed("peers", fault))
        };
        self.shared.run("peers", looking).await
    }

    fn broadcast(&self) -> Option<&dyn Broadcast> {
        self.shared.config.pubsub.then_some(self)
    }

    fn fetch(&self) -> Option<&dyn Fetch> {
        Some(self)
    }

    async fn close(&self) -> Result<()> {
        self.shared.closed.cancel();
        Ok(())
    }
}

#[async_trait]
impl Broadcast for IpfsHttp {
    async fn join(&self, topic: &Topic) -> Result<()> {
        self.shared.run("join", pubsub::join(&self.shared, topic)).await
    }

    async fn leave(&self, topic: &Topic) -> Result<()> {
        self.shared.open("leave")?;
        pubsub::leave(&self.shared, topic);
        Ok(())
    }

    async fn publish(&self, message: &Outgoing) -> Result<Receipt> {
        self.shared.run("publish", pubsub::publish(&self.shared, message)).await
    }

    async fn topic_peers(&self, topic: &Topic) -> Result<Vec<Remote>> {
        let looking = async {
            let found = swarm::keep_looking_at(&self.shared, topic).await;
            found.map_err(|fault| self.shared.failed("topic_peers", fault))
        };
        self.shared.run("topic_peers", looking).await
    }
}

#[async_trait]
impl Fetch for IpfsHttp {
    async fn block(&self, want: &Want) -> Result<Fetched> {
        self.shared.run("block", fetch::block(&self.shared, want)).await
    }

    /// Not offered: the daemon's `dag/export` asks for one block after the other, so many single blocks are faster; and it brings
    /// them depth first, knows no `have`, and tells no end of what it may fetch for it.
    async fn dag(&self, _: &WantDag) -> Result<Claims> {
        self.shared.open("dag")?;
        Err(self.shared.fail(ErrorKind::Unsupported, "dag", "a daemon brings single blocks"))
    }

    async fn provide(&self, cids: &[Cid]) -> Result<()> {
        self.shared.run("provide", fetch::provide(&self.shared, cids)).await
    }

    async fn withdraw(&self, cids: &[Cid]) -> Result<()> {
        self.shared.run("withdraw", fetch::withdraw(&self.shared, cids)).await
    }

    /// Returns at once; it is tried for two minutes.
    async fn announce(&self, root: &Cid) -> Result<()> {
        self.shared.open("announce")?;
        announce::root(&self.shared, root)
    }

    async fn providers(&self, cid: &Cid, limit: usize) -> Result<Vec<PeerAddr>> {
        self.shared.run("providers", fetch::providers(&self.shared, cid, limit)).await
    }
}

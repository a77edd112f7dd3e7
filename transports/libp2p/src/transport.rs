//! The contract, implemented: arguments are checked here, work is done in the tasks.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use carrick_core::links::Hub;
use carrick_core::{
    Broadcast, BroadcastCaps, Capabilities, Cid, Claims, Discovery, Error, Fetch, FetchCaps, Fetched, Host,
    Identity, Multiaddr, Outgoing, Overload, PeerAddr, PeerInfo, Privacy, Receipt, Remote, Result, Serving,
    Topic, Transport, Want, WantDag,
};

use tokio::time::timeout;

use crate::shared::Shared;
use crate::streams::{self, Streams};
use crate::swarm::{self, Net, Task};
use crate::{Libp2pConfig, Routing, bitswap, dag, link, net, routing};

/// How long whoever announces waits for the peers nearest to it to be told: those who are near answer sooner.
const TOLD_WITHIN: Duration = Duration::from_secs(1);
/// How long `close` waits for its goodbyes to leave, and again for the connections to end.
const GOODBYES: Duration = Duration::from_millis(400);

/// Native libp2p. Open one by name through the registry, or with [`Libp2p::open`].
pub struct Libp2p {
    shared: Arc<Shared>,
}

impl Libp2p {
    /// Listens, and begins to dial the bootstrap peers.
    ///
    /// # Errors
    /// `Config` for a key out of range, a swarm key that cannot be read, or an address that is in use or not of this machine.
    pub async fn open(config: Libp2pConfig, host: Host) -> Result<Self> {
        let instance = host.instance().to_owned();
        let named = |error: Error| error.on(instance.clone());
        config.check().map_err(named)?;
        let (streams, requests) = Streams::channel();
        let mut protocols = vec![link::PROTOCOL];
        protocols.extend(config.dag.then_some(dag::PROTOCOL));
        protocols.extend(bitswap::protocols());
        let behaviour = streams::Behaviour::new(protocols, host.limits().streams_per_peer, requests);
        let (routing, finder) = routing::open(&config.routing().map_err(named)?, &host).await?;
        let mut swarm = net::swarm(&config, &host, behaviour, routing).map_err(named)?;
        let events = swarm::listen(&mut swarm, &config.listen_addrs(), &host).await?;
        let (net, commands) = Net::channel(host.clone());
        let hub = Hub::new(host.clone());
        let shared = Shared::new(host, hub, net, streams, config, finder);
        let mut task = Task::new(Arc::clone(&shared), swarm, commands);
        task.begin(events);
        shared.host.spawn(task.run());
        for peer in &shared.config.bootstrap {
            shared.hub.spawn(Arc::clone(&shared).keep(peer.clone()));
        }
        if shared.config.neighbours > 0 {
            shared.hub.spawn(Arc::clone(&shared).look_for_neighbours());
        }
        Ok(Self { shared })
    }
}

impl Drop for Libp2p {
    /// The tasks hold what they share, not the transport: without it they end, and the sockets are free.
    fn drop(&mut self) {
        self.shared.shut_down();
    }
}

impl fmt::Debug for Libp2p {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Libp2p({:?})", self.shared.hub)
    }
}

#[async_trait]
impl Transport for Libp2p {
    fn capabilities(&self) -> Capabilities {
        let limits = self.shared.host.limits();
        let mut broadcast = BroadcastCaps::new(limits.envelope_bytes());
        broadcast.hold_verdict = self.shared.config.gossipsub.hold();
        broadcast.overload = Overload::DropsCounted;
        broadcast.raw_topics = true;
        let discovery = match self.shared.config.routing {
            Routing::None => Discovery::Neighbours,
            _ => Discovery::Routing,
        };
        let mut fetch = FetchCaps::new(limits.block_bytes, Serving::FromHost, discovery);
        // Of nodes; of others it comes block by block, which the transport sees to.
        fetch.dag_in_one_request = true;
        let mut capabilities = Capabilities::new(Some(broadcast), Some(fetch), Identity::Peer);
        capabilities.admits_in_handshake = false;
        if self.shared.config.swarm_key.is_some() {
            capabilities.privacy = Privacy::PreSharedKey;
        }
        capabilities
    }

    fn listen_addrs(&self) -> Vec<Multiaddr> {
        self.shared.hub.open("listen_addrs").map(|()| self.shared.listening().clone()).unwrap_or_default()
    }

    async fn dial(&self, peer: &PeerAddr) -> Result<Remote> {
        self.shared.hub.dial_by(peer, self.shared.connect(peer)).await
    }

    async fn disconnect(&self, peer: &Remote) -> Result<()> {
        if let Some(peer) = peer.peer() {
            self.shared.net.part(*peer);
        }
        self.shared.hub.disconnect(peer)
    }

    async fn peers(&self) -> Result<Vec<PeerInfo>> {
        self.shared.hub.open("peers")?;
        let mut peers = self.shared.hub.peers();
        let rtt = self.shared.rtt();
        for info in &mut peers {
            info.rtt = info.remote.peer().and_then(|peer| rtt.get(peer)).copied();
        }
        Ok(peers)
    }

    fn broadcast(&self) -> Option<&dyn Broadcast> {
        Some(self)
    }

    fn fetch(&self) -> Option<&dyn Fetch> {
        Some(self)
    }

    async fn close(&self) -> Result<()> {
        self.shared.hub.close(GOODBYES).await;
        let saved = timeout(GOODBYES, self.shared.finder.flush()).await.unwrap_or(Ok(()));
        self.shared.shut_down();
        // Who does not close its end holds nobody up.
        let _ = timeout(GOODBYES, self.shared.stopped.cancelled()).await;
        saved
    }
}

#[async_trait]
impl Broadcast for Libp2p {
    async fn join(&self, topic: &Topic) -> Result<()> {
        self.shared.hub.open("join")?;
        self.shared.net.join(topic).await
    }

    async fn leave(&self, topic: &Topic) -> Result<()> {
        self.shared.hub.open("leave")?;
        self.shared.net.leave(topic).await
    }

    async fn publish(&self, message: &Outgoing) -> Result<Receipt> {
        self.shared.hub.open("publish")?;
        self.shared.host.check_message(message)?;
        self.shared.net.publish(&message.topic, &message.bytes).await
    }

    async fn topic_peers(&self, topic: &Topic) -> Result<Vec<Remote>> {
        self.shared.hub.topic_peers(topic).await
    }
}

#[async_trait]
impl Fetch for Libp2p {
    async fn block(&self, want: &Want) -> Result<Fetched> {
        self.shared.fetch_block(want).await
    }

    async fn dag(&self, want: &WantDag) -> Result<Claims> {
        self.shared.fetch_dag(want).await
    }

    async fn provide(&self, cids: &[Cid]) -> Result<()> {
        self.shared.hub.open("provide")?;
        self.shared.host.check_provided(cids).await
    }

    fn stored(&self, cids: &[Cid]) {
        self.shared.bitswap.arrived(cids);
    }

    async fn withdraw(&self, cids: &[Cid]) -> Result<()> {
        self.shared.hub.open("withdraw")?;
        self.shared.finder.withdraw(cids).await
    }

    async fn announce(&self, root: &Cid) -> Result<()> {
        self.shared.hub.open("announce")?;
        // It goes on without anybody who waits, and is made again until somebody is told.
        self.shared.finder.announce(root, TOLD_WITHIN).await
    }

    async fn providers(&self, cid: &Cid, limit: usize) -> Result<Vec<PeerAddr>> {
        self.shared.find_providers(cid, limit).await
    }
}

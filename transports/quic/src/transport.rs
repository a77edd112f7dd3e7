//! The contract, implemented: arguments are checked here, work is done in `io`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use carrick_core::{
    Broadcast, BroadcastCaps, Capabilities, Cid, Claims, Discovery, Fetch, FetchCaps, Fetched, Host,
    Identity, Multiaddr, Notice, Outgoing, PeerAddr, PeerInfo, Receipt, Remote, Result, Serving, Topic,
    Transport, Want, WantDag,
};
use tokio::time::timeout;

use crate::QuicConfig;
use crate::io::sockets::Sockets;
use crate::io::{Shared, accept, keep};
use crate::tls::Credentials;

/// How long `close` waits for what was published just before to arrive.
const FLUSH: Duration = Duration::from_millis(300);
/// How long `close` waits for its goodbyes to leave.
const FAREWELL: Duration = Duration::from_millis(500);

/// Direct QUIC between peers. Open one by name through the registry, or with [`Quic::open`].
pub struct Quic {
    shared: Arc<Shared>,
}

impl Quic {
    /// Binds the sockets, listens, and begins to dial the bootstrap peers.
    ///
    /// # Errors
    /// `Config` for a key out of range, or an address that is in use, not of this machine or not allowed;
    /// `Unexpected` when TLS cannot use the node's key.
    pub async fn open(config: QuicConfig, host: Host) -> Result<Self> {
        let instance = host.instance().to_owned();
        let named = |error: carrick_core::Error| error.on(instance.clone());
        config.check().map_err(named)?;
        let credentials = Credentials::new(&host).map_err(named)?;
        let sockets = Sockets::bind(&config, host.limits(), &credentials).map_err(named)?;
        let shared = Shared::new(host, config, credentials, sockets);
        shared.host.notice(Notice::Listening(shared.sockets.listen_addrs()));
        for endpoint in shared.sockets.listeners() {
            shared.host.spawn(accept::accept(shared.clone(), endpoint));
        }
        shared.host.spawn(keep::keep(shared.clone()));
        Ok(Self { shared })
    }
}

#[cfg(test)]
impl Quic {
    /// A look inside.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Drop for Quic {
    /// The tasks hold what they share, not the transport: without it they end, and the sockets are free.
    fn drop(&mut self) {
        self.shared.shut_down();
    }
}

impl fmt::Debug for Quic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quic").field("sockets", &self.shared.sockets).finish_non_exhaustive()
    }
}

#[async_trait]
impl Transport for Quic {
    fn capabilities(&self) -> Capabilities {
        let limits = self.shared.host.limits();
        let broadcast = BroadcastCaps::new(limits.envelope_bytes());
        let mut fetch = FetchCaps::new(limits.block_bytes, Serving::FromHost, Discovery::Neighbours);
        fetch.dag_in_one_request = true;
        Capabilities::new(Some(broadcast), Some(fetch), Identity::Peer)
    }

    fn listen_addrs(&self) -> Vec<Multiaddr> {
        self.shared.sockets.listen_addrs()
    }

    async fn dial(&self, peer: &PeerAddr) -> Result<Remote> {
        self.shared.dial(peer).await
    }

    async fn disconnect(&self, peer: &Remote) -> Result<()> {
        self.shared.open("disconnect")?;
        if let Some(peer) = peer.peer() {
            // Whoever is not admitted is kept out by that, and for as long as that lasts.
            let admitted = self.shared.host.admits(peer);
            let mut table = self.shared.table();
            let action = if admitted { table.state.part(*peer) } else { table.state.expel(peer) };
            table.run(&self.shared.host, action.into_iter().collect());
        }
        Ok(())
    }

    async fn peers(&self) -> Result<Vec<PeerInfo>> {
        self.shared.open("peers")?;
        Ok(self.shared.links().iter().map(|link| link.info()).collect())
    }

    fn broadcast(&self) -> Option<&dyn Broadcast> {
        Some(self)
    }

    fn fetch(&self) -> Option<&dyn Fetch> {
        Some(self)
    }

    async fn close(&self) -> Result<()> {
        // A far end that is silent, or does not read, does not hold us up: its connection ends by itself.
        let _ = timeout(FLUSH, self.shared.flush()).await;
        self.shared.shut_down();
        let _ = timeout(FAREWELL, self.shared.sockets.wait_idle()).await;
        Ok(())
    }
}

#[async_trait]
impl Broadcast for Quic {
    async fn join(&self, topic: &Topic) -> Result<()> {
        self.shared.open("join")?;
        let mut table = self.shared.table();
        let instance = self.shared.host.instance();
        let actions = table.state.join(topic).map_err(|error| error.on(instance.to_owned()))?;
        table.run(&self.shared.host, actions);
        Ok(())
    }

    async fn leave(&self, topic: &Topic) -> Result<()> {
        self.shared.open("leave")?;
        let mut table = self.shared.table();
        let actions = table.state.leave(topic);
        table.run(&self.shared.host, actions);
        Ok(())
    }

    async fn publish(&self, message: &Outgoing) -> Result<Receipt> {
        self.shared.open("publish")?;
        self.shared.host.check_message(message)?;
        Ok(self.shared.send(&message.topic, &message.id, &message.bytes, message.lane))
    }

    async fn topic_peers(&self, topic: &Topic) -> Result<Vec<Remote>> {
        self.shared.open("topic_peers")?;
        Ok(self.shared.table().state.topic_peers(topic))
    }
}

#[async_trait]
impl Fetch for Quic {
    async fn block(&self, want: &Want) -> Result<Fetched> {
        self.shared.fetch_block(want).await
    }

    async fn dag(&self, want: &WantDag) -> Result<Claims> {
        self.shared.fetch_dag(want)
    }

    async fn provide(&self, cids: &[Cid]) -> Result<()> {
        self.shared.open("provide")?;
        self.shared.host.check_provided(cids).await
    }

    async fn withdraw(&self, _: &[Cid]) -> Result<()> {
        self.shared.open("withdraw")
    }

    async fn announce(&self, _: &Cid) -> Result<()> {
        self.shared.open("announce")
    }

    async fn providers(&self, cid: &Cid, limit: usize) -> Result<Vec<PeerAddr>> {
        self.shared.find_providers(cid, limit).await
    }
}

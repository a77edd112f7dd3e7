//! The transport `memory` without a part of what it can do.

use std::sync::Arc;

use carrick_core::conformance::transport::{Fixture, Setup};
use carrick_core::{
    Broadcast, Capabilities, Cid, Claims, Error, ErrorKind, Fetch, Fetched, Host, Inbound, Multiaddr,
    PeerAddr, PeerInfo, Relay, RelayGate, Remote, Result, Slot, Tap, Transport, Want, WantDag, async_trait,
};
use carrick_transport_memory::{MemoryConfig, MemoryNetwork};
use futures::FutureExt as _;
use futures::future::BoxFuture;

/// What it is that a transport cannot do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Less {
    /// Broadcast.
    Broadcast,
    /// Fetch.
    Fetch,
    /// Name who sent a block, take hints, bring a DAG in one request.
    Comfort,
    /// Relay: every reader must hear the author itself.
    Relaying,
}

#[derive(Debug)]
struct Lesser(Arc<dyn Transport>, Less);

#[async_trait]
impl Transport for Lesser {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = self.0.capabilities();
        match (self.1, &mut capabilities.fetch) {
            (Less::Broadcast, _) => capabilities.broadcast = None,
            (Less::Fetch, _) => capabilities.fetch = None,
            (Less::Comfort, Some(fetch)) => {
                (fetch.names_provider, fetch.takes_hints, fetch.dag_in_one_request) = (false, false, false);
            }
            (Less::Comfort, None) | (Less::Relaying, _) => {}
        }
        if let (Less::Relaying, Some(broadcast)) = (self.1, &mut capabilities.broadcast) {
            broadcast.relay = RelayGate::Never;
        }
        capabilities
    }

    fn listen_addrs(&self) -> Vec<Multiaddr> {
        self.0.listen_addrs()
    }

    async fn dial(&self, peer: &PeerAddr) -> Result<Remote> {
        self.0.dial(peer).await
    }

    async fn disconnect(&self, peer: &Remote) -> Result<()> {
        self.0.disconnect(peer).await
    }

    async fn peers(&self) -> Result<Vec<PeerInfo>> {
        self.0.peers().await
    }

    fn broadcast(&self) -> Option<&dyn Broadcast> {
        self.0.broadcast().filter(|_| self.1 != Less::Broadcast)
    }

    fn fetch(&self) -> Option<&dyn Fetch> {
        (self.1 != Less::Fetch).then_some(self as &dyn Fetch)
    }

    async fn close(&self) -> Result<()> {
        self.0.close().await
    }
}

impl Lesser {
    fn inner(&self) -> &dyn Fetch {
        self.0.fetch().expect("memory fetches")
    }
}

#[async_trait]
impl Fetch for Lesser {
    async fn block(&self, want: &Want) -> Result<Fetched> {
        if self.1 != Less::Comfort {
            return self.inner().block(want).await;
        }
        let want = Want::new(want.cid, want.timeout);
        Ok(Fetched { from: None, ..self.inner().block(&want).await? })
    }

    async fn dag(&self, want: &WantDag) -> Result<Claims> {
        if self.1 != Less::Comfort {
            return self.inner().dag(want).await;
        }
        Err(Error::new(ErrorKind::Unsupported, "dag", "single blocks alone"))
    }

    async fn provide(&self, cids: &[Cid]) -> Result<()> {
        self.inner().provide(cids).await
    }

    async fn withdraw(&self, cids: &[Cid]) -> Result<()> {
        self.inner().withdraw(cids).await
    }

    async fn announce(&self, root: &Cid) -> Result<()> {
        self.inner().announce(root).await
    }

    async fn providers(&self, cid: &Cid, limit: usize) -> Result<Vec<PeerAddr>> {
        self.inner().providers(cid, limit).await
    }
}

/// Is never told to pass anything on.
#[derive(Debug)]
struct PassesNothingOn;

impl Tap for PassesNothingOn {
    fn deliver(&self, slot: Slot, inbound: Inbound) -> BoxFuture<'static, Relay> {
        slot.deliver(inbound).map(|_| Relay::Ignore).boxed()
    }
}

/// A wire on which every transport can do less.
#[derive(Debug)]
pub(crate) struct Partial(MemoryNetwork, Less);

impl Partial {
    pub(crate) fn without(less: Less) -> Self {
        Self(MemoryNetwork::new(1), less)
    }
}

#[async_trait]
impl Fixture for Partial {
    async fn open(&self, host: Host, setup: Setup) -> Result<Arc<dyn Transport>> {
        let host = if self.1 == Less::Relaying { host.tapped(Arc::new(PassesNothingOn)) } else { host };
        let mut config = MemoryConfig::default();
        config.bootstrap = setup.bootstrap;
        if let Some(listen) = setup.listen.into_iter().next() {
            config.listen = listen;
        }
        Ok(Arc::new(Lesser(Arc::new(self.0.transport_with(config)(host).await?), self.1)))
    }

    fn nowhere(&self) -> PeerAddr {
        "/memory/999999".parse().expect("an address")
    }
}

//! A transport inside another one, which changes what it does.

use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use cid::Cid;
use multiaddr::Multiaddr;

use crate::{
    Broadcast, Capabilities, Claims, Error, ErrorKind, Fetch, Fetched, Host, Outgoing, PeerAddr, PeerInfo,
    Receipt, Remote, Result, Tap, Topic, Transport, Want, WantDag,
};

/// Stands on both sides of a transport: as a [`Tap`] between it and its node, and here between the node and it.
///
/// Each method gets the transport inside and, unless it is written anew, only asks that.
#[async_trait]
pub trait Wrapper: Tap {
    /// Told once of the transport inside. Whoever keeps it keeps it weakly, or it never goes.
    fn opened(&self, inner: &Arc<dyn Transport>) {
        let _ = inner;
    }

    /// See [`Transport::capabilities`].
    fn capabilities(&self, inner: &dyn Transport) -> Capabilities {
        inner.capabilities()
    }

    /// See [`Transport::listen_addrs`].
    fn listen_addrs(&self, inner: &dyn Transport) -> Vec<Multiaddr> {
        inner.listen_addrs()
    }

    /// See [`Transport::dial`]. What is shared may go on in a task of its own.
    async fn dial(&self, inner: &Arc<dyn Transport>, peer: &PeerAddr) -> Result<Remote> {
        inner.dial(peer).await
    }

    /// See [`Transport::disconnect`].
    async fn disconnect(&self, inner: &dyn Transport, peer: &Remote) -> Result<()> {
        inner.disconnect(peer).await
    }

    /// See [`Transport::peers`].
    async fn peers(&self, inner: &dyn Transport) -> Result<Vec<PeerInfo>> {
        inner.peers().await
    }

    /// See [`Transport::close`].
    async fn close(&self, inner: &dyn Transport) -> Result<()> {
        inner.close().await
    }

    /// See [`Broadcast::join`].
    async fn join(&self, inner: &dyn Broadcast, topic: &Topic) -> Result<()> {
        inner.join(topic).await
    }

    /// See [`Broadcast::leave`].
    async fn leave(&self, inner: &dyn Broadcast, topic: &Topic) -> Result<()> {
        inner.leave(topic).await
    }

    /// See [`Broadcast::publish`].
    async fn publish(&self, inner: &dyn Broadcast, message: &Outgoing) -> Result<Receipt> {
        inner.publish(message).await
    }

    /// See [`Broadcast::topic_peers`].
    async fn topic_peers(&self, inner: &dyn Broadcast, topic: &Topic) -> Result<Vec<Remote>> {
        inner.topic_peers(topic).await
    }

    /// See [`Fetch::block`].
    async fn fetch_block(&self, inner: &dyn Fetch, want: &Want) -> Result<Fetched> {
        inner.block(want).await
    }

    /// See [`Fetch::dag`].
    async fn fetch_dag(&self, inner: &dyn Fetch, want: &WantDag) -> Result<Claims> {
        inner.dag(want).await
    }

    /// See [`Fetch::provide`].
    async fn provide(&self, inner: &dyn Fetch, cids: &[Cid]) -> Result<()> {
        inner.provide(cids).await
    }

    /// See [`Fetch::withdraw`].
    async fn withdraw(&self, inner: &dyn Fetch, cids: &[Cid]) -> Result<()> {
        inner.withdraw(cids).await
    }

    /// See [`Fetch::announce`].
    async fn announce(&self, inner: &dyn Fetch, root: &Cid) -> Result<()> {
        inner.announce(root).await
    }

    /// See [`Fetch::providers`].
    async fn providers(&self, inner: &dyn Fetch, cid: &Cid, limit: usize) -> Result<Vec<PeerAddr>> {
        inner.providers(cid, limit).await
    }
}

/// A transport with a [`Wrapper`] round it.
#[derive(Debug)]
pub struct Wrapped {
    inner: Arc<dyn Transport>,
    wrapper: Arc<dyn Wrapper>,
}

impl Wrapped {
    /// Opens a transport with a wrapper on both of its sides: `open` gets the host with the wrapper before it.
    ///
    /// # Errors
    /// Those of the transport.
    pub async fn open<F>(wrapper: Arc<dyn Wrapper>, host: Host, open: impl FnOnce(Host) -> F) -> Result<Self>
    where
        F: Future<Output = Result<Arc<dyn Transport>>>,
    {
        let inner = open(host.tapped(wrapper.clone())).await?;
        wrapper.opened(&inner);
        Ok(Self { inner, wrapper })
    }

    fn inner_broadcast(&self) -> Result<&dyn Broadcast> {
        self.inner.broadcast().ok_or_else(|| absent("broadcast"))
    }

    fn inner_fetch(&self) -> Result<&dyn Fetch> {
        self.inner.fetch().ok_or_else(|| absent("fetch"))
    }
}

fn absent(part: &'static str) -> Error {
    Error::new(ErrorKind::Unsupported, part, "the transport inside has no such part")
}

#[async_trait]
impl Transport for Wrapped {
    fn capabilities(&self) -> Capabilities {
        self.wrapper.capabilities(&*self.inner)
    }

    fn listen_addrs(&self) -> Vec<Multiaddr> {
        self.wrapper.listen_addrs(&*self.inner)
    }

    async fn dial(&self, peer: &PeerAddr) -> Result<Remote> {
        self.wrapper.dial(&self.inner, peer).await
    }

    async fn disconnect(&self, peer: &Remote) -> Result<()> {
        self.wrapper.disconnect(&*self.inner, peer).await
    }

    async fn peers(&self) -> Result<Vec<PeerInfo>> {
        self.wrapper.peers(&*self.inner).await
    }

    fn broadcast(&self) -> Option<&dyn Broadcast> {
        self.inner.broadcast().map(|_| self as &dyn Broadcast)
    }

    fn fetch(&self) -> Option<&dyn Fetch> {
        self.inner.fetch().map(|_| self as &dyn Fetch)
    }

    async fn close(&self) -> Result<()> {
        self.wrapper.close(&*self.inner).await
    }
}

#[async_trait]
impl Broadcast for Wrapped {
    async fn join(&self, topic: &Topic) -> Result<()> {
        self.wrapper.join(self.inner_broadcast()?, topic).await
    }

    async fn leave(&self, topic: &Topic) -> Result<()> {
        self.wrapper.leave(self.inner_broadcast()?, topic).await
    }

    async fn publish(&self, message: &Outgoing) -> Result<Receipt> {
        self.wrapper.publish(self.inner_broadcast()?, message).await
    }

    async fn topic_peers(&self, topic: &Topic) -> Result<Vec<Remote>> {
        self.wrapper.topic_peers(self.inner_broadcast()?, topic).await
    }
}

#[async_trait]
impl Fetch for Wrapped {
    async fn block(&self, want: &Want) -> Result<Fetched> {
        self.wrapper.fetch_block(self.inner_fetch()?, want).await
    }

    async fn dag(&self, want: &WantDag) -> Result<Claims> {
        self.wrapper.fetch_dag(self.inner_fetch()?, want).await
    }

    async fn provide(&self, cids: &[Cid]) -> Result<()> {
        self.wrapper.provide(self.inner_fetch()?, cids).await
    }

    fn stored(&self, cids: &[Cid]) {
        if let Ok(inner) = self.inner_fetch() {
            inner.stored(cids);
        }
    }

    async fn withdraw(&self, cids: &[Cid]) -> Result<()> {
        self.wrapper.withdraw(self.inner_fetch()?, cids).await
    }

    async fn announce(&self, root: &Cid) -> Result<()> {
        self.wrapper.announce(self.inner_fetch()?, root).await
    }

    async fn providers(&self, cid: &Cid, limit: usize) -> Result<Vec<PeerAddr>> {
        self.wrapper.providers(self.inner_fetch()?, cid, limit).await
    }
}

//! A transport as it is, whose requests are counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use carrick_core::{
    Broadcast, Capabilities, Cid, Claims, Error, ErrorKind, Fetch, Fetched, Multiaddr, PeerAddr, PeerInfo,
    Remote, Result, Transport, Want, WantDag,
};
use serde::{Deserialize, Serialize};

/// How often a transport was asked for content.
#[derive(Debug, Default)]
pub(super) struct Requests {
    dags: AtomicU64,
    blocks: AtomicU64,
}

/// Requests up to some moment.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Asked {
    /// For a block and all that it follows.
    pub(super) dags: u64,
    /// For single blocks.
    pub(super) blocks: u64,
}

impl Asked {
    pub(super) fn all(&self) -> u64 {
        self.dags + self.blocks
    }
}

impl Requests {
    pub(super) fn asked(&self) -> Asked {
        Asked { dags: self.dags.load(Ordering::Relaxed), blocks: self.blocks.load(Ordering::Relaxed) }
    }
}

/// A transport that counts.
#[derive(Debug)]
pub(super) struct Counted<T> {
    inner: T,
    requests: Arc<Requests>,
}

impl<T: Transport> Counted<T> {
    pub(super) fn new(inner: T, requests: Arc<Requests>) -> Self {
        Self { inner, requests }
    }

    fn part(&self) -> Result<&dyn Fetch> {
        self.inner
            .fetch()
            .ok_or_else(|| Error::new(ErrorKind::Unsupported, "fetch", "this wire has no fetch"))
    }
}

#[async_trait]
impl<T: Transport> Transport for Counted<T> {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn listen_addrs(&self) -> Vec<Multiaddr> {
        self.inner.listen_addrs()
    }

    async fn dial(&self, peer: &PeerAddr) -> Result<Remote> {
        self.inner.dial(peer).await
    }

    async fn disconnect(&self, peer: &Remote) -> Result<()> {
        self.inner.disconnect(peer).await
    }

    async fn peers(&self) -> Result<Vec<PeerInfo>> {
        self.inner.peers().await
    }

    fn broadcast(&self) -> Option<&dyn Broadcast> {
        self.inner.broadcast()
    }

    fn fetch(&self) -> Option<&dyn Fetch> {
        self.inner.fetch().map(|_| self as &dyn Fetch)
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

#[async_trait]
impl<T: Transport> Fetch for Counted<T> {
    async fn block(&self, want: &Want) -> Result<Fetched> {
        self.requests.blocks.fetch_add(1, Ordering::Relaxed);
        self.part()?.block(want).await
    }

    async fn dag(&self, want: &WantDag) -> Result<Claims> {
        self.requests.dags.fetch_add(1, Ordering::Relaxed);
        self.part()?.dag(want).await
    }

    async fn provide(&self, cids: &[Cid]) -> Result<()> {
        self.part()?.provide(cids).await
    }

    async fn withdraw(&self, cids: &[Cid]) -> Result<()> {
        self.part()?.withdraw(cids).await
    }

    async fn announce(&self, root: &Cid) -> Result<()> {
        self.part()?.announce(root).await
    }

    async fn providers(&self, cid: &Cid, limit: usize) -> Result<Vec<PeerAddr>> {
        self.part()?.providers(cid, limit).await
    }
}

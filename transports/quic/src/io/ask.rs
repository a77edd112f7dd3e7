//! Asking peers for blocks and DAGs, one after the other, and asking who has one.

use std::sync::Arc;

use bytes::Bytes;
use carrick_core::links::exchange::{self, Provider, ask_block, ask_has};
use carrick_core::links::frames::{Broken, Heard, Hears};
use carrick_core::links::{Miss, search};
use carrick_core::{Cid, Claims, Fetched, PeerAddr, PeerId, Remote, Result, Want, WantDag};
use futures::StreamExt;
use tokio::time::timeout;

use super::Shared;
use super::frames::{self, Recv};
use super::hello::BEFORE_BLOCKS;
use super::link::Link;

/// Peers asked at once whether they have a block.
const ASKED_AT_ONCE: usize = 16;
/// Hinted peers that are dialled for one fetch.
const STRANGERS: usize = 4;

/// Somebody to ask.
enum Whom {
    Linked(Arc<Link>),
    /// A hinted peer that is dialled first.
    Stranger(PeerId),
}

/// A linked peer that is asked.
struct Asked {
    shared: Arc<Shared>,
    link: Arc<Link>,
}

impl Hears for Asked {
    fn heard(&self) -> Heard {
        let received = self.link.connection.stats().frame_rx;
        Heard { answers: received.stream, signs: received.acks + received.ping }
    }
}

impl Provider for Asked {
    type Answer = Recv;

    fn remote(&self) -> &Remote {
        &self.link.remote
    }

    async fn open(&self, request: Bytes) -> Result<Recv, Miss> {
        let (mut send, recv) = self.link.connection.open_bi().await.map_err(|_| Miss::Lost)?;
        let _ = send.set_priority(BEFORE_BLOCKS);
        frames::write(&mut send, &mut [request], None).await.map_err(|_| Miss::Lost)?;
        send.finish().map_err(|_| Miss::Lost)?;
        Ok(Recv(recv))
    }

    fn broke(&self, broken: &Broken) {
        self.shared.fault(&self.link, &(*broken).into());
    }

    fn walks(&self, begins: bool) {
        self.link.walks(begins, self.shared.host.limits().receive_window_bytes);
    }
}

impl Shared {
    /// Asks provider after provider for a block.
    pub(crate) async fn fetch_block(self: &Arc<Self>, want: &Want) -> Result<Fetched> {
        self.open("block")?;
        let providers = self.providers_for(&want.hints, &want.avoid);
        search(&self.host, want, providers, |whom, idle| async move {
            let asked = self.clone().reach(whom).await.ok_or(Miss::Lost)?;
            let bytes = ask_block(&self.host, &asked, want, idle).await?;
            Ok((bytes, asked.remote().clone()))
        })
        .await
    }

    /// Starts fetching a DAG.
    pub(crate) fn fetch_dag(self: &Arc<Self>, want: &WantDag) -> Result<Claims> {
        self.open("dag")?;
        let providers = self.providers_for(&want.hints, &want.avoid);
        let shared = self.clone();
        exchange::fetch_dag(&self.host, want, providers, move |whom| shared.clone().reach(whom))
    }

    /// A provider to ask: `None` where dialling it fails.
    async fn reach(self: Arc<Self>, whom: Whom) -> Option<Arc<Asked>> {
        let link = match whom {
            Whom::Linked(link) => link,
            Whom::Stranger(peer) => self.connect(&PeerAddr::new(peer, vec![])).await.ok()?,
        };
        Some(self.asked(link))
    }

    fn asked(self: Arc<Self>, link: Arc<Link>) -> Arc<Asked> {
        Arc::new(Asked { shared: self, link })
    }

    /// Whom to ask: those connected, then strangers; nobody to avoid.
    fn providers_for(&self, hints: &[PeerId], avoid: &[Remote]) -> Vec<Whom> {
        let linked = self.table().state.providers(hints, avoid, self.host.random());
        let strangers = self.strangers(hints, avoid).into_iter().map(Whom::Stranger);
        linked.into_iter().map(Whom::Linked).chain(strangers).collect()
    }

    /// Hinted peers that are not connected, but whose address is known.
    fn strangers(&self, hints: &[PeerId], avoid: &[Remote]) -> Vec<PeerId> {
        let unknown = |peer: &&PeerId| {
            **peer != self.host.me()
                && self.link(peer).is_none()
                && !self.table().state.is_apart(peer)
                && !avoid.iter().any(|remote| remote.peer() == Some(*peer))
                && self.host.addresses(peer).iter().any(crate::address::is_quic)
        };
        hints.iter().filter(unknown).take(STRANGERS).copied().collect()
    }

    /// The connected peers that say they have a block.
    pub(crate) async fn find_providers(self: &Arc<Self>, cid: &Cid, limit: usize) -> Result<Vec<PeerAddr>> {
        self.open("providers")?;
        let idle = self.host.limits().fetch_idle;
        let asks = self.links().into_iter().map(|link| async move {
            let asked = self.clone().asked(link);
            let has = timeout(idle, ask_has(&self.host, &asked, cid, idle)).await;
            matches!(has, Ok(Ok(true))).then_some(asked)
        });
        let asking = futures::stream::iter(asks).buffer_unordered(ASKED_AT_ONCE);
        let having = asking.filter_map(std::future::ready).take(limit);
        let found: Vec<_> = having.map(|asked| self.address_of(&asked.link)).collect().await;
        Ok(found)
    }

    /// Where a connected peer can be dialled: where it listens, else where it is.
    fn address_of(&self, link: &Link) -> PeerAddr {
        let mut addrs = self.host.addresses(&link.peer);
        if addrs.is_empty() {
            addrs.push(link.addr());
        }
        PeerAddr::new(link.peer, addrs)
    }
}

//! Asking peers for a block, one after the other, and asking who has one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use carrick_core::links::{Miss, search};
use carrick_core::{Cid, Fetched, Misdeed, PeerAddr, PeerId, Remote, Result, Want};
use futures::StreamExt;
use tokio::time::timeout;

use super::Shared;
use super::frames::{self, Reader};
use super::hello::BEFORE_BLOCKS;
use super::link::Link;
use crate::error::Fault;
use crate::wire::{self, AskBlock, Broken, Kind};

/// Peers asked at once whether they have a block.
const ASKED_AT_ONCE: usize = 16;
/// Hinted peers that are dialled for one fetch.
const STRANGERS: usize = 4;

/// Somebody to ask.
#[derive(Clone)]
pub(super) enum Provider {
    Linked(Arc<Link>),
    /// A hinted peer that is dialled first.
    Stranger(PeerId),
}

impl Shared {
    /// Asks provider after provider for a block.
    pub(crate) async fn fetch_block(self: &Arc<Self>, want: &Want) -> Result<Fetched> {
        self.open("block")?;
        let providers = self.providers_for(&want.hints, &want.avoid);
        search(&self.host, want, providers, |provider, idle| async move {
            let link = self.reach(provider).await.ok_or(Miss::Lost)?;
            let bytes = self.ask_block(&link, want, idle).await?;
            Ok((bytes, link.remote.clone()))
        })
        .await
    }

    /// The link to a provider: `None` where dialling it fails.
    pub(super) async fn reach(self: &Arc<Self>, provider: Provider) -> Option<Arc<Link>> {
        match provider {
            Provider::Linked(link) => Some(link),
            Provider::Stranger(peer) => self.connect(&PeerAddr::new(peer, vec![])).await.ok(),
        }
    }

    /// Whom to ask: those connected, then strangers; nobody to avoid.
    pub(super) fn providers_for(&self, hints: &[PeerId], avoid: &[Remote]) -> Vec<Provider> {
        let linked = self.table().state.providers(hints, avoid, self.host.random());
        let strangers = self.strangers(hints, avoid).into_iter().map(Provider::Stranger);
        linked.into_iter().map(Provider::Linked).chain(strangers).collect()
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

    /// Asks one provider for a block.
    async fn ask_block(&self, link: &Link, want: &Want, idle: Duration) -> Result<Bytes, Miss> {
        let limit = want.limit_bytes.min(self.host.limits().block_bytes);
        let max_bytes = u32::try_from(limit).unwrap_or(u32::MAX);
        let ask = AskBlock { cid: want.cid, max_bytes, priority: want.priority };
        let mut reader =
            self.request(link, ask.encode(), idle).await.map_err(|fault| self.miss(link, fault))?;
        let kinds = [Kind::Block, Kind::Absent, Kind::Limit, Kind::Busy];
        let head = reader.expect(&kinds).await.map_err(|fault| self.miss(link, fault))?;
        match head.kind {
            Kind::Absent => Err(Miss::Absent),
            Kind::Limit => Err(Miss::TooLarge),
            Kind::Busy => Err(Miss::Busy),
            _ => self.read_asked(link, &mut reader, head.length, &want.cid, limit).await,
        }
    }

    /// Reads the block that was asked for; another one breaks the protocol.
    async fn read_asked(
        &self,
        link: &Link,
        reader: &mut Reader,
        length: usize,
        asked: &Cid,
        limit: usize,
    ) -> Result<Bytes, Miss> {
        let (cid, bytes) = self.read_block(link, reader, length, limit).await?;
        if cid == *asked {
            return Ok(bytes);
        }
        let broken = Broken::Body(Kind::Block, "not the block that was asked for");
        Err(self.miss(link, broken.into()))
    }

    /// Reads the body of a block frame.
    pub(super) async fn read_block(
        &self,
        link: &Link,
        reader: &mut Reader,
        length: usize,
        limit: usize,
    ) -> Result<(Cid, Bytes), Miss> {
        let block = async {
            let short = Broken::Body(Kind::Block, "too short");
            let cid_bytes = usize::from(reader.body(length.min(1)).await?.first().copied().ok_or(short)?);
            let bytes = length.checked_sub(1 + cid_bytes).ok_or(short)?;
            let cid = wire::read_cid(Kind::Block, &reader.body(cid_bytes).await?)?;
            if bytes > limit {
                return Err(Broken::Body(Kind::Block, "a block above the limit").into());
            }
            Ok((cid, reader.body(bytes).await?))
        };
        block.await.map_err(|fault: Fault| self.miss(link, fault))
    }

    /// Opens a stream, asks, and gives the reader of the answer.
    pub(super) async fn request(&self, link: &Link, ask: Bytes, idle: Duration) -> Result<Reader, Fault> {
        let asking = async {
            let (mut send, recv) = link.connection.open_bi().await?;
            let _ = send.set_priority(BEFORE_BLOCKS);
            frames::write(&mut send, &mut [ask], None).await?;
            send.finish().map_err(|_| Fault::Stopped)?;
            Ok(Reader::new(recv, &self.host).answer(&link.connection, idle))
        };
        timeout(idle, asking).await.unwrap_or(Err(Fault::Slow))
    }

    /// What a fault means for the search. A broken frame also ends the link. Who says nothing at all is blamed: who has no
    /// room says so.
    pub(super) fn miss(&self, link: &Link, fault: Fault) -> Miss {
        match fault {
            Fault::Stalled => {
                self.host.report(&link.remote, Misdeed::Stalled);
                return Miss::Stalled;
            }
            Fault::Slow => return Miss::Stalled,
            Fault::GivenUp => return Miss::GivenUp,
            Fault::Broken(_) => self.fault(link, &fault),
            Fault::Cut | Fault::Stopped | Fault::Lost(_) => {}
        }
        Miss::Lost
    }

    /// The connected peers that say they have a block.
    pub(crate) async fn find_providers(&self, cid: &Cid, limit: usize) -> Result<Vec<PeerAddr>> {
        self.open("providers")?;
        let idle = self.host.limits().fetch_idle;
        let asks = self.links().into_iter().map(|link| async move {
            let has = timeout(idle, self.ask_has(&link, cid, idle)).await;
            matches!(has, Ok(Ok(true))).then_some(link)
        });
        let asked = futures::stream::iter(asks).buffer_unordered(ASKED_AT_ONCE);
        let having = asked.filter_map(std::future::ready).take(limit);
        let found: Vec<_> = having.map(|link| self.address_of(&link)).collect().await;
        Ok(found)
    }

    async fn ask_has(&self, link: &Link, cid: &Cid, idle: Duration) -> Result<bool, Miss> {
        let answer = async {
            let mut reader = self.request(link, wire::ask_has(cid), idle).await?;
            reader.expect(&[Kind::Present, Kind::Absent, Kind::Busy]).await
        };
        let head = answer.await.map_err(|fault| self.miss(link, fault))?;
        Ok(head.kind == Kind::Present)
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

//! Asking peers for a block, one after the other, and asking who has one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use carrick_core::{Cid, Claim, Error, ErrorKind, Fetched, Misdeed, PeerAddr, PeerId, Remote, Result, Want};
use futures::StreamExt;
use tokio::time::{Instant, timeout, timeout_at};

use super::Shared;
use super::frames::{self, Reader};
use super::hello::BEFORE_BLOCKS;
use super::link::Link;
use crate::error::Fault;
use crate::wire::{self, AskBlock, Broken, Kind};

/// Peers asked at once whether they have a block.
const ASKED_AT_ONCE: usize = 16;
/// Every provider gets at least so long, however many there are.
const MIN_SHARE: Duration = Duration::from_millis(200);

/// Longer than anybody waits, and short enough to count with.
const A_DAY: Duration = Duration::from_secs(86_400);
/// Hinted peers that are dialled for one fetch.
const STRANGERS: usize = 4;

/// Why the providers asked so far gave nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    absent: bool,
    busy: bool,
    lost: bool,
    stalled: bool,
    too_large: bool,
}

/// What one provider answered instead of a block.
#[derive(Clone, Debug)]
pub(super) enum Miss {
    /// It has it not.
    Absent,
    /// It says that it is above the limit.
    TooLarge,
    /// It cannot serve now.
    Busy,
    /// It gave up, because we took nothing for too long.
    GivenUp,
    /// It went away.
    Lost,
    /// It took too long.
    Stalled,
}

impl Tally {
    pub(super) fn note(&mut self, miss: &Miss) {
        match miss {
            Miss::Absent => self.absent = true,
            Miss::TooLarge => self.too_large = true,
            Miss::Busy => self.busy = true,
            Miss::GivenUp | Miss::Lost => self.lost = true,
            Miss::Stalled => self.stalled = true,
        }
    }

    /// The error of a search that ended: what could still succeed elsewhere or later goes before "not there".
    pub(super) fn error(self, shared: &Shared, operation: &'static str, what: &str) -> Error {
        let (kind, detail) = match self {
            Self { too_large: true, .. } => {
                let limit = shared.host.limits().block_bytes;
                (ErrorKind::TooLarge, format!("{what} is above the limit of {limit} bytes"))
            }
            Self { stalled: true, .. } => (ErrorKind::Timeout, format!("the providers of {what} stalled")),
            Self { busy: true, .. } => (ErrorKind::Busy, format!("the providers of {what} are busy")),
            Self { lost: true, .. } => (ErrorKind::Unreachable, format!("the providers of {what} went away")),
            Self { absent: true, .. } => (ErrorKind::NotFound, format!("nobody asked has {what}")),
            _ => (ErrorKind::NoPeers, format!("there is nobody to ask for {what}")),
        };
        shared.fail(kind, operation, detail)
    }
}

impl Shared {
    /// Asks provider after provider for a block.
    pub(crate) async fn fetch_block(self: &Arc<Self>, want: &Want) -> Result<Fetched> {
        self.open("block")?;
        let deadline = Instant::now() + want.timeout.min(A_DAY);
        match timeout_at(deadline, self.search(want, deadline)).await {
            Ok(found) => found,
            Err(_) => {
                let detail = format!("{} did not come within {} s", want.cid, want.timeout.as_secs_f64());
                Err(self.fail(ErrorKind::Timeout, "block", detail))
            }
        }
    }

    async fn search(self: &Arc<Self>, want: &Want, deadline: Instant) -> Result<Fetched> {
        let mut tally = Tally::default();
        let mut providers = self.providers_for(&want.hints, &want.avoid);
        let mut strangers = self.strangers(&want.hints, &want.avoid);
        let mut first = true;
        while !(providers.is_empty() && strangers.is_empty()) {
            let left = providers.len() + strangers.len();
            let Some(link) = self.next_provider(&mut providers, &mut strangers).await else {
                tally.note(&Miss::Lost);
                continue;
            };
            let time = deadline.duration_since(Instant::now());
            let mut share = time / u32::try_from(left).unwrap_or(u32::MAX);
            if std::mem::take(&mut first) {
                // Whoever is hinted should have it: so long that it can be blamed, however many others there are.
                share = share.max(time / 2);
            }
            let idle = share.max(MIN_SHARE).min(self.host.limits().fetch_idle);
            match self.ask_block(&link, want, idle).await {
                Ok(bytes) => {
                    let claim = Claim::new(want.cid, bytes);
                    return Ok(Fetched { claim, from: Some(link.remote.clone()) });
                }
                Err(miss) => tally.note(&miss),
            }
        }
        Err(tally.error(self, "block", &want.cid.to_string()))
    }

    /// The next of those connected, else the next stranger, who is dialled: `None` when that fails.
    pub(super) async fn next_provider(
        self: &Arc<Self>,
        connected: &mut VecDeque<Arc<Link>>,
        strangers: &mut VecDeque<PeerId>,
    ) -> Option<Arc<Link>> {
        if let Some(link) = connected.pop_front() {
            return Some(link);
        }
        self.connect(&PeerAddr::new(strangers.pop_front()?, vec![])).await.ok()
    }

    /// Whom to ask, of those connected: the hinted first, then the others from a random one on; nobody to
    /// avoid.
    pub(super) fn providers_for(&self, hints: &[PeerId], avoid: &[Remote]) -> VecDeque<Arc<Link>> {
        let mut links = self.links();
        links.retain(|link| !avoid.contains(&link.remote));
        if !links.is_empty() {
            let start = usize::try_from(self.host.random() % links.len() as u64).unwrap_or(0);
            links.rotate_left(start);
        }
        // Stable: among the others the random order stays.
        links.sort_by_key(|link| hints.iter().position(|hint| *hint == link.peer).unwrap_or(usize::MAX));
        links.into()
    }

    /// Hinted peers that are not connected, but whose address is known.
    pub(super) fn strangers(&self, hints: &[PeerId], avoid: &[Remote]) -> VecDeque<PeerId> {
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

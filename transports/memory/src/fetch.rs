//! Asking neighbours for content, and serving it to them.
//!
//! A provider is asked through its host, which decides and bounds; bytes are copied, and only then is the share of the
//! provider's serving memory given back. When the link ends, so does the request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use carrick_core::{
    Bytes, Cid, Claim, Claims, Error, ErrorKind, Fetched, Host, Misdeed, PeerAddr, PeerId, Remote, Result,
    Want, WantDag,
};
use futures::StreamExt;
use futures::stream;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::MemoryNetwork;
use crate::config::address;
use crate::flight::Way;
use crate::state::{Link, State};

/// Who asks.
pub(crate) struct Asker<'a> {
    pub(crate) network: &'a MemoryNetwork,
    pub(crate) at: u64,
    pub(crate) host: &'a Host,
}

/// A neighbour that can be asked.
struct Provider {
    peer: PeerId,
    at: u64,
    host: Host,
    ended: CancellationToken,
    streams: Arc<Semaphore>,
    way: Way,
    /// Whether its node has the request, and has not answered.
    holds: AtomicBool,
}

/// A part of a DAG on its way: a block, why there are no more, or the end. A channel that closes before is a link that
/// ended.
type Step = Option<Result<Claim>>;

/// Asks one neighbour after the other for a block. Each has an equal part of the time that is left, so that one who does
/// not answer leaves some for the next.
pub(crate) async fn block(asker: &Asker<'_>, want: &Want) -> Result<Fetched> {
    let began = Instant::now();
    let providers = asker.providers("block", &want.hints, &want.avoid)?;
    let mut failed = not_found("block", &want.cid);
    for (left, provider) in (1..=providers.len() as u32).rev().zip(providers) {
        let share = want.timeout.saturating_sub(began.elapsed()) / left;
        let idle = share.min(asker.host.limits().fetch_idle);
        match timeout(idle, provider.block(asker, want)).await {
            Ok(Ok(Some(bytes))) => return Ok(provider.fetched(Claim::new(want.cid, bytes))),
            Ok(Ok(None)) => {}
            Ok(Err(error)) => failed = error,
            Err(_) => {
                // What a slow wire holds up is nobody's fault.
                let held = provider.holds.load(Ordering::Relaxed);
                if held && idle == asker.host.limits().fetch_idle {
                    asker.host.report(&Remote::Peer(provider.peer), Misdeed::Stalled);
                }
                let detail = format!("{} sent no {} in time", provider.peer, want.cid);
                failed = Error::new(ErrorKind::Timeout, "block", detail);
            }
        }
    }
    Err(failed)
}

/// Asks one neighbour after the other for a DAG, until one has at least its beginning.
pub(crate) async fn dag(asker: &Asker<'_>, want: &WantDag) -> Result<Claims> {
    let Some(root) = want.roots.first() else { return Ok(stream::empty().boxed()) };
    let mut failed = not_found("dag", root);
    for provider in asker.providers("dag", &want.hints, &want.avoid)? {
        let mut walk = Walk::begin(asker, provider, want);
        match walk.next().await {
            Ok(first) => return Ok(walk.claims(first)),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// Asks every neighbour whether it has a block.
pub(crate) async fn providers(asker: &Asker<'_>, cid: &Cid, limit: usize) -> Vec<PeerAddr> {
    let mut found = Vec::new();
    for provider in asker.providers("providers", &[], &[]).unwrap_or_default() {
        if found.len() == limit {
            break;
        }
        if provider.has(asker, cid).await {
            found.push(PeerAddr::new(provider.peer, vec![address(provider.at)]));
        }
    }
    found
}

impl Asker<'_> {
    fn me(&self) -> Remote {
        Remote::Peer(self.host.me())
    }

    /// The neighbours to ask: hints first, then the others in the order of the seed.
    fn providers(
        &self,
        operation: &'static str,
        hints: &[PeerId],
        avoid: &[Remote],
    ) -> Result<Vec<Provider>> {
        let mut rest: Vec<Provider> = {
            let state = self.network.state();
            let links = state.place(self.at).into_iter().flat_map(|place| &place.links);
            links
                .filter(|(peer, _)| !avoid.contains(&Remote::Peer(**peer)))
                .filter_map(|(peer, link)| self.provider(&state, *peer, link))
                .collect()
        };
        let mut ordered = Vec::with_capacity(rest.len());
        for hint in hints {
            ordered.extend(rest.extract_if(.., |provider| provider.peer == *hint));
        }
        while let Ok(left @ 1..) = u32::try_from(rest.len()) {
            ordered.push(rest.remove(self.network.below(left) as usize));
        }
        if ordered.is_empty() {
            return Err(Error::new(ErrorKind::NoPeers, operation, "no neighbour to ask"));
        }
        Ok(ordered)
    }
}

impl Asker<'_> {
    fn provider(&self, state: &State, peer: PeerId, link: &Link) -> Option<Provider> {
        let far = state.place(link.far)?;
        let me = self.host.me();
        let way = Way {
            network: self.network.clone(),
            conditions: state.weather.of(me, peer),
            there: link.pipe.clone(),
            back: far.links.get(&me)?.pipe.clone(),
        };
        let (ended, streams) = (link.ended.clone(), link.streams.clone());
        let (host, holds) = (far.host.clone(), AtomicBool::new(false));
        Some(Provider { peer, at: link.far, host, ended, streams, way, holds })
    }
}

impl Provider {
    fn fetched(&self, claim: Claim) -> Fetched {
        Fetched { claim, from: Some(Remote::Peer(self.peer)) }
    }

    async fn block(&self, asker: &Asker<'_>, want: &Want) -> Result<Option<Bytes>> {
        let me = asker.me();
        let asking = async {
            let _stream = self.streams.acquire().await.ok()?;
            self.way.ask().await;
            self.holds.store(true, Ordering::Relaxed);
            let served = self.host.block(&me, &want.cid).await;
            self.holds.store(false, Ordering::Relaxed);
            let bytes =
                served.as_ref().ok().and_then(Option::as_ref).map_or(0, |served| served.bytes().len());
            self.way.answer(bytes).await;
            Some(served)
        };
        let served = tokio::select! {
            biased;
            () = self.ended.cancelled() => None,
            served = asking => served,
        };
        let served = served.ok_or_else(|| lost("block", &self.peer))?;
        let Some(served) = served.map_err(|error| not_served("block", &self.peer, &error))? else {
            return Ok(None);
        };
        let limit = want.limit_bytes.min(asker.host.limits().block_bytes);
        check_size("block", served.bytes().len(), limit)?;
        Ok(Some(Bytes::copy_from_slice(served.bytes())))
    }

    async fn has(&self, asker: &Asker<'_>, cid: &Cid) -> bool {
        let me = asker.me();
        let asking = async {
            self.way.ask().await;
            let has = self.host.has(&me, cid).await;
            self.way.answer(0).await;
            has
        };
        tokio::select! {
            biased;
            () = self.ended.cancelled() => false,
            has = timeout(asker.host.limits().fetch_idle, asking) => matches!(has, Ok(Ok(true))),
        }
    }

    /// Lets the far end walk a DAG, in a task of its own: what it holds is freed when either end goes.
    fn serve(&self, asker: Remote, want: WantDag) -> mpsc::Receiver<Step> {
        let (send, steps) = mpsc::channel(1);
        let (host, ended, streams) = (self.host.clone(), self.ended.clone(), self.streams.clone());
        let way = self.way.clone();
        self.host.spawn(async move {
            tokio::select! {
                biased;
                () = ended.cancelled() => {}
                () = send.closed() => {}
                () = serve(&host, &streams, &way, asker, want, &send) => {}
            }
        });
        steps
    }
}

async fn serve(
    host: &Host,
    streams: &Semaphore,
    way: &Way,
    asker: Remote,
    want: WantDag,
    send: &mpsc::Sender<Step>,
) {
    let Ok(_stream) = streams.acquire().await else { return };
    way.ask().await;
    let mut blocks = host.dag(asker, want);
    let mut first = true;
    while let Some(step) = blocks.next().await {
        let bytes = step.as_ref().map_or(0, |(_, served)| served.bytes().len());
        if std::mem::take(&mut first) {
            way.answer(bytes).await;
        } else {
            way.go_on(bytes).await;
        }
        let copied = step.map(|(cid, served)| Claim::new(cid, Bytes::copy_from_slice(served.bytes())));
        if send.send(Some(copied)).await.is_err() {
            return;
        }
    }
    // The asker may have gone, which is fine.
    let _ = send.send(None).await;
}

/// A DAG as it arrives.
struct Walk {
    provider: Provider,
    steps: mpsc::Receiver<Step>,
    /// The longest wait for a block.
    idle: Duration,
    block_bytes: usize,
    /// How many bytes may still come.
    left: u64,
}

impl Walk {
    fn begin(asker: &Asker<'_>, provider: Provider, want: &WantDag) -> Self {
        let steps = provider.serve(asker.me(), want.clone());
        let block_bytes = asker.host.limits().block_bytes;
        Self { provider, steps, idle: want.timeout, block_bytes, left: want.limit_bytes }
    }

    /// The next block; `None` after the last.
    async fn next(&mut self) -> Result<Option<Fetched>> {
        let peer = &self.provider.peer;
        let Ok(step) = timeout(self.idle, self.steps.recv()).await else {
            return Err(Error::new(ErrorKind::Timeout, "dag", format!("{peer} sent no block in time")));
        };
        let Some(claim) = step.ok_or_else(|| lost("dag", peer))? else { return Ok(None) };
        let claim = claim.map_err(|error| not_served("dag", peer, &error))?;
        check_size("dag", claim.size(), self.block_bytes)?;
        self.left = self.left.checked_sub(claim.size() as u64).ok_or_else(|| {
            Error::new(ErrorKind::TooLarge, "dag", format!("{peer} sent more bytes than were asked for"))
        })?;
        Ok(Some(self.provider.fetched(claim)))
    }

    /// The first block, and after it the others as they come; after an error there is nothing.
    fn claims(self, first: Option<Fetched>) -> Claims {
        let rest = stream::try_unfold(self, |mut walk| async move {
            let next = walk.next().await?;
            Ok(next.map(|fetched| (fetched, walk)))
        });
        match first {
            Some(first) => stream::iter([Ok(first)]).chain(rest).boxed(),
            None => stream::empty().boxed(),
        }
    }
}

fn check_size(operation: &'static str, size: usize, limit: usize) -> Result<()> {
    if size > limit {
        let detail = format!("a block of {size} bytes came; at most {limit} are allowed");
        return Err(Error::new(ErrorKind::TooLarge, operation, detail));
    }
    Ok(())
}

fn not_found(operation: &'static str, cid: &Cid) -> Error {
    Error::new(ErrorKind::NotFound, operation, format!("no neighbour has {cid}"))
}

fn lost(operation: &'static str, peer: &PeerId) -> Error {
    Error::new(ErrorKind::Unreachable, operation, format!("the link to {peer} ended"))
}

/// What a far end says when it cannot serve. Its inner troubles are no concern of ours.
fn not_served(operation: &'static str, peer: &PeerId, error: &Error) -> Error {
    let kind = match error.kind() {
        kind @ (ErrorKind::NotFound | ErrorKind::TooLarge | ErrorKind::Busy) => kind,
        _ => ErrorKind::Unreachable,
    };
    Error::new(kind, operation, format!("{peer}: {}", error.detail()))
}

//! Fetching single blocks: one flight a block, whoever asks; liars are avoided and blamed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use cid::Cid;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use libp2p_identity::PeerId;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::answer::{Answer, Teller, answer};
use super::core::lock;
use super::counters::NODE;
use super::gate::guarded;
use super::host::Misdeed;
use super::router::{Mounted, Router};
use crate::{Block, CidPolicy, Context, Error, ErrorKind, Fetched, Path, Remote, Result, Verdict, Want};

/// A block and who sent it.
pub(crate) type Landed = (Block, Option<Remote>);
/// What the task of a new flight needs: where to tell the answer, and what ends it.
type Begin = (Teller<Result<Landed>>, CancellationToken);

/// Lies of one block's providers before its search ends.
const MAX_LIARS: usize = 8;
/// Longer than anybody waits for a block, and short enough to count with.
const A_DAY: Duration = Duration::from_secs(86_400);
/// Hinted peers dialled for one block.
const MAX_DIALS: usize = 3;

/// A block and how large it may be. Whoever asks for a message does not wait for a block that could be larger.
type Wanted = (Cid, usize);

/// The blocks being fetched.
#[derive(Debug)]
pub(crate) struct Flights {
    flying: Mutex<HashMap<Wanted, Weak<Flight>>>,
    room: Semaphore,
}

/// A block being fetched, held by whoever waits for it. When the last of them goes, it ends.
#[derive(Debug)]
struct Flight {
    answer: Answer<Result<Landed>>,
    _ends_it: DropGuard,
}

impl Flights {
    pub(crate) fn new(max: usize) -> Self {
        Self { flying: Mutex::default(), room: Semaphore::new(max) }
    }

    /// The flight there is, or a new one and what it needs to begin.
    fn join(&self, wanted: Wanted) -> (Arc<Flight>, Option<Begin>) {
        let mut flying = lock(&self.flying);
        if let Some(flight) = flying.get(&wanted).and_then(Weak::upgrade) {
            return (flight, None);
        }
        let (tell, answer) = answer();
        let end = CancellationToken::new();
        let flight = Arc::new(Flight { answer, _ends_it: end.clone().drop_guard() });
        flying.insert(wanted, Arc::downgrade(&flight));
        (flight, Some((tell, end)))
    }

    /// Forgets a flight that ended, unless a new one took its place.
    fn forget(&self, wanted: &Wanted, ended: &Weak<Flight>) {
        let mut flying = lock(&self.flying);
        if flying.get(wanted).is_some_and(|flight| flight.ptr_eq(ended)) {
            flying.remove(wanted);
        }
    }
}

/// A block being looked for over several transports at once.
struct Search {
    want: Want,
    deadline: Instant,
    /// Who lied, on whichever transport.
    liars: Mutex<Vec<Remote>>,
    failures: Mutex<Failures>,
}

impl Search {
    fn new((cid, limit): Wanted, hints: Vec<PeerId>, time: Duration) -> Self {
        let mut want = Want::new(cid, time);
        (want.hints, want.limit_bytes) = (hints, limit);
        Self { want, deadline: Instant::now() + time, liars: Mutex::default(), failures: Mutex::default() }
    }

    /// What to ask for now; `None` when there is no time left, or no sense in it.
    fn want(&self) -> Option<Want> {
        let avoid = lock(&self.liars).clone();
        let timeout = self.deadline.checked_duration_since(Instant::now())?;
        (avoid.len() < MAX_LIARS).then(|| Want { avoid, timeout, ..self.want.clone() })
    }

    fn failed(&self, error: Error) {
        lock(&self.failures).0.push(error);
    }
}

/// What went wrong on the way, so that the error can say which stage failed.
#[derive(Default)]
struct Failures(Vec<Error>);

impl Router {
    /// A block from the store, or fetched, checked, judged and stored.
    pub(crate) async fn block(
        self: &Arc<Self>,
        cid: &Cid,
        hints: Vec<PeerId>,
        deadline: Duration,
    ) -> Result<Landed> {
        let limit = self.core.limits.block_bytes;
        let (block, from) = self.fetch_unstored(cid, hints, deadline, limit).await?;
        // Of many who waited for one flight only the first finds it missing.
        if !self.core.store.has(cid).await? {
            self.take_in(std::slice::from_ref(&block)).await?;
        }
        Ok((block, from))
    }

    /// As [`block`](Self::block), but what was fetched is not stored, and it has at most `limit` bytes.
    pub(crate) async fn fetch_unstored(
        self: &Arc<Self>,
        cid: &Cid,
        hints: Vec<PeerId>,
        deadline: Duration,
        limit: usize,
    ) -> Result<Landed> {
        CidPolicy::check(cid)?;
        match self.core.store.get(cid).await {
            Ok(Some(block)) if block.size() > limit => return Err(too_large(block.size(), limit)),
            Ok(Some(block)) => return Ok((block, None)),
            Ok(None) => {}
            Err(error) if error.kind() == ErrorKind::Integrity => {
                tracing::warn!(%error, %cid, "a stored block is damaged; it is fetched again");
                self.core.counters.count(NODE, "damaged_block");
                self.core.store.delete(cid).await?;
            }
            Err(error) => return Err(error),
        }
        let landed = tokio::time::timeout(deadline, self.join_flight((*cid, limit), hints, deadline)).await;
        landed.unwrap_or_else(|_| {
            let detail = format!("{cid} did not come within {} s", deadline.as_secs_f64());
            Err(Error::new(ErrorKind::Timeout, "fetch", detail))
        })
    }

    /// Waits for the flight there is, or begins one. It goes on while anybody waits.
    async fn join_flight(
        self: &Arc<Self>,
        wanted: Wanted,
        hints: Vec<PeerId>,
        deadline: Duration,
    ) -> Result<Landed> {
        let (flight, begin) = self.flights.join(wanted);
        if let Some((tell, end)) = begin {
            let (router, this) = (Arc::clone(self), Arc::downgrade(&flight));
            // Whoever joins it may have longer.
            let time = deadline.max(self.core.limits.fetch_deadline);
            self.core.tasks.spawn(async move {
                let landed = tokio::select! {
                    biased;
                    landed = router.search(wanted, hints, time) => Some(landed),
                    () = end.cancelled() => None,
                };
                router.flights.forget(&wanted, &this);
                if let Some(landed) = landed {
                    tell.tell(landed);
                }
            });
        }
        let landed = flight.answer.clone().told().await;
        landed.unwrap_or_else(|| Err(Error::new(ErrorKind::Closed, "fetch", "the node closed")))
    }

    async fn search(&self, wanted: Wanted, hints: Vec<PeerId>, time: Duration) -> Result<Landed> {
        let _room = self.flights.room.acquire().await;
        let limit = self.core.limits.flights;
        let flying = limit.saturating_sub(self.flights.room.available_permits());
        self.core.peaks.note(NODE, [("flights", flying, limit)]);
        let search = Search::new(wanted, hints, time.min(A_DAY));
        for again in [false, true] {
            if again && !self.dial_hints(&search.want.hints).await {
                break;
            }
            if let Some(landed) = self.search_all(&search).await {
                return landed;
            }
        }
        self.core.counters.count(NODE, "fetch_failed");
        Err(search.failures.into_inner().unwrap_or_else(PoisonError::into_inner).summary(&wanted.0))
    }

    /// Asks the transports in the order of the route: the next one when the one before failed, or has had its part of the
    /// idle limit; it may still be the first that delivers.
    async fn search_all(&self, search: &Search) -> Option<Result<Landed>> {
        let mut waiting = self.fetchers();
        let head_start =
            self.core.limits.fetch_idle / u32::try_from(self.fetch.len().max(1)).unwrap_or(u32::MAX);
        let mut asked = FuturesUnordered::new();
        loop {
            let next = waiting.next();
            let last = next.is_none();
            asked.extend(next.map(|mounted| self.search_on(mounted, search)));
            tokio::select! {
                biased;
                answer = asked.next() => match answer {
                    Some(Some(landed)) => return Some(landed),
                    Some(None) => {}
                    None => return None,
                },
                () = tokio::time::sleep(head_start), if !last => {}
            }
        }
    }

    /// Asks one transport until it delivers, has nobody left to ask, or lied too often. A block that a validator refuses, or
    /// that is larger than wanted, ends the search: from anybody else it would be the same.
    async fn search_on(&self, mounted: &Mounted, search: &Search) -> Option<Result<Landed>> {
        let fetch = mounted.transport.fetch()?;
        while let Some(want) = search.want() {
            let fetched = match tokio::time::timeout_at(search.deadline, fetch.block(&want)).await {
                Ok(Ok(fetched)) if fetched.claim.cid() == &want.cid => fetched,
                Ok(Ok(_)) => {
                    search.failed(Error::new(ErrorKind::Integrity, "fetch", "another block came"));
                    return None;
                }
                Ok(Err(error)) => {
                    search.failed(error.on(mounted.mount.name.to_string()));
                    return None;
                }
                Err(_) => {
                    let detail = "the transport kept no deadline";
                    search.failed(Error::new(ErrorKind::Timeout, "fetch", detail));
                    return None;
                }
            };
            let from = fetched.from.clone();
            match self.check(mounted, fetched).await {
                Ok(block) if block.size() > want.limit_bytes => {
                    return Some(Err(too_large(block.size(), want.limit_bytes)));
                }
                Ok(block) => return Some(Ok((block, from))),
                Err(error) if error.kind() == ErrorKind::Rejected => return Some(Err(error)),
                Err(error) => search.failed(error),
            }
            lock(&search.liars).push(from?);
        }
        None
    }

    /// Hashes and judges what came; whoever sent wrong bytes is blamed.
    pub(crate) async fn check(&self, mounted: &Mounted, fetched: Fetched) -> Result<Block> {
        let from = fetched.from;
        if fetched.claim.size() > self.core.limits.block_bytes {
            self.blame(mounted, from.as_ref(), Misdeed::Spam);
            let error = too_large(fetched.claim.size(), self.core.limits.block_bytes);
            return Err(error.on(mounted.mount.name.to_string()));
        }
        let block = fetched.claim.check().inspect_err(|error| {
            if error.kind() == ErrorKind::Integrity {
                self.blame(mounted, from.as_ref(), Misdeed::WrongBytes);
            }
        })?;
        self.judge_block(mounted, from.as_ref(), &block).await?;
        Ok(block)
    }

    async fn judge_block(&self, mounted: &Mounted, from: Option<&Remote>, block: &Block) -> Result<()> {
        let core = &self.core;
        if core.validators.is_empty() {
            return Ok(());
        }
        let deadline = Instant::now() + core.limits.validation;
        let members = core.members();
        let context = Context {
            path: Path::CatchUp,
            from,
            transport: Some(&mounted.mount.name),
            rules: None,
            store: &*core.store,
            now: core.clock.now(),
            membership: &*members,
            deadline,
            network: &core.network,
            payload_limit: core.limits.payload_bytes,
        };
        for validator in &core.validators {
            let verdict = guarded(deadline, validator.block(&context, block)).await;
            let cause = match verdict {
                Ok(Verdict::Accept) => continue,
                Ok(Verdict::Ignore(cause)) => cause,
                Ok(Verdict::Reject(cause)) => {
                    self.blame(mounted, from, Misdeed::Spam);
                    cause
                }
                Ok(Verdict::Defer(_)) => "a block cannot be deferred".into(),
                Err(cause) => {
                    core.validator_failed(validator.as_ref(), &cause);
                    cause
                }
            };
            core.counters.count(NODE, "block_refused");
            let detail = format!("{} was refused: {cause}", block.cid());
            return Err(Error::new(ErrorKind::Rejected, "fetch", detail));
        }
        Ok(())
    }

    pub(crate) fn blame(&self, mounted: &Mounted, from: Option<&Remote>, misdeed: Misdeed) {
        match from {
            Some(from) => self.core.report(&mounted.mount, from, misdeed),
            None => self.core.counters.count(&mounted.mount.name, misdeed.counter()),
        }
    }

    /// Dials hinted peers whose addresses are known and who are not connected; answers whether one more is.
    pub(crate) async fn dial_hints(&self, hints: &[PeerId]) -> bool {
        let mut more = false;
        let strangers = hints.iter().filter(|peer| {
            **peer != self.core.me
                && !self.core.links.connected(&Remote::Peer(**peer))
                && !self.core.book.addresses(peer).is_empty()
        });
        for peer in strangers.take(MAX_DIALS) {
            more |= self.connect(&crate::PeerAddr::new(*peer, vec![])).await.is_ok();
        }
        more
    }
}

fn too_large(size: usize, limit: usize) -> Error {
    Error::new(ErrorKind::TooLarge, "fetch", format!("{size} bytes; the limit is {limit}"))
}

impl Failures {
    /// One error that says which stage failed: the one that came furthest.
    fn summary(mut self, cid: &Cid) -> Error {
        self.0.sort_by_key(|error| match error.kind() {
            ErrorKind::Integrity => 0,
            ErrorKind::Rejected | ErrorKind::TooLarge => 1,
            ErrorKind::Timeout => 2,
            ErrorKind::Busy => 3,
            ErrorKind::NotFound => 4,
            ErrorKind::Unreachable => 5,
            ErrorKind::NoPeers => 6,
            _ => 7,
        });
        let tried: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        let Some(first) = self.0.into_iter().next() else {
            let detail = format!("no transport of this node fetches, and {cid} is not in the store");
            return Error::new(ErrorKind::NotFound, "fetch", detail)
                .mend("name a transport under fetch in [node]");
        };
        let stage = match first.kind() {
            ErrorKind::Integrity => "wrong bytes came",
            ErrorKind::Timeout => "stalled",
            ErrorKind::Busy => "everybody is busy",
            ErrorKind::NotFound => "no provider",
            ErrorKind::NoPeers => "nobody to ask",
            ErrorKind::Unreachable => "no provider could be dialled",
            _ => "failed",
        };
        let error = Error::new(first.kind(), "fetch", format!("{cid}: {stage} ({})", tried.join("; ")));
        let error = match first.kind() {
            ErrorKind::NoPeers => {
                error.mend("connect to a peer first: `carrick connect ADDR`, or bootstrap in carrick.toml")
            }
            ErrorKind::NotFound => {
                error.mend("connect to somebody who has it, or let its owner put it again")
            }
            _ => error,
        };
        error.from_source(first)
    }
}

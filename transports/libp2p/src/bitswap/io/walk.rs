//! A DAG for a caller, block by block.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use carrick_core::limits::MAX_ROOTS;
use carrick_core::{Claim, Claims, Error, ErrorKind, Fetched, Remote, Result, WantDag};
use futures::StreamExt as _;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::super::client::{RequestId, SessionId};
use super::super::frontier::{Frontier, Place, Step, WINDOW};
use super::fetch::peers;
use super::{Outcome, Shared, Sink};

/// Bytes of blocks that came and were not handed out. What comes above it is asked for again: only where small blocks were
/// followed by many large ones.
const HELD: usize = 24 << 20;

/// What came for a walk and was not handed out, in bytes. It is counted where blocks come in, before they are put into the
/// walk's channel.
#[derive(Debug, Default)]
pub(super) struct Held {
    bytes: AtomicUsize,
    /// The place that is handed out next.
    first: AtomicU64,
}

impl Held {
    /// Takes an outcome in; a block for which there is no room is dropped, unless the others wait for it.
    pub(super) fn admit(&self, place: Place, outcome: Outcome) -> Outcome {
        let Outcome::Here(claim, from) = outcome else { return outcome };
        let size = claim.size();
        let held = self.bytes.fetch_add(size, Ordering::Relaxed);
        if held > HELD && place != self.first.load(Ordering::Relaxed) {
            self.bytes.fetch_sub(size, Ordering::Relaxed);
            return Outcome::Again;
        }
        Outcome::Here(claim, from)
    }
}

/// A walk of which blocks are asked for. Dropping it cancels them.
struct Walk {
    shared: Arc<Shared>,
    session: SessionId,
    frontier: Frontier,
    places: HashMap<RequestId, Place>,
    outcomes: mpsc::Receiver<(RequestId, Outcome)>,
    sender: mpsc::Sender<(RequestId, Outcome)>,
    held: Arc<Held>,
    left: u64,
    limit: u64,
    idle: Duration,
    ended: bool,
}

impl Shared {
    pub(in super::super) async fn dag(self: &Arc<Self>, want: &WantDag) -> Result<Claims> {
        self.open("dag")?;
        if !(1..=MAX_ROOTS).contains(&want.roots.len()) {
            let detail = format!("{} roots; 1 to {MAX_ROOTS} are allowed", want.roots.len());
            return Err(self.host.fail(ErrorKind::Config, "dag", detail));
        }
        let mut walk = Walk::new(self, want);
        let first = walk.next().await.transpose()?;
        let first = futures::stream::iter(first.map(Ok));
        let rest = futures::stream::unfold(walk, |mut walk| async {
            let next = walk.next().await?;
            Some((next, walk))
        });
        Ok(first.chain(rest).boxed())
    }
}

impl Walk {
    fn new(shared: &Arc<Shared>, want: &WantDag) -> Self {
        let avoid = peers(&want.avoid);
        let session = shared.with(|state, _| state.client.begin(&want.hints, &avoid, 0));
        let (sender, outcomes) = mpsc::channel(WINDOW);
        Self {
            shared: Arc::clone(shared),
            session,
            frontier: Frontier::new(want),
            places: HashMap::new(),
            outcomes,
            sender,
            held: Arc::default(),
            left: want.limit_bytes,
            limit: want.limit_bytes,
            idle: want.timeout,
            ended: false,
        }
    }

    /// The next block, or why there is none; nothing after the last or an error.
    async fn next(&mut self) -> Option<Result<Fetched>> {
        if self.ended {
            return None;
        }
        let next = self.step().await;
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }

    async fn step(&mut self) -> Option<Result<Fetched>> {
        loop {
            while let Ok((request, outcome)) = self.outcomes.try_recv() {
                self.take_in(request, outcome);
            }
            self.ask();
            let step = self.frontier.step();
            self.held.first.store(self.frontier.first(), Ordering::Relaxed);
            match step {
                Step::Block(fetched, depth) => return Some(self.hand_out(fetched, depth)),
                Step::Failed(cid, tally) => {
                    return Some(Err(tally.error(&self.shared.host, "dag", &cid.to_string())));
                }
                Step::End => return None,
                Step::Wait => {}
            }
            if let Err(error) = self.wait().await {
                return Some(Err(error));
            }
        }
    }

    /// Waits for something to come.
    async fn wait(&mut self) -> Result<()> {
        if self.places.is_empty() {
            return Err(self.shared.busy("dag"));
        }
        let come = timeout(self.idle, self.outcomes.recv());
        match self.shared.closed.run_until_cancelled(come).await {
            Some(Ok(Some((request, outcome)))) => {
                self.take_in(request, outcome);
                Ok(())
            }
            Some(Err(_)) => {
                let detail = format!("no block came for {} s", self.idle.as_secs_f64());
                Err(self.shared.host.fail(ErrorKind::Timeout, "dag", detail))
            }
            Some(Ok(None)) | None => Err(self.shared.closing("dag")),
        }
    }

    fn take_in(&mut self, request: RequestId, outcome: Outcome) {
        let Some(place) = self.places.remove(&request) else { return };
        match outcome {
            Outcome::Here(claim, from) => {
                self.frontier.landed(place, Fetched { claim, from: Some(Remote::Peer(from)) });
            }
            Outcome::Again => self.frontier.again(place),
            Outcome::Failed(tally) => self.frontier.failed(place, tally),
        }
    }

    /// Asks for as much as there is room for.
    fn ask(&mut self) {
        let asks = self.frontier.asks();
        if asks.is_empty() {
            return;
        }
        let (session, sender, held) = (self.session, &self.sender, &self.held);
        let asked: Vec<_> = self.shared.with(|state, now| {
            let asked = asks.iter().map(|(place, cid)| {
                let request = state.client.request(session, *cid, now);
                if let Some(request) = request {
                    state.sinks.insert(request, Sink::Walk(sender.clone(), *place, Arc::clone(held)));
                }
                (*place, request)
            });
            asked.collect()
        });
        for (place, request) in asked {
            match request {
                Some(request) => drop(self.places.insert(request, place)),
                None => self.frontier.again(place),
            }
        }
    }

    /// Counts a block, and goes on with its links.
    fn hand_out(&mut self, fetched: Fetched, depth: u32) -> Result<Fetched> {
        let size = fetched.claim.size();
        self.held.bytes.fetch_sub(size, Ordering::Relaxed);
        let Some(left) = self.left.checked_sub(size as u64) else {
            let detail = format!("more than {} bytes are under the roots", self.limit);
            return Err(self.fail(ErrorKind::TooLarge, detail));
        };
        self.left = left;
        let cid = *fetched.claim.cid();
        if !self.frontier.follows(&cid, depth) {
            self.ask();
            return Ok(fetched);
        }
        let block = fetched.claim.check()?;
        if self.frontier.expand(&block, depth).is_err() {
            return Err(
                self.fail(ErrorKind::TooLarge, "more blocks are under the roots than a walk may have".into())
            );
        }
        self.ask();
        Ok(Fetched { claim: Claim::from(block), from: fetched.from })
    }

    fn fail(&self, kind: ErrorKind, detail: String) -> Error {
        self.shared.host.fail(kind, "dag", detail)
    }
}

impl Drop for Walk {
    fn drop(&mut self) {
        let (session, requests) = (self.session, std::mem::take(&mut self.places));
        self.shared.with(|state, now| {
            for request in requests.keys() {
                state.sinks.remove(request);
                state.client.drop_request(*request, now);
            }
            state.client.end(session);
        });
    }
}

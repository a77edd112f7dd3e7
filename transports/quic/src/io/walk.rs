//! Fetching a DAG: one request to a provider, its blocks handed out as they land, the rest from the next
//! provider.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use carrick_core::limits::MAX_ROOTS;
use carrick_core::links::{Miss, Tally};
use carrick_core::{Cid, Claim, Claims, ErrorKind, Fetched, Misdeed, RAW, Result, WantDag};
use futures::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;

use super::Shared;
use super::ask::Provider;
use super::frames::Reader;
use super::link::Link;
use crate::wire::{AskDag, Kind, MAX_HAVE};

/// Blocks that wait to be taken, by count; in bytes they are at most two of the largest.
const WAITING: usize = 256;
/// Blocks remembered as handed out, so that the next provider's copy of them is not. Beyond it a block may
/// come twice.
const PASSED: usize = 65_536;

/// A block on its way to the caller, with its share of what may wait.
type Waiting = (Result<Fetched>, Option<OwnedSemaphorePermit>);

impl Shared {
    /// Starts fetching a DAG.
    pub(crate) fn fetch_dag(self: &Arc<Self>, want: &WantDag) -> Result<Claims> {
        self.open("dag")?;
        if !(1..=MAX_ROOTS).contains(&want.roots.len()) {
            let detail = format!("{} roots; 1 to {MAX_ROOTS} are allowed", want.roots.len());
            return Err(self.fail(ErrorKind::Config, "dag", detail));
        }
        let providers = self.providers_for(&want.hints, &want.avoid);
        if providers.is_empty() {
            return Err(Tally::default().error(&self.host, "dag", &want.roots[0].to_string()));
        }
        let room = 2 * self.host.limits().block_bytes;
        let walk = Walk {
            shared: self.clone(),
            left: want.limit_bytes,
            want: want.clone(),
            providers: providers.into(),
            passed: BTreeSet::new(),
            waited: false,
            tally: Tally::default(),
        };
        let (sender, receiver) = mpsc::channel(WAITING);
        self.host.spawn(walk.run(sender, Arc::new(Semaphore::new(room))));
        // Taking a block gives back its share of what may wait.
        let waiting = futures::stream::unfold(receiver, |mut receiver: mpsc::Receiver<Waiting>| async {
            receiver.recv().await.map(|(block, _share)| (block, receiver))
        });
        Ok(waiting.boxed())
    }
}

/// One walk over the providers.
struct Walk {
    shared: Arc<Shared>,
    want: WantDag,
    providers: VecDeque<Provider>,
    passed: BTreeSet<Cid>,
    /// Whether the caller was slower than the provider, so that for a while nothing was read.
    waited: bool,
    left: u64,
    tally: Tally,
}

/// How a provider's answer ended.
enum End {
    /// All is there, or nobody listens any more.
    Done,
    /// The limit in bytes was reached.
    Limit,
    /// The rest is to be asked of somebody else.
    Next(Miss),
}

impl Walk {
    /// Runs until the DAG is there, nobody is left to ask, or the caller has dropped the stream: then the
    /// reader goes, and with it the provider's stream.
    async fn run(mut self, to: mpsc::Sender<Waiting>, room: Arc<Semaphore>) {
        let caller = to.clone();
        tokio::select! {
            biased;
            () = caller.closed() => {}
            failed = self.walk(&to, &room) => {
                if let Some(error) = failed {
                    // Nobody listens: nobody needs to know.
                    let _ = to.send((Err(error), None)).await;
                }
            }
        }
    }

    async fn walk(
        &mut self,
        to: &mpsc::Sender<Waiting>,
        room: &Arc<Semaphore>,
    ) -> Option<carrick_core::Error> {
        while let Some(provider) = self.providers.pop_front() {
            let shared = self.shared.clone();
            let Ok(Some(link)) = timeout(self.want.timeout, shared.reach(provider)).await else {
                self.tally.note(Miss::Lost);
                continue;
            };
            match self.ask_all(&link, to, room).await {
                End::Done => return None,
                End::Limit => {
                    let detail = format!("more than {} bytes are under the roots", self.want.limit_bytes);
                    return Some(self.shared.fail(ErrorKind::TooLarge, "dag", detail));
                }
                End::Next(miss) => self.tally.note(miss),
            }
        }
        Some(self.tally.error(&self.shared.host, "dag", "a block under the roots"))
    }

    /// Asks one provider until it has no more, or is to blame. One that gave up because our caller paused is
    /// asked for the rest.
    async fn ask_all(&mut self, link: &Link, to: &mpsc::Sender<Waiting>, room: &Arc<Semaphore>) -> End {
        let _walking = link.walking(self.shared.host.limits().receive_window_bytes);
        loop {
            let end = self.ask(link, to, room).await;
            if !matches!(end, End::Next(Miss::GivenUp)) || !std::mem::take(&mut self.waited) {
                return end;
            }
        }
    }

    /// Asks one provider for what is still missing, and passes on what comes.
    async fn ask(&mut self, link: &Link, to: &mpsc::Sender<Waiting>, room: &Arc<Semaphore>) -> End {
        let idle = self.want.timeout.min(self.shared.host.limits().fetch_idle);
        let mut reader = match self.shared.request(link, self.request().encode(), idle).await {
            Ok(reader) => reader,
            Err(fault) => return End::Next(self.shared.miss(link, fault)),
        };
        let mut again = 0;
        loop {
            let kinds = [Kind::Block, Kind::End, Kind::Absent, Kind::Limit, Kind::Busy];
            let head = match reader.expect(&kinds).await {
                Ok(head) => head,
                Err(fault) => return End::Next(self.shared.miss(link, fault)),
            };
            match head.kind {
                Kind::End => return End::Done,
                Kind::Absent => return End::Next(Miss::Absent),
                // Believed only where the next block can be the one too many.
                Kind::Limit if self.left < self.shared.host.limits().block_bytes as u64 => return End::Limit,
                Kind::Limit => return End::Next(Miss::Lost),
                Kind::Busy => return End::Next(Miss::Busy),
                _ => {}
            }
            if let Err(end) = self.pass_on(link, &mut reader, head.length, &mut again, to, room).await {
                return end;
            }
        }
    }

    /// The request: leaves that were handed out already are named, so that they are not sent again. What
    /// links to others cannot be, because it would stand for all under it.
    fn request(&self) -> AskDag {
        let mut ask = AskDag::new(&self.want);
        let room = MAX_HAVE - ask.have.len();
        ask.have.extend(self.passed.iter().filter(|cid| cid.codec() == RAW).take(room));
        ask
    }

    /// Reads one block and passes it on, unless it was passed on before.
    async fn pass_on(
        &mut self,
        link: &Link,
        reader: &mut Reader,
        length: usize,
        again: &mut usize,
        to: &mpsc::Sender<Waiting>,
        room: &Arc<Semaphore>,
    ) -> Result<(), End> {
        // Room first: while the caller is slow, the block stays at the provider.
        let share = u32::try_from(length).unwrap_or(u32::MAX);
        self.waited |= room.available_permits() < length || to.capacity() == 0;
        let share = room.clone().acquire_many_owned(share).await.map_err(|_| End::Done)?;
        let limit = self.shared.host.limits().block_bytes;
        let (cid, bytes) = self.shared.read_block(link, reader, length, limit).await.map_err(End::Next)?;
        if self.passed.contains(&cid) {
            *again += 1;
            // A provider sends each block once; whoever sends more than all of them again only wastes our
            // time.
            return if *again <= self.passed.len() { Ok(()) } else { Err(self.broken_promise(link)) };
        }
        let Some(left) = self.left.checked_sub(bytes.len() as u64) else {
            return Err(self.broken_promise(link));
        };
        self.left = left;
        if self.passed.len() < PASSED {
            self.passed.insert(cid);
        }
        let fetched = Fetched { claim: Claim::new(cid, bytes), from: Some(link.remote.clone()) };
        to.send((Ok(fetched), Some(share))).await.map_err(|_| End::Done)
    }

    /// It sent more than was asked for.
    fn broken_promise(&self, link: &Link) -> End {
        self.shared.host.report(&link.remote, Misdeed::BrokenPromise);
        End::Next(Miss::Lost)
    }
}

//! Fetching a DAG: one request to a provider, its blocks handed out as they land, the rest from the next provider.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use cid::Cid;
use futures::{StreamExt as _, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;

use super::ask::{miss, read_block, request};
use super::{AskDag, Kind, MAX_HAVE, Provider};
use crate::limits::MAX_ROOTS;
use crate::links::frames::Reader;
use crate::links::{Miss, Tally};
use crate::{Claim, Claims, Error, ErrorKind, Fetched, Host, Misdeed, RAW, Result, WantDag};

/// Blocks that wait to be taken, by count; in bytes they are at most two of the largest.
const WAITING: usize = 256;
/// Blocks remembered as handed out, so that the next provider's copy of them is not. Beyond it a block may
/// come twice.
const PASSED: usize = 65_536;

/// A block on its way to the caller, with its share of what may wait.
type Waiting = (Result<Fetched>, Option<OwnedSemaphorePermit>);

/// Starts fetching a DAG from those of `asked` that have it, one after the other: the next one is asked for what is still
/// missing. `reach` makes a provider of each, by dialling it perhaps, and answers `None` where it cannot.
///
/// The blocks come as [`Fetch::dag`](crate::Fetch::dag) promises. A task of the host fetches them, until all came or the
/// stream is dropped, which cancels the request on the wire.
///
/// # Errors
/// `Config` for no root or more than 64; `NoPeers` when there is nobody to ask.
pub fn fetch_dag<A, P, F>(
    host: &Host,
    want: &WantDag,
    asked: Vec<A>,
    reach: impl Fn(A) -> F + Send + Sync + 'static,
) -> Result<Claims>
where
    A: Send + 'static,
    P: Provider,
    F: Future<Output = Option<Arc<P>>> + Send + 'static,
{
    if !(1..=MAX_ROOTS).contains(&want.roots.len()) {
        let detail = format!("{} roots; 1 to {MAX_ROOTS} are allowed", want.roots.len());
        return Err(host.fail(ErrorKind::Config, "dag", detail));
    }
    if asked.is_empty() {
        return Err(Tally::default().error(host, "dag", &want.roots[0].to_string()));
    }
    let (sender, receiver) = mpsc::channel(WAITING);
    let walk = Walk {
        host: host.clone(),
        left: want.limit_bytes,
        want: want.clone(),
        passed: BTreeSet::new(),
        waited: false,
        tally: Tally::default(),
        room: Arc::new(Semaphore::new(2 * host.limits().block_bytes)),
        to: sender,
    };
    host.spawn(walk.run(asked.into(), reach));
    // Taking a block gives back its share of what may wait.
    let waiting = stream::unfold(receiver, |mut receiver: mpsc::Receiver<Waiting>| async {
        receiver.recv().await.map(|(block, _share)| (block, receiver))
    });
    Ok(waiting.boxed())
}

/// One walk over the providers.
struct Walk {
    host: Host,
    want: WantDag,
    passed: BTreeSet<Cid>,
    /// Whether the caller was slower than the provider, so that for a while nothing was read.
    waited: bool,
    left: u64,
    tally: Tally,
    room: Arc<Semaphore>,
    to: mpsc::Sender<Waiting>,
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

/// A DAG that is fetched from a provider, until it is dropped.
struct Walking<'a, P: Provider>(&'a P);

impl<P: Provider> Drop for Walking<'_, P> {
    fn drop(&mut self) {
        self.0.walks(false);
    }
}

impl Walk {
    /// Runs until the DAG is there, nobody is left to ask, or the caller has dropped the stream: then the
    /// reader goes, and with it the provider's stream.
    async fn run<A, P, F>(mut self, asked: VecDeque<A>, reach: impl Fn(A) -> F)
    where
        P: Provider,
        F: Future<Output = Option<Arc<P>>>,
    {
        let caller = self.to.clone();
        tokio::select! {
            biased;
            () = caller.closed() => {}
            failed = self.walk(asked, reach) => {
                if let Some(error) = failed {
                    // Nobody listens: nobody needs to know.
                    let _ = caller.send((Err(error), None)).await;
                }
            }
        }
    }

    async fn walk<A, P, F>(&mut self, mut asked: VecDeque<A>, reach: impl Fn(A) -> F) -> Option<Error>
    where
        P: Provider,
        F: Future<Output = Option<Arc<P>>>,
    {
        while let Some(next) = asked.pop_front() {
            let Ok(Some(provider)) = timeout(self.want.timeout, reach(next)).await else {
                self.tally.note(Miss::Lost);
                continue;
            };
            match self.ask_all(&provider).await {
                End::Done => return None,
                End::Limit => {
                    let detail = format!("more than {} bytes are under the roots", self.want.limit_bytes);
                    return Some(self.host.fail(ErrorKind::TooLarge, "dag", detail));
                }
                End::Next(miss) => self.tally.note(miss),
            }
        }
        Some(self.tally.error(&self.host, "dag", "a block under the roots"))
    }

    /// Asks one provider until it has no more, or is to blame. One that gave up because our caller paused is
    /// asked for the rest.
    async fn ask_all<P: Provider>(&mut self, provider: &Arc<P>) -> End {
        provider.walks(true);
        let _walking = Walking(&**provider);
        loop {
            let end = self.ask(provider).await;
            if !matches!(end, End::Next(Miss::GivenUp)) || !std::mem::take(&mut self.waited) {
                return end;
            }
        }
    }

    /// Asks one provider for what is still missing, and passes on what comes.
    async fn ask<P: Provider>(&mut self, provider: &Arc<P>) -> End {
        let idle = self.want.timeout.min(self.host.limits().fetch_idle);
        let mut reader = match request(&self.host, provider, self.request().encode(), idle).await {
            Ok(reader) => reader,
            Err(miss) => return End::Next(miss),
        };
        let mut again = 0;
        loop {
            let kinds = [Kind::Block, Kind::End, Kind::Absent, Kind::Limit, Kind::Busy];
            let head = match reader.expect(&kinds).await {
                Ok(head) => head,
                Err(fault) => return End::Next(miss(&self.host, &**provider, fault)),
            };
            match head.kind {
                Kind::End => return End::Done,
                Kind::Absent => return End::Next(Miss::Absent),
                // Believed only where the next block can be the one too many.
                Kind::Limit if self.left < self.host.limits().block_bytes as u64 => return End::Limit,
                Kind::Limit => return End::Next(Miss::Lost),
                Kind::Busy => return End::Next(Miss::Busy),
                _ => {}
            }
            if let Err(end) = self.pass_on(&**provider, &mut reader, head.length, &mut again).await {
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
    async fn pass_on<P: Provider>(
        &mut self,
        provider: &P,
        reader: &mut Reader<P::Answer>,
        length: usize,
        again: &mut usize,
    ) -> std::result::Result<(), End> {
        // Room first: while the caller is slow, the block stays at the provider.
        let share = u32::try_from(length).unwrap_or(u32::MAX);
        self.waited |= self.room.available_permits() < length || self.to.capacity() == 0;
        let share = self.room.clone().acquire_many_owned(share).await.map_err(|_| End::Done)?;
        let limit = self.host.limits().block_bytes;
        let block = read_block(reader, length, limit).await;
        let (cid, bytes) = block.map_err(|fault| End::Next(miss(&self.host, provider, fault)))?;
        if self.passed.contains(&cid) {
            *again += 1;
            // A provider sends each block once; whoever sends more than all of them again only wastes our
            // time.
            return if *again <= self.passed.len() { Ok(()) } else { Err(self.broken_promise(provider)) };
        }
        let Some(left) = self.left.checked_sub(bytes.len() as u64) else {
            return Err(self.broken_promise(provider));
        };
        self.left = left;
        if self.passed.len() < PASSED {
            self.passed.insert(cid);
        }
        let fetched = Fetched { claim: Claim::new(cid, bytes), from: Some(provider.remote().clone()) };
        self.to.send((Ok(fetched), Some(share))).await.map_err(|_| End::Done)
    }

    /// It sent more than was asked for.
    fn broken_promise<P: Provider>(&self, provider: &P) -> End {
        self.host.report(provider.remote(), Misdeed::BrokenPromise);
        End::Next(Miss::Lost)
    }
}

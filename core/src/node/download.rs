//! Fetching whole DAGs: as a stream that is not stored, and into the store.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_stream::try_stream;
use cid::Cid;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, FuturesUnordered};
use libp2p_identity::PeerId;
use serde::Serialize;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::behind::Behind;
use super::content::Keeping;
use super::hold::Hold;
use super::host::Misdeed;
use super::router::{Mounted, Router};
use crate::dag::{BlockSink as _, BlockWriter};
use crate::limits::MAX_ROOTS;
use crate::{Block, CidPolicy, Claims, Error, ErrorKind, RAW, Remote, Result, WantDag, dag};

/// Blocks one DAG may have.
const MAX_DAG: usize = 1 << 20;
/// Blocks of a DAG that were read and wait while others are checked and stored.
const AHEAD: usize = 2;
/// Liars met before a fetch gives up.
const MAX_LIARS: usize = 8;
/// Blocks asked for at once where a wire brings only single ones.
const AT_ONCE: usize = 16;

/// A block of a DAG as it landed: hashed and judged.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Received {
    /// The block.
    pub block: Block,
    /// Who sent it, where the wire can name them.
    pub from: Option<Remote>,
}

/// The blocks of a DAG, parents before children. Ends after the last, or with the error that stopped it.
pub type Blocks = BoxStream<'static, Result<Received>>;

/// How long a [`Get`] may take, and who to ask first.
#[derive(Clone, Debug, Default)]
pub struct GetOptions {
    /// For the whole; default [`Limits::fetch_deadline`](crate::Limits::fetch_deadline).
    pub deadline: Option<Duration>,
    /// Without a new block; default [`Limits::fetch_idle`](crate::Limits::fetch_idle).
    pub idle: Option<Duration>,
    /// Peers that probably have it.
    pub hints: Vec<PeerId>,
}

/// How far a [`Get`] is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Progress {
    /// Blocks that came.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What a [`Get`] brought; nothing of what was there before is counted.
///
/// No garbage collection takes anything of it, nor of what was there before, while this lives: keep it until you have pinned the
/// root, or read what you wanted.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Got {
    /// Blocks that came.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How long it took.
    pub time: Duration,
    /// Who sent how many bytes, sorted.
    pub sources: Vec<(Remote, u64)>,
    _hold: Arc<Hold>,
}

/// Fetches everything under a CID into the store. A future; dropping it cancels the transfer, and what came stays until the
/// next garbage collection.
#[must_use = "a future does nothing before it is awaited"]
pub struct Get {
    work: BoxFuture<'static, Result<Got>>,
    progress: watch::Receiver<Progress>,
}

impl Get {
    pub(super) fn begin(router: Result<Arc<Router>>, cid: Cid, options: GetOptions) -> Self {
        let (tell, progress) = watch::channel(Progress::default());
        let work = Box::pin(async move { Download::new(router?, cid, options, tell)?.run().await });
        Self { work, progress }
    }

    /// How far it is, as it goes.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }
}

impl Future for Get {
    type Output = Result<Got>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.work.as_mut().poll(cx)
    }
}

impl fmt::Debug for Get {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Get({:?})", *self.progress.borrow())
    }
}

impl Router {
    fn dag_fetchers(&self) -> impl Iterator<Item = usize> {
        let in_one = |at: &usize| {
            let caps = self.transports[*at].transport.capabilities();
            caps.fetch.is_some_and(|fetch| fetch.dag_in_one_request)
        };
        self.fetch.iter().copied().filter(in_one)
    }

    /// Reads a few blocks ahead of whoever checks and stores them.
    fn ahead(&self, mut claims: Claims) -> Claims {
        let (to, from) = mpsc::channel(AHEAD);
        self.core.tasks.spawn(async move {
            loop {
                let fetched = tokio::select! {
                    biased;
                    () = to.closed() => return,
                    fetched = claims.next() => fetched,
                };
                let Some(fetched) = fetched else { return };
                if to.send(fetched).await.is_err() {
                    return;
                }
            }
        });
        stream::unfold(from, |mut from| async { Some((from.recv().await?, from)) }).boxed()
    }

    /// Begins to fetch a DAG from the first transport that can.
    pub(crate) async fn fetch_dag(self: &Arc<Self>, want: WantDag) -> Result<Blocks> {
        if want.roots.len() > MAX_ROOTS {
            let detail = format!("{} roots; at most {MAX_ROOTS} are allowed", want.roots.len());
            return Err(Error::new(ErrorKind::TooLarge, "fetch_dag", detail));
        }
        want.roots.iter().try_for_each(CidPolicy::check)?;
        let unsupported = "no transport of this node brings a DAG in one request";
        let mut failed = Error::new(ErrorKind::Unsupported, "fetch_dag", unsupported).mend(
            "name one that does under fetch in [node], such as quic; or get it, which asks block by block",
        );
        for again in [false, true] {
            if again && !self.dial_hints(&want.hints).await {
                break;
            }
            for at in self.dag_fetchers() {
                match self.ask_for_dag(at, &want).await {
                    Ok(claims) => return Ok(self.receive(at, claims, want)),
                    Err(error) => failed = error,
                }
            }
        }
        Err(failed)
    }

    async fn ask_for_dag(&self, at: usize, want: &WantDag) -> Result<Claims> {
        match self.transports[at].transport.fetch() {
            Some(fetch) => {
                let claims = tokio::time::timeout(want.timeout, fetch.dag(want)).await;
                claims.unwrap_or_else(|_| Err(stalled(want.timeout))).map(|claims| self.ahead(claims))
            }
            None => Err(Error::new(ErrorKind::Unsupported, "fetch_dag", "it does not fetch")),
        }
    }

    /// Checks block by block. Whoever lies is blamed, and the rest is asked of the others.
    fn receive(self: &Arc<Self>, at: usize, mut claims: Claims, mut want: WantDag) -> Blocks {
        let router = Arc::clone(self);
        Box::pin(try_stream! {
            let mut arriving = Arriving::new(&want);
            let mut first = None;
            loop {
                let mut sender = None;
                let stopped = loop {
                    let fetched = match tokio::time::timeout(want.timeout, claims.next()).await {
                        Ok(Some(Ok(fetched))) => fetched,
                        Ok(Some(Err(error))) => break (error, None),
                        Ok(None) if arriving.complete(&want) => return,
                        Ok(None) => break (cut_short(), sender),
                        Err(_) => break (stalled(want.timeout), None),
                    };
                    let (cid, from) = (*fetched.claim.cid(), fetched.from.clone());
                    sender.clone_from(&from);
                    let Some(depth) = arriving.expect(&cid) else {
                        if arriving.bears_repetition(&cid) {
                            continue;
                        }
                        router.blame(&router.transports[at], from.as_ref(), Misdeed::Spam);
                        break (unasked(&cid), from);
                    };
                    match router.check(&router.transports[at], fetched).await {
                        Ok(block) => {
                            arriving.take(&block, depth, &want)?;
                            yield Received { block, from };
                        }
                        Err(error) => break (error, from),
                    }
                };
                match stopped {
                    (error, Some(liar)) if want.avoid.len() < MAX_LIARS => {
                        want.avoid.push(liar);
                        first.get_or_insert(error);
                    }
                    (error, _) => Err(furthest(first.take(), error))?,
                }
                claims = match router.ask_for_dag(at, &want).await {
                    Ok(claims) => claims,
                    Err(error) => Err(furthest(first.take(), error))?,
                };
            }
        })
    }
}

/// The transport keeps the idle limit too, and knows more of what stalled; this is for one that does not.
fn stalled(idle: Duration) -> Error {
    Error::new(
        ErrorKind::Timeout,
        "fetch_dag",
        format!("stalled: no block came for {} s", idle.as_secs_f64()),
    )
}

/// That nobody else is there to ask says less than what went wrong with those who were.
fn furthest(first: Option<Error>, last: Error) -> Error {
    match last.kind() {
        ErrorKind::NoPeers | ErrorKind::NotFound => first.unwrap_or(last),
        _ => last,
    }
}

fn cut_short() -> Error {
    Error::new(ErrorKind::NotFound, "fetch_dag", "the provider ended before all had come")
}

fn unasked(cid: &Cid) -> Error {
    Error::new(ErrorKind::Integrity, "fetch_dag", format!("{cid} came, which nobody asked for"))
}

fn too_many(operation: &'static str, most: usize) -> Error {
    Error::new(ErrorKind::TooLarge, operation, format!("more than {most} blocks"))
}

/// Which blocks of a DAG are still to come.
struct Arriving {
    expected: HashMap<Cid, u32>,
    came: HashSet<Cid>,
    /// Blocks that came again.
    again: usize,
}

impl Arriving {
    fn new(want: &WantDag) -> Self {
        Self { expected: want.roots.iter().map(|root| (*root, 0)).collect(), came: HashSet::new(), again: 0 }
    }

    /// How deep an expected block lies.
    fn expect(&self, cid: &Cid) -> Option<u32> {
        self.expected.get(cid).copied()
    }

    /// Whether a block that is not expected came before and may come again: the next provider of a DAG begins anew, but
    /// nobody has reason to send more than all of it once more for each liar met.
    fn bears_repetition(&mut self, cid: &Cid) -> bool {
        self.again += 1;
        self.came.contains(cid) && self.again <= MAX_LIARS * self.came.len()
    }

    fn take(&mut self, block: &Block, depth: u32, want: &WantDag) -> Result<()> {
        self.expected.remove(block.cid());
        self.came.insert(*block.cid());
        if depth < want.depth {
            for link in dag::follow(block, want.follow)? {
                if !self.came.contains(&link) && !want.have.contains(&link) {
                    self.expected.entry(link).or_insert(depth + 1);
                }
            }
        }
        if self.expected.len() + self.came.len() > MAX_DAG {
            return Err(too_many("fetch_dag", MAX_DAG));
        }
        Ok(())
    }

    /// Whether nothing is missing. What is under `have` never comes, and only the provider knows what that is.
    fn complete(&self, want: &WantDag) -> bool {
        self.expected.is_empty() || !want.have.is_empty()
    }
}

/// Writes what came.
#[derive(Clone)]
struct Landing(Arc<Keeping>);

impl BlockWriter for Landing {
    async fn write(&self, blocks: &[Block]) -> Result<()> {
        self.0.hold.add(blocks.iter().map(Block::cid)).await;
        self.0.router.take_in(blocks).await
    }
}

/// One `get` at work.
struct Download {
    router: Arc<Router>,
    root: Cid,
    deadline: Duration,
    idle: Duration,
    hints: Vec<PeerId>,
    tell: watch::Sender<Progress>,
    sources: BTreeMap<Remote, u64>,
    /// What was found or fetched stays until the end.
    keeping: Arc<Keeping>,
    sink: Behind<Landing>,
}

impl Download {
    fn new(
        router: Arc<Router>,
        root: Cid,
        options: GetOptions,
        tell: watch::Sender<Progress>,
    ) -> Result<Self> {
        CidPolicy::check(&root)?;
        let limits = &router.core.limits;
        let keeping = Keeping::new(&router);
        Ok(Self {
            deadline: options.deadline.unwrap_or(limits.fetch_deadline),
            idle: options.idle.unwrap_or(limits.fetch_idle),
            hints: options.hints,
            sink: Behind::new(Landing(Arc::clone(&keeping)), &router.core.tasks),
            keeping,
            router,
            root,
            tell,
            sources: BTreeMap::new(),
        })
    }

    async fn run(mut self) -> Result<Got> {
        let started = Instant::now();
        let deadline = self.deadline;
        let fetched = tokio::time::timeout(deadline, self.fetch_all()).await;
        let flushed = self.sink.flush().await;
        let Progress { blocks, bytes } = *self.tell.borrow();
        match fetched {
            Ok(fetched) => fetched?,
            Err(_) => {
                flushed?;
                let detail = format!(
                    "{} did not come whole within {} s; {blocks} blocks of {bytes} bytes came and are kept",
                    self.root,
                    deadline.as_secs_f64()
                );
                return Err(
                    Error::new(ErrorKind::Timeout, "get", detail).mend("ask again with a longer --deadline")
                );
            }
        }
        flushed?;
        Ok(Got {
            blocks,
            bytes,
            time: started.elapsed(),
            sources: self.sources.into_iter().collect(),
            _hold: Arc::clone(&self.keeping.hold),
        })
    }

    /// First from the wires that bring a DAG in one request. What they have not comes block by block, from whichever has it.
    async fn fetch_all(&mut self) -> Result<()> {
        let whole = self.router.dag_fetchers().count();
        if whole > 0 {
            match self.fetch_whole().await {
                Err(error) if whole < self.router.fetch.len() && error.kind() != ErrorKind::Rejected => {}
                fetched => return fetched,
            }
        }
        self.fetch_singly().await
    }

    async fn fetch_whole(&mut self) -> Result<()> {
        loop {
            let missing = self.missing().await?;
            if missing.is_empty() {
                return Ok(());
            }
            let before = self.tell.borrow().blocks;
            let fetched = self.fetch_under(missing).await;
            self.sink.flush().await?;
            if self.tell.borrow().blocks == before {
                // Nothing new came, so asking again brings nothing new.
                return fetched.and_then(|()| {
                    Err(Error::new(ErrorKind::NotFound, "get", format!("{} did not come whole", self.root)))
                });
            }
        }
    }

    /// The first blocks under the root that are not in the store; what is under them is not known yet.
    async fn missing(&self) -> Result<Vec<Cid>> {
        let store = &self.router.core.store;
        let (mut walk, mut missing) = (Walk::new(self.root, MAX_DAG), Vec::new());
        while let Some(cid) = walk.next() {
            CidPolicy::check(&cid)?;
            self.keeping.hold.add([&cid]).await;
            if cid.codec() == RAW {
                if !store.has(&cid).await? {
                    missing.push(cid);
                }
            } else if let Some(block) = store.get(&cid).await? {
                walk.meet(dag::links(&block)?)?;
            } else {
                missing.push(cid);
            }
            if missing.len() == MAX_ROOTS {
                break;
            }
        }
        Ok(missing)
    }

    async fn fetch_under(&mut self, roots: Vec<Cid>) -> Result<()> {
        let mut want = WantDag::new(self.root, self.idle);
        want.roots = roots;
        want.hints = self.hints.clone();
        let mut blocks = self.router.fetch_dag(want).await?;
        while let Some(received) = blocks.next().await {
            let Received { block, from } = received?;
            self.count(&block, from);
            self.sink.put(block).await?;
        }
        Ok(())
    }

    fn count(&mut self, block: &Block, from: Option<Remote>) {
        let bytes = block.size() as u64;
        self.tell.send_modify(|progress| {
            progress.blocks += 1;
            progress.bytes += bytes;
        });
        if let Some(from) = from {
            *self.sources.entry(from).or_default() += bytes;
        }
    }

    /// On a slow line the last of those that were asked for at once comes long after the first: only that none comes ends it.
    async fn fetch_singly(&mut self) -> Result<()> {
        let mut walk = Walk::new(self.root, MAX_DAG);
        let mut asked = FuturesUnordered::new();
        loop {
            while asked.len() < AT_ONCE {
                let Some(cid) = walk.next() else { break };
                let (router, hints, deadline) = (Arc::clone(&self.router), self.hints.clone(), self.deadline);
                let keeping = Arc::clone(&self.keeping);
                asked.push(async move {
                    keeping.hold.add([&cid]).await;
                    let there = router.core.store.has(&cid).await?;
                    router.block(&cid, hints, deadline).await.map(|landed| (there, landed))
                });
            }
            let landed = tokio::time::timeout(self.idle, asked.next()).await;
            let Some(landed) = landed.map_err(|_| stalled(self.idle))? else { return Ok(()) };
            // Who sent it does not tell whether it came: not every wire names them.
            let (there, (block, from)) = landed?;
            if !there {
                self.count(&block, from);
            }
            walk.meet(dag::links(&block)?)?;
        }
    }
}

/// A DAG gone through breadth first, each block once.
struct Walk {
    seen: HashSet<Cid>,
    waiting: VecDeque<Cid>,
    /// Blocks that it may have.
    most: usize,
}

impl Walk {
    fn new(root: Cid, most: usize) -> Self {
        Self { seen: HashSet::from([root]), waiting: VecDeque::from([root]), most }
    }

    fn next(&mut self) -> Option<Cid> {
        self.waiting.pop_front()
    }

    fn meet(&mut self, links: Vec<Cid>) -> Result<()> {
        self.waiting.extend(links.into_iter().filter(|link| self.seen.insert(*link)));
        if self.seen.len() > self.most {
            return Err(too_many("get", self.most));
        }
        Ok(())
    }
}

impl fmt::Debug for Mounted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.mount.name.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_has_each_block_once_and_is_bounded() {
        let [root, one, two, three] =
            ["root", "one", "two", "three"].map(|name| *Block::new(RAW, name).cid());
        let mut walk = Walk::new(root, 3);
        walk.meet(vec![one, two, one, root]).expect("all it may have");
        let went: Vec<Cid> = std::iter::from_fn(|| walk.next()).collect();
        assert_eq!(went, [root, one, two]);
        let error = walk.meet(vec![one, three]).expect_err("one more");
        assert_eq!(error.kind(), ErrorKind::TooLarge);
    }
}

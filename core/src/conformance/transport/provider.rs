//! A node that is watched while it serves, and that can be made to serve badly.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use cid::Cid;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::watch;

use super::kit::refusal;
use super::{Kit, Member, Outcome, Wrapper};
use crate::{
    Block, ErrorKind, FetchCaps, Host, Limits, RAW, Remote, Result, Served, ServedStream, Serving, Tap,
    WantDag,
};

/// Stands round the transport of a node that serves, counts what that is asked for, and answers as it is told to.
///
/// A transport with a store of its own asks its host for what it is to provide, and never for what others want.
#[derive(Clone, Debug, Default)]
pub(super) struct Provider(Arc<State>);

#[derive(Debug)]
struct State {
    /// What is served in place of what.
    lies: BTreeMap<Cid, Cid>,
    /// The blocks of a DAG that are served before it falls silent.
    stalls_after: usize,
    silent: AtomicBool,
    blocks: AtomicUsize,
    dags: AtomicUsize,
    sent: AtomicUsize,
    /// How many requests are being answered now.
    open: watch::Sender<usize>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            lies: BTreeMap::new(),
            stalls_after: usize::MAX,
            silent: AtomicBool::new(false),
            blocks: AtomicUsize::new(0),
            dags: AtomicUsize::new(0),
            sent: AtomicUsize::new(0),
            open: watch::Sender::new(0),
        }
    }
}

impl Provider {
    /// Serves the second block of each pair when it is asked for the first.
    pub(super) fn lying<'a>(lies: impl IntoIterator<Item = (&'a Block, &'a Block)>) -> Self {
        let lies = lies.into_iter().map(|(asked, served)| (*asked.cid(), *served.cid())).collect();
        Self(Arc::new(State { lies, ..State::default() }))
    }

    /// Takes every request, finds the block, and never answers: not before it is told to [`speak`](Self::speak).
    pub(super) fn silent() -> Self {
        Self::stalling_after(0)
    }

    /// Serves so many blocks of a DAG and falls silent.
    pub(super) fn stalling_after(blocks: usize) -> Self {
        Self(Arc::new(State { silent: AtomicBool::new(true), stalls_after: blocks, ..State::default() }))
    }

    /// Answers requests from now on.
    pub(super) fn speak(&self) {
        self.0.silent.store(false, Ordering::SeqCst);
    }

    /// How many single blocks it was asked for.
    pub(super) fn asked_for_blocks(&self) -> usize {
        self.0.blocks.load(Ordering::SeqCst)
    }

    /// How many DAGs it was asked for.
    pub(super) fn asked_for_dags(&self) -> usize {
        self.0.dags.load(Ordering::SeqCst)
    }

    /// How many blocks of DAGs its transport took.
    pub(super) fn sent_of_dags(&self) -> usize {
        self.0.sent.load(Ordering::SeqCst)
    }

    /// Waits until so many requests are being answered.
    pub(super) async fn busy_with(&self, requests: usize) {
        let mut open = self.0.open.subscribe();
        open.wait_for(|open| *open == requests).await.expect("it is here");
    }

    async fn silence(&self) {
        if self.0.silent.load(Ordering::SeqCst) {
            std::future::pending().await
        }
    }

    /// A step of a walk, with another block in it where it lies.
    async fn step(&self, host: &Host, asker: &Remote, step: Result<(Cid, Served)>) -> Result<(Cid, Served)> {
        let (cid, served) = step?;
        let Some(lie) = self.0.lies.get(&cid) else { return Ok((cid, served)) };
        Ok((cid, host.block(asker, lie).await?.expect("a liar has its lies")))
    }

    fn instead<'a>(&'a self, cid: &'a Cid) -> &'a Cid {
        self.0.lies.get(cid).unwrap_or(cid)
    }
}

/// A request that is being answered.
struct Open(Provider);

impl Open {
    fn new(at: &Provider) -> Self {
        at.0.open.send_modify(|open| *open += 1);
        Self(at.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.0.open.send_modify(|open| *open -= 1);
    }
}

impl Tap for Provider {
    fn block<'a>(
        &'a self,
        host: &'a Host,
        asker: &'a Remote,
        cid: &'a Cid,
    ) -> BoxFuture<'a, Result<Option<Served>>> {
        self.0.blocks.fetch_add(1, Ordering::SeqCst);
        async move {
            let _open = Open::new(self);
            let served = host.block(asker, self.instead(cid)).await;
            self.silence().await;
            served
        }
        .boxed()
    }

    fn dag(&self, host: &Host, asker: Remote, want: WantDag) -> ServedStream {
        self.0.dags.fetch_add(1, Ordering::SeqCst);
        let (this, host) = (self.clone(), host.clone());
        Box::pin(async_stream::stream! {
            let _open = Open::new(&this);
            let mut walk = host.dag(asker.clone(), want).enumerate();
            while let Some((at, step)) = walk.next().await {
                if at >= this.0.stalls_after {
                    this.silence().await;
                }
                this.0.sent.fetch_add(1, Ordering::SeqCst);
                yield this.step(&host, &asker, step).await;
            }
        })
    }
}

#[async_trait]
impl Wrapper for Provider {}

/// A node, and one linked with it that is watched as it serves.
pub(super) async fn watched_pair(kit: &Kit, provider: &Provider) -> [Member; 2] {
    let (near, far) = (kit.node().await, kit.node_wrapped(provider.clone()).await);
    kit.link(&near, &far).await;
    [near, far]
}

/// Limits with the smallest blocks there are, and serving memory for so many of them.
pub(super) fn small_blocks(served_at_once: usize) -> Limits {
    let block_bytes = 64 << 10;
    let serving_bytes = served_at_once * block_bytes;
    Limits { block_bytes, serving_bytes, payload_bytes: 1 << 10, ..Limits::default() }
}

/// Bytes as a block.
pub(super) fn raw(bytes: impl Into<bytes::Bytes>) -> Block {
    Block::new(RAW, bytes)
}

/// A block that nobody has.
pub(super) fn absent() -> Block {
    raw(&b"nobody has this"[..])
}

/// Whether what the transport serves can be watched: it asks its host.
pub(super) fn asks_host(caps: &FetchCaps) -> bool {
    caps.serving != Serving::FromOwnStore
}

/// A transport that does not fetch has no such part, and its node says so.
pub(super) async fn no_fetch(member: &Member) -> Outcome {
    assert!(member.transport.fetch().is_none(), "what is not promised is not there");
    let answer = member.block(absent().cid(), vec![]).await;
    assert_eq!(refusal(answer), ErrorKind::NotFound, "a node that cannot fetch does not find");
    Outcome::Unsupported("fetch")
}

/// A transport that serves from a store of its own does not ask its host for blocks.
pub(super) async fn own_store(kit: &Kit, near: &Member, far: &Member, provider: &Provider) -> Outcome {
    provider.speak();
    let block = raw(&b"from a store of its own"[..]);
    far.put_blocks(std::slice::from_ref(&block)).await.expect("puts");
    let uploads = provider.asked_for_blocks();
    assert_eq!(kit.soon("a block", near.block(block.cid(), vec![])).await.expect("it comes"), block);
    assert_eq!(provider.asked_for_blocks(), uploads, "the host is not asked where that is not said");
    Outcome::Unsupported("serving from the host")
}

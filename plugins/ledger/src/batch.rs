//! Entries on their way into the ledger.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::ready;
use std::task::Poll;

use carrick_core::dag::{links, parents};
use carrick_core::{Block, Cid, Follow, PeerId, Received, Remote, Result, Verdict, WantDag};
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};

use crate::failed::{Failed, is_ours};
use crate::inner::Inner;
use crate::patience::Patience;

/// Entries that are fetched before the first of them is judged.
const MAX_ENTRIES: usize = 65_536;
const MAX_BYTES: usize = 64 << 20;
/// Entries that are asked for at once where a wire brings only single blocks.
const ASKED_AT_ONCE: usize = 16;
/// Entries that are judged at once.
const JUDGED_AT_ONCE: usize = 64;

/// Entries that were fetched and not judged yet.
pub(crate) struct Batch<'a> {
    entries: BTreeMap<Cid, Fetched>,
    bytes: usize,
    /// No message is larger.
    largest: usize,
    patience: &'a Patience,
    /// Entries that were not taken, which may be no fault of theirs.
    unsure: BTreeSet<Cid>,
    /// Some could not be asked for.
    troubled: bool,
    /// One was refused for good.
    rejected: bool,
}

/// What is asked for beside the entries that are named.
pub(crate) enum Reach {
    Alone,
    /// All before them, up to these.
    BackTo(Vec<Cid>),
}

struct Fetched {
    block: Block,
    from: Option<Remote>,
    parents: Vec<Cid>,
}

impl<'a> Batch<'a> {
    /// None yet. Those that come show that it goes on.
    ///
    /// # Errors
    /// `Closed`.
    pub(crate) fn new(ledger: &Inner, patience: &'a Patience) -> Result<Self> {
        let largest = ledger.node()?.limits().envelope_bytes();
        let (entries, unsure) = (BTreeMap::new(), BTreeSet::new());
        Ok(Self { entries, bytes: 0, largest, patience, unsure, troubled: false, rejected: false })
    }

    /// Keeps what came; `false` where there is no room for more, or it is larger than a message: that earns no patience. What else
    /// is no message the gate finds out.
    fn keep(&mut self, Received { block, from, .. }: Received) -> bool {
        if block.size() > self.largest {
            self.bytes += block.size();
            return false;
        }
        let parents = parents(&block);
        if self.entries.len() == MAX_ENTRIES || self.bytes + block.size() > MAX_BYTES {
            return false;
        }
        self.bytes += block.size();
        self.patience.bytes(block.size());
        self.entries.insert(*block.cid(), Fetched { block, from, parents });
        true
    }

    /// How much came.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The parents of those that came.
    pub(crate) fn parents(&self) -> impl Iterator<Item = &Cid> {
        self.entries.values().flat_map(|fetched| &fetched.parents)
    }

    /// Those that are neither on their way nor here.
    pub(crate) async fn missing(&self, ledger: &Inner, cids: &[Cid]) -> Result<Vec<Cid>> {
        let missing = ledger.missing(cids).await?.into_iter();
        Ok(missing.filter(|cid| !self.entries.contains_key(cid)).collect())
    }

    /// Over a transport that brings many in one request, of at most 64 entries; what does not come that way is to be asked for
    /// apart.
    pub(crate) async fn in_one_request(
        &mut self,
        ledger: &Inner,
        roots: &[Cid],
        hints: &[PeerId],
        reach: Reach,
    ) -> Result<()> {
        let Some(first) = roots.first() else { return Ok(()) };
        let node = ledger.node()?;
        let mut want = WantDag::new(*first, node.limits().fetch_idle);
        (want.roots, want.hints) = (roots.to_vec(), hints.to_vec());
        (want.follow, want.limit_bytes) = (Follow::Parents, MAX_BYTES as u64);
        match reach {
            Reach::Alone => want.depth = 0,
            Reach::BackTo(have) => want.have = have,
        }
        let fetching = node.fetch_dag(want);
        drop(node);
        let Ok(mut blocks) = fetching.await else { return Ok(()) };
        while let Some(Ok(received)) = blocks.next().await {
            if !self.keep(received) {
                break;
            }
        }
        Ok(())
    }

    /// Block by block.
    pub(crate) async fn one_by_one(
        &mut self,
        ledger: &Inner,
        cids: Vec<Cid>,
        hints: &[PeerId],
    ) -> Result<()> {
        let mut asking = Asking::default();
        asking.waiting.extend(cids);
        while asking.next(self, ledger, hints).await?.is_some() {}
        Ok(())
    }

    /// Block by block, from some back to what is here.
    pub(crate) async fn back_to_what_is_here(
        &mut self,
        ledger: &Inner,
        cids: Vec<Cid>,
        hints: &[PeerId],
    ) -> Result<()> {
        let mut asked: BTreeSet<Cid> = cids.iter().copied().collect();
        let mut asking = Asking::default();
        asking.waiting.extend(cids);
        while let Some(came) = asking.next(self, ledger, hints).await? {
            let parents = self.entries.get(&came).map(|fetched| fetched.parents.clone()).unwrap_or_default();
            let missing = self.missing(ledger, &parents).await?;
            asking.waiting.extend(missing.into_iter().filter(|cid| asked.insert(*cid)));
        }
        Ok(())
    }

    /// Whether all of these are no entries because of trouble here, as far as is known.
    pub(crate) fn is_unsure_of(&self, odd: &[Cid]) -> bool {
        odd.iter().all(|odd| self.unsure.contains(odd) || (self.troubled && !self.entries.contains_key(odd)))
    }

    /// Whether trouble here may be why nothing of it is an entry.
    pub(crate) fn is_unsure(&self) -> bool {
        !self.rejected && (self.troubled || !self.unsure.is_empty())
    }

    /// Lets go of those that are entries here.
    pub(crate) async fn forget_known(&mut self, ledger: &Inner) -> Result<()> {
        let came: Vec<Cid> = self.entries.keys().copied().collect();
        let missing: BTreeSet<Cid> = ledger.missing(&came).await?.into_iter().collect();
        self.entries.retain(|cid, _| missing.contains(cid));
        Ok(())
    }

    /// Passes entries through the gate, each after its parents, which need not be on the disk yet; answers how many became
    /// entries. Those that lack a parent stay.
    ///
    /// # Errors
    /// `Troubled` where none of them was accepted for too long; what the store answers.
    pub(crate) async fn admit(&mut self, ledger: &Inner) -> Result<usize, Failed> {
        let mut line = Line::of(self, ledger).await?;
        let (mut judging, mut accepted) = (FuturesUnordered::new(), 0);
        // Of its own: what comes twice is accepted at once, and nothing to wait for.
        let patience = Patience::new();
        loop {
            while judging.len() < JUDGED_AT_ONCE
                && let Some(cid) = line.next()
                && let Some(Fetched { block, from, parents }) = self.entries.remove(&cid)
            {
                if parents.iter().any(|parent| line.refused.contains(parent)) {
                    self.refuse(&mut line, cid, &parents);
                    continue;
                }
                let mut judged = ledger.node()?.admit(&ledger.topic, block.bytes().clone(), from).boxed();
                // Begun now, so that those behind it find it in the gate.
                match futures::poll!(&mut judged) {
                    Poll::Ready(verdict) => judging.push(ready((block, parents, verdict)).boxed()),
                    Poll::Pending => {
                        judging.push(judged.map(move |verdict| (block, parents, verdict)).boxed());
                    }
                }
            }
            // What holds that up is here.
            let judged = patience.bears(judging.next()).await.map_err(Failed::error)?;
            let Some((block, parents, verdict)) = judged else { return Ok(accepted) };
            let cid = *block.cid();
            // What was accepted lately is accepted again, be it of another topic.
            if verdict.is_accept() && ledger.place(&cid).await?.is_some() {
                accepted += 1;
                patience.renew();
                continue;
            }
            tracing::debug!(%cid, ?verdict, "an entry was not taken");
            match verdict {
                Verdict::Accept | Verdict::Reject(_) => {
                    self.rejected = true;
                    line.refused.insert(cid);
                }
                // Whoever tells of an entry has its payload: to keep it back is no trouble of ours.
                _ if lacks_payload(ledger, &block, &parents).await => drop(line.refused.insert(cid)),
                _ => self.refuse(&mut line, cid, &parents),
            }
        }
    }

    /// Notes one that was not taken: it is to blame where a parent is. Else a rule or the store may be away.
    fn refuse(&mut self, line: &mut Line, cid: Cid, parents: &[Cid]) {
        let is_bad = |parent: &Cid| line.refused.contains(parent) && !self.unsure.contains(parent);
        if !parents.iter().any(is_bad) {
            self.unsure.insert(cid);
        }
        line.refused.insert(cid);
    }
}

/// Whether an entry has a payload that travels apart and did not come. Where the store does not answer, that is another trouble.
/// Looked up, because an attempt that failed for a rule's sake may fail many times, and the cause that the node gives is a text.
async fn lacks_payload(ledger: &Inner, block: &Block, parents: &[Cid]) -> bool {
    let (Ok(links), Ok(node)) = (links(block), ledger.node()) else { return false };
    for payload in links.iter().filter(|link| !parents.contains(link)) {
        if let Ok(false) = node.store().has(payload).await {
            return true;
        }
    }
    false
}

/// Fetched entries, each after its parents.
struct Line {
    /// Parents in the batch that were not passed on yet.
    waits: BTreeMap<Cid, usize>,
    children: BTreeMap<Cid, Vec<Cid>>,
    ready: VecDeque<Cid>,
    /// What follows them is not passed on.
    refused: BTreeSet<Cid>,
}

impl Line {
    async fn of(batch: &Batch<'_>, ledger: &Inner) -> Result<Self> {
        let mut line = Self {
            waits: BTreeMap::new(),
            children: BTreeMap::new(),
            ready: VecDeque::new(),
            refused: BTreeSet::new(),
        };
        for (cid, fetched) in &batch.entries {
            let before = ledger.missing(&fetched.parents).await?;
            if before.is_empty() {
                line.ready.push_back(*cid);
            }
            line.waits.insert(*cid, before.len());
            for parent in before {
                line.children.entry(parent).or_default().push(*cid);
            }
        }
        Ok(line)
    }

    /// The next one to pass on.
    fn next(&mut self) -> Option<Cid> {
        let cid = self.ready.pop_front()?;
        for child in self.children.remove(&cid).unwrap_or_default() {
            let waits = self.waits.entry(child).or_default();
            *waits = waits.saturating_sub(1);
            if *waits == 0 {
                self.ready.push_back(child);
            }
        }
        Some(cid)
    }
}

/// Single blocks that are being asked for.
#[derive(Default)]
struct Asking {
    waiting: VecDeque<Cid>,
    asked: FuturesUnordered<BoxFuture<'static, Result<Received>>>,
}

impl Asking {
    /// The next one that came and is kept; `None` where none is left.
    async fn next(&mut self, batch: &mut Batch<'_>, ledger: &Inner, hints: &[PeerId]) -> Result<Option<Cid>> {
        loop {
            while self.asked.len() < ASKED_AT_ONCE
                && let Some(cid) = self.waiting.pop_front()
            {
                self.asked.push(ledger.node()?.fetch(&cid, hints.to_vec()).boxed());
            }
            match self.asked.next().await {
                None => return Ok(None),
                Some(Err(error)) => {
                    tracing::debug!(%error, "an entry could not be fetched");
                    batch.troubled |= is_ours(&error);
                }
                Some(Ok(received)) => {
                    let cid = *received.block.cid();
                    if batch.keep(received) {
                        return Ok(Some(cid));
                    }
                }
            }
        }
    }
}

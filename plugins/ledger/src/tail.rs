//! Fetching the entries that are missing before some heads, and passing them through the gate, the oldest first.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use carrick_core::dag::parents;
use carrick_core::limits::MAX_ROOTS;
use carrick_core::{Block, Cid, Follow, PeerId, Received, Remote, Result, Verdict, WantDag};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;

use crate::index::Index;
use crate::ledger::Inner;

/// Entries that are fetched before the first of them is judged: all that is between them and what is here.
const MAX_ENTRIES: usize = 65_536;
const MAX_BYTES: usize = 64 << 20;
/// Entries that are said to be here, so that nobody sends them or what is before them.
const HAVE: usize = 64;
/// Entries that are asked for at once where a wire brings only single blocks, and judged at once.
const AT_ONCE: usize = 16;

/// Entries on their way.
#[derive(Default)]
struct Tail {
    entries: BTreeMap<Cid, Fetched>,
    bytes: usize,
}

struct Fetched {
    block: Block,
    from: Option<Remote>,
    parents: Vec<Cid>,
}

impl Tail {
    /// Keeps what came; `false` where there is no room for more. What is no message the gate finds out.
    fn keep(&mut self, Received { block, from, .. }: Received) -> bool {
        let parents = parents(&block);
        if self.entries.len() == MAX_ENTRIES || self.bytes + block.size() > MAX_BYTES {
            return false;
        }
        self.bytes += block.size();
        self.entries.insert(*block.cid(), Fetched { block, from, parents });
        true
    }

    /// Those that are neither on their way nor here.
    fn missing(&self, index: &Index, cids: &[Cid]) -> Vec<Cid> {
        let missing = index.missing(cids).into_iter();
        missing.filter(|cid| !self.entries.contains_key(cid)).collect()
    }
}

/// Fetches heads that somebody told, and everything before them that is no entry here; answers how many became entries.
pub(crate) async fn fetch(ledger: &Inner, heads: &BTreeSet<Cid>, teller: Option<PeerId>) -> Result<usize> {
    let all: Vec<Cid> = heads.iter().copied().collect();
    let roots = ledger.with_index(|index| index.missing(&all))?;
    let hints: Vec<PeerId> = teller.into_iter().collect();
    let mut tail = Tail::default();
    for some in roots.chunks(MAX_ROOTS) {
        in_one_request(ledger, some, &hints, &mut tail).await?;
    }
    // Before the rest, which may be heads that nobody has.
    let first = admit(ledger, &mut tail).await?;
    one_by_one(ledger, &roots, &hints, &mut tail).await?;
    Ok(first + admit(ledger, &mut tail).await?)
}

/// Over a transport that brings a DAG in one request; what does not come that way is asked for apart.
async fn in_one_request(ledger: &Inner, roots: &[Cid], hints: &[PeerId], tail: &mut Tail) -> Result<()> {
    let Some(first) = roots.first() else { return Ok(()) };
    let node = ledger.node()?;
    let mut want = WantDag::new(*first, node.limits().fetch_idle);
    want.roots = roots.to_vec();
    want.have = ledger.with_index(|index| index.sample(HAVE))?;
    want.follow = Follow::Parents;
    want.limit_bytes = MAX_BYTES as u64;
    want.hints = hints.to_vec();
    let fetching = node.fetch_dag(want);
    drop(node);
    let Ok(mut blocks) = fetching.await else { return Ok(()) };
    while let Some(Ok(received)) = blocks.next().await {
        if !tail.keep(received) {
            break;
        }
    }
    Ok(())
}

/// Block by block, from the heads back to what is here.
async fn one_by_one(ledger: &Inner, roots: &[Cid], hints: &[PeerId], tail: &mut Tail) -> Result<()> {
    let before = tail.entries.values().flat_map(|fetched| &fetched.parents);
    let all: Vec<Cid> = roots.iter().chain(before).copied().collect();
    let mut next = VecDeque::from(ledger.with_index(|index| tail.missing(index, &all))?);
    let mut asked: BTreeSet<Cid> = next.iter().copied().collect();
    let mut asking = FuturesUnordered::new();
    loop {
        while asking.len() < AT_ONCE
            && let Some(cid) = next.pop_front()
        {
            asking.push(ledger.node()?.fetch(&cid, hints.to_vec()));
        }
        let Some(answered) = asking.next().await else { return Ok(()) };
        let received = match answered {
            Ok(received) => received,
            Err(error) => {
                tracing::debug!(%error, "an entry could not be fetched");
                continue;
            }
        };
        let cid = *received.block.cid();
        if !tail.keep(received) {
            continue;
        }
        let parents = tail.entries.get(&cid).map(|fetched| fetched.parents.clone()).unwrap_or_default();
        let missing = ledger.with_index(|index| tail.missing(index, &parents))?;
        next.extend(missing.into_iter().filter(|cid| asked.insert(*cid)));
    }
}

/// Passes entries through the gate, each once its parents are entries. Those that lack one stay where they are.
async fn admit(ledger: &Inner, tail: &mut Tail) -> Result<usize> {
    let mut children: BTreeMap<Cid, Vec<Cid>> = BTreeMap::new();
    let mut waits: BTreeMap<Cid, usize> = BTreeMap::new();
    let mut ready = VecDeque::new();
    for (cid, fetched) in &tail.entries {
        let before = ledger.with_index(|index| index.missing(&fetched.parents))?;
        if before.is_empty() {
            ready.push_back(*cid);
        }
        waits.insert(*cid, before.len());
        for parent in before {
            children.entry(parent).or_default().push(*cid);
        }
    }
    let (mut judging, mut accepted) = (FuturesUnordered::new(), 0);
    loop {
        while judging.len() < AT_ONCE
            && let Some(cid) = ready.pop_front()
            && let Some(Fetched { block, from, .. }) = tail.entries.remove(&cid)
        {
            let judged = ledger.node()?.admit(&ledger.topic, block.into_bytes(), from);
            judging.push(async move { (cid, judged.await) });
        }
        let Some((cid, verdict)) = judging.next().await else { return Ok(accepted) };
        if verdict != Verdict::Accept {
            tracing::debug!(%cid, ?verdict, "an entry was not taken");
            continue;
        }
        accepted += 1;
        for child in children.remove(&cid).unwrap_or_default() {
            let left = waits.entry(child).or_default();
            *left = left.saturating_sub(1);
            if *left == 0 {
                ready.push_back(child);
            }
        }
    }
}

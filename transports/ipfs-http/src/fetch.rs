//! Blocks: asked of the daemon, and given to it so that it serves them.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use carrick_core::{Bytes, Cid, Claim, ErrorKind, Fetched, PeerAddr, PeerId, Result, Want};
use futures::TryFutureExt as _;
use tokio::time::timeout;

use crate::announce;
use crate::hold::{self, WIRE_BYTES};
use crate::rpc::Fault;
use crate::rpc::calls::{BlockGet, FindProvs, RoutingStep, millis, short};
use crate::shared::{Shared, lock};
use crate::swarm::look;

/// The most bytes that the daemon is given at once, and one block more.
const GIVEN_AT_ONCE: usize = 4 << 20;
/// The most bytes of blocks that are on their way to the daemon.
pub(crate) const GIVING: usize = 16 << 20;
/// The longest step of a search for providers that is read.
const MAX_SEARCH: usize = 1 << 20;

/// The largest block that is carried.
pub(crate) fn max_block_bytes(shared: &Shared) -> usize {
    shared.host.limits().block_bytes.min(WIRE_BYTES)
}

/// Asks the daemon for a block. It says nothing of who sent it, nor ever that nobody has it: the time ends the search.
pub(crate) async fn block(shared: &Shared, want: &Want) -> Result<Fetched> {
    // Daemons do not give each other empty blocks, and nobody need be asked what is in one.
    let empty = Claim::new(want.cid, Bytes::new());
    if empty.clone().check().is_ok() {
        return Ok(Fetched { claim: empty, from: None });
    }
    let asking = async {
        // Alone it would wait for somebody to come until the time is up.
        if !is_alone(shared) {
            return ask(shared, want, false).await;
        }
        match ask(shared, want, true).await {
            Err(fault) if fault.kind == ErrorKind::NotFound => {}
            asked => return asked,
        }
        // Somebody may have come since the daemon was last asked for its links.
        match look(shared).await {
            Ok(links) if links.is_empty() => {
                Err(Fault::new(ErrorKind::NoPeers, "the daemon has it not, and is connected to nobody"))
            }
            _ => ask(shared, want, false).await,
        }
    };
    let asking = asking.map_err(|fault| shared.failed("block", fault));
    let late = || {
        let detail = format!("nobody brought {} within {} s", want.cid, want.timeout.as_secs_f64());
        shared.fail(ErrorKind::Timeout, "block", detail)
    };
    let bytes = timeout(want.timeout, asking).await.map_err(|_| late())??;
    Ok(Fetched { claim: Claim::new(want.cid, bytes), from: None })
}

fn is_alone(shared: &Shared) -> bool {
    shared.there.load(Ordering::Relaxed) && lock(&shared.links).is_empty()
}

async fn ask(shared: &Shared, want: &Want, offline: bool) -> Result<Bytes, Fault> {
    let call = BlockGet { arg: want.cid.to_string(), timeout: millis(want.timeout), offline };
    shared.rpc.fetch(call, want.timeout, want.limit_bytes.min(max_block_bytes(shared))).await
}

/// Gives the daemon blocks of the node, pinned, so that its garbage collection leaves them alone.
pub(crate) async fn provide(shared: &Shared, cids: &[Cid]) -> Result<()> {
    let failed = |fault| shared.failed("provide", fault);
    shared.host.check_provided(cids).await?;
    if !shared.config.pin {
        give(shared, cids).await?;
    } else if !held(shared, cids).await.map_err(failed)? {
        hold::give_and_pin(&shared.rpc, cids, || give(shared, cids), failed).await?;
    }
    announce::blocks(shared, cids);
    Ok(())
}

/// Gives the daemon those that it has not.
async fn give(shared: &Shared, cids: &[Cid]) -> Result<()> {
    let failed = |fault| shared.failed("provide", fault);
    let mut parts = VecDeque::from(match cids {
        // That this one is missing is known: it could not be pinned.
        [one] if shared.config.pin => vec![*one],
        _ => hold::missing(&shared.rpc, cids).await.map_err(failed)?,
    });
    while !parts.is_empty() {
        // Before any is read: who has some and waits for more would wait for others that do the same.
        let most = (parts.len() * WIRE_BYTES).min(GIVEN_AT_ONCE + WIRE_BYTES);
        let mut room = shared.giving.acquire_many(most as u32).await.ok();
        let part = read_some(shared, &mut parts).await?;
        let unneeded = most - part.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
        drop(room.as_mut().and_then(|room| room.split(unneeded)));
        hold::give(&shared.rpc, &part).await.map_err(failed)?;
    }
    Ok(())
}

/// Has the daemon let go of blocks. Without `pin` there may be some still from when it was set; the secret need not open it.
pub(crate) async fn withdraw(shared: &Shared, cids: &[Cid]) -> Result<()> {
    match hold::release(&shared.rpc, cids).await {
        Err(fault)
            if !shared.config.pin
                && matches!(fault.kind, ErrorKind::Unauthorized | ErrorKind::Unsupported) =>
        {
            Ok(())
        }
        released => released.map_err(|fault| shared.failed("withdraw", fault)),
    }
}

/// Whether the daemon holds all of them, or does so from now on: it may have them already, from the network.
async fn held(shared: &Shared, cids: &[Cid]) -> Result<bool, Fault> {
    // To pin a block again takes a daemon as long as the first time.
    if cids.len() > 1 && hold::are_pinned(&shared.rpc, cids).await? {
        return Ok(true);
    }
    match hold::pin(&shared.rpc, cids).await {
        Err(fault) if fault.kind == ErrorKind::NotFound => Ok(false),
        pinned => pinned.map(|()| true),
    }
}

/// The next blocks for the daemon: as many as are given at once.
async fn read_some(shared: &Shared, cids: &mut VecDeque<Cid>) -> Result<Vec<(Cid, Bytes)>> {
    let (mut part, mut size) = (Vec::new(), 0);
    while size < GIVEN_AT_ONCE {
        let Some(cid) = cids.pop_front() else { break };
        let served = shared.host.block(&shared.own_daemon(), &cid).await?;
        let Some(served) = served else {
            return Err(shared.fail(
                ErrorKind::NotFound,
                "provide",
                format!("the node has no {cid} to provide"),
            ));
        };
        // What is on its way has its bound here. The node's share for it is needed to read the next.
        let bytes = served.bytes().clone();
        if bytes.len() > WIRE_BYTES {
            let detail = format!("a block of {} bytes; daemons exchange at most {WIRE_BYTES}", bytes.len());
            return Err(shared.fail(ErrorKind::TooLarge, "provide", detail));
        }
        size += bytes.len();
        part.push((cid, bytes));
    }
    Ok(part)
}

/// Daemons that say they have a block.
pub(crate) async fn providers(shared: &Shared, cid: &Cid, limit: usize) -> Result<Vec<PeerAddr>> {
    let daemon = shared.daemon();
    let own = |found: &PeerAddr| found.peer.is_some_and(|id| id.to_string() == *daemon);
    let mut found = search(shared, cid, limit.max(1)).await?;
    // Our own has taken a place of theirs. Not one more from the start: where there is none, that search takes longer.
    if found.len() >= limit && found.iter().any(own) {
        found = search(shared, cid, limit + 1).await?;
    }
    found.retain(|found| !own(found));
    found.truncate(limit);
    Ok(found)
}

/// So many daemons that say they have a block, each once; our own may be one of them. What was found counts, however the
/// search ends.
async fn search(shared: &Shared, cid: &Cid, number: usize) -> Result<Vec<PeerAddr>> {
    let patience = shared.rpc.patience();
    let call = FindProvs { arg: cid.to_string(), num_providers: number, timeout: millis(patience) };
    let mut found = Named::default();
    let searching = async {
        let mut lines = shared.rpc.search_lines(call, patience, MAX_SEARCH).await?;
        while let Some(line) = lines.next().await? {
            found.read(&line, number)?;
        }
        Ok::<(), Fault>(())
    };
    match timeout(patience, searching).await.unwrap_or(Ok(())) {
        Err(fault) if !found.0.is_empty() => tracing::debug!(%fault, %cid, "a search broke off"),
        Err(fault) if matches!(fault.kind, ErrorKind::NoPeers | ErrorKind::NotFound) => {}
        Err(fault) => return Err(shared.failed("providers", fault)),
        Ok(()) => {}
    }
    Ok(found.0)
}

/// Daemons that a search named, each once.
#[derive(Default)]
pub(crate) struct Named(pub(crate) Vec<PeerAddr>);

impl Named {
    /// Reads one step of a search, as far as there is room for `number`.
    pub(crate) fn read(&mut self, line: &[u8], number: usize) -> Result<(), Fault> {
        let step: RoutingStep = serde_json::from_slice(line).map_err(Fault::junk)?;
        let answers = Some(step.responses.0).filter(|_| step.kind == RoutingStep::ANSWER).unwrap_or_default();
        for provider in answers {
            let Some(id) = short::<PeerId>(&provider.id) else { continue };
            if self.0.iter().any(|before| before.peer == Some(id)) || self.0.len() == number {
                continue;
            }
            let addrs = provider.addrs.0.iter().filter_map(|addr| short(addr));
            self.0.push(PeerAddr::new(id, addrs.collect()));
        }
        Ok(())
    }
}

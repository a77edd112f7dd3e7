//! Fetching: from nodes of Carrick over `/carrick/dag/1.0.0`, from everybody else by bitswap.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use carrick_core::links::{Link, search};
use carrick_core::{Cid, Claims, Error, ErrorKind, Fetched, PeerAddr, PeerId, Remote, Result, Want, WantDag};
use futures::future::{Either, select};
use futures::{StreamExt as _, stream};
use tokio::time::{Instant, sleep, timeout};

use crate::link::Line;
use crate::routing::Routing;
use crate::shared::Shared;

/// How long one way has before the other is tried beside it.
const PATIENCE: Duration = Duration::from_secs(3);
/// Peers asked at once whether they have a block.
const ASKED_AT_ONCE: usize = 16;

/// Whom to ask for something.
struct Sources {
    /// Nodes of Carrick, the hinted first.
    nodes: Vec<PeerId>,
    /// Whether there may be anybody whom bitswap reaches.
    bitswap: bool,
    /// Whether bitswap goes first: a hinted peer is a stranger.
    bitswap_first: bool,
}

impl Shared {
    /// Connected peers to ask, and nobody to avoid.
    fn sources(&self, hints: &[PeerId], avoid: &[Remote]) -> Sources {
        let without_dag = self.without_dag();
        let is_node = |link: &Arc<Link<Line>>| {
            link.wire == Line::Node && self.config.dag && !without_dag.contains(&link.peer())
        };
        let (nodes, strangers): (Vec<_>, Vec<_>) =
            self.hub.to_ask(hints, avoid).into_iter().partition(is_node);
        drop(without_dag);
        Sources {
            nodes: nodes.iter().map(|link| link.peer()).collect(),
            bitswap: !strangers.is_empty() || self.config.routing != Routing::None,
            bitswap_first: hints
                .first()
                .is_some_and(|hint| strangers.iter().any(|link| link.peer() == *hint)),
        }
    }

    /// Fetches one block.
    pub(crate) async fn fetch_block(self: &Arc<Self>, want: &Want) -> Result<Fetched> {
        self.hub.open("block")?;
        let Sources { nodes, bitswap, bitswap_first } = self.sources(&want.hints, &want.avoid);
        if nodes.is_empty() {
            return self.bitswap.block(want).await;
        }
        if !bitswap {
            return self.ask_nodes(want, nodes).await;
        }
        let began = Instant::now();
        // Whichever goes second has what the first one left of the time.
        let left = || {
            let mut want = want.clone();
            want.timeout = want.timeout.saturating_sub(began.elapsed());
            want
        };
        let nodes = async { self.ask_nodes(&left(), nodes).await };
        let others = async { self.bitswap.block(&left()).await };
        both(bitswap_first, nodes, others).await
    }

    async fn ask_nodes(self: &Arc<Self>, want: &Want, nodes: Vec<PeerId>) -> Result<Fetched> {
        search(&self.host, want, nodes, |peer, idle| async move {
            Ok((self.dag.block(peer, want, idle).await?, Remote::Peer(peer)))
        })
        .await
    }

    /// Fetches a DAG: from nodes in one request, from others block by block.
    pub(crate) async fn fetch_dag(self: &Arc<Self>, want: &WantDag) -> Result<Claims> {
        self.hub.open("dag")?;
        let Sources { nodes, bitswap, bitswap_first } = self.sources(&want.hints, &want.avoid);
        if nodes.is_empty() {
            return self.bitswap.dag(want).await;
        }
        if !bitswap {
            return self.dag.dag(want, nodes);
        }
        let nodes = async { begun(self.dag.dag(want, nodes)?).await };
        both(bitswap_first, nodes, self.bitswap.dag(want)).await
    }

    /// Peers that say they have a block: the connected ones, and those that routing knows.
    pub(crate) async fn find_providers(self: &Arc<Self>, cid: &Cid, limit: usize) -> Result<Vec<PeerAddr>> {
        self.hub.open("providers")?;
        let idle = self.host.limits().fetch_idle;
        let nodes = self.sources(&[], &[]).nodes;
        let asks = nodes.into_iter().map(|peer| async move {
            matches!(self.dag.has(peer, cid).await, Ok(true)).then(|| (peer, vec![]))
        });
        let nodes = stream::iter(asks).buffer_unordered(ASKED_AT_ONCE).filter_map(std::future::ready);
        let strangers = stream::once(self.bitswap.having(*cid, limit))
            .flat_map(|peers| stream::iter(peers.into_iter().map(|peer| (peer, vec![]))));
        let routed = self.finder.providers(cid, limit);
        let all = stream::select(stream::select(nodes, strangers), routed).take_until(sleep(idle));
        let mut all = pin!(all);
        let mut found = BTreeMap::new();
        while found.len() < limit
            && let Some((peer, addrs)) = all.next().await
        {
            let known: &mut Vec<_> = found.entry(peer).or_default();
            known.extend(addrs.into_iter().filter(|addr| !known.contains(addr)).collect::<Vec<_>>());
        }
        Ok(found.into_iter().map(|(peer, addrs)| self.address_of(peer, addrs)).collect())
    }

    /// Where a provider can be dialled.
    fn address_of(&self, peer: PeerId, mut addrs: Vec<carrick_core::Multiaddr>) -> PeerAddr {
        if addrs.is_empty() {
            addrs = self.host.addresses(&peer);
        }
        if addrs.is_empty() {
            addrs.extend(self.hub.link(&peer).into_iter().flat_map(|link| link.info().addrs));
        }
        PeerAddr::new(peer, addrs)
    }
}

/// A stream whose first block came: what comes after it is asked of others by the node itself.
async fn begun(mut claims: Claims) -> Result<Claims> {
    match claims.next().await {
        None => Ok(stream::empty().boxed()),
        Some(first) => Ok(stream::iter([Ok(first?)]).chain(claims).boxed()),
    }
}

/// Both ways, one after the other or side by side.
async fn both<T>(
    bitswap_first: bool,
    nodes: impl Future<Output = Result<T>>,
    bitswap: impl Future<Output = Result<T>>,
) -> Result<T> {
    match bitswap_first {
        true => one_or_other(bitswap, nodes).await,
        false => one_or_other(nodes, bitswap).await,
    }
}

/// The first that succeeds. The second begins when the first has failed, or takes longer than [`PATIENCE`].
async fn one_or_other<T>(
    first: impl Future<Output = Result<T>>,
    second: impl Future<Output = Result<T>>,
) -> Result<T> {
    let (mut first, mut second) = (pin!(first), pin!(second));
    let failed = match timeout(PATIENCE, &mut first).await {
        Ok(Ok(done)) => return Ok(done),
        Ok(Err(failed)) => failed,
        Err(_) => match select(&mut first, &mut second).await {
            Either::Left((Ok(done), _)) | Either::Right((Ok(done), _)) => return Ok(done),
            Either::Left((Err(failed), _)) => failed,
            Either::Right((Err(failed), _)) => {
                return first.await.map_err(|error| most_telling(failed, error));
            }
        },
    };
    second.await.map_err(|error| most_telling(failed, error))
}

/// Of two failures the one that says more: that nobody has it says less than what went wrong with those who may.
fn most_telling(first: Error, second: Error) -> Error {
    let telling = |error: &Error| match error.kind() {
        ErrorKind::NoPeers => 0,
        ErrorKind::NotFound => 1,
        ErrorKind::Unreachable | ErrorKind::Busy => 2,
        ErrorKind::Timeout => 3,
        _ => 4,
    };
    if telling(&second) > telling(&first) { second } else { first }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_wrong_is_told_rather_than_that_nobody_has_it() {
        let error = |kind| Error::new(kind, "block", "");
        let told = |first, second| most_telling(error(first), error(second)).kind();
        assert_eq!(told(ErrorKind::Timeout, ErrorKind::NotFound), ErrorKind::Timeout);
        assert_eq!(told(ErrorKind::NotFound, ErrorKind::NoPeers), ErrorKind::NotFound);
        assert_eq!(told(ErrorKind::NotFound, ErrorKind::TooLarge), ErrorKind::TooLarge);
    }
}

//! Connecting, and staying connected.

use std::collections::HashMap;
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

use carrick_core::links::{Reason, Refusal};
use carrick_core::{ErrorKind, Multiaddr, PeerAddr, PeerId, Protocol, Result};
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use tokio::time::{Instant, sleep, timeout};

use crate::link::Line;
use crate::shared::Shared;
use crate::way;

/// What an address of this transport looks like.
const EXAMPLE: &str = "/ip4/10.0.0.7/tcp/4601/p2p/12D3KooW…";
/// Most addresses tried in one dial.
const MAX_ADDRS: usize = 16;
/// Addresses of one peer that are tried at once.
const AT_ONCE: NonZeroU8 = NonZeroU8::new(8).unwrap();
/// How often neighbours are looked for.
const LOOK: Duration = Duration::from_secs(1);
/// Neighbours dialled at once.
const DIALS_AT_ONCE: usize = 4;
/// Peers met before that are tried again while nobody is connected.
const MET: usize = 64;
/// Peers of whom it is remembered when they were tried; above it, those are forgotten of whom there is no record.
const MAX_TRIED: usize = 4_096;

impl Shared {
    /// Connects to a peer, or finds the link there is.
    pub(crate) async fn connect(self: &Arc<Self>, peer: &PeerAddr) -> Result<PeerId> {
        if let Some(id) = peer.peer.filter(|id| self.hub.link(id).is_some()) {
            return Ok(id);
        }
        let usable = |addr: &Multiaddr| way::way(addr).map(|_| addr.clone());
        let mut addrs = match self.found(peer).await? {
            Some(found) => found,
            None => self.host.dialled(peer, usable, EXAMPLE)?,
        };
        addrs.truncate(MAX_ADDRS);
        let limit = self.host.limits().handshake;
        let attempt = timeout(2 * limit, self.attempt(peer.peer, addrs));
        let attempt = self.hub.closing().run_until_cancelled(attempt).await;
        self.hub.open("dial")?;
        let late = || Refusal::Unreachable(format!("no answer within {} s", limit.as_secs_f64()));
        let linked =
            attempt.unwrap_or_else(|| Ok(Err(Reason::Goodbye.into()))).unwrap_or_else(|_| Err(late()));
        linked.map_err(|why| {
            let garbled = matches!(why, Refusal::Handshake(_));
            let error = why.into_error(&peer.to_string()).on(self.host.instance().to_owned());
            if garbled { error.mend(self.about_keys()) } else { error }
        })
    }

    /// What to look at where two do not understand each other.
    fn about_keys(&self) -> &'static str {
        match self.config.swarm_key {
            Some(_) => {
                "can it be reached, and is it of this private network? Both ends need the same key in the file of swarm_key"
            }
            None => {
                "can it be reached, and is it a peer of libp2p? If it is of a private network, name its key file as swarm_key"
            }
        }
    }

    /// Where a peer listens of which no address is known, as routing tells.
    async fn found(&self, peer: &PeerAddr) -> Result<Option<Vec<Multiaddr>>> {
        let unknown = |id: &&PeerId| {
            let known = self.host.addresses(id);
            **id != self.host.me() && !known.iter().any(|addr| way::way(addr).is_some())
        };
        let Some(id) = peer.peer.as_ref().filter(|_| peer.addrs.is_empty()).filter(unknown) else {
            return Ok(None);
        };
        let mut addrs = self.finder.find_peer(*id).await?;
        addrs.retain(|addr| way::way(addr).is_some());
        if addrs.is_empty() {
            let detail = format!("no address of {id} is known, here and to those who were asked");
            let error = self.host.fail(ErrorKind::NotFound, "dial", detail);
            return Err(error.mend(format!("write the whole address: {EXAMPLE}")));
        }
        Ok(Some(addrs))
    }

    /// Tries all addresses of a peer at once; where it is not named, one address after the other.
    async fn attempt(
        self: &Arc<Self>,
        expected: Option<PeerId>,
        addrs: Vec<Multiaddr>,
    ) -> Result<PeerId, Refusal> {
        if let Some(peer) = expected {
            // Of several who want a link to it one dials.
            let _place = self.dial_place(peer).await;
            if self.hub.link(&peer).is_some() {
                return Ok(peer);
            }
            let opts = DialOpts::peer_id(peer)
                .condition(PeerCondition::Always)
                .addresses(addrs)
                .override_dial_concurrency_factor(AT_ONCE)
                .build();
            return self.link(opts, expected).await;
        }
        let mut worst = Refusal::Unreachable("it has no address that can be dialled".into());
        for addr in addrs {
            let linked = match named(&addr) {
                Some(peer) => {
                    let opts = DialOpts::peer_id(peer).condition(PeerCondition::Always).addresses(vec![addr]);
                    self.link(opts.build(), Some(peer)).await
                }
                None if self.listening().contains(&addr) => Err(Refusal::Oneself),
                None => self.link(DialOpts::unknown_peer_id().address(addr).build(), None).await,
            };
            match linked {
                Err(why) if why.weight() >= worst.weight() => worst = why,
                Err(_) => {}
                linked => return linked,
            }
        }
        Err(worst)
    }

    /// Connects and greets; ends the connection where no link came of it.
    async fn link(self: &Arc<Self>, opts: DialOpts, expected: Option<PeerId>) -> Result<PeerId, Refusal> {
        let (peer, end) = self.net.dial(opts).await?;
        if self.hub.link(&peer).is_some() {
            return Ok(peer);
        }
        let greeted = match self.hub.wants(peer, expected) {
            Ok(()) => self.greet(peer, end.addr).await,
            refused => refused,
        };
        if greeted.is_err() && self.hub.link(&peer).is_none() {
            self.net.disconnect(peer, end.connection);
        }
        greeted.map(|()| peer)
    }

    /// Stays connected to a bootstrap peer.
    pub(crate) async fn keep(self: Arc<Self>, peer: PeerAddr) {
        let shared = Arc::clone(&self);
        let connect = move |peer| {
            let shared = Arc::clone(&shared);
            async move { shared.connect(&peer).await }
        };
        Arc::clone(&self.hub).keep_by(peer, connect).await;
    }

    /// Looks for neighbours: dials peers whose records others passed on, while there are fewer links to nodes than wanted; and
    /// whom it met before, node or not, while there is nobody at all.
    pub(crate) async fn look_for_neighbours(self: Arc<Self>) {
        let mut tried = HashMap::new();
        loop {
            let mut due = self.strangers(&mut tried);
            if self.hub.peers().is_empty() {
                let met = self.net.met(MET).await.into_iter().map(|(peer, addrs)| PeerAddr::new(peer, addrs));
                due.extend(met.filter(|met| met.peer.is_some_and(|peer| self.is_due(&tried, &peer))));
                due.truncate(DIALS_AT_ONCE);
            }
            futures::future::join_all(due.iter().map(|peer| self.try_neighbour(peer))).await;
            for peer in due.iter().filter_map(|peer| peer.peer) {
                let (attempts, next): &mut (u32, Instant) =
                    tried.entry(peer).or_insert_with(|| (0, Instant::now()));
                *next = Instant::now() + self.host.backoff(*attempts);
                *attempts = attempts.saturating_add(1);
            }
            if self.hub.closing().run_until_cancelled(sleep(LOOK)).await.is_none() {
                return;
            }
        }
    }

    async fn try_neighbour(self: &Arc<Self>, peer: &PeerAddr) {
        if let Err(error) = self.connect(peer).await {
            tracing::debug!(%error, "a neighbour is not there");
        }
    }

    /// Peers whom to dial now, from a random one on, so that not all nodes of a network dial the same.
    fn strangers(&self, tried: &mut HashMap<PeerId, (u32, Instant)>) -> Vec<PeerAddr> {
        let links = self.hub.peers().into_iter().filter_map(|info| self.hub.link(info.remote.peer()?));
        let nodes = links.filter(|link| link.wire == Line::Node).count();
        let missing = self.config.neighbours.saturating_sub(nodes).min(DIALS_AT_ONCE);
        if missing == 0 {
            return vec![];
        }
        let mut records = self.host.records(usize::MAX);
        if tried.len() > MAX_TRIED {
            tried.retain(|peer, _| records.iter().any(|record| record.peer() == peer));
        }
        if !records.is_empty() {
            let from = usize::try_from(self.host.random() % records.len() as u64).unwrap_or(0);
            records.rotate_left(from);
        }
        let ours = records.iter().filter(|record| record.addrs().iter().any(|addr| way::way(addr).is_some()));
        let due = ours.map(|record| *record.peer()).filter(|peer| self.is_due(tried, peer));
        due.take(missing).map(|peer| PeerAddr::new(peer, vec![])).collect()
    }

    /// Whether a peer is to be dialled now.
    fn is_due(&self, tried: &HashMap<PeerId, (u32, Instant)>, peer: &PeerId) -> bool {
        *peer != self.host.me()
            && !self.hub.is_settled(peer)
            && self.host.admits(peer)
            && tried.get(peer).is_none_or(|(_, next)| *next <= Instant::now())
    }
}

fn named(addr: &Multiaddr) -> Option<PeerId> {
    match addr.iter().last() {
        Some(Protocol::P2p(peer)) => Some(peer),
        _ => None,
    }
}

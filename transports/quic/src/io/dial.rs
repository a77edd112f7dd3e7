//! Connections that we open.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use carrick_core::links::frames::Fault;
use carrick_core::{PeerAddr, PeerId, Remote, Result};
use futures::StreamExt;
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use quinn::{ClientConfig, ConnectError, Connection, ConnectionError};
use tokio::sync::OwnedMutexGuard;
use tokio::time::{sleep, timeout};

use super::link::Link;
use super::{Shared, code};
use crate::address::{self, Target};
use crate::error::DialFault;
use crate::tls;
use crate::wire::Reason;

/// What an address looks like.
const EXAMPLE: &str = "/ip4/10.0.0.7/udp/4600/quic-v1/p2p/12D3KooW…";
/// Most addresses tried in one dial.
const MAX_ADDRS: usize = 16;
/// The next address is tried so long after the one before, unless that answered.
const STAGGER: Duration = Duration::from_millis(250);
/// TLS wants a name; with raw keys nobody reads it.
const NO_NAME: &str = "carrick";

/// One dial at a time to each peer, so that two never race each other.
#[derive(Default)]
pub(crate) struct Dials(Mutex<BTreeMap<PeerId, Weak<tokio::sync::Mutex<()>>>>);

impl Dials {
    async fn turn(&self, peer: PeerId) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| turn.strong_count() > 0);
            let turn = turns.get(&peer).and_then(Weak::upgrade).unwrap_or_default();
            turns.insert(peer, Arc::downgrade(&turn));
            turn
        };
        turn.lock_owned().await
    }
}

impl Shared {
    /// Connects because a user said so: what was disconnected before may be dialled again by itself.
    pub(crate) async fn dial(self: &Arc<Self>, peer: &PeerAddr) -> Result<Remote> {
        self.open("dial")?;
        if let Some(id) = &peer.peer {
            self.table().state.rejoin(id);
        }
        let link = self.connect(peer).await?;
        self.table().state.rejoin(&link.peer);
        Ok(link.remote.clone())
    }

    /// Connects, or finds the link there is.
    pub(super) async fn connect(self: &Arc<Self>, peer: &PeerAddr) -> Result<Arc<Link>> {
        if let Some(link) = peer.peer.as_ref().and_then(|id| self.link(id)) {
            return Ok(link);
        }
        let mut targets = self.host.dialled(peer, address::target, EXAMPLE)?;
        targets.truncate(MAX_ADDRS);
        let linked = self.try_targets(peer.peer, targets).await;
        // Closed in the middle: the endpoint refused, whatever the fault says.
        self.open("dial")?;
        linked.map_err(|fault| fault.into_error(&peer.to_string()).on(self.host.instance().to_owned()))
    }

    async fn try_targets(
        self: &Arc<Self>,
        expected: Option<PeerId>,
        targets: Vec<Target>,
    ) -> Result<Arc<Link>, DialFault> {
        let mut turn = None;
        if let Some(peer) = expected {
            turn = Some(self.dials.turn(peer).await);
            if let Some(link) = self.link(&peer) {
                return Ok(link);
            }
        }
        let connection = self.race(expected, targets).await?;
        let peer = tls::peer_of(&connection).ok_or(Fault::Cut)?;
        if turn.is_none() {
            turn = Some(self.dials.turn(peer).await);
        }
        let _turn = turn;
        if let Some(link) = self.link(&peer) {
            connection.close(code(Reason::Duplicate), Reason::Duplicate.text().as_bytes());
            return Ok(link);
        }
        let deadline = self.host.limits().handshake;
        match timeout(deadline, self.greet(connection)).await {
            Err(_) => Err(DialFault::Silent(deadline)),
            // It dialled us at the same time, and that connection stays: it is here, or about to be.
            Ok(Err(fault @ DialFault::Refused(Reason::Duplicate, _))) => {
                timeout(deadline, self.appears(&peer)).await.map_err(|_| fault)
            }
            Ok(greeted) => greeted,
        }
    }

    /// Waits for a link that the far end opens.
    async fn appears(&self, peer: &PeerId) -> Arc<Link> {
        loop {
            let changed = self.changed.notified();
            if let Some(link) = self.link(peer) {
                return link;
            }
            changed.await;
        }
    }

    /// Tries addresses, each a little after the one before; the first whose TLS stands wins.
    async fn race(&self, expected: Option<PeerId>, targets: Vec<Target>) -> Result<Connection, DialFault> {
        let (addrs, fault) = resolve(targets, self.host.limits().handshake).await;
        let attempts = addrs.into_iter().zip(0_u32..).map(|(addr, nth)| async move {
            sleep(STAGGER * nth).await;
            self.attempt(expected, addr).await
        });
        let mut attempts: FuturesUnordered<_> = attempts.collect();
        let mut worst = fault;
        while let Some(attempt) = attempts.next().await {
            match attempt {
                Ok(connection) => return Ok(connection),
                Err(fault) if worst.as_ref().is_none_or(|worst| fault.weight() > worst.weight()) => {
                    worst = Some(fault);
                }
                Err(_) => {}
            }
        }
        Err(worst.unwrap_or(DialFault::Name("it has no address".into())))
    }

    /// One address: QUIC and TLS, no word of ours yet.
    pub(crate) async fn attempt(
        &self,
        expected: Option<PeerId>,
        addr: SocketAddr,
    ) -> Result<Connection, DialFault> {
        let unusable = || DialFault::Connect(ConnectError::InvalidRemoteAddress(addr));
        let endpoint = self.sockets.towards(&addr).ok_or_else(unusable)?;
        let (crypto, verdict) = self.credentials.client(expected).map_err(|_| unusable())?;
        let mut config = ClientConfig::new(Arc::new(crypto));
        config.transport_config(self.sockets.transport.clone());
        let connecting = endpoint.connect_with(config, addr, NO_NAME).map_err(DialFault::Connect)?;
        let deadline = self.host.limits().handshake;
        match timeout(deadline, connecting).await {
            Ok(Ok(connection)) => Ok(connection),
            Err(_) | Ok(Err(ConnectionError::TimedOut)) => Err(DialFault::Silent(deadline)),
            Ok(Err(error)) => Err(match verdict.get() {
                Some(distrust) => DialFault::Distrusted(*distrust),
                None => DialFault::lost(error),
            }),
        }
    }
}

/// Looks names up, all at once, each within a limit; answers what was found and, if something was not, why.
async fn resolve(targets: Vec<Target>, limit: Duration) -> (Vec<SocketAddr>, Option<DialFault>) {
    let (mut addrs, mut fault) = (Vec::new(), None);
    for found in join_all(targets.into_iter().map(|target| look_up(target, limit))).await {
        match found {
            Ok(found) => addrs.extend(found),
            Err(why) => fault = Some(DialFault::Name(why)),
        }
    }
    addrs.truncate(MAX_ADDRS);
    (addrs, fault)
}

async fn look_up(target: Target, limit: Duration) -> Result<Vec<SocketAddr>, String> {
    let (name, port, family) = match target {
        Target::Socket(addr) => return Ok(vec![addr]),
        Target::Name(name, port, family) => (name, port, family),
    };
    match timeout(limit, tokio::net::lookup_host((name.as_str(), port))).await {
        Ok(Ok(found)) => Ok(found.filter(|addr| family.has(addr)).collect()),
        Ok(Err(error)) => Err(format!("{name}: {error}")),
        Err(_) => Err(format!("{name}: no name server answered within {} s", limit.as_secs_f64())),
    }
}

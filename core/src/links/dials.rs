//! Connecting over the links of a hub, and staying connected.

use std::sync::Arc;

use async_trait::async_trait;
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;
use tokio::time::{sleep, timeout};

use super::{Hub, Refusal, Wire};
use crate::{ErrorKind, PeerAddr, Remote, Result};

/// Most addresses tried in one dial.
const MAX_ADDRS: usize = 8;

/// A wire that is dialled. Its [`Hub`] chooses whom, tries one address after the other, and says why it failed.
#[async_trait]
pub trait Dials: Wire {
    /// An address of this wire.
    type Addr: Send;
    /// What one looks like, for people.
    const EXAMPLE: &str;

    /// Reads an address, if it is one of this wire.
    fn addr(addr: &Multiaddr) -> Option<Self::Addr>;

    /// Dials an address: proves who is there, asks [`Hub::wants`] whether that may be, says hello, and makes a link of it. The
    /// hub gives it [`Limits::handshake`](crate::Limits::handshake).
    ///
    /// # Errors
    /// Why there is no link.
    async fn dial(
        hub: &Arc<Hub<Self>>,
        addr: Self::Addr,
        expected: Option<PeerId>,
    ) -> std::result::Result<PeerId, Refusal>;
}

impl<W: Wire> Hub<W> {
    /// Whether the one that answered a dial is wanted.
    ///
    /// # Errors
    /// `Oneself`, `OtherKey`, `NotAdmitted`, `Full`.
    pub fn wants(&self, found: PeerId, expected: Option<PeerId>) -> std::result::Result<(), Refusal> {
        match expected {
            _ if found == self.host().me() => Err(Refusal::Oneself),
            Some(expected) if expected != found => Err(Refusal::OtherKey(found)),
            _ if !self.host().admits(&found) => Err(Refusal::NotAdmitted(found)),
            _ if !self.table().has_room(&found) => Err(Refusal::Full),
            _ => Ok(()),
        }
    }
}

impl<W: Wire> Hub<W> {
    /// Connects because a user says so, in a way of your own: what was disconnected before may be dialled again by itself.
    ///
    /// # Errors
    /// `Closed`, and what `connecting` answers.
    ///
    /// # Cancel safety
    /// As that of `connecting`.
    pub async fn dial_by(
        &self,
        peer: &PeerAddr,
        connecting: impl Future<Output = Result<PeerId>>,
    ) -> Result<Remote> {
        self.open("dial")?;
        if let Some(id) = &peer.peer {
            self.table().rejoin(id);
        }
        let peer = connecting.await?;
        self.table().rejoin(&peer);
        Ok(Remote::Peer(peer))
    }

    /// Dials a bootstrap peer again and again, in a way of your own, unless there is a link or a user wants none; until the
    /// transport closes.
    pub async fn keep_by<F>(self: Arc<Self>, mut peer: PeerAddr, connect: impl Fn(PeerAddr) -> F)
    where
        F: Future<Output = Result<PeerId>>,
    {
        let mut failures = 0_u32;
        loop {
            if !peer.peer.is_some_and(|id| self.is_settled(&id)) {
                match connect(peer.clone()).await {
                    Ok(id) => (peer.peer, failures) = (Some(id), 0),
                    // It names the node itself, as where all nodes share one configuration.
                    Err(error) if error.kind() == ErrorKind::Config => return,
                    Err(_) => failures = failures.saturating_add(1),
                }
            }
            let pause = sleep(self.host().backoff(failures));
            if self.closing().run_until_cancelled(pause).await.is_none() {
                return;
            }
        }
    }

    /// Whether a peer need not be dialled: there is a link, or a user wants none.
    pub fn is_settled(&self, peer: &PeerId) -> bool {
        let table = self.table();
        table.link(peer).is_some() || table.is_apart(peer)
    }
}

impl<W: Dials> Hub<W> {
    /// Connects because a user says so: what was disconnected before may be dialled again by itself.
    ///
    /// # Errors
    /// Those of [`Transport::dial`](crate::Transport::dial).
    ///
    /// # Cancel safety
    /// Dropping the future leaves it open whether a link comes.
    pub async fn dial(self: &Arc<Self>, peer: &PeerAddr) -> Result<Remote> {
        self.dial_by(peer, self.connect(peer)).await
    }

    /// Dials a bootstrap peer again and again, unless there is a link or a user wants none; until the transport closes.
    pub async fn keep(self: Arc<Self>, peer: PeerAddr) {
        let hub = Arc::clone(&self);
        self.keep_by(peer, move |peer| {
            let hub = Arc::clone(&hub);
            async move { hub.connect(&peer).await }
        })
        .await;
    }

    /// Connects, or finds the link there is.
    async fn connect(self: &Arc<Self>, peer: &PeerAddr) -> Result<PeerId> {
        if let Some(id) = peer.peer.filter(|id| self.link(id).is_some()) {
            return Ok(id);
        }
        let limit = self.host().limits().handshake;
        let mut worst = Refusal::Unreachable(format!("no answer within {} s", limit.as_secs_f64()));
        for addr in self.host().dialled(peer, W::addr, W::EXAMPLE)?.into_iter().take(MAX_ADDRS) {
            let attempt = timeout(limit, W::dial(self, addr, peer.peer));
            let attempt = self.closing().run_until_cancelled(attempt).await;
            self.open("dial")?;
            match attempt {
                Some(Ok(Ok(peer))) => return Ok(peer),
                Some(Ok(Err(why))) if why.weight() >= worst.weight() => worst = why,
                _ => {}
            }
        }
        Err(worst.into_error(&peer.to_string()).on(self.host().instance().to_owned()))
    }
}

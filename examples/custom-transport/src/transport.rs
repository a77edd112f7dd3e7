//! The contract, implemented: arguments are checked here, the work is done by what the tasks share.

use std::sync::Arc;
use std::time::Duration;

use carrick_core::{
    Broadcast, BroadcastCaps, Capabilities, Cid, Claim, Claims, Discovery, Error, ErrorKind, Fetch,
    FetchCaps, Fetched, Host, Identity, Misdeed, Multiaddr, Notice, Outgoing, PeerAddr, PeerId, PeerInfo,
    Receipt, Remote, Result, Serving, Topic, Transport, Want, WantDag, async_trait,
};
use futures::{StreamExt as _, stream};
use tokio::time::{Instant, sleep, timeout};

use crate::TcpConfig;
use crate::link::Link;
use crate::shared::{Shared, socket};
use crate::wire::{End, No};

/// How long `close` waits for what is queued and for its goodbyes to leave.
const FAREWELL: Duration = Duration::from_secs(1);
/// Connections that wait in the kernel to be taken.
const BACKLOG: u32 = 1_024;
/// Peers asked at once whether they have a block.
const ASKED_AT_ONCE: usize = 16;

/// Messages and blocks over plain TCP.
#[derive(Debug)]
pub struct Tcp {
    shared: Arc<Shared>,
}

impl Tcp {
    /// Listens, and begins to dial the bootstrap peers.
    ///
    /// # Errors
    /// `Config` for a value out of range, or an address that is in use or not of this machine.
    pub async fn open(config: TcpConfig, host: Host) -> Result<Self> {
        let failed = |error: Error| error.on(host.instance().to_owned());
        let addr = config.check().map_err(failed)?;
        let bound = socket(addr, &host).and_then(|socket| {
            socket.set_reuseaddr(true)?;
            socket.bind(addr)?;
            let listener = socket.listen(BACKLOG)?;
            Ok((listener.local_addr()?, listener))
        });
        let (addr, listener) = bound.map_err(|source| {
            let error = Error::new(ErrorKind::Config, "open", format!("cannot listen on {addr}: {source}"));
            failed(error.mend("choose another `listen`, or port 0 for a free one").from_source(source))
        })?;
        let shared = Shared::new(host, addr);
        shared.host.notice(Notice::Listening(vec![shared.listen.clone()]));
        shared.spawn(shared.clone().accept(listener));
        for peer in config.bootstrap {
            let (keep, closing) = (shared.clone().keep(peer), shared.closing.clone());
            shared.spawn(async move { closing.run_until_cancelled(keep).await.unwrap_or_default() });
        }
        Ok(Self { shared })
    }

    /// Whom to ask: hints first, the others from a place that is drawn; never who is to be avoided.
    fn providers(&self, hints: &[PeerId], avoid: &[Remote]) -> Vec<Arc<Link>> {
        let mut links: Vec<_> = self.shared.table().links().cloned().collect();
        links.retain(|link| !avoid.contains(&link.remote()));
        let drawn = self.shared.host.random() as usize % links.len().max(1);
        links.rotate_left(drawn);
        links.sort_by_key(|link| hints.iter().position(|hint| *hint == link.peer).unwrap_or(hints.len()));
        links
    }
}

impl Drop for Tcp {
    fn drop(&mut self) {
        self.shared.shut_down();
    }
}

#[async_trait]
impl Transport for Tcp {
    fn capabilities(&self) -> Capabilities {
        let limits = self.shared.host.limits();
        let broadcast = BroadcastCaps::new(limits.envelope_bytes());
        let fetch = FetchCaps::new(limits.block_bytes, Serving::FromHost, Discovery::Neighbours);
        let mut capabilities = Capabilities::new(Some(broadcast), Some(fetch), Identity::Peer);
        // The handshake proves a key; what follows can be read, and changed by who sits in the middle.
        capabilities.encrypted = false;
        capabilities
    }

    fn listen_addrs(&self) -> Vec<Multiaddr> {
        self.shared.open("listen_addrs").map(|()| self.shared.listen.clone()).into_iter().collect()
    }

    async fn dial(&self, peer: &PeerAddr) -> Result<Remote> {
        self.shared.open("dial")?;
        match &peer.peer {
            Some(id) if *id == self.shared.host.me() => {
                return Err(self.shared.dial_error(peer, End::Oneself));
            }
            Some(id) if !self.shared.host.admits(id) => {
                return Err(self.shared.dial_error(peer, End::NotAdmitted));
            }
            Some(id) => self.shared.table().rejoin(id),
            None => {}
        }
        let peer = self.shared.connect(peer).await?;
        self.shared.table().rejoin(&peer);
        Ok(Remote::Peer(peer))
    }

    async fn disconnect(&self, peer: &Remote) -> Result<()> {
        self.shared.open("disconnect")?;
        let Some(peer) = peer.peer() else { return Ok(()) };
        // Whoever is not admitted is kept out by that, and for as long as that lasts.
        let why = if self.shared.host.admits(peer) { End::Parted } else { End::NotAdmitted };
        let mut table = self.shared.table();
        if why == End::Parted {
            table.part(*peer);
        }
        if let Some(link) = table.link(peer).cloned() {
            table.leave(&link, why);
        }
        Ok(())
    }

    async fn peers(&self) -> Result<Vec<PeerInfo>> {
        self.shared.open("peers")?;
        Ok(self.shared.table().links().map(|link| link.info()).collect())
    }

    fn broadcast(&self) -> Option<&dyn Broadcast> {
        Some(self)
    }

    fn fetch(&self) -> Option<&dyn Fetch> {
        Some(self)
    }

    async fn close(&self) -> Result<()> {
        self.shared.shut_down();
        self.shared.tasks.close();
        // Who does not read its goodbye does not hold us up.
        let _ = timeout(FAREWELL, self.shared.tasks.wait()).await;
        Ok(())
    }
}

#[async_trait]
impl Broadcast for Tcp {
    async fn join(&self, topic: &Topic) -> Result<()> {
        self.shared.open("join")?;
        let (mut table, limit) = (self.shared.table(), self.shared.host.limits().topics_per_peer);
        if !table.topics.contains(topic) && table.topics.len() >= limit {
            let detail = format!("{limit} topics are joined, which is the limit");
            let error = self.shared.fail(ErrorKind::TooLarge, "join", detail);
            return Err(
                error.mend("leave a topic, or raise `topics_per_peer` under [node.limits] on every node")
            );
        }
        table.take_part(topic, true);
        Ok(())
    }

    async fn leave(&self, topic: &Topic) -> Result<()> {
        self.shared.open("leave")?;
        self.shared.table().take_part(topic, false);
        Ok(())
    }

    async fn publish(&self, message: &Outgoing) -> Result<Receipt> {
        self.shared.open("publish")?;
        let (size, limit) = (message.bytes.len(), self.shared.host.limits().envelope_bytes());
        if size > limit {
            let detail = format!("a message of {size} bytes; at most {limit} are allowed");
            return Err(self.shared.fail(ErrorKind::TooLarge, "publish", detail));
        }
        Ok(self.shared.table().send(&message.topic, &message.bytes, message.lane, None))
    }

    async fn topic_peers(&self, topic: &Topic) -> Result<Vec<Remote>> {
        self.shared.open("topic_peers")?;
        Ok(self.shared.table().on(topic).map(|link| link.remote()).collect())
    }
}

#[async_trait]
impl Fetch for Tcp {
    async fn block(&self, want: &Want) -> Result<Fetched> {
        self.shared.open("block")?;
        let (began, limits) = (Instant::now(), self.shared.host.limits());
        let fail = |kind, detail: String| self.shared.fail(kind, "block", detail);
        let most = want.limit_bytes.min(limits.block_bytes);
        let providers = self.providers(&want.hints, &want.avoid);
        if providers.is_empty() {
            return Err(fail(ErrorKind::NoPeers, "there is nobody to ask".into()));
        }
        let mut failed = fail(ErrorKind::NotFound, format!("nobody asked has {}", want.cid));
        for (left, link) in (1..=providers.len() as u32).rev().zip(providers) {
            // An equal part of the time that is left: one that does not answer leaves some for the next.
            let share = want.timeout.saturating_sub(began.elapsed()) / left;
            let answer = timeout(share.min(limits.fetch_idle), link.ask(&want.cid, most)).await;
            let (kind, what) = match answer {
                Ok(Some(Ok(bytes))) => {
                    return Ok(Fetched { claim: Claim::new(want.cid, bytes), from: Some(link.remote()) });
                }
                Ok(Some(Err(No::Absent))) => continue,
                Ok(Some(Err(No::TooLarge))) => (ErrorKind::TooLarge, "has it, and it is too large"),
                Ok(Some(Err(No::Busy))) => (ErrorKind::Busy, "is busy"),
                Ok(None) => (ErrorKind::Unreachable, "went away"),
                Err(_) => {
                    if share >= limits.fetch_idle {
                        self.shared.host.report(&link.remote(), Misdeed::Stalled);
                    }
                    (ErrorKind::Timeout, "did not answer in time")
                }
            };
            failed = fail(kind, format!("{}: {} {what}", want.cid, link.peer));
        }
        Err(failed)
    }

    async fn dag(&self, _: &WantDag) -> Result<Claims> {
        self.shared.open("dag")?;
        // The node then asks block by block.
        Err(self.shared.fail(ErrorKind::Unsupported, "dag", "this wire fetches single blocks"))
    }

    async fn provide(&self, cid: &Cid) -> Result<()> {
        self.shared.open("provide")?;
        let host = &self.shared.host;
        // The host serves what it has, and neighbours are asked: there is nobody to tell.
        match host.has(&Remote::Peer(host.me()), cid).await? {
            true => Ok(()),
            false => Err(self.shared.fail(ErrorKind::NotFound, "provide", format!("the node has no {cid}"))),
        }
    }

    async fn withdraw(&self, _: &Cid) -> Result<()> {
        self.shared.open("withdraw")
    }

    async fn providers(&self, cid: &Cid, limit: usize) -> Result<Vec<PeerAddr>> {
        self.shared.open("providers")?;
        let asking = self.providers(&[], &[]).into_iter().map(|link| async move {
            // No byte may come: who has it says that it is too large, unless it is empty.
            let there = matches!(link.ask(cid, 0).await, Some(Ok(_) | Err(No::TooLarge)));
            there.then_some(link.peer)
        });
        let found = stream::iter(asking).buffer_unordered(ASKED_AT_ONCE).filter_map(std::future::ready);
        let in_time = found.take(limit).take_until(sleep(self.shared.host.limits().fetch_idle));
        Ok(in_time.map(|peer| PeerAddr::new(peer, self.shared.host.addresses(&peer))).collect().await)
    }
}

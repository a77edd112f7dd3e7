//! The contract, implemented: arguments are checked here.

use std::fmt;
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicBool, Ordering};

use carrick_core::{
    Broadcast, BroadcastCaps, Capabilities, Cid, Claims, Discovery, Error, ErrorKind, Fetch, FetchCaps,
    Fetched, Host, Identity, Multiaddr, Notice, Outgoing, PeerAddr, PeerInfo, Receipt, Remote, Result,
    Serving, Topic, Transport, Want, WantDag, async_trait,
};

use crate::config::{address, number, numbers};
use crate::fetch::Asker;
use crate::state::{Place, State};
use crate::{MemoryConfig, MemoryNetwork, bootstrap, fetch, reader};

/// A node's place on a [`MemoryNetwork`]. Dropping it leaves the network, as closing does.
pub struct Memory {
    network: MemoryNetwork,
    at: u64,
    host: Host,
    /// From then on the place may be another node's.
    closed: AtomicBool,
}

impl Memory {
    /// Joins the network of this process that `config` names.
    ///
    /// # Errors
    /// `Config` for an address that is taken, or none of this transport.
    pub async fn open(config: MemoryConfig, host: Host) -> Result<Self> {
        Self::join(MemoryNetwork::named(&config.network), &config, host)
    }

    pub(crate) fn join(network: MemoryNetwork, config: &MemoryConfig, host: Host) -> Result<Self> {
        let instance = host.instance().to_owned();
        config.check().map_err(|error| error.on(instance.clone()))?;
        let wanted = number(&config.listen).unwrap_or_default();
        let entered = network.state().enter(wanted, host.clone(), host.random());
        let at = entered.ok_or_else(|| {
            Error::new(ErrorKind::Config, "open", format!("{} is taken", config.listen))
                .mend("choose another listen, or /memory/0 for a free one")
                .on(instance)
        })?;
        host.notice(Notice::Listening(vec![address(at)]));
        for peer in &config.bootstrap {
            host.spawn(bootstrap::keep(network.clone(), at, host.clone(), peer.clone()));
        }
        Ok(Self { network, at, host, closed: AtomicBool::new(false) })
    }

    /// Names the instance and the operation in an error of the network.
    fn fail(&self, kind: ErrorKind, operation: &'static str, detail: impl Into<String>) -> Error {
        self.host.fail(kind, operation, detail)
    }

    fn closed(&self, operation: &'static str) -> Error {
        self.fail(ErrorKind::Closed, operation, "the transport is closed")
    }

    /// The state of the network while this node is on it.
    fn state(&self) -> Option<MutexGuard<'_, State>> {
        let state = self.network.state();
        // Set before the place is given up: under the lock it is still ours.
        (!self.closed.load(Ordering::Acquire)).then_some(state)
    }

    /// Whether it is still on the network.
    fn open_for(&self, operation: &'static str) -> Result<()> {
        self.state().map(drop).ok_or_else(|| self.closed(operation))
    }

    fn asker(&self) -> Asker<'_> {
        Asker { network: &self.network, at: self.at, host: &self.host }
    }

    fn leave_network(&self) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        // Two statements: the host goes when the lock is open again.
        let left = self.network.state().exit(self.at);
        drop(left);
    }
}

/// Dials the places of a peer until one answers.
pub(crate) fn dial(network: &MemoryNetwork, at: u64, peer: &PeerAddr) -> Result<Remote> {
    let mut failed = Error::new(ErrorKind::Config, "dial", format!("{peer} is no address of this transport"))
        .mend("write it as /memory/7");
    for to in numbers(peer) {
        let linked = network.state().link(at, to, peer.peer);
        match linked {
            Ok((far, readings)) => {
                readings.into_iter().flatten().for_each(|reading| reader::start(network, reading));
                return Ok(Remote::Peer(far));
            }
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.leave_network();
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memory({})", address(self.at))
    }
}

#[async_trait]
impl Transport for Memory {
    fn capabilities(&self) -> Capabilities {
        let limits = self.host.limits();
        let mut broadcast = BroadcastCaps::new(limits.envelope_bytes());
        broadcast.raw_topics = true;
        let mut fetch = FetchCaps::new(limits.block_bytes, Serving::FromHost, Discovery::Neighbours);
        fetch.dag_in_one_request = true;
        // Nothing leaves the process, so there is nothing to encrypt, and nobody can pretend to be another.
        let mut capabilities = Capabilities::new(Some(broadcast), Some(fetch), Identity::Peer);
        capabilities.encrypted = false;
        capabilities
    }

    fn listen_addrs(&self) -> Vec<Multiaddr> {
        self.state().map(|_| address(self.at)).into_iter().collect()
    }

    async fn dial(&self, peer: &PeerAddr) -> Result<Remote> {
        self.open_for("dial")?;
        if peer.peer == Some(self.host.me()) {
            return Err(self.fail(ErrorKind::Config, "dial", "that is this node itself"));
        }
        self.network.turn().await;
        self.open_for("dial")?;
        dial(&self.network, self.at, peer).map_err(|error| error.on(self.host.instance().to_owned()))
    }

    async fn disconnect(&self, peer: &Remote) -> Result<()> {
        let Some(peer) = peer.peer() else { return self.open_for("disconnect") };
        self.state().and_then(|mut state| state.part(self.at, peer)).ok_or_else(|| self.closed("disconnect"))
    }

    async fn peers(&self) -> Result<Vec<PeerInfo>> {
        self.state()
            .and_then(|state| state.place(self.at).map(Place::peers))
            .ok_or_else(|| self.closed("peers"))
    }

    fn broadcast(&self) -> Option<&dyn Broadcast> {
        Some(self)
    }

    fn fetch(&self) -> Option<&dyn Fetch> {
        Some(self)
    }

    async fn close(&self) -> Result<()> {
        self.leave_network();
        Ok(())
    }
}

#[async_trait]
impl Broadcast for Memory {
    async fn join(&self, topic: &Topic) -> Result<()> {
        let joined = self.state().and_then(|mut state| state.join(self.at, topic));
        let joined = joined.ok_or_else(|| self.closed("join"))?;
        if joined {
            return Ok(());
        }
        let limit = self.host.limits().topics_per_peer;
        let detail = format!("{limit} topics are joined, which is the limit");
        Err(self
            .fail(ErrorKind::TooLarge, "join", detail)
            .mend("leave a topic, or raise `topics_per_peer` under [node.limits] on every node"))
    }

    async fn leave(&self, topic: &Topic) -> Result<()> {
        self.state().and_then(|mut state| state.leave(self.at, topic)).ok_or_else(|| self.closed("leave"))
    }

    async fn publish(&self, message: &Outgoing) -> Result<Receipt> {
        self.host.check_message(message)?;
        let mut state = self.state().ok_or_else(|| self.closed("publish"))?;
        let begun = state.begin(self.at, &message.topic, &message.bytes);
        let receipt = begun.and_then(|begun| state.send(self.at, &begun, message.lane, None));
        receipt.ok_or_else(|| self.closed("publish"))
    }

    async fn topic_peers(&self, topic: &Topic) -> Result<Vec<Remote>> {
        let closed = || self.closed("topic_peers");
        let state = self.state().ok_or_else(closed)?;
        let place = state.place(self.at).ok_or_else(closed)?;
        Ok(state.topic_peers(place, topic).map(|(peer, ..)| Remote::Peer(*peer)).collect())
    }
}

#[async_trait]
impl Fetch for Memory {
    async fn block(&self, want: &Want) -> Result<Fetched> {
        self.open_for("block")?;
        fetch::block(&self.asker(), want).await.map_err(|error| error.on(self.host.instance().to_owned()))
    }

    async fn dag(&self, want: &WantDag) -> Result<Claims> {
        self.open_for("dag")?;
        fetch::dag(&self.asker(), want).await.map_err(|error| error.on(self.host.instance().to_owned()))
    }

    async fn provide(&self, cids: &[Cid]) -> Result<()> {
        self.open_for("provide")?;
        self.host.check_provided(cids).await
    }

    async fn withdraw(&self, _: &[Cid]) -> Result<()> {
        self.open_for("withdraw")
    }

    async fn announce(&self, _: &Cid) -> Result<()> {
        self.open_for("announce")
    }

    async fn providers(&self, cid: &Cid, limit: usize) -> Result<Vec<PeerAddr>> {
        self.open_for("providers")?;
        Ok(fetch::providers(&self.asker(), cid, limit).await)
    }
}

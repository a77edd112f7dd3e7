//! The transport `memory` whose links prove nothing: nobody is refused in a handshake, and no remote is named as a peer.

use std::sync::Arc;

use carrick_core::conformance::transport::{Fixture, Setup, Wrapped, Wrapper};
use carrick_core::{
    Broadcast, Capabilities, Claims, Fetch, Fetched, Host, Identity, Inbound, Misdeed, NetworkId, Notice,
    PeerAddr, PeerId, PeerInfo, PeerRecord, Privacy, Relay, Remote, Result, Slot, Tap, Topic, Transport,
    Want, WantDag, async_trait,
};
use carrick_transport_memory::{MemoryConfig, MemoryNetwork};
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};

/// A wire without names.
#[derive(Debug)]
pub(crate) struct Nameless(MemoryNetwork);

impl Nameless {
    pub(crate) fn new() -> Self {
        Self(MemoryNetwork::new(1))
    }
}

#[async_trait]
impl Fixture for Nameless {
    async fn open(&self, host: Host, setup: Setup) -> Result<Arc<dyn Transport>> {
        let mut config = MemoryConfig::default();
        config.bootstrap = setup.bootstrap;
        if let Some(listen) = setup.listen.into_iter().next() {
            config.listen = listen;
        }
        let (open, net) = (self.0.transport_with(config), NetworkId::new("everybody")?);
        let opened = Wrapped::open(Arc::new(Hiding(net)), host, async |host| {
            Ok(Arc::new(open(host).await?) as Arc<dyn Transport>)
        });
        Ok(Arc::new(opened.await?))
    }

    async fn settle(&self) {
        // Memory tells at once who is linked and who joined; each node takes it in before any timer ends.
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }

    fn nowhere(&self) -> PeerAddr {
        "/memory/999999".parse().expect("an address")
    }
}

/// Stands before the names of a transport; links are of one network, whatever nodes say.
#[derive(Debug)]
struct Hiding(NetworkId);

const PREFIX: &str = "somebody ";

fn hidden(remote: &Remote) -> Remote {
    match remote {
        Remote::Peer(peer) => Remote::Foreign(format!("{PREFIX}{peer}").into()),
        foreign => foreign.clone(),
    }
}

fn shown(remote: &Remote) -> Remote {
    match remote {
        Remote::Foreign(name) => {
            let peer = name.strip_prefix(PREFIX).and_then(|peer| peer.parse::<PeerId>().ok());
            peer.map_or_else(|| remote.clone(), Remote::Peer)
        }
        peer => peer.clone(),
    }
}

fn all_hidden(remotes: Vec<Remote>) -> Vec<Remote> {
    let mut hidden: Vec<_> = remotes.iter().map(hidden).collect();
    hidden.sort();
    hidden
}

impl Tap for Hiding {
    fn network<'a>(&'a self, _: &'a Host) -> &'a NetworkId {
        &self.0
    }

    fn admits(&self, _: &Host, _: &PeerId) -> bool {
        true
    }

    fn relays_to(&self, host: &Host, remote: &Remote) -> bool {
        host.relays_to(&hidden(remote))
    }

    fn slot<'a>(&'a self, host: &'a Host, from: &'a Remote) -> BoxFuture<'a, Slot> {
        async { host.slot(&hidden(from)).await }.boxed()
    }

    fn deliver(&self, slot: Slot, inbound: Inbound) -> BoxFuture<'static, Relay> {
        slot.deliver(Inbound { from: hidden(&inbound.from), ..inbound }).boxed()
    }

    fn learn(&self, _: &Host, _: &Remote, _: PeerRecord) -> bool {
        false
    }

    fn report(&self, host: &Host, who: &Remote, misdeed: Misdeed) {
        host.report(&hidden(who), misdeed);
    }

    fn notice(&self, host: &Host, notice: Notice) {
        host.notice(match notice {
            Notice::Up(remote, addrs) => Notice::Up(hidden(&remote), addrs),
            Notice::Down(remote) => Notice::Down(hidden(&remote)),
            Notice::Joined(remote, topic) => Notice::Joined(hidden(&remote), topic),
            Notice::Left(remote, topic) => Notice::Left(hidden(&remote), topic),
            Notice::Dropped { remote, count } => Notice::Dropped { remote: hidden(&remote), count },
            other => other,
        });
    }
}

#[async_trait]
impl Wrapper for Hiding {
    fn capabilities(&self, inner: &dyn Transport) -> Capabilities {
        let mut caps = inner.capabilities();
        (caps.identity, caps.privacy, caps.admits_in_handshake) = (Identity::Daemon, Privacy::None, false);
        if let Some(fetch) = &mut caps.fetch {
            fetch.takes_hints = false;
        }
        caps
    }

    async fn dial(&self, inner: &Arc<dyn Transport>, peer: &PeerAddr) -> Result<Remote> {
        // Whoever answers is taken for whoever was dialled; that it is oneself is all that is noticed.
        let anybody = PeerAddr { peer: None, ..peer.clone() };
        inner.dial(&anybody).await.map(|remote| hidden(&remote))
    }

    async fn disconnect(&self, inner: &dyn Transport, peer: &Remote) -> Result<()> {
        inner.disconnect(&shown(peer)).await
    }

    async fn peers(&self, inner: &dyn Transport) -> Result<Vec<PeerInfo>> {
        let peers = inner.peers().await?.into_iter().map(|info| info.remote).collect();
        Ok(all_hidden(peers).into_iter().map(PeerInfo::new).collect())
    }

    async fn topic_peers(&self, inner: &dyn Broadcast, topic: &Topic) -> Result<Vec<Remote>> {
        Ok(all_hidden(inner.topic_peers(topic).await?))
    }

    async fn fetch_block(&self, inner: &dyn Fetch, want: &Want) -> Result<Fetched> {
        let mut want = want.clone();
        want.hints.clear();
        want.avoid = want.avoid.iter().map(shown).collect();
        let fetched = inner.block(&want).await?;
        Ok(Fetched { from: fetched.from.as_ref().map(hidden), ..fetched })
    }

    async fn fetch_dag(&self, inner: &dyn Fetch, want: &WantDag) -> Result<Claims> {
        let mut want = want.clone();
        want.hints.clear();
        want.avoid = want.avoid.iter().map(shown).collect();
        let claims = inner.dag(&want).await?;
        let hide = |fetched: Fetched| Fetched { from: fetched.from.as_ref().map(hidden), ..fetched };
        Ok(claims.map(move |claim| claim.map(hide)).boxed())
    }
}

//! The suite for transports, tried on some that can do less than `memory`: what they cannot do is refused, not passed over.
#![cfg(feature = "conformance")]

use std::collections::BTreeSet;
use std::sync::Arc;

use carrick_core::conformance::transport::{CASES, Fixture, Outcome, Setup, run};
use carrick_core::{
    Broadcast, Capabilities, Cid, Claims, Error, ErrorKind, Fetch, Fetched, Host, Multiaddr, PeerAddr,
    PeerInfo, Remote, Result, Transport, Want, WantDag, async_trait,
};
use carrick_transport_memory::MemoryNetwork;

/// What it is that a transport cannot do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Less {
    /// Broadcast.
    Broadcast,
    /// Fetch.
    Fetch,
    /// Name who sent a block, take hints, bring a DAG in one request.
    Comfort,
}

#[derive(Debug)]
struct Lesser(Arc<dyn Transport>, Less);

#[async_trait]
impl Transport for Lesser {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = self.0.capabilities();
        match (self.1, &mut capabilities.fetch) {
            (Less::Broadcast, _) => capabilities.broadcast = None,
            (Less::Fetch, _) => capabilities.fetch = None,
            (Less::Comfort, Some(fetch)) => {
                (fetch.names_provider, fetch.takes_hints, fetch.dag_in_one_request) = (false, false, false);
            }
            (Less::Comfort, None) => {}
        }
        capabilities
    }

    fn listen_addrs(&self) -> Vec<Multiaddr> {
        self.0.listen_addrs()
    }

    async fn dial(&self, peer: &PeerAddr) -> Result<Remote> {
        self.0.dial(peer).await
    }

    async fn disconnect(&self, peer: &Remote) -> Result<()> {
        self.0.disconnect(peer).await
    }

    async fn peers(&self) -> Result<Vec<PeerInfo>> {
        self.0.peers().await
    }

    fn broadcast(&self) -> Option<&dyn Broadcast> {
        self.0.broadcast().filter(|_| self.1 != Less::Broadcast)
    }

    fn fetch(&self) -> Option<&dyn Fetch> {
        (self.1 != Less::Fetch).then_some(self as &dyn Fetch)
    }

    async fn close(&self) -> Result<()> {
        self.0.close().await
    }
}

impl Lesser {
    fn inner(&self) -> &dyn Fetch {
        self.0.fetch().expect("memory fetches")
    }
}

#[async_trait]
impl Fetch for Lesser {
    async fn block(&self, want: &Want) -> Result<Fetched> {
        if self.1 != Less::Comfort {
            return self.inner().block(want).await;
        }
        let want = Want::new(want.cid, want.timeout);
        Ok(Fetched { from: None, ..self.inner().block(&want).await? })
    }

    async fn dag(&self, want: &WantDag) -> Result<Claims> {
        if self.1 != Less::Comfort {
            return self.inner().dag(want).await;
        }
        Err(Error::new(ErrorKind::Unsupported, "dag", "single blocks alone"))
    }

    async fn provide(&self, cid: &Cid) -> Result<()> {
        self.inner().provide(cid).await
    }

    async fn withdraw(&self, cid: &Cid) -> Result<()> {
        self.inner().withdraw(cid).await
    }

    async fn providers(&self, cid: &Cid, limit: usize) -> Result<Vec<PeerAddr>> {
        self.inner().providers(cid, limit).await
    }
}

#[derive(Debug)]
struct Wire(MemoryNetwork, Less);

#[async_trait]
impl Fixture for Wire {
    async fn open(&self, host: Host, _: Setup) -> Result<Arc<dyn Transport>> {
        Ok(Arc::new(Lesser(Arc::new(self.0.transport()(host).await?), self.1)))
    }

    fn nowhere(&self) -> PeerAddr {
        "/memory/999999".parse().expect("an address")
    }
}

/// The cases of a group that are kept; the others are refused, as they should be.
async fn kept(group: &str, less: Less) -> BTreeSet<&'static str> {
    let mut kept = BTreeSet::new();
    for case in CASES.iter().filter(|case| case.group == group) {
        if run(case.name, Wire(MemoryNetwork::new(1), less), 1).await == Outcome::Kept {
            kept.insert(case.name);
        }
    }
    kept
}

#[tokio::test(start_paused = true)]
async fn without_broadcast_every_promise_of_it_is_refused() {
    assert_eq!(kept("broadcast", Less::Broadcast).await, BTreeSet::new());
}

#[tokio::test(start_paused = true)]
async fn without_fetch_every_promise_of_it_is_refused() {
    assert_eq!(kept("fetch", Less::Fetch).await, BTreeSet::new());
    assert_eq!(kept("dag", Less::Fetch).await, BTreeSet::new());
}

#[tokio::test(start_paused = true)]
async fn what_fetching_lacks_is_refused_and_the_rest_is_kept() {
    let all = CASES.iter().filter(|case| case.group == "fetch").map(|case| case.name);
    let kept_of_fetch = kept("fetch", Less::Comfort).await;
    let refused: Vec<_> = all.filter(|name| !kept_of_fetch.contains(name)).collect();
    let expected = [
        "provider_is_named",
        "wrong_bytes_are_blamed_and_avoided",
        "hinted_are_asked_first",
        "avoided_are_not_asked",
    ];
    assert_eq!(refused, expected);
    let whole = ["get_brings_what_is_missing", "single_blocks_make_a_whole_dag"];
    assert_eq!(kept("dag", Less::Comfort).await, BTreeSet::from(whole));
}

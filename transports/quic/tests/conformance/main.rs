//! Every promise of the contract, on this transport.

mod cable;
mod raw;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use carrick_core::conformance::transport::{Fixture, RawWire, Setup, Wrapped, Wrapper, run};
use carrick_core::dag::Layout;
use carrick_core::{
    ErrorKind, Host, Keypair, Limits, Misdeed, NetworkId, Node, PeerAddr, PeerId, Remote, Result, Tap, Topic,
    Transport, async_trait,
};
use carrick_transport_quic::{Quic as Transported, QuicConfig};
use futures::FutureExt as _;
use tokio_util::sync::CancellationToken;

use self::cable::Relay;
use self::raw::Raw;

/// Loopback, with cables that can be torn.
#[derive(Debug)]
struct Quic {
    relays: Mutex<BTreeMap<PeerId, Arc<Relay>>>,
    /// Bound and never read: an address at which nobody answers.
    nobody: std::net::UdpSocket,
    ended: CancellationToken,
}

#[async_trait]
impl Fixture for Quic {
    async fn open(&self, host: Host, setup: Setup) -> Result<Arc<dyn Transport>> {
        // A node on two wires has one key, so a relay is used again for another life alone.
        let known = self.relay(&host.me()).filter(|relay| setup.listen.contains(&relay.addr()));
        let relay = match known {
            Some(relay) => relay,
            None => Relay::new(self.ended.child_token()),
        };
        self.relays.lock().unwrap_or_else(PoisonError::into_inner).insert(host.me(), relay.clone());
        let mut config = QuicConfig::default();
        config.neighbours = 0;
        config.bootstrap = setup.bootstrap;
        config.listen = vec![relay.behind()];
        let open =
            |host| async { Ok(Arc::new(Transported::open(config, host).await?) as Arc<dyn Transport>) };
        Ok(Arc::new(Wrapped::open(relay, host, open).await?))
    }

    async fn cut(&self, one: &PeerId, other: &PeerId) -> bool {
        let (Some(one), Some(other)) = (self.relay(one), self.relay(other)) else { return false };
        one.tear(&other);
        other.tear(&one);
        true
    }

    /// A peer that says nothing is gone after 30 s.
    fn patience(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn nowhere(&self) -> PeerAddr {
        let port = self.nobody.local_addr().expect("bound").port();
        format!("/ip4/127.0.0.1/udp/{port}/quic-v1").parse().expect("an address")
    }

    async fn hostile(&self, to: &PeerAddr, network: &NetworkId, key: &Keypair) -> Result<Box<dyn RawWire>> {
        let mut raw = Raw::connect(to, key).await?;
        raw.greet(network, key).await?;
        Ok(Box::new(raw))
    }

    async fn half_open(&self, to: &PeerAddr, key: &Keypair) -> Result<Box<dyn RawWire>> {
        Ok(Box::new(Raw::connect(to, key).await?))
    }
}

impl Drop for Quic {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

impl Quic {
    fn relay(&self, of: &PeerId) -> Option<Arc<Relay>> {
        self.relays.lock().unwrap_or_else(PoisonError::into_inner).get(of).cloned()
    }
}

async fn wire(_: u64) -> Quic {
    let nobody = std::net::UdpSocket::bind("127.0.0.1:0").expect("binds");
    Quic { relays: Mutex::default(), nobody, ended: CancellationToken::new() }
}

carrick_core::transport_suite!(wire);

/// A wire whose nodes have a flaw.
#[derive(Debug)]
struct Flawed(Quic, fn(&Host) -> Arc<dyn Wrapper>);

#[async_trait]
impl Fixture for Flawed {
    async fn open(&self, host: Host, setup: Setup) -> Result<Arc<dyn Transport>> {
        let flaw = (self.1)(&host);
        let open = async |host| self.0.open(host, setup).await;
        Ok(Arc::new(Wrapped::open(flaw, host, open).await?))
    }

    fn nowhere(&self) -> PeerAddr {
        self.0.nowhere()
    }

    async fn hostile(&self, to: &PeerAddr, network: &NetworkId, key: &Keypair) -> Result<Box<dyn RawWire>> {
        self.0.hostile(to, network, key).await
    }

    async fn half_open(&self, to: &PeerAddr, key: &Keypair) -> Result<Box<dyn RawWire>> {
        self.0.half_open(to, key).await
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(20)
    }
}

/// What a case says of a flaw that is there for it. No mutant of the suite has a greeting or records.
async fn caught(case: &str, flaw: fn(&Host) -> Arc<dyn Wrapper>) -> String {
    let tried = AssertUnwindSafe(run(case, Flawed(wire(1).await, flaw), 1)).catch_unwind().await;
    *tried.expect_err("it is caught").downcast::<String>().expect("words")
}

#[derive(Debug)]
struct WaitsADay(Limits);

impl WaitsADay {
    fn new(host: &Host) -> Self {
        let mut limits = host.limits().clone();
        limits.handshake = Duration::from_secs(86_400);
        Self(limits)
    }
}

impl Tap for WaitsADay {
    fn limits<'a>(&'a self, _: &'a Host) -> &'a Limits {
        &self.0
    }
}

impl Wrapper for WaitsADay {}

#[tokio::test]
async fn who_waits_for_a_greeting_without_end_is_caught() {
    let case = "greeting_that_does_not_come_holds_no_place";
    let told = caught(case, |host| Arc::new(WaitsADay::new(host))).await;
    assert!(told.contains("in vain for a place"), "{told}");
}

#[derive(Debug)]
struct BearsAnyGossip;

impl Tap for BearsAnyGossip {
    fn report(&self, host: &Host, who: &Remote, misdeed: Misdeed) {
        if misdeed != Misdeed::Needless {
            host.report(who, misdeed);
        }
    }
}

impl Wrapper for BearsAnyGossip {}

#[tokio::test]
async fn who_bears_records_without_end_is_caught() {
    let told = caught("flood_of_records_ends_in_a_ban", |_| Arc::new(BearsAnyGossip)).await;
    assert!(told.contains("in vain for a ban"), "{told}");
}

#[derive(Debug)]
struct Flawless;

impl Tap for Flawless {}

impl Wrapper for Flawless {}

#[tokio::test]
async fn nobody_is_blamed_for_a_way_that_is_dead() {
    let wire = Arc::new(wire(1).await);
    let mut limits = Limits::default();
    limits.fetch_idle = Duration::from_secs(1);
    let open = async || {
        let wire = wire.clone();
        let inner = async move |host| wire.open(host, Setup::default()).await;
        let mount = |host| Wrapped::open(Arc::new(Flawless), host, inner);
        let network = NetworkId::new("dead-way").expect("a network");
        let builder = Node::builder().network(network).limits(limits.clone()).mount("quic", mount);
        builder.open().await.expect("opens")
    };
    let (near, far) = (open().await, open().await);
    near.connect(&PeerAddr::new(far.peer_id(), far.listen_addrs())).await.expect("connects");
    let topic = Topic::new("readings").expect("a topic");
    let _at_far = far.subscribe(&topic).await.expect("subscribes");
    near.ready(&topic, 1).await.expect("ready");
    let there = far.put(&b"there"[..], Layout::default()).await.expect("puts").cid;
    assert!(wire.cut(&near.peer_id(), &far.peer_id()).await);
    // More than all windows hold, so that the writer has to wait.
    for _ in 0..100 {
        near.publish(&topic, vec![0; near.limits().payload_bytes]).await.expect("publishes");
    }
    // Each takes a second; a peer that is there and silent is blamed within the second one.
    for _ in 0..3 {
        let error = near.block(&there, vec![far.peer_id()]).await.expect_err("nothing comes");
        assert_eq!(error.kind(), ErrorKind::Timeout);
    }
    assert_eq!(near.counter("misdeed_stalled"), 0);
    assert_eq!(near.peers().await.expect("peers").len(), 1, "QUIC waits for longer");
}

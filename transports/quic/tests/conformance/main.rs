//! Every promise of the contract, on this transport.

mod cable;
mod raw;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use carrick_core::conformance::transport::{Fixture, RawWire, Setup, Wrapped, Wrapper, run};
use carrick_core::{Host, Keypair, Limits, NetworkId, PeerAddr, PeerId, Result, Tap, Transport, async_trait};
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

/// A wire whose nodes wait a day for a greeting.
#[derive(Debug)]
struct Patient(Quic);

#[derive(Debug)]
struct WaitsADay(Limits);

impl Tap for WaitsADay {
    fn limits<'a>(&'a self, _: &'a Host) -> &'a Limits {
        &self.0
    }
}

impl Wrapper for WaitsADay {}

#[async_trait]
impl Fixture for Patient {
    async fn open(&self, host: Host, setup: Setup) -> Result<Arc<dyn Transport>> {
        let mut limits = host.limits().clone();
        limits.handshake = Duration::from_secs(86_400);
        let open = async |host| self.0.open(host, setup).await;
        Ok(Arc::new(Wrapped::open(Arc::new(WaitsADay(limits)), host, open).await?))
    }

    fn nowhere(&self) -> PeerAddr {
        self.0.nowhere()
    }

    async fn half_open(&self, to: &PeerAddr, key: &Keypair) -> Result<Box<dyn RawWire>> {
        self.0.half_open(to, key).await
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(5)
    }
}

/// The case is there for this, and the mutants of the suite have no greeting.
#[tokio::test]
async fn who_waits_for_a_greeting_without_end_is_caught() {
    let case = "greeting_that_does_not_come_holds_no_place";
    let tried = AssertUnwindSafe(run(case, Patient(wire(1).await), 1)).catch_unwind().await;
    let told = tried.expect_err("it is caught").downcast::<String>().expect("words");
    assert!(told.contains("in vain for a place"), "{told}");
}

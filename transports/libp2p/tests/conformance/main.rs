//! Every promise of the contract, on this transport: over TCP, and over QUIC.

mod cable;
#[allow(dead_code, reason = "the hostile tests need more of it")]
#[path = "../raw/mod.rs"]
mod peer;
mod raw;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use carrick_core::conformance::transport::{Fixture, RawWire, Setup, Wrapped};
use carrick_core::{Host, Keypair, NetworkId, PeerAddr, PeerId, Result, Transport, async_trait};
use carrick_transport_libp2p::{Libp2p, Libp2pConfig, Routing};
use tokio_util::sync::CancellationToken;

use self::cable::Relay;
use self::raw::Foe;

/// Nodes on this machine, over TCP with cables that can be torn.
#[derive(Debug)]
struct Loopback {
    quic: bool,
    relays: Mutex<BTreeMap<PeerId, Arc<Relay>>>,
    ended: CancellationToken,
}

#[async_trait]
impl Fixture for Loopback {
    async fn open(&self, host: Host, setup: Setup) -> Result<Arc<dyn Transport>> {
        let mut config = Libp2pConfig::default();
        config.neighbours = 0;
        config.bootstrap = setup.bootstrap;
        if setup.by_hand {
            config.routing = Routing::None;
        }
        if self.quic {
            let anywhere = || vec!["/ip4/127.0.0.1/udp/0/quic-v1".parse().expect("an address")];
            config.listen = Some(if setup.listen.is_empty() { anywhere() } else { setup.listen });
            return Ok(Arc::new(Libp2p::open(config, host).await?));
        }
        // A node on two wires has one key, so a relay is used again for another life alone.
        let known = self.relay(&host.me()).filter(|relay| setup.listen.contains(&relay.addr()));
        let relay = known.unwrap_or_else(|| Relay::new(self.ended.child_token()));
        self.relays.lock().unwrap_or_else(PoisonError::into_inner).insert(host.me(), relay.clone());
        config.listen = Some(vec![relay.behind()]);
        let open = |host| async { Ok(Arc::new(Libp2p::open(config, host).await?) as Arc<dyn Transport>) };
        Ok(Arc::new(Wrapped::open(relay, host, open).await?))
    }

    async fn cut(&self, one: &PeerId, other: &PeerId) -> bool {
        let (Some(one), Some(other)) = (self.relay(one), self.relay(other)) else { return false };
        one.tear(&other) | other.tear(&one)
    }

    /// A peer that says nothing is gone after two pings.
    fn patience(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn nowhere(&self) -> PeerAddr {
        let nowhere = if self.quic { "/ip4/127.0.0.1/udp/9/quic-v1" } else { "/ip4/127.0.0.1/tcp/9" };
        nowhere.parse().expect("an address")
    }

    async fn hostile(&self, to: &PeerAddr, network: &NetworkId, key: &Keypair) -> Result<Box<dyn RawWire>> {
        Ok(Box::new(Foe::greeted(to, network, key).await?))
    }

    async fn half_open(&self, to: &PeerAddr, key: &Keypair) -> Result<Box<dyn RawWire>> {
        Ok(Box::new(Foe::silent(to, key).await?))
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

impl Loopback {
    fn new(quic: bool) -> Self {
        Self { quic, relays: Mutex::default(), ended: CancellationToken::new() }
    }

    fn relay(&self, of: &PeerId) -> Option<Arc<Relay>> {
        self.relays.lock().unwrap_or_else(PoisonError::into_inner).get(of).cloned()
    }
}

mod tcp {
    async fn wire(_: u64) -> super::Loopback {
        super::Loopback::new(false)
    }

    carrick_core::transport_suite!(wire, flavor = "multi_thread");
}

mod quic {
    async fn wire(_: u64) -> super::Loopback {
        super::Loopback::new(true)
    }

    carrick_core::transport_suite!(wire, flavor = "multi_thread");
}

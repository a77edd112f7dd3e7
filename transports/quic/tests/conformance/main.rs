//! Every promise of the contract, on this transport.

mod cable;
mod raw;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use carrick_core::conformance::transport::{Fixture, RawWire, Setup, Wrapped};
use carrick_core::{Host, Keypair, NetworkId, PeerAddr, PeerId, Result, Transport, async_trait};
use carrick_transport_quic::{Quic as Transported, QuicConfig};
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

    async fn hostile(&self, to: &PeerAddr, network: &NetworkId, key: &Keypair) -> Option<Box<dyn RawWire>> {
        Some(Box::new(Raw::open(to, network, key).await.expect("it is let in")))
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

//! Every promise of the contract, on this transport.

mod raw;

use std::sync::Arc;

use carrick_core::conformance::transport::{Fixture, RawWire, Setup};
use carrick_core::{Host, Keypair, NetworkId, PeerAddr, Result, Transport, async_trait};
use carrick_transport_quic::{Quic as Transported, QuicConfig};

use self::raw::Raw;

/// Loopback. A bound socket that is never read stands for an address at which nobody answers.
#[derive(Debug)]
struct Quic(std::net::UdpSocket);

#[async_trait]
impl Fixture for Quic {
    async fn open(&self, host: Host, setup: Setup) -> Result<Arc<dyn Transport>> {
        let mut config = QuicConfig::default();
        config.neighbours = 0;
        config.bootstrap = setup.bootstrap;
        config.listen = setup.listen;
        if config.listen.is_empty() {
            config.listen = vec!["/ip4/127.0.0.1/udp/0/quic-v1".parse().expect("an address")];
        }
        Ok(Arc::new(Transported::open(config, host).await?))
    }

    fn nowhere(&self) -> PeerAddr {
        let port = self.0.local_addr().expect("bound").port();
        format!("/ip4/127.0.0.1/udp/{port}/quic-v1").parse().expect("an address")
    }

    async fn hostile(&self, to: &PeerAddr, network: &NetworkId, key: &Keypair) -> Option<Box<dyn RawWire>> {
        Some(Box::new(Raw::open(to, network, key).await.expect("it is let in")))
    }
}

async fn wire(_: u64) -> Quic {
    Quic(std::net::UdpSocket::bind("127.0.0.1:0").expect("binds"))
}

carrick_core::transport_suite!(wire);

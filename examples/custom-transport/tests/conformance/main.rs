//! Every promise of the contract, on this transport.

mod raw;

use std::net::TcpListener;
use std::sync::Arc;

use carrick_core::conformance::transport::{Fixture, RawWire, Setup};
use carrick_core::{
    Error, ErrorKind, Event, Host, Keypair, NetworkId, Node, PeerAddr, Result, Transport, async_trait,
};
use custom_transport::{Tcp, TcpConfig};
use futures::StreamExt as _;

use self::raw::Raw;

/// Loopback. A socket at which nobody takes connections stands for an address at which nobody answers.
#[derive(Debug)]
struct Loopback(TcpListener);

#[async_trait]
impl Fixture for Loopback {
    async fn open(&self, host: Host, setup: Setup) -> Result<Arc<dyn Transport>> {
        let mut config = TcpConfig::default();
        config.bootstrap = setup.bootstrap;
        config.listen = match setup.listen.into_iter().next() {
            Some(listen) => listen,
            None => "/ip4/127.0.0.1/tcp/0".parse().expect("an address"),
        };
        Ok(Arc::new(Tcp::open(config, host).await?))
    }

    fn nowhere(&self) -> PeerAddr {
        let port = self.0.local_addr().expect("bound").port();
        format!("/ip4/127.0.0.1/tcp/{port}").parse().expect("an address")
    }

    async fn hostile(&self, to: &PeerAddr, network: &NetworkId, key: &Keypair) -> Result<Box<dyn RawWire>> {
        match Raw::open(to, network, key).await {
            Ok(raw) => Ok(Box::new(raw)),
            Err(error) => {
                Err(Error::new(ErrorKind::Unauthorized, "hostile", "it is not let in").from_source(error))
            }
        }
    }
}

async fn wire(_seed: u64) -> Loopback {
    Loopback(TcpListener::bind("127.0.0.1:0").expect("binds"))
}

carrick_core::transport_suite!(wire);

/// Nothing is torn and nothing is said: only the clock can tell.
#[tokio::test]
async fn far_end_that_falls_silent_is_gone() {
    let mut config = TcpConfig::default();
    config.listen = "/ip4/127.0.0.1/tcp/0".parse().expect("an address");
    let network = NetworkId::new("silence").expect("a network");
    let builder = Node::builder().network(network.clone());
    let node = builder.mount("tcp", |host| Tcp::open(config, host)).open().await.expect("opens");
    let mut events = node.events();
    let addr = PeerAddr::from(node.listen_addrs()[0].clone());
    let _silent = Raw::open(&addr, &network, &Keypair::generate_ed25519()).await.expect("it is let in");
    while !matches!(events.next().await, Some(Event::Up { .. })) {}
    // From here on the clock jumps to what is due next.
    tokio::time::pause();
    while !matches!(events.next().await, Some(Event::Down { .. })) {}
}

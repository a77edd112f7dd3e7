//! Every promise of the contract, on this transport.

mod raw;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use carrick_core::conformance::transport::{Fixture, RawWire, Setup, Wrapped, Wrapper};
use carrick_core::{
    Block, Cid, Error, ErrorKind, Event, Events, Host, Keypair, Limits, NetworkId, Node, PeerAddr, RAW,
    Remote, Result, Served, Tap, Transport, async_trait,
};
use custom_transport::{Tcp, TcpConfig};
use futures::future::{BoxFuture, join_all};
use futures::{FutureExt as _, StreamExt as _};
use tokio::time::sleep;

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
        let mut raw = Raw::connect(to, key).await.map_err(refused)?;
        raw.greet(network).await.map_err(refused)?;
        Ok(Box::new(raw))
    }

    async fn half_open(&self, to: &PeerAddr, key: &Keypair) -> Result<Box<dyn RawWire>> {
        Ok(Box::new(Raw::connect(to, key).await.map_err(refused)?))
    }
}

fn refused(source: std::io::Error) -> Error {
    Error::new(ErrorKind::Unauthorized, "hostile", "it is not let in").from_source(source)
}

async fn wire(_seed: u64) -> Loopback {
    Loopback(TcpListener::bind("127.0.0.1:0").expect("binds"))
}

carrick_core::transport_suite!(wire);

/// A node and a raw link to it.
async fn node_and_raw() -> (Node, Raw, Events) {
    let mut config = TcpConfig::default();
    config.listen = "/ip4/127.0.0.1/tcp/0".parse().expect("an address");
    let network = NetworkId::new("raw").expect("a network");
    let builder = Node::builder().network(network.clone());
    let node = builder.mount("tcp", |host| Tcp::open(config, host)).open().await.expect("opens");
    let mut events = node.events();
    let addr = PeerAddr::from(node.listen_addrs()[0].clone());
    let mut raw = Raw::connect(&addr, &Keypair::generate_ed25519()).await.expect("it connects");
    raw.greet(&network).await.expect("it is let in");
    while !matches!(events.next().await, Some(Event::Up { .. })) {}
    (node, raw, events)
}

/// Nothing is torn and nothing is said: only the clock can tell.
#[tokio::test]
async fn far_end_that_falls_silent_is_gone() {
    let (_node, _silent, mut events) = node_and_raw().await;
    // From here on the clock jumps to what is due next.
    tokio::time::pause();
    while !matches!(events.next().await, Some(Event::Down { .. })) {}
}

/// It takes longer in all than nothing may come for.
#[tokio::test]
async fn slow_provider_is_waited_for_and_not_blamed() {
    let (node, mut slow, _events) = node_and_raw().await;
    tokio::time::pause();
    // While this waits the clock does not jump, and sockets have their time.
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let holding = tokio::task::spawn_blocking(move || held.recv());
    let creeping = async {
        loop {
            tokio::time::advance(Duration::from_micros(10)).await;
        }
    };
    let block = Block::new(RAW, vec![7; 3 * (128 << 10)]);
    let serving = slow.serve_slowly(block.bytes(), node.limits().fetch_idle / 2);
    let both = async { tokio::join!(serving, node.block(block.cid(), vec![])) };
    let (served, got) = tokio::select! {
        both = both => both,
        () = creeping => unreachable!("it creeps for ever"),
    };
    served.expect("it is let");
    assert_eq!(got.expect("it comes"), block);
    assert_eq!(node.counter("misdeed_stalled"), 0);
    drop(hold);
    assert!(holding.await.is_ok());
}

/// Takes its time for each block.
#[derive(Debug)]
struct Deliberate;

impl Tap for Deliberate {
    fn block<'a>(
        &'a self,
        host: &'a Host,
        to: &'a Remote,
        cid: &'a Cid,
    ) -> BoxFuture<'a, Result<Option<Served>>> {
        let looking = async {
            sleep(Duration::from_secs(1)).await;
            host.block(to, cid).await
        };
        looking.boxed()
    }
}

impl Wrapper for Deliberate {}

/// Four times as many requests as it takes at once: those that wait longer than `fetch_idle` wait here.
#[tokio::test]
async fn provider_that_takes_few_requests_is_not_blamed() {
    let open = async |streams_per_peer| {
        let mut limits = Limits::default();
        (limits.streams_per_peer, limits.fetch_idle) = (streams_per_peer, Duration::from_secs(3));
        let mut config = TcpConfig::default();
        config.listen = "/ip4/127.0.0.1/tcp/0".parse().expect("an address");
        let inner = async |host| Ok(Arc::new(Tcp::open(config, host).await?) as Arc<dyn Transport>);
        let mount = |host| Wrapped::open(Arc::new(Deliberate), host, inner);
        let network = NetworkId::new("few").expect("a network");
        Node::builder().network(network).limits(limits).mount("tcp", mount).open().await.expect("opens")
    };
    let (asker, provider) = (open(100).await, open(4).await);
    asker.connect(&PeerAddr::from(provider.listen_addrs()[0].clone())).await.expect("connects");
    let blocks: Vec<_> = (0..16_u8).map(|n| Block::new(RAW, vec![n])).collect();
    provider.put_blocks(&blocks).await.expect("puts");
    let got = join_all(blocks.iter().map(|block| asker.block(block.cid(), vec![]))).await;
    assert!(got.iter().filter(|got| got.is_ok()).count() >= 8, "{got:?}");
    assert_eq!(asker.counter("misdeed_stalled"), 0);
}

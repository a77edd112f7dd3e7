//! The suite for transports, tried on one that carries no broadcast: each promise of broadcast is refused, not passed over.
#![cfg(feature = "conformance")]

use std::sync::Arc;

use carrick_core::conformance::transport::{CASES, Fixture, Outcome, Setup, run};
use carrick_core::{
    Broadcast, Capabilities, Fetch, Host, Multiaddr, PeerAddr, PeerInfo, Remote, Result, Transport,
    async_trait,
};
use carrick_transport_memory::MemoryNetwork;

#[derive(Debug)]
struct FetchOnly(Arc<dyn Transport>);

#[async_trait]
impl Transport for FetchOnly {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = self.0.capabilities();
        capabilities.broadcast = None;
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
        None
    }

    fn fetch(&self) -> Option<&dyn Fetch> {
        self.0.fetch()
    }

    async fn close(&self) -> Result<()> {
        self.0.close().await
    }
}

#[derive(Debug)]
struct Wire(MemoryNetwork);

#[async_trait]
impl Fixture for Wire {
    async fn open(&self, host: Host, _: Setup) -> Result<Arc<dyn Transport>> {
        Ok(Arc::new(FetchOnly(Arc::new(self.0.transport()(host).await?))))
    }

    fn nowhere(&self) -> PeerAddr {
        "/memory/999999".parse().expect("an address")
    }
}

#[tokio::test(start_paused = true)]
async fn what_it_says_it_cannot_is_asserted_to_be_refused() {
    for case in CASES.iter().filter(|case| case.group == "broadcast") {
        let outcome = run(case.name, Wire(MemoryNetwork::new(1)), 1).await;
        assert_eq!(outcome, Outcome::Unsupported("broadcast"), "{}", case.name);
    }
}

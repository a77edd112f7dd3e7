//! Every promise of the contract, on this transport.

use std::sync::Arc;

use carrick_core::conformance::transport::{Fixture, Setup};
use carrick_core::{Host, PeerAddr, PeerId, Result, Transport, async_trait};
use carrick_transport_memory::{MemoryConfig, MemoryNetwork};

#[derive(Debug)]
struct Memory(MemoryNetwork);

#[async_trait]
impl Fixture for Memory {
    async fn open(&self, host: Host, setup: Setup) -> Result<Arc<dyn Transport>> {
        let mut config = MemoryConfig::default();
        config.bootstrap = setup.bootstrap;
        if let Some(listen) = setup.listen.into_iter().next() {
            config.listen = listen;
        }
        Ok(Arc::new(self.0.transport_with(config)(host).await?))
    }

    async fn cut(&self, one: &PeerId, other: &PeerId) -> bool {
        self.0.partition(&[&[*one], &[*other]]);
        self.0.heal();
        true
    }

    fn nowhere(&self) -> PeerAddr {
        "/memory/999999".parse().expect("an address")
    }
}

async fn wire(seed: u64) -> Memory {
    Memory(MemoryNetwork::new(seed))
}

carrick_core::transport_suite!(wire, start_paused = true);

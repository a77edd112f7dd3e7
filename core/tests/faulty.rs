//! `Faulty` round `memory` keeps every promise of the contract, where it has no faults and where it only takes its time.
#![cfg(feature = "conformance")]

use std::sync::Arc;
use std::time::Duration;

use carrick_core::conformance::faulty::Faulty;
use carrick_core::conformance::transport::{CASES, Fixture, Setup, run};
use carrick_core::{Host, PeerAddr, PeerId, Result, Transport, async_trait};
use carrick_transport_memory::{MemoryConfig, MemoryNetwork};

#[derive(Debug)]
struct FaultyMemory {
    network: MemoryNetwork,
    faulty: Faulty,
}

#[async_trait]
impl Fixture for FaultyMemory {
    async fn open(&self, host: Host, setup: Setup) -> Result<Arc<dyn Transport>> {
        let mut config = MemoryConfig::default();
        config.bootstrap = setup.bootstrap;
        if let Some(listen) = setup.listen.into_iter().next() {
            config.listen = listen;
        }
        let open = self.network.transport_with(config);
        let memory = async |host| Ok(Arc::new(open(host).await?) as Arc<dyn Transport>);
        Ok(Arc::new(self.faulty.open(host, memory).await?))
    }

    async fn cut(&self, one: &PeerId, other: &PeerId) -> bool {
        self.network.partition(&[&[*one], &[*other]]);
        self.network.heal();
        true
    }

    fn nowhere(&self) -> PeerAddr {
        "/memory/999999".parse().expect("an address")
    }
}

async fn wire(seed: u64) -> FaultyMemory {
    FaultyMemory { network: MemoryNetwork::new(seed), faulty: Faulty::new(seed) }
}

carrick_core::transport_suite!(wire, start_paused = true);

/// What is late is no worse: no promise of the contract names a time that a wire must keep.
#[test]
fn a_slow_wire_keeps_every_promise() {
    for case in CASES {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let slow = wire(1).await;
            let change = slow.faulty.change(|faults| {
                (faults.delay, faults.jitter) = (Duration::from_millis(5), Duration::from_millis(5));
            });
            change.expect("in range");
            run(case.name, slow, 1).await;
        });
    }
}

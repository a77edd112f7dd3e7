//! What a flood takes in memory, counted by the allocator. Nothing else may run in this process.

use std::alloc::System;
use std::sync::Arc;

use cap::Cap;
use carrick_core::conformance::transport::{Fixture, Outcome, Setup, run};
use carrick_core::{Host, PeerAddr, Result, Transport, async_trait};
use carrick_transport_quic::{Quic, QuicConfig};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

#[derive(Debug)]
struct Measured;

#[async_trait]
impl Fixture for Measured {
    async fn open(&self, host: Host, _: Setup) -> Result<Arc<dyn Transport>> {
        let mut config = QuicConfig::default();
        config.neighbours = 0;
        config.listen = vec!["/ip4/127.0.0.1/udp/0/quic-v1".parse().expect("an address")];
        Ok(Arc::new(Quic::open(config, host).await?))
    }

    fn nowhere(&self) -> PeerAddr {
        "/ip4/127.0.0.1/udp/9/quic-v1".parse().expect("an address")
    }

    fn allocated(&self) -> Option<usize> {
        Some(ALLOCATOR.allocated())
    }
}

#[tokio::test]
async fn a_flood_takes_no_more_than_the_bounds_together() {
    let kept = run("flood_is_bounded_and_every_drop_is_counted", Measured, 1).await;
    assert_eq!(kept, Outcome::Kept);
}

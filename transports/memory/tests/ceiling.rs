//! What a flood takes in memory, counted by the allocator. Nothing else may run in this process.

use std::alloc::System;
use std::sync::Arc;

use cap::Cap;
use carrick_core::conformance::transport::{Fixture, Mutated, Outcome, Setup, mutants, run};
use carrick_core::{Host, PeerAddr, Result, Transport, async_trait};
use carrick_transport_memory::MemoryNetwork;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

#[derive(Debug)]
struct Measured(MemoryNetwork);

#[async_trait]
impl Fixture for Measured {
    async fn open(&self, host: Host, _: Setup) -> Result<Arc<dyn Transport>> {
        Ok(Arc::new(self.0.transport()(host).await?))
    }

    fn nowhere(&self) -> PeerAddr {
        "/memory/999999".parse().expect("an address")
    }

    fn allocated(&self) -> Option<usize> {
        Some(ALLOCATOR.allocated())
    }
}

const CASE: &str = "flood_is_bounded_and_every_drop_is_counted";

#[test]
fn a_flood_takes_no_more_than_the_bounds_together() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let wire = || Measured(MemoryNetwork::new(1));
    let tried = runtime().expect("a runtime").block_on(run(CASE, wire(), 1));
    assert_eq!(tried, Outcome::Kept);
    // And whoever takes more is found out by what it takes.
    let mutant = mutants().find(|mutant| mutant.name == "reads_without_bound").expect("there");
    let greedy = Mutated::new(wire(), *mutant);
    let panic =
        std::thread::spawn(move || runtime().expect("a runtime").block_on(run(CASE, greedy, 1))).join();
    let words = panic.expect_err("it is found out");
    let words = words.downcast_ref::<String>().expect("words");
    assert!(words.contains("bytes more are allocated"), "{words}");
}

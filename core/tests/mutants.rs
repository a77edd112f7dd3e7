//! The suite for transports, tried on transports that are broken on purpose: each is caught by its case.
#![cfg(feature = "conformance")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use carrick_core::conformance::transport::{
    CASES, Case, Fixture, Mutant, Mutated, Outcome, Setup, mutants, run,
};
use carrick_core::{
    Broadcast, Capabilities, Error, ErrorKind, Fetch, Host, Multiaddr, PeerAddr, PeerId, PeerInfo, Remote,
    Result, Transport, async_trait,
};
use carrick_transport_memory::{MemoryConfig, MemoryNetwork};
use futures::FutureExt as _;

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

/// What a case says that fails; `None` when it does not.
fn complaint(case: &str, wire: impl Fixture) -> Option<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let tried = AssertUnwindSafe(run(case, wire, 1)).catch_unwind();
    let panic = runtime.expect("a runtime").block_on(tried).err()?;
    let text = panic.downcast_ref::<&str>().map(|words| (*words).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
}

/// Whether the wire that is broken here has what a case tries.
fn is_kept(case: &str) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let tried = run(case, Memory(MemoryNetwork::new(1)), 1);
    runtime.expect("a runtime").block_on(tried) == Outcome::Kept
}

/// The group whose cases take long, so that they are tried on the mutants meant for it alone.
const LONG: &str = "hostile";

/// The cases that a mutant fails.
fn failed(mutant: &Mutant) -> BTreeSet<&'static str> {
    let fails = |case: &str| complaint(case, Mutated::new(Memory(MemoryNetwork::new(1)), *mutant)).is_some();
    let long = CASES.iter().any(|case| case.name == mutant.case && case.group == LONG);
    let tried = CASES.iter().filter(|case| case.group != LONG || long);
    tried.map(|case| case.name).filter(|case| fails(case)).collect()
}

#[test]
fn each_mutant_is_caught_by_its_case() {
    // What they panic with is expected.
    std::panic::set_hook(Box::new(|_| {}));
    let caught = all_caught();
    let _ = std::panic::take_hook();
    let missed: Vec<_> =
        caught.iter().filter(|(mutant, failed)| !failed.contains(mutant.case)).map(|(m, _)| m.name).collect();
    assert!(missed.is_empty(), "not caught by their own cases: {missed:?}");
    let broken: BTreeSet<_> = caught.iter().flat_map(|(_, failed)| failed).copied().collect();
    let proved = |case: &Case| broken.contains(case.name) || !is_kept(case.name);
    let unproved: Vec<_> = CASES.iter().filter(|case| !proved(case)).map(|case| case.name).collect();
    assert!(unproved.is_empty(), "no mutant fails them: {unproved:?}");
    check_page(&page(&caught));
}

/// Opens one node, however many it is asked for.
#[derive(Debug)]
struct OneForAll(Memory, OnceLock<Arc<dyn Transport>>);

#[async_trait]
impl Fixture for OneForAll {
    async fn open(&self, host: Host, setup: Setup) -> Result<Arc<dyn Transport>> {
        if self.1.get().is_none() {
            let opened = self.0.open(host, setup).await?;
            let _ = self.1.set(opened);
        }
        Ok(Arc::clone(self.1.get().expect("it was set")))
    }

    fn nowhere(&self) -> PeerAddr {
        self.0.nowhere()
    }
}

#[test]
fn a_fixture_that_opens_too_few_nodes_is_told_so() {
    let wire = OneForAll(Memory(MemoryNetwork::new(1)), OnceLock::new());
    let told = complaint("dial_ok_means_admitted", wire).expect("refused");
    assert!(told.contains("the fixture opened fewer nodes than asked"), "{told}");
}

/// What is wrong with a fixture.
#[derive(Clone, Copy, Debug)]
enum Wrong {
    /// It panics.
    Panics,
    /// It opens nothing.
    Refuses,
    /// Each transport is opened with the host of the first.
    OneHost,
    /// Each node is on a wire of its own.
    OneWireEach,
    /// A part is promised that is not there.
    NoBroadcast,
}

#[derive(Debug)]
struct Bad(Memory, Wrong, OnceLock<Host>);

#[async_trait]
impl Fixture for Bad {
    async fn open(&self, host: Host, setup: Setup) -> Result<Arc<dyn Transport>> {
        match self.1 {
            Wrong::Panics => panic!("no such device"),
            Wrong::Refuses => Err(Error::new(ErrorKind::Config, "open", "no such device")),
            Wrong::OneHost => self.0.open(self.2.get_or_init(|| host).clone(), setup).await,
            Wrong::OneWireEach => Memory(MemoryNetwork::new(1)).open(host, setup).await,
            Wrong::NoBroadcast => Ok(Arc::new(Mute(self.0.open(host, setup).await?))),
        }
    }

    fn nowhere(&self) -> PeerAddr {
        self.0.nowhere()
    }
}

/// Promises broadcast, and has none.
#[derive(Debug)]
struct Mute(Arc<dyn Transport>);

#[async_trait]
impl Transport for Mute {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
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

#[test]
fn a_fixture_that_is_no_wire_is_told_so_in_every_case_that_needs_one() {
    let wrongs = [
        (Wrong::Panics, "no such device"),
        (Wrong::Refuses, "the fixture opened no node: open: no such device"),
        (
            Wrong::OneHost,
            "does the fixture open each transport with the host that it is given, and on one wire?",
        ),
        (
            Wrong::OneWireEach,
            "does the fixture open each transport with the host that it is given, and on one wire?",
        ),
        (
            Wrong::NoBroadcast,
            "the capabilities contradict themselves: broadcast is promised if and only if it is there",
        ),
    ];
    for (wrong, words) in wrongs {
        for case in
            ["published_message_reaches_every_subscriber", "block_is_fetched", "closed_peer_is_noticed"]
        {
            let told = complaint(case, Bad(Memory(MemoryNetwork::new(1)), wrong, OnceLock::new()));
            let told = told.unwrap_or_else(|| panic!("{wrong:?} passes {case}"));
            assert!(told.contains(words), "{wrong:?} in {case}: {told}");
        }
    }
}

#[test]
fn capabilities_that_contradict_themselves_are_told() {
    let mutant = mutants().find(|mutant| mutant.name == "promises_what_it_does_not_check").expect("there");
    let told = complaint("capabilities_hold", Mutated::new(Memory(MemoryNetwork::new(1)), *mutant));
    let told = told.expect("refused");
    assert!(told.contains("the capabilities contradict themselves: who is admitted"), "{told}");
}

/// What each mutant fails, in their order, found by as many threads as there are processors.
fn all_caught() -> Vec<(&'static Mutant, BTreeSet<&'static str>)> {
    let all: Vec<_> = mutants().collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (next, found) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(mutant) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let failed = failed(mutant);
                    found.lock().expect("no panic holds it").insert(mutant.name, failed);
                }
            });
        }
    });
    let mut found = found.into_inner().expect("no panic held it");
    all.into_iter().map(|mutant| (mutant, found.remove(mutant.name).unwrap_or_default())).collect()
}

/// The promises, and which mutants break which.
fn page(caught: &[(&Mutant, BTreeSet<&'static str>)]) -> String {
    let mut page = String::from(HEAD);
    for (at, case) in CASES.iter().enumerate() {
        if at == 0 || CASES[at - 1].group != case.group {
            let _ = write!(page, "\n### {}\n\n| case | promise |\n|---|---|\n", case.group);
        }
        let _ = writeln!(page, "| `{}` | {} |", case.name, case.promise);
    }
    page += MIDDLE;
    for (mutant, failed) in caught {
        let others: Vec<_> =
            failed.iter().filter(|case| **case != mutant.case).map(|case| format!("`{case}`")).collect();
        let _ = writeln!(
            page,
            "| `{}` | {} | `{}` | {} |",
            mutant.name,
            mutant.flaw,
            mutant.case,
            others.join(", ")
        );
    }
    page
}

/// Compares with the page of the documentation, or writes it.
fn check_page(page: &str) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/plugins/promises.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, page).expect("the page is written");
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == page,
        "docs/plugins/promises.md is not what the suite says; write it with\n\
         UPDATE_DOCS=1 cargo test -p carrick-core --features conformance --test mutants"
    );
}

const HEAD: &str = "\
# What a transport promises

Written by the tests of the suite; do not edit it. `transport_suite!` makes a test of each promise.

## Promises
";

const MIDDLE: &str = "
## Mutants

Each is the transport `memory` with a flaw. Its own case must fail; the last column has the others that do. The cases of
the group `hostile` take long: they are tried on the mutants that are meant for them.

| mutant | flaw | its case | other cases that fail |
|---|---|---|---|
";

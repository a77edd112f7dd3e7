//! Whole networks in one process, from a seed: lossy and slow links, partitions, crashes, clocks that are off.
//!
//! `SIM_SEEDS=1000 cargo test --release -p carrick --test sim` tries so many seeds instead of a few; a run that fails
//! prints the command that repeats it. `SIM_SEED=17` runs one seed alone, `SIM_NODES=50` makes the network larger,
//! `SIM_TRACE=file` writes down what happened in it.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "how to repeat a run is told to whoever runs it"
)]

mod check;
mod flaw;
mod judging;
mod ledger;
mod member;
mod offenders;
mod run;
mod setting;
mod trace;

use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};

use carrick::SignatureMemo;

use self::flaw::Flaw;
use self::run::{Plan, run};
use self::setting::{seed_alone, seeds, this_test};

/// A network in paused time, on one thread: nothing but the seed decides what happens.
fn in_paused_time<T>(run: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(run)
}

fn simulate(plan: &Plan, seed: u64) -> String {
    in_paused_time(run(plan, seed))
}

/// After everything that a network can do to them, all nodes agree, nobody heard what was rejected or anything twice, and
/// what was put is there.
#[test]
fn sim_nodes_agree_whatever_the_network_does() {
    let plan = Plan::chosen();
    if let Some(seed) = seed_alone() {
        println!("seed {seed}: {}", simulate(&plan, seed));
    } else {
        let nodes = if plan.nodes == Plan::default().nodes {
            String::new()
        } else {
            format!("SIM_NODES={} ", plan.nodes)
        };
        for_all(seeds(), &format!("{nodes}cargo test --release -p carrick --test sim nodes_agree"), |seed| {
            simulate(&plan, seed);
        });
    }
}

/// Whatever the network does to a ledger, in the end all nodes have one log, with every entry whose append returned.
#[test]
fn sim_ledger_converges() {
    let simulate = |seed| in_paused_time(ledger::run(seed));
    match seed_alone() {
        Some(seed) => simulate(seed),
        None => for_all(seeds(), "cargo test --release -p carrick --test sim ledger_converges", simulate),
    }
}

/// Half of the nodes break the ledger's rule again and again: nothing of that gets into an honest node or out of it, they end
/// out, and nobody else loses anything.
#[test]
fn sim_ledger_is_rid_of_offenders() {
    let simulate = |seed| in_paused_time(offenders::run(seed));
    match seed_alone() {
        Some(seed) => simulate(seed),
        None => for_all(seeds(), "cargo test --release -p carrick --test sim rid_of_offenders", simulate),
    }
}

/// As many at once as there are cores: each run has a runtime and a network of its own.
fn for_all(seeds: u64, command: &str, simulate: impl Fn(u64) + Sync) {
    let next = AtomicU64::new(0);
    let work = || {
        while let Some(seed) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed < seeds) {
            let again = RepeatOnPanic { seed, command, next: &next };
            simulate(seed);
            drop(again);
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|scope| (0..cores).for_each(|_| drop(scope.spawn(work))));
}

/// Tells how to repeat a run that fails, and keeps others from beginning.
struct RepeatOnPanic<'a> {
    seed: u64,
    command: &'a str,
    next: &'a AtomicU64,
}

impl Drop for RepeatOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.next.store(u64::MAX / 2, Ordering::Relaxed);
            let Self { seed, command, .. } = self;
            eprintln!("repeat it with: SIM_SEED={seed} {command} -- --nocapture");
        }
    }
}

/// The same seed is the same run, in this process and in another one; another seed is another run.
#[test]
fn sim_of_one_seed_is_one_run() {
    let run = |seed| simulate(&Plan::default(), seed);
    let hashes = [7, 8, 9].map(run);
    assert_eq!([7, 8, 9].map(run), hashes);
    assert!(hashes[0] != hashes[1] && hashes[1] != hashes[2] && hashes[0] != hashes[2]);
    let other = this_test("SIM_SEED", "7");
    let printed = String::from_utf8_lossy(&other.stdout);
    assert!(printed.contains(&format!("seed 7: {}", hashes[0])), "{printed}");
}

/// Who checked a signature shows nowhere.
#[test]
fn sim_is_the_same_run_where_each_signature_is_checked_once() {
    let memo = SignatureMemo::new(NonZero::new(1_000).expect("not zero"));
    let shared = Plan { memo: Some(memo), ..Plan::small(None) };
    assert_eq!(simulate(&shared, 3), simulate(&Plan::small(None), 3));
}

/// What is checked is really checked: a run in which one thing goes wrong fails, and says which.
#[test]
fn sim_fails_when_something_is_wrong() {
    simulate(&Plan::small(None), 0);
    for flaw in Flaw::ALL {
        let failed = std::panic::catch_unwind(|| simulate(&Plan::small(Some(flaw)), 0));
        let panic = failed.expect_err(&format!("{flaw:?} went unnoticed"));
        let said = panic.downcast_ref::<String>().map_or("", String::as_str);
        assert!(said.contains(flaw.noticed_as()), "{flaw:?} was noticed as {said:?}");
    }
}

/// A number that is none is refused by its name, and nothing is simulated in its place.
#[test]
fn sim_refuses_what_is_no_seed() {
    let refused = [
        ("SIM_SEED", "abc"),
        ("SIM_SEED", "-1"),
        ("SIM_SEED", "18446744073709551616"),
        ("SIM_SEED", ""),
        ("SIM_SEEDS", "many"),
        ("SIM_SEEDS", "0"),
        ("SIM_NODES", "2"),
        ("SIM_NODES", "1e3"),
    ];
    for (name, value) in refused {
        let other = this_test(name, value);
        let (told, printed) =
            (String::from_utf8_lossy(&other.stderr), String::from_utf8_lossy(&other.stdout));
        assert!(!other.status.success(), "{name}={value} was taken: {printed}");
        assert!(told.contains(&format!("{name} is {value:?}; allowed is a whole number from ")), "{told}");
        assert!(!printed.contains("seed "), "{printed}");
    }
}

/// Many runs would write over each other.
#[test]
fn sim_traces_one_run() {
    let other = this_test("SIM_TRACE", "trace.txt");
    let told = String::from_utf8_lossy(&other.stderr);
    assert!(!other.status.success() && told.contains("name it by SIM_SEED"), "{told}");
}

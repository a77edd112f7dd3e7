//! Whole networks in one process, from a seed: lossy and slow links, partitions, crashes, clocks that are off.
//!
//! `SIM_SEEDS=1000 cargo test --release -p carrick sim` tries so many seeds instead of a few; a run that fails prints the
//! command that repeats it. `SIM_SEED=17` runs one seed alone, `SIM_TRACE=file` writes down what happened.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "how to repeat a run is told to whoever runs it"
)]

mod check;
mod member;
mod run;
mod trace;

use std::process::Command;

use self::run::{Plan, run};

/// A network in paused time, on one thread: nothing but the seed decides what happens.
fn simulate(plan: &Plan, seed: u64) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(run(plan, seed))
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}, which is no number")))
}

/// After everything that a network can do to them, all nodes agree, nobody heard what was rejected or anything twice, and
/// what was put is there.
#[test]
fn sim_nodes_agree_whatever_the_network_does() {
    if let Some(seed) = number("SIM_SEED") {
        println!("seed {seed}: {}", simulate(&Plan::default(), seed));
        return;
    }
    let seeds = number("SIM_SEEDS").unwrap_or(10);
    for seed in 0..seeds {
        let again = RepeatOnPanic(seed);
        simulate(&Plan::default(), seed);
        drop(again);
    }
}

/// Tells how to repeat a run that fails.
struct RepeatOnPanic(u64);

impl Drop for RepeatOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let seed = self.0;
            eprintln!(
                "repeat it with: SIM_SEED={seed} cargo test --release -p carrick sim_nodes_agree -- --nocapture"
            );
        }
    }
}

/// The same seed is the same run, in this process and in another one; another seed is another run.
#[test]
fn sim_of_one_seed_is_one_run() {
    let hash = simulate(&Plan::default(), 7);
    assert_eq!(simulate(&Plan::default(), 7), hash);
    assert_ne!(simulate(&Plan::default(), 8), hash);
    let this = std::env::current_exe().expect("the test itself");
    let mut other = Command::new(this);
    other.args(["--exact", "sim_nodes_agree_whatever_the_network_does", "--nocapture"]).env("SIM_SEED", "7");
    let output = other.output().expect("runs");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(printed.contains(&format!("seed 7: {hash}")), "{printed}");
}

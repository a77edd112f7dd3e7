//! Many networks of state machines, each from a seed: whoever keeps the rules gets what there is, and all is freed at the end.
//!
//! `BITSWAP_SEEDS` sets how many (60), `BITSWAP_SEED` the first of them (0); a failure prints its seed.

use std::collections::BTreeSet;

use carrick_core::{Block, Misdeed};

use super::super::client::Time;
use super::network::{Dice, Ended, Foe, Network};
use super::{ms, raw};

const FOES: [Foe; 5] = [Foe::Promises, Foe::Silent, Foe::Junk, Foe::Wants, Foe::Fickle];
const HONEST: usize = 5;
/// All requests are made before this, and all links of honest nodes are up from then on.
const CALM: Time = Time::from_secs(20);
const END: Time = Time::from_secs(120);

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |value| value.parse().expect("a number"))
}

/// Prints the seed when the test fails.
struct Seed(u64);

impl Drop for Seed {
    #[allow(clippy::print_stderr, reason = "the one way to tell which run failed")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with BITSWAP_SEED={} BITSWAP_SEEDS=1", self.0);
        }
    }
}

struct Scenario {
    network: Network,
    /// With the nodes that have them.
    blocks: Vec<(Block, BTreeSet<usize>)>,
    foes: usize,
}

/// A network in which some blocks are at some honest nodes, and one of ten nowhere.
fn scenario(seed: u64) -> Scenario {
    let mut dice = Dice(seed ^ 0x5eed);
    let foes: Vec<Foe> = FOES.into_iter().filter(|_| dice.one_in(2)).collect();
    let mut network = Network::new(seed, HONEST, &foes);
    let sizes = [10, 900, 3_000, 60_000, 300_000];
    let mut blocks: Vec<_> = (0..60_u32)
        .map(|n| raw([&n.to_be_bytes()[..], &vec![seed as u8; sizes[dice.below(5) as usize]]].concat()))
        .map(|block| (block, BTreeSet::new()))
        .collect();
    for (n, (block, having)) in blocks.iter_mut().enumerate() {
        if n % 10 == 9 {
            continue;
        }
        for _ in 0..1 + dice.below(3) {
            let at = dice.below(HONEST as u64) as usize;
            let when = if dice.one_in(5) { ms(dice.below(15_000)) } else { Time::ZERO };
            network.arrive_at(when, at, block.clone());
            having.insert(at);
        }
    }
    for a in 0..HONEST + foes.len() {
        for b in 0..a.min(HONEST) {
            network.connect_at(ms(dice.below(2_000)), a, b);
            let down = ms(dice.below(15_000));
            if dice.one_in(3) {
                network.disconnect_at(down, a, b);
            }
            network.connect_at(CALM, a, b);
        }
    }
    for _ in 0..200 {
        let (node, block) = (dice.below(HONEST as u64) as usize, dice.below(60) as usize);
        let at = ms(dice.below(CALM.as_millis() as u64));
        network.request_at(at, node, vec![*blocks[block].0.cid()]);
    }
    Scenario { network, blocks, foes: foes.len() }
}

fn run(seed: u64) -> u64 {
    let _seed = Seed(seed);
    let Scenario { mut network, blocks, foes } = scenario(seed);
    network.run(END);
    network.end();
    let mut ended = 0;
    for node in 0..HONEST {
        let honest_ids: Vec<_> = (0..HONEST).map(|n| network.id(n)).collect();
        let honest = network.honest(node);
        for (cid, at, how) in std::mem::take(&mut honest.ended) {
            ended += 1;
            let number = blocks.iter().position(|(block, _)| *block.cid() == cid).expect("one of the blocks");
            match how {
                Ended::Here(block) => assert_eq!(block, blocks[number].0),
                // Before all is calm, those who have it may be out of reach.
                Ended::Failed(tally) => {
                    let may = blocks[number].1.iter().all(|having| *having == node) || at < CALM;
                    assert!(may, "block {number} of node {node} at {at:?}: {tally:?}");
                }
                Ended::Dropped => {
                    assert!(at < END, "block {number} of node {node} was never answered: {}", honest.last);
                }
            }
        }
        let unjust: Vec<_> = honest.blames.iter().filter(|(peer, _)| honest_ids.contains(peer)).collect();
        assert!(unjust.is_empty(), "node {node} blames {unjust:?}");
        assert!(foes > 0 || honest.blames.is_empty());
        assert!(!honest.blames.iter().any(|(_, misdeed)| *misdeed == Misdeed::Malformed));
        assert!(honest.client.is_idle(), "node {node}");
        assert!(honest.server.is_empty(), "node {node}");
    }
    assert_eq!(ended, 200);
    network.trace
}

#[test]
fn whoever_keeps_the_rules_gets_what_there_is() {
    let first = variable("BITSWAP_SEED", 0);
    for seed in first..first + variable("BITSWAP_SEEDS", 60) {
        run(seed);
    }
}

/// A large session over lines of 2 to 60 KB/s, from two or three peers of which each has most of it: minutes pass, and whoever
/// sends what it can is blamed for nothing.
fn run_slowly(seed: u64) {
    const LONG: Time = Time::from_secs(7_200);
    let _seed = Seed(seed);
    let mut dice = Dice(seed ^ 0x510f);
    let providers = 2 + dice.below(2) as usize;
    let mut network = Network::new(seed, 1 + providers, &[]);
    (network.lines, network.fickle) = ([2, 60], u64::MAX);
    let sizes = [100, 3_000, 40_000, 250_000];
    let blocks: Vec<_> = (0..50 + dice.below(350) as u32)
        .map(|n| raw([&n.to_be_bytes()[..], &vec![seed as u8; sizes[dice.below(4) as usize]]].concat()))
        .collect();
    for block in &blocks {
        let sure = 1 + dice.below(providers as u64) as usize;
        for provider in (1..=providers).filter(|provider| *provider == sure || !dice.one_in(4)) {
            network.arrive_at(Time::ZERO, provider, block.clone());
        }
    }
    for provider in 1..=providers {
        network.connect_at(ms(1), 0, provider);
    }
    network.request_at(ms(2), 0, blocks.iter().map(|block| *block.cid()).collect());
    network.run(LONG);
    let honest = network.honest(0);
    let here = honest.ended.iter().filter(|(_, _, how)| matches!(how, Ended::Here(_))).count();
    assert_eq!(here, blocks.len(), "of {} that ended; {}", honest.ended.len(), honest.last);
    assert_eq!(honest.blames, []);
    network.end();
    assert!(network.honest(0).client.is_idle());
}

#[test]
fn a_large_session_over_slow_lines_comes_whole() {
    let first = variable("BITSWAP_SEED", 0);
    for seed in first..first + variable("BITSWAP_SEEDS", 20) {
        run_slowly(seed);
    }
}

#[test]
fn a_seed_repeats_exactly() {
    let _ = [1, 2, 3].map(|seed| assert_eq!(run(seed), run(seed), "seed {seed}"));
}

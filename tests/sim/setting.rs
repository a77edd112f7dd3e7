//! What the environment asks for.

use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::process::{Command, Output};

/// `SIM_SEED`: one seed alone.
pub(crate) fn seed_alone() -> Option<u64> {
    number("SIM_SEED", 0..=u64::MAX)
}

/// `SIM_SEEDS`: how many.
pub(crate) fn seeds() -> u64 {
    number("SIM_SEEDS", 1..=u64::MAX / 2).unwrap_or(10)
}

/// `SIM_NODES`: how many in each network.
pub(crate) fn nodes() -> Option<u64> {
    number("SIM_NODES", 3..=255)
}

/// `SIM_TRACE`: the file in which one seed alone writes down what happened.
///
/// # Panics
/// Where there are many seeds: a file holds one run.
pub(crate) fn trace() -> Option<OsString> {
    let path = std::env::var_os("SIM_TRACE")?;
    assert!(seed_alone().is_some(), "SIM_TRACE holds what happened in one run: name it by SIM_SEED");
    Some(path)
}

/// # Panics
/// When it is no number, or none that is allowed: nothing is run in its place.
fn number(name: &str, allowed: RangeInclusive<u64>) -> Option<u64> {
    let text = std::env::var_os(name)?;
    let number = text.to_str().and_then(|text| text.parse().ok()).filter(|number| allowed.contains(number));
    let (least, most) = allowed.into_inner();
    Some(
        number.unwrap_or_else(|| {
            panic!("{name} is {text:?}; allowed is a whole number from {least} to {most}")
        }),
    )
}

/// Runs the test of many networks in another process, with one variable set.
pub(crate) fn this_test(name: &str, value: &str) -> Output {
    let mut other = Command::new(std::env::current_exe().expect("the test itself"));
    other.args(["--exact", "sim_nodes_agree_whatever_the_network_does", "--nocapture"]);
    for inherited in ["SIM_SEED", "SIM_SEEDS", "SIM_NODES", "SIM_TRACE"] {
        other.env_remove(inherited);
    }
    other.env(name, value).output().expect("runs")
}

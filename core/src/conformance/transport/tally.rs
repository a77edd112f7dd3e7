//! How the cases of a run ended, told when all of them did.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use super::CASES;

/// How a case ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Kept,
    Unsupported(&'static str),
    Broken,
}

/// The cases of each kind of wire that ended in this process.
static ENDED: Mutex<BTreeMap<&'static str, BTreeMap<&'static str, Ended>>> = Mutex::new(BTreeMap::new());

/// Notes how a case ended. Answers what all came to, when it was the last of its wire.
pub(super) fn add(wire: &'static str, case: &'static str, ended: Ended) -> Option<String> {
    let mut all = ENDED.lock().unwrap_or_else(PoisonError::into_inner);
    let of_wire = all.entry(wire).or_default();
    of_wire.insert(case, ended);
    (of_wire.len() == CASES.len()).then(|| summary(of_wire))
}

fn summary(ended: &BTreeMap<&'static str, Ended>) -> String {
    let (mut kept, mut broken) = (0, Vec::new());
    let mut unsupported = BTreeMap::<_, Vec<_>>::new();
    for (case, ended) in ended {
        match ended {
            Ended::Kept => kept += 1,
            Ended::Unsupported(what) => unsupported.entry(*what).or_default().push(*case),
            Ended::Broken => broken.push(*case),
        }
    }
    let refused: usize = unsupported.values().map(Vec::len).sum();
    let mut told = format!(
        "\nconformance: {} cases, {kept} kept, {refused} refused as unsupported, {} broken\n",
        ended.len(),
        broken.len()
    );
    // Nothing is longer than memory: writing to a string does not fail.
    for (what, cases) in unsupported {
        let _ = writeln!(told, "  unsupported: {what}: {}", cases.join(", "));
    }
    if !broken.is_empty() {
        let _ = writeln!(told, "  broken: {}", broken.join(", "));
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_case_tells_of_all() {
        let (last, others) = CASES.split_last().expect("some");
        for (at, case) in others.iter().enumerate() {
            let ended = match at {
                0 | 1 => Ended::Unsupported("broadcast"),
                2 => Ended::Broken,
                _ => Ended::Kept,
            };
            assert_eq!(add("a wire", case.name, ended), None);
        }
        let told = add("a wire", last.name, Ended::Unsupported("wings")).expect("that was all");
        let [one, two, three] = [0, 1, 2].map(|at| CASES[at].name);
        let mut refused = [one, two];
        refused.sort_unstable();
        let expected = format!(
            "\nconformance: {} cases, {} kept, 3 refused as unsupported, 1 broken\n  unsupported: broadcast: {}\n  \
             unsupported: wings: {}\n  broken: {three}\n",
            CASES.len(),
            CASES.len() - 4,
            refused.join(", "),
            last.name,
        );
        assert_eq!(told, expected);
    }
}

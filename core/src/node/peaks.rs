//! The most that was ever in each bounded queue, beside its bound.

use std::collections::BTreeMap;

use serde::Serialize;

use super::scoped::Scoped;

/// The most that was ever in a bounded queue since the node opened, and its bound: bytes where the name ends in `_bytes`,
/// otherwise how many. It never comes above its bound, but that a subscriber may always hold one message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Peak {
    /// The most that was in it at once.
    pub most: u64,
    /// The most that may be.
    pub limit: u64,
}

/// Peaks by scope (`node`, or the name of a transport instance) and name.
#[derive(Debug, Default)]
pub(crate) struct Peaks(Scoped<Peak>);

impl Peaks {
    /// So much is held of each now, and so much may be.
    pub(crate) fn note<const N: usize>(&self, scope: &str, held: [(&'static str, usize, usize); N]) {
        self.0.change(scope, |peaks| {
            for (what, held, limit) in held {
                let peak = peaks.entry(what).or_default();
                peak.most = peak.most.max(held as u64);
                peak.limit = limit as u64;
            }
        });
    }

    /// All of them, sorted.
    pub(crate) fn all(&self) -> BTreeMap<String, BTreeMap<String, Peak>> {
        self.0.all()
    }
}

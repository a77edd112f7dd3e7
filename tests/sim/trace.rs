//! What happened in a run, as one hash.

use std::fmt::{Debug, Write as _};

use carrick::{RAW, cid_of};
use tokio::time::Instant;

use crate::setting;

/// Lines with the virtual time at which they were written.
pub(crate) struct Trace {
    began: Instant,
    text: String,
}

impl Trace {
    pub(crate) fn begin() -> Self {
        Self { began: Instant::now(), text: String::new() }
    }

    pub(crate) fn note(&mut self, what: impl Debug) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{:?} {what:?}", self.began.elapsed());
    }

    /// The hash of it all; what it is the hash of goes to the file that `SIM_TRACE` names.
    pub(crate) fn hash(&self) -> String {
        if let Some(path) = setting::trace() {
            std::fs::write(path, &self.text).expect("the trace is written");
        }
        cid_of(RAW, self.text.as_bytes()).to_string()
    }
}

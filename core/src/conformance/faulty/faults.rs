//! How bad a wire is.

use std::time::Duration;

use crate::{Error, ErrorKind, Result};

/// The longest delay, and the longest jitter.
const LONGEST: Duration = Duration::from_secs(3_600);

/// What happens to that which arrives. Default: nothing, all of it arrives at once and in order.
///
/// A share is 0 to 1, a time at most 1 h. The words are those of the transport `memory`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Faults {
    /// How long everything takes to arrive: a message, a request for content, its answer. Alone it keeps the order.
    pub delay: Duration,
    /// At most so much longer, drawn for each. Messages of one link keep their order, whatever is drawn.
    pub jitter: Duration,
    /// Share of the messages, and of the requests for content, that never arrive. A lost request is not answered.
    pub loss: f64,
    /// Share of the messages that arrive twice.
    pub duplicate: f64,
    /// Share of the messages that those sent later may overtake. Shows where there is jitter.
    pub reorder: f64,
    /// Share of the messages, and of the blocks that were asked for, that arrive with one bit changed.
    ///
    /// The node blames the far end for it, as it cannot know better: five to ten of them in a row end in a ban.
    pub corrupt: f64,
    /// Share of the blocks that this end itself serves with one bit changed: a provider who lies.
    pub corrupt_served: f64,
    /// Whether nothing moves: messages, requests and answers wait until this is false again. A message waits as long as the
    /// transport holds it, and is handed out all the same when it comes; a request and an answer as long as the asker.
    pub stall: bool,
}

impl Faults {
    pub(super) fn check(&self) -> Result<()> {
        let shares = [
            ("loss", self.loss),
            ("duplicate", self.duplicate),
            ("reorder", self.reorder),
            ("corrupt", self.corrupt),
            ("corrupt_served", self.corrupt_served),
        ];
        for (name, share) in shares {
            if !(0.0..=1.0).contains(&share) {
                return Err(wrong(format!("{name} is {share}"), "a share is a number from 0 to 1"));
            }
        }
        for (name, time) in [("delay", self.delay), ("jitter", self.jitter)] {
            if time > LONGEST {
                return Err(wrong(format!("{name} is {time:?}"), "a time is at most an hour"));
            }
        }
        Ok(())
    }
}

fn wrong(detail: String, allowed: &str) -> Error {
    Error::new(ErrorKind::Config, "faults", format!("{detail}; {allowed}"))
        .mend("keep shares in 0 to 1, times in 0 to 1 h")
}

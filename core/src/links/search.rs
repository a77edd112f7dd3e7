//! Asking provider after provider for a block.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::Reason;
use crate::{Claim, Error, ErrorKind, Fetched, Host, Remote, Result, Want};

/// Every provider gets at least so long, however many there are.
const MIN_SHARE: Duration = Duration::from_millis(200);
/// Longer than anybody waits, and short enough to count with.
const A_DAY: Duration = Duration::from_secs(86_400);

/// What one provider answered instead of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Miss {
    /// It has it not.
    Absent,
    /// It says that it is above the limit.
    TooLarge,
    /// It cannot serve now.
    Busy,
    /// It gave up, because we took nothing for too long.
    GivenUp,
    /// It went away.
    Lost,
    /// It took too long.
    Stalled,
    /// It broke the wire format.
    Malformed,
}

/// A stream that ended for a reason gave nothing.
impl From<Reason> for Miss {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Stalled => Self::Stalled,
            Reason::Malformed => Self::Malformed,
            _ => Self::Lost,
        }
    }
}

/// Why the providers asked so far gave nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    absent: bool,
    busy: bool,
    lost: bool,
    stalled: bool,
    too_large: bool,
}

impl Tally {
    /// One more gave nothing.
    pub fn note(&mut self, miss: Miss) {
        match miss {
            Miss::Absent => self.absent = true,
            Miss::TooLarge => self.too_large = true,
            Miss::Busy => self.busy = true,
            Miss::GivenUp | Miss::Lost | Miss::Malformed => self.lost = true,
            Miss::Stalled => self.stalled = true,
        }
    }

    /// The error of a search for `what` that ended: what could still succeed elsewhere or later goes before "not there".
    pub fn error(self, host: &Host, operation: &'static str, what: &str) -> Error {
        let (kind, detail) = match self {
            Self { too_large: true, .. } => {
                let limit = host.limits().block_bytes;
                (ErrorKind::TooLarge, format!("{what} is above the limit of {limit} bytes"))
            }
            Self { stalled: true, .. } => (ErrorKind::Timeout, format!("the providers of {what} stalled")),
            Self { busy: true, .. } => (ErrorKind::Busy, format!("the providers of {what} are busy")),
            Self { lost: true, .. } => (ErrorKind::Unreachable, format!("the providers of {what} went away")),
            Self { absent: true, .. } => (ErrorKind::NotFound, format!("nobody asked has {what}")),
            _ => (ErrorKind::NoPeers, format!("there is nobody to ask for {what}")),
        };
        host.fail(kind, operation, detail)
    }
}

/// Asks provider after provider for a block, until one gives it, nobody is left, or [`Want::timeout`] is over.
///
/// `ask` gets a provider and how long no byte may move: an equal part of the time that is left, but half of it to the
/// first, so that one who does not answer leaves some for the next; and at most
/// [`Limits::fetch_idle`](crate::Limits::fetch_idle), after which whoever holds us up has stalled. It answers the bytes and
/// whom they came from.
///
/// # Errors
/// `NoPeers`, `NotFound`, `Unreachable`, `Busy`, `TooLarge`, `Timeout`, as [`Fetch::block`](crate::Fetch::block) has them.
///
/// # Cancel safety
/// As that of `ask`.
pub async fn search<P, F>(
    host: &Host,
    want: &Want,
    providers: Vec<P>,
    mut ask: impl FnMut(P, Duration) -> F,
) -> Result<Fetched>
where
    F: Future<Output = std::result::Result<(Bytes, Remote), Miss>>,
{
    let deadline = Instant::now() + want.timeout.min(A_DAY);
    let asking = async {
        let mut tally = Tally::default();
        let all = u32::try_from(providers.len()).unwrap_or(u32::MAX);
        for (left, provider) in (1..=all).rev().zip(providers) {
            let time = deadline.duration_since(Instant::now());
            let mut share = time / left;
            if left == all {
                // Whoever is hinted should have it: so long that it can be blamed, however many others there are.
                share = share.max(time / 2);
            }
            match ask(provider, share.max(MIN_SHARE).min(host.limits().fetch_idle)).await {
                Ok((bytes, from)) => {
                    return Ok(Fetched { claim: Claim::new(want.cid, bytes), from: Some(from) });
                }
                Err(miss) => tally.note(miss),
            }
        }
        Err(tally.error(host, "block", &want.cid.to_string()))
    };
    match timeout_at(deadline, asking).await {
        Ok(found) => found,
        Err(_) => {
            let detail = format!("{} did not come within {} s", want.cid, want.timeout.as_secs_f64());
            Err(host.fail(ErrorKind::Timeout, "block", detail))
        }
    }
}

//! What can go wrong on this wire, and the one translation to the contract's error.

use std::time::Duration;

use carrick_core::{Error, ErrorKind, PeerId};
use quinn::{ConnectError, ConnectionError, ReadError, ReadExactError, WriteError};

use crate::tls::Distrust;
use crate::wire::{Broken, Reason, clean};

/// The alert `access_denied`: a verifier said no.
const ACCESS_DENIED: u8 = 49;
/// What to do about a version that we do not speak.
const SAME_VERSION: &str = "run the same version of this program at both ends";
/// What to do about a peer that is not admitted here, unless it is banned.
const ADD_MEMBER: &str = "add its id to `members` under [node]; a ban passes by itself";

/// Why reading or writing frames stopped.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// A frame breaks the format.
    Broken(Broken),
    /// The stream ended inside a frame, or before the answer.
    Cut,
    /// No byte moved for too long.
    Stalled,
    /// None came in the time that there was, which need not be its fault.
    Slow,
    /// The far end gave up, because we took nothing for too long.
    GivenUp,
    /// The far end wants no more of it, or gives no more.
    Stopped,
    /// The connection is gone.
    Lost(ConnectionError),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Broken(broken) => write!(f, "it sent {broken}"),
            Self::Cut => f.write_str("it ended the stream half-way"),
            Self::Stalled => f.write_str("no byte moved for too long"),
            Self::Slow => f.write_str("nothing came in time"),
            Self::GivenUp => f.write_str("it gave up, because nothing was read for too long"),
            Self::Stopped => f.write_str("it stopped the stream"),
            Self::Lost(error) => write!(f, "the connection was lost: {error}"),
        }
    }
}

impl From<Broken> for Fault {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

impl From<ConnectionError> for Fault {
    fn from(error: ConnectionError) -> Self {
        Self::Lost(error)
    }
}

impl From<WriteError> for Fault {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::ConnectionLost(error) => Self::Lost(error),
            WriteError::Stopped(_) | WriteError::ClosedStream | WriteError::ZeroRttRejected => Self::Stopped,
        }
    }
}

impl From<ReadError> for Fault {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::ConnectionLost(error) => Self::Lost(error),
            ReadError::Reset(code) if code == Reason::Stalled.code() => Self::GivenUp,
            _ => Self::Stopped,
        }
    }
}

impl From<ReadExactError> for Fault {
    fn from(error: ReadExactError) -> Self {
        match error {
            ReadExactError::FinishedEarly(_) => Self::Cut,
            ReadExactError::ReadError(error) => error.into(),
        }
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        // quinn wraps its own error when a stream is read through tokio's traits.
        match error.into_inner().and_then(|inner| inner.downcast::<ReadError>().ok()) {
            Some(error) => (*error).into(),
            None => Self::Stopped,
        }
    }
}

/// Why a dial failed.
#[derive(Clone, Debug)]
pub(crate) enum DialFault {
    /// The socket could not even try.
    Connect(ConnectError),
    /// A name could not be looked up, or has no address of the family.
    Name(String),
    /// Nobody answered in time.
    Silent(Duration),
    /// Our own verifier refused the far end.
    Distrusted(Distrust),
    /// The far end refused us.
    Refused(Reason, String),
    /// All our own connections are taken.
    Full,
    /// The handshake broke.
    Handshake(Fault),
}

impl From<Fault> for DialFault {
    /// A refusal may come as a frame or, when the far end closed at once, as the code of the close.
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Lost(error) => Self::lost(error),
            fault => Self::Handshake(fault),
        }
    }
}

impl DialFault {
    /// Reads the refusal out of a connection that was closed.
    pub(crate) fn lost(error: ConnectionError) -> Self {
        match &error {
            ConnectionError::ApplicationClosed(close) => {
                let text = clean(&String::from_utf8_lossy(&close.reason));
                Self::Refused(Reason::from_code(close.error_code.into_inner()), text)
            }
            ConnectionError::ConnectionClosed(close)
                if close.error_code == quinn::TransportErrorCode::crypto(ACCESS_DENIED) =>
            {
                Self::Refused(Reason::NotAdmitted, Reason::NotAdmitted.text().into())
            }
            ConnectionError::ConnectionClosed(close)
                if close.error_code == quinn::TransportErrorCode::CONNECTION_REFUSED =>
            {
                Self::Refused(Reason::Busy, "it takes no more handshakes now".into())
            }
            _ => Self::Handshake(Fault::Lost(error)),
        }
    }

    /// How much it tells: of several addresses the most telling failure is reported.
    pub(crate) fn weight(&self) -> u8 {
        match self {
            Self::Distrusted(_) => 4,
            Self::Refused(..) | Self::Full => 3,
            Self::Handshake(_) => 2,
            Self::Connect(_) | Self::Name(_) => 1,
            Self::Silent(_) => 0,
        }
    }

    /// The contract's error.
    pub(crate) fn into_error(self, whom: &str) -> Error {
        let error = |kind, detail: String| Error::new(kind, "dial", detail);
        match self {
            Self::Connect(source) => {
                error(ErrorKind::Unreachable, format!("{whom} cannot be dialled: {source}"))
                    .from_source(source)
            }
            Self::Name(why) => error(ErrorKind::Unreachable, format!("{whom} was not found: {why}")),
            Self::Silent(after) => {
                let detail = format!("{whom} did not answer within {} s", after.as_secs_f64());
                error(ErrorKind::Unreachable, detail)
                    .mend("is the peer running, and does a firewall let UDP through?")
            }
            Self::Distrusted(distrust) => distrusted(distrust, whom),
            Self::Refused(reason, text) => refused(reason, &text, whom),
            Self::Full => error(ErrorKind::Busy, "all connections of this node are taken".into())
                .mend("raise `connections` under [node.limits], or disconnect somebody"),
            Self::Handshake(fault) => {
                let detail = format!("{whom} broke the handshake off: {fault}");
                match fault {
                    Fault::Broken(Broken::Version(_)) => {
                        error(ErrorKind::Unsupported, detail).mend(SAME_VERSION)
                    }
                    Fault::Lost(source) => error(ErrorKind::Unreachable, detail).from_source(source),
                    _ => error(ErrorKind::Unreachable, detail),
                }
            }
        }
    }
}

fn distrusted(distrust: Distrust, whom: &str) -> Error {
    let refused = |detail: String| Error::new(ErrorKind::Unauthorized, "dial", detail);
    match distrust {
        Distrust::OtherKey(found) => refused(format!("{whom} proved another key: it is {found}"))
            .mend("was the peer set up anew? Then its id, after /p2p/ in the address, changed as well"),
        Distrust::NotAdmitted(found) => {
            refused(format!("{found} at {whom} is not admitted here")).mend(ADD_MEMBER)
        }
        Distrust::NoPeer => refused(format!("{whom} has no ed25519 key")),
        Distrust::Oneself => oneself(whom),
    }
}

/// A dial of this very node.
pub(crate) fn oneself(whom: &str) -> Error {
    Error::new(ErrorKind::Config, "dial", format!("{whom} is this node itself"))
}

fn refused(reason: Reason, text: &str, whom: &str) -> Error {
    let kind = match reason {
        Reason::Network | Reason::NotAdmitted | Reason::Disconnected => ErrorKind::Unauthorized,
        Reason::Version => ErrorKind::Unsupported,
        Reason::Busy | Reason::Duplicate => ErrorKind::Busy,
        Reason::Goodbye | Reason::Malformed | Reason::Stalled => ErrorKind::Unreachable,
    };
    let why = if text.is_empty() { reason.text() } else { text };
    let error = Error::new(kind, "dial", format!("{whom} refused: {why}"));
    match reason {
        Reason::Network => error.mend("compare `network` under [node] at both ends"),
        Reason::NotAdmitted => error.mend("the other end must name this peer's id in its `members`"),
        Reason::Version => error.mend(SAME_VERSION),
        Reason::Disconnected => error.mend("the other end ended the link; it can connect to this one again"),
        _ => error,
    }
}

/// A peer that may not be dialled from here.
pub(crate) fn not_admitted(peer: &PeerId) -> Error {
    Error::new(ErrorKind::Unauthorized, "dial", format!("{peer} is not admitted here")).mend(ADD_MEMBER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_either_end_can_mend_says_how() {
        let refusals = [Reason::Network, Reason::NotAdmitted, Reason::Version, Reason::Disconnected];
        let mut faults: Vec<_> =
            refusals.into_iter().map(|reason| DialFault::Refused(reason, String::new())).collect();
        faults.push(DialFault::Handshake(Fault::Broken(Broken::Version(2))));
        faults.push(DialFault::Full);
        for fault in faults {
            let told = fault.clone().into_error("a peer");
            assert!(told.hint().is_some(), "{fault:?}: {told}");
        }
    }
}

//! What can go wrong on this wire, and the one translation to the contract's error.

use std::sync::Arc;
use std::time::Duration;

use carrick_core::links::Refusal;
use carrick_core::links::frames::{Broken, Fault};
use carrick_core::{Error, ErrorKind};
use quinn::{ConnectError, ConnectionError, ReadError, WriteError};

use crate::io::code;
use crate::tls::Distrust;
use crate::wire::{Reason, clean};

/// The alert `access_denied`: a verifier said no.
const ACCESS_DENIED: u8 = 49;

/// What a lost connection means for the frames on it.
pub(crate) fn of_connection(error: ConnectionError) -> Fault {
    Fault::Lost(Arc::new(error))
}

/// What an error of writing means.
pub(crate) fn of_write(error: WriteError) -> Fault {
    match error {
        WriteError::ConnectionLost(error) => of_connection(error),
        WriteError::Stopped(_) | WriteError::ClosedStream | WriteError::ZeroRttRejected => Fault::Stopped,
    }
}

/// What an error of reading means.
pub(crate) fn of_read(error: ReadError) -> Fault {
    match error {
        ReadError::ConnectionLost(error) => of_connection(error),
        ReadError::Reset(why) if why == code(Reason::Stalled) => Fault::GivenUp,
        _ => Fault::Stopped,
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
            Fault::Lost(error) => match error.downcast_ref::<ConnectionError>() {
                Some(error) => Self::lost(error.clone()),
                None => Self::Handshake(Fault::Lost(error)),
            },
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
            _ => Self::Handshake(of_connection(error)),
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
            Self::Refused(reason, text) => Refusal::There(reason, text).into_error(whom),
            Self::Full => Refusal::Full.into_error(whom),
            Self::Handshake(fault) => {
                let detail = format!("{whom} broke the handshake off: {fault}");
                match fault {
                    Fault::Broken(Broken::Version(_)) => {
                        let error = error(ErrorKind::Unsupported, detail);
                        Reason::Version.mend().into_iter().fold(error, Error::mend)
                    }
                    Fault::Lost(source) => error(ErrorKind::Unreachable, detail).from_source(source),
                    _ => error(ErrorKind::Unreachable, detail),
                }
            }
        }
    }
}

fn distrusted(distrust: Distrust, whom: &str) -> Error {
    let refusal = match distrust {
        Distrust::OtherKey(found) => Refusal::OtherKey(found),
        Distrust::NotAdmitted(found) => Refusal::NotAdmitted(found),
        Distrust::Oneself => Refusal::Oneself,
        Distrust::NoPeer => {
            return Error::new(ErrorKind::Unauthorized, "dial", format!("{whom} has no ed25519 key"));
        }
    };
    refusal.into_error(whom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_of_another_version_says_what_mends_it() {
        let told = DialFault::Handshake(Fault::Broken(Broken::Version(2))).into_error("a peer");
        assert!(told.hint().is_some(), "{told}");
    }
}

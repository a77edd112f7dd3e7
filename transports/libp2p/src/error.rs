//! The library's errors in the contract's words.

use std::io;

use carrick_core::links::Refusal;
use libp2p::TransportError;
use libp2p::core::transport::timeout::TransportTimeoutError;
use libp2p::core::upgrade::NegotiationError;
use libp2p::noise;
use libp2p::pnet::PnetError;
use libp2p::swarm::DialError;

use crate::admission::NotAdmitted;

/// Why a dial failed, in the contract's words.
pub(crate) fn refusal(error: DialError) -> Refusal {
    match error {
        DialError::LocalPeerId { .. } => Refusal::Oneself,
        DialError::WrongPeerId { obtained, .. } => Refusal::OtherKey(obtained),
        DialError::Denied { cause } => match cause.downcast::<NotAdmitted>() {
            Ok(NotAdmitted(peer)) => Refusal::NotAdmitted(peer),
            Err(_) => Refusal::Full,
        },
        DialError::NoAddresses => Refusal::Unreachable("it has no address that can be dialled".into()),
        DialError::Transport(failed) => {
            let why: Vec<_> =
                failed.iter().map(|(addr, error)| format!("{addr}: {}", innermost(error))).collect();
            match failed.iter().any(|(_, error)| is_garbled(error)) {
                true => Refusal::Handshake(why.join("; ")),
                false => Refusal::Unreachable(why.join("; ")),
            }
        }
        DialError::Aborted | DialError::DialPeerConditionFalse(_) => {
            Refusal::Unreachable("the dial was given up".into())
        }
    }
}

/// Whether a dial may have failed because the two do not understand each other: what was said was garbage at one end, which
/// broke off, or waits for more of it.
fn is_garbled(error: &TransportError<io::Error>) -> bool {
    let late = TransportTimeoutError::<io::Error>::Timeout.to_string();
    use io::ErrorKind::{ConnectionReset, InvalidData, UnexpectedEof};
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        let broke_off = error
            .downcast_ref::<io::Error>()
            .is_some_and(|error| matches!(error.kind(), ConnectionReset | InvalidData | UnexpectedEof));
        let garbage = error.is::<noise::Error>() || error.is::<NegotiationError>() || error.is::<PnetError>();
        if broke_off || garbage || error.to_string() == late {
            return true;
        }
        source = error.source();
    }
    false
}

/// What happened, without what was done when it did.
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

//! Why a link is refused or ended, in one table.

use std::io;

use libp2p_identity::PeerId;

use crate::{Error, ErrorKind, Misdeed};

/// What to do about a peer that is not admitted here, unless it is banned.
const ADD_MEMBER: &str = "add its id to `members` under [node]; a ban passes by itself";

/// Why one end refuses a link or ends it. The number is what a wire carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u8)]
pub enum Reason {
    /// The node closes.
    Goodbye = 0,
    /// It speaks another version of the protocol.
    Version = 1,
    /// It is of another network.
    Network = 2,
    /// It is not a member, or banned.
    NotAdmitted = 3,
    /// All connections are taken.
    Busy = 4,
    /// There is a link between the two already, and that one stays.
    Duplicate = 5,
    /// It broke the wire format.
    Malformed = 6,
    /// The far end's user ended the link; it is not to be dialled again by itself.
    Disconnected = 7,
    /// It did not read what it must, or began something and did not go on.
    Stalled = 8,
}

impl Reason {
    const ALL: [Self; 9] = [
        Self::Goodbye,
        Self::Version,
        Self::Network,
        Self::NotAdmitted,
        Self::Busy,
        Self::Duplicate,
        Self::Malformed,
        Self::Disconnected,
        Self::Stalled,
    ];

    /// The reason behind a number; one that a later version added counts as [`Reason::Goodbye`].
    pub fn from_code(code: u64) -> Self {
        Self::ALL.into_iter().find(|known| *known as u64 == code).unwrap_or(Self::Goodbye)
    }

    /// In words, for the far end and for logs.
    pub fn text(self) -> &'static str {
        match self {
            Self::Goodbye => "the node closes",
            Self::Version => "it speaks another version of the protocol",
            Self::Network => "it belongs to another network",
            Self::NotAdmitted => "this peer is not admitted",
            Self::Busy => "all its connections are taken",
            Self::Duplicate => "there is a connection already",
            Self::Malformed => "a frame broke the wire format",
            Self::Disconnected => "the link was ended by its user",
            Self::Stalled => "nothing was read for too long",
        }
    }

    /// The reason that a far end gives, which is no word against itself: what it thinks of us is a goodbye.
    pub fn told(self) -> Self {
        if self.misdeed().is_some() { Self::Goodbye } else { self }
    }

    /// What the far end did wrong, where we end a link for this reason.
    pub fn misdeed(self) -> Option<Misdeed> {
        match self {
            Self::Malformed => Some(Misdeed::Malformed),
            Self::Stalled => Some(Misdeed::Stalled),
            _ => None,
        }
    }

    /// What a person can do about it, where either end can mend it.
    pub fn mend(self) -> Option<&'static str> {
        match self {
            Self::Network => Some("compare `network` under [node] at both ends"),
            Self::NotAdmitted => Some("the other end must name this peer's id in its `members`"),
            Self::Version => Some("run the same version of this program at both ends"),
            Self::Disconnected => Some("the other end ended the link; it can connect to this one again"),
            _ => None,
        }
    }

    fn kind(self) -> ErrorKind {
        match self {
            Self::Network | Self::NotAdmitted | Self::Disconnected => ErrorKind::Unauthorized,
            Self::Version => ErrorKind::Unsupported,
            Self::Busy | Self::Duplicate => ErrorKind::Busy,
            Self::Goodbye | Self::Malformed | Self::Stalled => ErrorKind::Unreachable,
        }
    }
}

/// A connection that is gone said nothing more.
impl From<io::Error> for Reason {
    fn from(_: io::Error) -> Self {
        Self::Goodbye
    }
}

/// Why there is no link to a peer that was dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// It is the node itself.
    Oneself,
    /// Somebody else answered than the one that was dialled.
    OtherKey(PeerId),
    /// It is not admitted here.
    NotAdmitted(PeerId),
    /// All connections of this node are taken.
    Full,
    /// The far end refused, in its own words or none.
    There(Reason, String),
    /// It did not answer, or broke off; and what happened.
    Unreachable(String),
    /// The two did not come to terms: somebody is there that does not understand, or nobody; and what happened.
    Handshake(String),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Unreachable(error.to_string())
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self::There(reason, String::new())
    }
}

impl Refusal {
    /// The contract's error: its kind, and what a person can do about it. `whom` is who was dialled.
    pub fn into_error(self, whom: &str) -> Error {
        let error = |kind, detail: String| Error::new(kind, "dial", detail);
        match self {
            Self::Oneself => error(ErrorKind::Config, format!("{whom} is this node itself")),
            Self::OtherKey(found) => {
                error(ErrorKind::Unauthorized, format!("{whom} proved another key: it is {found}")).mend(
                    "was the peer set up anew? Then its id, after /p2p/ in the address, changed as well",
                )
            }
            Self::NotAdmitted(found) => {
                error(ErrorKind::Unauthorized, format!("{found} is not admitted here")).mend(ADD_MEMBER)
            }
            Self::Full => error(ErrorKind::Busy, "all connections of this node are taken".into())
                .mend("raise `connections` under [node.limits], or disconnect somebody"),
            Self::There(reason, text) => {
                let why = if text.is_empty() { reason.text() } else { &text };
                let error = error(reason.kind(), format!("{whom} refused: {why}"));
                reason.mend().into_iter().fold(error, Error::mend)
            }
            Self::Unreachable(why) => error(ErrorKind::Unreachable, format!("{whom}: {why}"))
                .mend("is the peer running, and does a firewall let it through?"),
            Self::Handshake(why) => {
                error(ErrorKind::Unreachable, format!("{whom}: the handshake failed: {why}"))
                    .mend("can it be reached, and is it a peer of the same transport?")
            }
        }
    }

    /// How much it tells: of several addresses the most telling failure is reported.
    pub fn weight(&self) -> u8 {
        match self {
            Self::Oneself | Self::OtherKey(_) | Self::NotAdmitted(_) => 3,
            Self::There(..) | Self::Full | Self::Handshake(_) => 2,
            Self::Unreachable(_) => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_either_end_can_mend_says_how() {
        let peer = crate::Keypair::generate_ed25519().public().to_peer_id();
        let refusals = [Reason::Network, Reason::NotAdmitted, Reason::Version, Reason::Disconnected];
        let mut refusals: Vec<_> =
            refusals.into_iter().map(|reason| Refusal::There(reason, String::new())).collect();
        refusals.extend([Refusal::OtherKey(peer), Refusal::NotAdmitted(peer), Refusal::Full]);
        refusals.extend([Refusal::Unreachable, Refusal::Handshake].map(|refusal| refusal(String::new())));
        for refusal in refusals {
            let told = refusal.clone().into_error("a peer");
            assert!(told.hint().is_some(), "{refusal:?}: {told}");
        }
    }

    #[test]
    fn every_reason_has_its_number_and_an_unknown_one_is_a_goodbye() {
        for reason in Reason::ALL {
            assert_eq!(Reason::from_code(reason as u64), reason);
        }
        assert_eq!(Reason::from_code(200), Reason::Goodbye);
    }
}

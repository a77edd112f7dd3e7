//! The first frame of each end: a hello, or why not.

use bytes::Bytes;
use carrick_core::{Limits, NetworkId, Topic};
use serde::{Deserialize, Serialize};

use super::count::Count;
use super::{Broken, Kind, MAX_TEXT_BYTES, VERSION, cbor, first_look, frame, read_cbor};

/// Opens a link: the first frame of each end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hello {
    /// [`VERSION`].
    pub(crate) v: u64,
    /// The sender's own signed record.
    #[serde(with = "serde_bytes")]
    pub(crate) record: Vec<u8>,
    /// The topics the sender takes part in, sorted.
    pub(crate) topics: Vec<Topic>,
    /// The network; of another one nothing is taken.
    pub(crate) network: NetworkId,
    /// Names the running instance: another one means that the peer was started again.
    pub(crate) session: u64,
}

impl Hello {
    /// The whole frame.
    pub(crate) fn encode(&self) -> Bytes {
        frame(Kind::Hello, &cbor(self))
    }

    /// Reads a body.
    pub(crate) fn decode(body: &[u8], limits: &Limits) -> Result<Self, Broken> {
        // Alone and first: another version may have other fields, and is refused as what it is.
        #[derive(Deserialize)]
        struct Version {
            v: u64,
        }
        match serde_ipld_dagcbor::from_slice(body) {
            Ok(Version { v: VERSION }) => {}
            Ok(Version { v }) => return Err(Broken::Version(v)),
            Err(_) => return Err(Broken::Body(Kind::Hello, "no version")),
        }
        #[derive(Deserialize)]
        struct Lists {
            topics: Count,
        }
        let lists: Lists = first_look(Kind::Hello, body)?;
        if lists.topics.0 > limits.topics_per_peer {
            return Err(Broken::Body(Kind::Hello, "too many topics"));
        }
        let hello: Self = read_cbor(Kind::Hello, body)?;
        if !hello.topics.is_sorted_by(|a, b| a < b) {
            return Err(Broken::Body(Kind::Hello, "topics not in order"));
        }
        Ok(hello)
    }
}

/// Why a link was refused or ended. The number is the code of a [`Refused`] frame and of CONNECTION_CLOSE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Reason {
    /// The node closes.
    Goodbye = 0,
    /// It speaks another version of the hello.
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
    /// It did not read what it must.
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
    pub(crate) fn from_code(code: u64) -> Self {
        Self::ALL.into_iter().find(|known| *known as u64 == code).unwrap_or(Self::Goodbye)
    }

    /// In words, for the far end and for logs.
    pub(crate) fn text(self) -> &'static str {
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
}

/// Instead of a hello: why not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refused {
    /// A [`Reason`] by number.
    pub(crate) code: u64,
    /// For a person; at most 256 bytes.
    pub(crate) text: String,
}

impl Refused {
    /// A refusal in our own words.
    pub(crate) fn new(reason: Reason) -> Self {
        Self { code: reason as u64, text: reason.text().into() }
    }

    /// The whole frame.
    pub(crate) fn encode(&self) -> Bytes {
        frame(Kind::Refused, &cbor(self))
    }

    /// Reads a body. The text is cleaned: it ends up in errors and logs.
    pub(crate) fn decode(body: &[u8]) -> Result<Self, Broken> {
        let refused: Self = read_cbor(Kind::Refused, body)?;
        Ok(Self { text: clean(&refused.text), ..refused })
    }
}

/// Text of the far end, without what could move a cursor, cut to a line.
pub(crate) fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_TEXT_BYTES).collect()
}

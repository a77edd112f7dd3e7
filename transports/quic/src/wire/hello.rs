//! The first frame of each end: a hello, or why not.

use bytes::Bytes;
use carrick_core::links::Reason;
use carrick_core::links::frames::{ListLength, encode, first_look, read_canonical};
use carrick_core::{Limits, NetworkId, Topic};
use serde::{Deserialize, Serialize};

use super::{Broken, Kind, MAX_TEXT_BYTES, VERSION, frame};

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
        frame(Kind::Hello, &encode(self))
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
            Err(_) => return Err(Broken::body(Kind::Hello, "no version")),
        }
        #[derive(Deserialize)]
        struct Lists {
            topics: ListLength,
        }
        let lists: Lists = first_look(Kind::Hello, body)?;
        if lists.topics.0 > limits.topics_per_peer {
            return Err(Broken::body(Kind::Hello, "too many topics"));
        }
        let hello: Self = read_canonical(Kind::Hello, body)?;
        if !hello.topics.is_sorted_by(|a, b| a < b) {
            return Err(Broken::body(Kind::Hello, "topics not in order"));
        }
        Ok(hello)
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
        frame(Kind::Refused, &encode(self))
    }

    /// Reads a body. The text is cleaned: it ends up in errors and logs.
    pub(crate) fn decode(body: &[u8]) -> Result<Self, Broken> {
        let refused: Self = read_canonical(Kind::Refused, body)?;
        Ok(Self { text: clean(&refused.text), ..refused })
    }
}

/// Text of the far end, without what could move a cursor, cut to a line.
pub(crate) fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_TEXT_BYTES).collect()
}

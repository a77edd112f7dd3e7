//! What nodes tell each other of how far they are.

use carrick_core::{Bytes, Cid, Error, ErrorKind, Result, at_most};
use serde::{Deserialize, Serialize};

use crate::place::digest;
use crate::version::{later, unread};
use carrick_core::limits::MAX_PARENTS;

/// The version of the format.
const VERSION: u64 = 1;

/// The heads of a node's ledger, as they travel: DAG-CBOR, the payload of a message on the topic of the heads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Heads {
    v: u64,
    /// The highest of them.
    #[serde(deserialize_with = "at_most::<MAX_PARENTS, Cid, _, _>")]
    pub(crate) heads: Vec<Cid>,
    /// How many entries the ledger has.
    pub(crate) entries: u64,
    /// The page that stands for all of them, or for all but the last ones; none where they are few.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pages: Option<Cid>,
}

impl Heads {
    pub(crate) fn new(heads: Vec<Cid>, entries: u64) -> Self {
        Self { v: VERSION, heads, entries, pages: None }
    }

    /// With the pages of the ledger.
    pub(crate) fn listed_on(self, pages: Option<Cid>) -> Self {
        Self { pages, ..self }
    }

    pub(crate) fn encode(&self) -> Result<Bytes> {
        let encoded = serde_ipld_dagcbor::to_vec(self)
            .map_err(|error| Error::new(ErrorKind::Unexpected, "heads", error.to_string()))?;
        Ok(encoded.into())
    }

    /// Reads what somebody sent. The length of a message bounds it.
    ///
    /// # Errors
    /// `Rejected` for what is none, `Unsupported` for one of a later version.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let wrong = |why: String| Error::new(ErrorKind::Rejected, "heads", why);
        let heads: Self =
            serde_ipld_dagcbor::from_slice(bytes).map_err(|error| unread(bytes, VERSION, "heads", error))?;
        if heads.v != VERSION {
            return Err(later("heads", heads.v));
        }
        if let Some(head) = heads.heads.iter().chain(&heads.pages).find(|named| digest(named).is_none()) {
            return Err(wrong(format!("{head} is neither a message nor a page")));
        }
        Ok(heads)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::cid;

    #[test]
    fn what_is_written_is_read_and_else_it_is_refused() {
        let heads = Heads::new(vec![cid(&[1; 32]), cid(&[2; 32])], 7).listed_on(Some(cid(&[3; 32])));
        let encoded = heads.encode().expect("encodes");
        assert_eq!(Heads::decode(&encoded).expect("reads"), heads);
        for cut in 0..encoded.len() {
            assert!(Heads::decode(&encoded[..cut]).is_err(), "{cut}");
        }
        let kind =
            |heads: &Heads| Heads::decode(&heads.encode().expect("encodes")).expect_err("refused").kind();
        assert_eq!(kind(&Heads { v: 2, ..heads.clone() }), ErrorKind::Unsupported);
        let otherwise = ipld_core::ipld!({ "v": 2, "heads": "unheard of" });
        let otherwise = serde_ipld_dagcbor::to_vec(&otherwise).expect("encodes");
        assert_eq!(Heads::decode(&otherwise).expect_err("later").kind(), ErrorKind::Unsupported);
        let many = (0..=MAX_PARENTS as u8).map(|n| cid(&[n; 32])).collect();
        assert_eq!(kind(&Heads::new(many, 65)), ErrorKind::Rejected);
        let no_message = Cid::new_v1(carrick_core::RAW, *heads.heads[0].hash());
        assert_eq!(kind(&Heads::new(vec![no_message], 1)), ErrorKind::Rejected);
    }
}

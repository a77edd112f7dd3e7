//! What a block links to.

use std::fmt;

use cid::Cid;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::MAX_LINKS;
use super::node::{DAG_PB, PbNode};
use crate::limits::MAX_PARENTS;
use crate::types::at_most;
use crate::{Block, DAG_CBOR, Error, ErrorKind, Follow, RAW, Result};

/// Every link of a block, in its order, repeats included; none for raw bytes.
///
/// # Errors
/// `Unsupported` for a codec other than raw, dag-pb and dag-cbor: to call it a leaf would lose what hangs under
/// it. `TooLarge` above [`MAX_LINKS`]; `Integrity` when it is malformed, nests more than 128 deep or is not strict
/// dag-cbor.
pub fn links(block: &Block) -> Result<Vec<Cid>> {
    match block.cid().codec() {
        RAW => Ok(vec![]),
        DAG_PB => Ok(PbNode::decode(block)?.links.into_iter().map(|link| link.cid).collect()),
        DAG_CBOR => cbor_links(block),
        codec => {
            let detail = format!("{}: the links of codec {codec:#x} are not known", block.cid());
            Err(Error::new(ErrorKind::Unsupported, "links", detail))
        }
    }
}

/// The messages that a message follows; none when the block is no message.
///
/// Only the form is looked at, not signature and network: that is the gate's part.
pub fn parents(block: &Block) -> Vec<Cid> {
    /// The fields that make an envelope of a map; `serde` skips the others.
    #[derive(serde::Deserialize)]
    struct Envelope {
        #[serde(rename = "v")]
        _version: u64,
        #[serde(rename = "topic")]
        _topic: de::IgnoredAny,
        #[serde(rename = "author")]
        _author: de::IgnoredAny,
        #[serde(deserialize_with = "at_most::<MAX_PARENTS, Cid, _, _>")]
        parents: Vec<Cid>,
    }
    if block.cid().codec() != DAG_CBOR {
        return vec![];
    }
    serde_ipld_dagcbor::from_slice::<Envelope>(block.bytes())
        .map_or_else(|_| vec![], |envelope| envelope.parents)
}

/// The links of a block that a walk follows.
///
/// # Errors
/// As [`links`]; [`Follow::Parents`] has none.
pub fn follow(block: &Block, follow: Follow) -> Result<Vec<Cid>> {
    match follow {
        Follow::All => links(block),
        Follow::Parents => Ok(parents(block)),
    }
}

fn cbor_links(block: &Block) -> Result<Vec<Cid>> {
    let mut links = Vec::new();
    let mut decoder = serde_ipld_dagcbor::de::Deserializer::from_slice(block.bytes());
    let decoded = Collector(&mut links).deserialize(&mut decoder).and_then(|()| decoder.end());
    if links.len() > MAX_LINKS {
        let detail = format!("{} has more than {MAX_LINKS} links", block.cid());
        return Err(Error::new(ErrorKind::TooLarge, "links", detail));
    }
    decoded.map_err(|source| {
        let detail = format!("{} is malformed: no dag-cbor", block.cid());
        Error::new(ErrorKind::Integrity, "links", detail).from_source(source)
    })?;
    Ok(links)
}

/// Takes a link as its bytes, without a copy of them.
struct InBytes<'a>(&'a mut Vec<Cid>);

impl Visitor<'_> for InBytes<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a CID")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<(), E> {
        let cid = Cid::try_from(bytes).map_err(E::custom)?;
        self.0.push(cid);
        if self.0.len() > MAX_LINKS || cid.encoded_len() != bytes.len() {
            return Err(E::custom("too many links, or bytes after a CID"));
        }
        Ok(())
    }
}

/// Collects links without building the value around them, which would take many times the memory of the block.
struct Collector<'a>(&'a mut Vec<Cid>);

impl<'de> DeserializeSeed<'de> for Collector<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, decoder: D) -> Result<(), D::Error> {
        decoder.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Collector<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("dag-cbor")
    }

    /// The decoder shows a CID, and nothing else, as a newtype of bytes.
    fn visit_newtype_struct<D: Deserializer<'de>>(self, decoder: D) -> Result<(), D::Error> {
        decoder.deserialize_bytes(InBytes(self.0))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Collector(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while entries.next_key::<de::IgnoredAny>()?.is_some() {
            entries.next_value_seed(Collector(self.0))?;
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i128<E>(self, _: i128) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<(), E> {
        Ok(())
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }
}

//! Bodies that are maps of canonical dag-cbor.

use std::fmt;

use serde::Serialize;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, IgnoredAny, SeqAccess, Visitor};

use super::{Broken, FrameKind};

/// A body of ours. The value is a map of text, bytes, numbers and links, which always encodes.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    serde_ipld_dagcbor::to_vec(value).expect("maps of text, bytes, numbers and links always encode")
}

/// Reads some of the fields of a body; others may be there too, and the form need not be canonical.
///
/// # Errors
/// `Body`.
pub fn first_look<K: FrameKind, T: DeserializeOwned>(kind: K, body: &[u8]) -> Result<T, Broken> {
    serde_ipld_dagcbor::from_slice(body)
        .map_err(|_| Broken::body(kind, "no map of the fields that belong there"))
}

/// Reads a canonical body: whatever encodes to other bytes than those that came is refused.
///
/// # Errors
/// `Body`.
pub fn read_canonical<K: FrameKind, T: Serialize + DeserializeOwned>(
    kind: K,
    body: &[u8],
) -> Result<T, Broken> {
    let value: T = first_look(kind, body)?;
    if encode(&value) == body { Ok(value) } else { Err(Broken::body(kind, "not in canonical form")) }
}

/// The number of items in a list, none of which is kept: how long a list is, before room is made for it.
#[derive(Clone, Copy, Debug)]
pub struct ListLength(pub usize);

impl<'de> Deserialize<'de> for ListLength {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_seq(Counting).map(Self)
    }
}

struct Counting;

impl<'de> Visitor<'de> for Counting {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<usize, A::Error> {
        let mut count = 0;
        while items.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(count)
    }
}

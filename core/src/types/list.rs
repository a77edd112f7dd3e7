//! Lists that strangers write.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

/// Reads at most so many items: `#[serde(deserialize_with = "at_most::<MAX, Item, _, _>")]`.
///
/// For lists of strangers: by itself `serde` takes up to 1 MiB for a list as long as it says it is, before an item of it is read.
///
/// # Errors
/// When there are more, or one of them cannot be read.
pub fn at_most<'de, const MOST: usize, T, L, D>(from: D) -> Result<L, D::Error>
where
    T: Deserialize<'de>,
    L: From<Vec<T>>,
    D: Deserializer<'de>,
{
    from.deserialize_seq(AtMost::<MOST, T>(PhantomData)).map(L::from)
}

struct AtMost<const MOST: usize, T>(PhantomData<T>);

impl<'de, const MOST: usize, T: Deserialize<'de>> Visitor<'de> for AtMost<MOST, T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MOST}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            if list.len() == MOST {
                return Err(A::Error::custom(format_args!("more than {MOST} in a list")));
            }
            list.push(item);
        }
        Ok(list)
    }
}

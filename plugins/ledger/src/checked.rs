//! What is remembered of a page whose entries were all checked, so that it need not be read again.

use std::collections::BTreeSet;

use carrick_core::{Bytes, Result, Store};

use crate::place::{CLOCK, Digest, PLACE, Place};
use crate::saved::{Saved, Shelf};

/// Digests that are remembered of a page at most; one with more is checked each time.
const MOST: usize = 2_048;

/// A page that was checked, and what it means to the pages behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checked {
    pub(crate) entries: u64,
    /// Where its last entry stands.
    pub(crate) last: Place,
    /// Those of its entries that no other one of it follows.
    pub(crate) tips: BTreeSet<Digest>,
    /// Entries before it that some of its own follow.
    pub(crate) follows: BTreeSet<Digest>,
}

impl Checked {
    /// The entries, the place of the last one, the number of tips, tips and followed; `None` where it is too long.
    fn encode(&self) -> Option<Bytes> {
        if self.tips.len() + self.follows.len() > MOST {
            return None;
        }
        let tips = self.tips.len() as u64;
        let mut bytes =
            [&self.entries.to_be_bytes()[..], &self.last.to_bytes(), &tips.to_be_bytes()].concat();
        bytes.extend(self.tips.iter().chain(&self.follows).flatten());
        Some(bytes.into())
    }

    /// `None` for what is none: then the page is checked again.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (entries, bytes) = bytes.split_first_chunk::<CLOCK>()?;
        let (last, bytes) = bytes.split_first_chunk::<PLACE>()?;
        let (tips, bytes) = bytes.split_first_chunk::<CLOCK>()?;
        let (digests, rest) = bytes.as_chunks::<{ size_of::<Digest>() }>();
        let (tips, follows) = digests.split_at_checked(usize::try_from(u64::from_be_bytes(*tips)).ok()?)?;
        let set = |digests: &[Digest]| digests.iter().copied().collect();
        let (entries, last) = (u64::from_be_bytes(*entries), Place::from_bytes(last));
        rest.is_empty().then(|| Self { entries, last, tips: set(tips), follows: set(follows) })
    }
}

impl Shelf {
    /// What is remembered of a page that was checked.
    pub(crate) async fn checked(&self, store: &dyn Store, page: &Digest) -> Result<Option<Checked>> {
        let checked = store.meta(&self.key("checked", page)).await?;
        Ok(checked.and_then(|checked| Checked::decode(&checked)))
    }

    /// Remembers pages that were checked, those of them that are saved; with `None`, that one was not.
    pub(crate) async fn note_checked(
        &self,
        store: &dyn Store,
        saved: &Saved,
        pages: impl IntoIterator<Item = (Digest, Option<Checked>)>,
    ) -> Result<()> {
        let pages = pages.into_iter().filter(|(page, _)| saved.lists(page));
        let keys = pages
            .map(|(page, checked)| (self.key("checked", &page), checked.as_ref().and_then(Checked::encode)));
        let keys: Vec<_> = keys.collect();
        match keys.is_empty() {
            true => Ok(()),
            false => store.set_meta(&keys).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(tips: u16, follows: u16) -> Checked {
        let digests = |count: u16| {
            (0..count).map(|n| {
                let mut digest = [7; 32];
                digest[..2].copy_from_slice(&n.to_be_bytes());
                digest
            })
        };
        let last = Place::of(9, [1; 32]);
        Checked { entries: 600, last, tips: digests(tips).collect(), follows: digests(follows).collect() }
    }

    #[test]
    fn what_is_written_is_read_and_else_it_is_checked_again() {
        for checked in [checked(0, 0), checked(1, 3), checked(1_024, 1_024)] {
            let bytes = checked.encode().expect("short");
            assert_eq!(Checked::decode(&bytes), Some(checked));
            assert_eq!(Checked::decode(&bytes[..bytes.len() - 1]), None);
        }
        assert_eq!(Checked::decode(b""), None);
        assert_eq!(checked(1_024, 1_025).encode(), None);
    }
}

//! The pages of a ledger: its order as a tree of blocks, which other nodes read to learn what they lack.
//!
//! Where a page ends depends on the entries in it: nodes that have the same entries have the same pages but for the longest
//! ones, and pages that differ are those in which entries differ.

use carrick_core::{Block, Cid, DAG_CBOR, Error, ErrorKind, Result, at_most};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::place::{Digest, Place, cid, digest};
use crate::version::{later, unread};

/// The version of the format.
const VERSION: u64 = 1;
/// Entries or pages that a page lists at most: in the smallest block that a node may be configured to take.
pub(crate) const MOST_ENTRIES: usize = 1_024;
const MOST_PAGES: usize = 512;
/// Of so many digests one ends a page.
const ONE_IN: u16 = 512;
/// Levels of pages at most: for more entries than there are.
const DEEPEST: u8 = 8;

/// A page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    /// Entries in their order.
    Entries(Vec<Place>),
    /// Pages in the order of their entries, and how many levels there are under this one, from 1.
    Pages(u8, Vec<PageRef>),
}

/// A page as another one lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageRef {
    pub(crate) page: Digest,
    /// How many entries there are in it and under it.
    pub(crate) entries: u64,
    /// The first of them.
    pub(crate) first: Place,
}

/// A page as it is written: DAG-CBOR.
#[derive(Serialize, Deserialize)]
struct Wire {
    v: u64,
    page: Body,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Body {
    Entries(Listed),
    Pages(Levels),
}

/// How many levels there are under it, and the pages of the next one.
#[derive(Serialize, Deserialize)]
struct Levels(u8, #[serde(deserialize_with = "at_most::<MOST_PAGES, WireRef, _, _>")] Vec<WireRef>);

/// Digests without a gap between them, the clock of the first, and by how much it rises to each of the others.
#[derive(Serialize, Deserialize)]
struct Listed(ByteBuf, #[serde(deserialize_with = "at_most::<MOST_ENTRIES, u64, _, _>")] Vec<u64>);

/// The page, its entries, and the clock and digest of the first.
#[derive(Serialize, Deserialize)]
struct WireRef(Cid, u64, u64, ByteBuf);

/// Whether what is named so stands at the end of its page.
pub(crate) fn ends_page(digest: &Digest) -> bool {
    let [.., high, low] = *digest;
    u16::from_be_bytes([high, low]) % ONE_IN == 0
}

impl Page {
    /// As a block.
    pub(crate) fn encode(&self) -> Result<Block> {
        let body = match self {
            Self::Entries(places) => {
                let digests = places.iter().flat_map(|place| *place.digest()).collect::<Vec<u8>>();
                let before = [0].into_iter().chain(places.iter().map(Place::clock));
                let rises = places.iter().zip(before).map(|(place, before)| place.clock() - before);
                Body::Entries(Listed(ByteBuf::from(digests), rises.collect()))
            }
            Self::Pages(level, pages) => {
                Body::Pages(Levels(*level, pages.iter().map(WireRef::from).collect()))
            }
        };
        let bytes = serde_ipld_dagcbor::to_vec(&Wire { v: VERSION, page: body })
            .map_err(|error| Error::new(ErrorKind::Unexpected, "page", error.to_string()))?;
        Ok(Block::new(DAG_CBOR, bytes))
    }

    /// Reads what somebody sent. The size of a block bounds it.
    ///
    /// # Errors
    /// `Rejected` for what is no page, `Unsupported` for one of a later version.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let Wire { v, page: body } =
            serde_ipld_dagcbor::from_slice(bytes).map_err(|error| unread(bytes, VERSION, "page", error))?;
        if v != VERSION {
            return Err(later("page", v));
        }
        let page = match body {
            Body::Entries(listed) => {
                Self::Entries(listed.read().ok_or_else(|| wrong("its entries do not fit"))?)
            }
            Body::Pages(Levels(level, pages)) => {
                let pages: Option<Vec<PageRef>> = pages.into_iter().map(WireRef::read).collect();
                let fits = pages.filter(|pages| !pages.is_empty() && (1..=DEEPEST).contains(&level));
                Self::Pages(level, fits.ok_or_else(|| wrong("the pages in it do not fit"))?)
            }
        };
        let in_order = match &page {
            Self::Entries(places) => places.is_sorted_by(|one, next| one < next),
            Self::Pages(_, pages) => pages.is_sorted_by(|one, next| one.first < next.first),
        };
        if in_order { Ok(page) } else { Err(wrong("it is not in order")) }
    }
}

fn wrong(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::Rejected, "page", why.into())
}

impl Listed {
    fn read(self) -> Option<Vec<Place>> {
        let Self(digests, rises) = self;
        let (digests, rest) = digests.as_chunks::<{ size_of::<Digest>() }>();
        if !rest.is_empty() || digests.len() != rises.len() {
            return None;
        }
        let clocks = rises.into_iter().scan(0_u64, |clock, rise| {
            *clock = clock.checked_add(rise)?;
            Some(*clock)
        });
        let places: Vec<Place> =
            clocks.zip(digests).map(|(clock, digest)| Place::of(clock, *digest)).collect();
        (places.len() == digests.len()).then_some(places)
    }
}

impl WireRef {
    fn read(self) -> Option<PageRef> {
        let Self(page, entries, clock, first) = self;
        let first = Place::of(clock, first.into_vec().try_into().ok()?);
        Some(PageRef { page: digest(&page)?, entries, first })
    }
}

impl From<&PageRef> for WireRef {
    fn from(page: &PageRef) -> Self {
        let PageRef { page, entries, first } = page;
        Self(cid(page), *entries, first.clock(), ByteBuf::from(*first.digest()))
    }
}

/// The pages above these, level by level, up to the one that stands for all: its digest, and the new pages. Nothing where
/// there are none.
pub(crate) fn above(mut pages: Vec<PageRef>) -> Result<Option<(Digest, Vec<Block>)>> {
    let mut blocks = Vec::new();
    for level in 1.. {
        if pages.len() < 2 {
            break;
        }
        let next: Result<Vec<PageRef>> = groups(&pages)
            .map(|some| {
                let block = Page::Pages(level, some.to_vec()).encode()?;
                let page = digest(block.cid()).ok_or_else(|| wrong("its name is none"))?;
                let entries = some.iter().map(|page| page.entries).sum();
                blocks.push(block);
                Ok(PageRef { page, entries, first: some[0].first })
            })
            .collect();
        pages = next?;
    }
    Ok(pages.first().map(|root| (root.page, blocks)))
}

/// Cuts pages into groups, each but the last of two at least, so that a level is shorter than the one before.
fn groups(pages: &[PageRef]) -> impl Iterator<Item = &[PageRef]> {
    let mut rest = pages;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = (1..rest.len().min(MOST_PAGES)).find(|at| ends_page(&rest[*at].page));
        let cut = end.map_or(rest.len().min(MOST_PAGES), |end| end + 1);
        let (some, others) = rest.split_at(cut);
        rest = others;
        Some(some)
    })
}

#[cfg(test)]
mod tests {
    use carrick_core::cid_of;

    use super::*;

    fn places(from: u64, count: u64) -> Vec<Place> {
        (from..from + count)
            .map(|n| {
                Place::of(n / 3, *digest(&cid_of(DAG_CBOR, &n.to_be_bytes())).as_ref().expect("a digest"))
            })
            .collect()
    }

    fn sorted(mut places: Vec<Place>) -> Vec<Place> {
        places.sort_unstable();
        places
    }

    #[test]
    fn what_is_written_is_read_and_fits_into_the_smallest_block() {
        for page in [
            Page::Entries(vec![]),
            Page::Entries(sorted(places(1 << 40, MOST_ENTRIES as u64))),
            Page::Pages(
                1,
                sorted(places(1 << 60, MOST_PAGES as u64))
                    .into_iter()
                    .map(|first| PageRef { page: *first.digest(), entries: u64::MAX, first })
                    .collect(),
            ),
        ] {
            let block = page.encode().expect("encodes");
            assert_eq!(Page::decode(block.bytes()).expect("reads"), page);
            assert!(block.size() <= 64 << 10, "{}", block.size());
        }
    }

    #[test]
    fn an_entry_costs_a_joiner_little_more_than_its_digest() {
        let block = Page::Entries(sorted(places(1, 1_000))).encode().expect("encodes");
        assert!(block.size() < 34 * 1_000, "{}", block.size());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let refused =
            |page: Page| Page::decode(page.encode().expect("encodes").bytes()).expect_err("refused");
        let mut turned = sorted(places(1, 10));
        turned.swap(0, 1);
        assert_eq!(refused(Page::Entries(turned[..2].to_vec())).kind(), ErrorKind::Rejected);
        let mut twice = sorted(places(1, 2));
        twice[1] = twice[0];
        assert_eq!(refused(Page::Entries(twice)).kind(), ErrorKind::Rejected);
        assert_eq!(
            refused(Page::Entries(sorted(places(1, MOST_ENTRIES as u64 + 1)))).kind(),
            ErrorKind::Rejected
        );
        let later = Wire { v: 2, page: Body::Pages(Levels(1, vec![])) };
        let later = serde_ipld_dagcbor::to_vec(&later).expect("encodes");
        let otherwise = ipld_core::ipld!({ "v": 2, "page": "unheard of" });
        let otherwise = serde_ipld_dagcbor::to_vec(&otherwise).expect("encodes");
        for later in [later, otherwise] {
            assert_eq!(Page::decode(&later).expect_err("later").kind(), ErrorKind::Unsupported);
        }
        for odd in [
            Listed(ByteBuf::from([0; 33]), vec![1]),
            Listed(ByteBuf::from([0; 64]), vec![1]),
            Listed(ByteBuf::from([0; 64]), vec![1, u64::MAX]),
        ] {
            let odd = serde_ipld_dagcbor::to_vec(&Wire { v: 1, page: Body::Entries(odd) }).expect("encodes");
            assert_eq!(Page::decode(&odd).expect_err("odd").kind(), ErrorKind::Rejected);
        }
    }

    #[test]
    fn pages_end_in_one() {
        for count in [0, 1, 2, 3, 600, 5_000] {
            let pages: Vec<PageRef> = sorted(places(1, count))
                .into_iter()
                .map(|first| PageRef { page: *first.digest(), entries: 2, first })
                .collect();
            let Some((root, blocks)) = above(pages.clone()).expect("encodes") else {
                assert_eq!(count, 0);
                continue;
            };
            let (mut level, mut depth) = (vec![root], 0);
            while let Some(page) = blocks.iter().find(|block| digest(block.cid()) == level.first().copied()) {
                assert!(matches!(Page::decode(page.bytes()).expect("reads"), Page::Pages(..)));
                level = level
                    .iter()
                    .flat_map(|page| {
                        let block =
                            blocks.iter().find(|block| digest(block.cid()) == Some(*page)).expect("there");
                        let Page::Pages(_, pages) = Page::decode(block.bytes()).expect("reads") else {
                            panic!("a list of entries")
                        };
                        pages.into_iter().map(|page| page.page)
                    })
                    .collect();
                depth += 1;
            }
            assert!(depth <= 3, "{depth}");
            assert_eq!(level, pages.iter().map(|page| page.page).collect::<Vec<_>>());
        }
    }
}

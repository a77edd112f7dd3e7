//! The decoders of this crate, with good inputs and what each may take: for `tests/decoders.rs`, which tries them with
//! changed inputs. No part of the public interface.

use carrick_core::conformance::decoder::Decoder;
use carrick_core::{DAG_CBOR, cid_of};

use crate::heads::Heads;
use crate::index::Record;
use crate::page::{Page, PageRef};
use crate::place::{Place, cid, digest};

/// A payload that heads travel in.
const PAYLOAD: usize = 64 << 10;
/// A page, which is a block.
const PAGE: usize = 64 << 10;
/// A record with 64 parents, and more.
const RECORD: usize = 4 << 10;

/// All of them.
pub fn all() -> Vec<Decoder> {
    let decoder = |name, read: fn(&[u8]) -> bool, samples, longest, memory| Decoder {
        name,
        read,
        check: |_| (),
        samples,
        longest,
        memory,
    };
    let sample = |heads: u8| {
        let heads = (0..heads).map(|n| cid(&[n; 32])).collect();
        Heads::new(heads, 7).encode().expect("encodes").to_vec()
    };
    let entry = |parents: u8| {
        let parents = (0..parents).map(|n| Place::of(n.into(), [n; 32])).collect();
        Record { place: Place::of(9, [1; 32]), parents }.encode()
    };
    let place = |n: u16| {
        Place::of(n.into(), *digest(&cid_of(DAG_CBOR, &n.to_be_bytes())).as_ref().expect("a digest"))
    };
    let places =
        |count| Page::Entries((0..count).map(place).collect()).encode().expect("encodes").bytes().to_vec();
    let pages = || {
        let listed = |n| PageRef { page: *place(n).digest(), entries: 600, first: place(n) };
        Page::Pages(1, (0..9).map(listed).collect()).encode().expect("encodes").bytes().to_vec()
    };
    vec![
        decoder("heads", heads, vec![sample(0), sample(2), sample(64)], PAYLOAD, 4 * PAYLOAD),
        decoder("page", page, vec![places(0), places(600), pages()], PAGE, 8 * PAGE),
        decoder("record", record, vec![entry(0), entry(3)], RECORD, RECORD),
    ]
}

/// The heads of another node.
pub fn heads(bytes: &[u8]) -> bool {
    Heads::decode(bytes).is_ok()
}

/// A page of another node.
pub fn page(bytes: &[u8]) -> bool {
    Page::decode(bytes).is_ok()
}

/// What the store remembers of an entry.
pub fn record(bytes: &[u8]) -> bool {
    Record::decode([1; 32], bytes).is_ok_and(|record| record.encode() == bytes)
}

//! What the golden vectors say of pages and heads, in both directions; `tests/format.rs` tries what nodes show of them.

use carrick_core::ErrorKind;
use data_encoding::HEXLOWER;
use ipld_core::ipld::Ipld;
use serde::Deserialize;

use crate::heads::Heads;
use crate::page::{Page, PageRef, above, ends_page};
use crate::place::{Place, digest};

#[derive(Deserialize)]
struct Vectors {
    entries: Vec<GoldenEntry>,
    pages: Vec<GoldenPage>,
    heads: Vec<GoldenHeads>,
    refused: Vec<Refused>,
}

#[derive(Deserialize)]
struct GoldenEntry {
    clock: u64,
    ends_page: bool,
    id: String,
}

#[derive(Deserialize)]
struct GoldenPage {
    name: String,
    entries: u64,
    encoded: String,
    id: String,
}

#[derive(Deserialize)]
struct GoldenHeads {
    name: String,
    heads: Vec<String>,
    entries: u64,
    pages: Option<String>,
    encoded: String,
}

#[derive(Deserialize)]
struct Refused {
    kind: String,
    refused: String,
    encoded: String,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../tests/vectors/ledger.json")).expect("the vectors are JSON")
}

fn hex(text: &str) -> Vec<u8> {
    HEXLOWER.decode(text.as_bytes()).expect("hex")
}

fn cid(text: &str) -> carrick_core::Cid {
    text.parse().expect("a CID")
}

/// The places of the entries, cut where an entry ends its page.
fn pages_of(entries: &[GoldenEntry]) -> Vec<Vec<Place>> {
    let parts = entries.split_inclusive(|entry| entry.ends_page);
    let place = |entry: &GoldenEntry| Place::new(entry.clock, &cid(&entry.id)).expect("an entry");
    parts.map(|part| part.iter().map(place).collect()).collect()
}

#[test]
fn pages_are_what_the_vectors_say() {
    let Vectors { entries, pages: golden, .. } = vectors();
    let parts = pages_of(&entries);
    for place in parts.iter().flatten() {
        let entry = entries.iter().find(|entry| cid(&entry.id) == place.cid()).expect("one of them");
        assert_eq!(ends_page(place.digest()), entry.ends_page, "{}", entry.id);
    }
    let (mut listed, mut blocks) = (Vec::new(), Vec::new());
    for part in parts {
        let (first, entries) = (part[0], part.len() as u64);
        let block = Page::Entries(part).encode().expect("encodes");
        listed.push(PageRef { page: digest(block.cid()).expect("a digest"), entries, first });
        blocks.push(block);
    }
    let counts = listed.iter().map(|page| page.entries).chain([entries.len() as u64]);
    assert!(counts.eq(golden.iter().map(|page| page.entries)));
    let (root, over) = above(listed).expect("encodes").expect("there are some");
    blocks.extend(over);
    assert_eq!(blocks.len(), golden.len());
    for (block, golden) in blocks.iter().zip(&golden) {
        assert_eq!(block.cid().to_string(), golden.id, "{}", golden.name);
        assert_eq!(block.bytes(), &hex(&golden.encoded), "{}", golden.name);
        let again = Page::decode(block.bytes()).expect("reads").encode().expect("encodes");
        assert_eq!(again.bytes(), block.bytes(), "{}", golden.name);
    }
    assert_eq!(golden.last().map(|root| digest(&cid(&root.id))), Some(Some(root)));
}

#[test]
fn heads_are_what_the_vectors_say() {
    for golden in vectors().heads {
        let heads = Heads::new(golden.heads.iter().map(|head| cid(head)).collect(), golden.entries);
        let heads = heads.listed_on(golden.pages.as_deref().map(cid));
        assert_eq!(heads.encode().expect("encodes"), hex(&golden.encoded), "{}", golden.name);
        assert_eq!(Heads::decode(&hex(&golden.encoded)).expect("reads"), heads, "{}", golden.name);
    }
}

#[test]
fn what_the_vectors_refuse_is_refused() {
    for golden in vectors().refused {
        let (why, encoded) = (&golden.refused, hex(&golden.encoded));
        let error = match &*golden.kind {
            "page" => Page::decode(&encoded).map(drop),
            "heads" => Heads::decode(&encoded).map(drop),
            other => panic!("{other}"),
        };
        let kind = error.expect_err(why).kind();
        let later = why == "a later version";
        assert_eq!(kind, if later { ErrorKind::Unsupported } else { ErrorKind::Rejected }, "{why}");
    }
}

/// So that a version may be given more to say, which older readers pass over.
#[test]
fn keys_that_a_reader_does_not_know_are_passed_over() {
    let Vectors { pages, heads, .. } = vectors();
    let more = |encoded: &str| {
        let Ok(Ipld::Map(mut map)) = serde_ipld_dagcbor::from_slice(&hex(encoded)) else { panic!("no map") };
        map.insert("more".to_owned(), Ipld::Integer(1));
        serde_ipld_dagcbor::to_vec(&map).expect("encodes")
    };
    for page in pages {
        let read = Page::decode(&more(&page.encoded)).expect("reads");
        assert_eq!(read, Page::decode(&hex(&page.encoded)).expect("reads"), "{}", page.name);
    }
    for golden in heads {
        let read = Heads::decode(&more(&golden.encoded)).expect("reads");
        assert_eq!(read, Heads::decode(&hex(&golden.encoded)).expect("reads"), "{}", golden.name);
    }
}

//! Links of every codec, also of hostile blocks.

use ipld_core::ipld;
use ipld_core::ipld::Ipld;

use super::*;
use crate::{DAG_CBOR, cid_of};

fn cbor(value: &Ipld) -> Block {
    Block::new(DAG_CBOR, serde_ipld_dagcbor::to_vec(value).expect("encodes"))
}

#[test]
fn links_of_every_codec_are_found_in_their_order() {
    let [a, b, c] = [b"a", b"b", b"c"].map(|name| cid_of(RAW, name));
    assert_eq!(links(&Block::new(RAW, &b"raw"[..])).expect("none"), []);
    assert_eq!(links(&folder(&[("x", b), ("y", a)])).expect("two"), [b, a]);
    let value = ipld!({ "list": [a, [b, { "deep": c }], 1, -1, true, null, "text"], "again": a });
    let mut found = links(&cbor(&value)).expect("four");
    found.sort();
    let mut expected = vec![a, a, b, c];
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(links(&cbor(&ipld!(1.5))).expect("none"), []);
    let bytes = Ipld::Map([("b".to_owned(), Ipld::Bytes(vec![7; 5]))].into());
    assert_eq!(links(&cbor(&bytes)).expect("none"), []);
}

#[test]
fn links_of_other_codecs_are_not_guessed() {
    let error = links(&Block::new(0x0129, &b"{}"[..])).expect_err("dag-json");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[test]
fn malformed_and_hostile_cbor_is_refused() {
    let deep = vec![0x81; 100_000];
    let long = [0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    let mut trailing = vec![0xd8, 0x2a, 0x58, 38, 0];
    trailing.extend(cid_of(RAW, b"a").to_bytes());
    trailing.push(0);
    for bytes in [&b""[..], &[0xa1], &deep, &long, &[0x01, 0x01], &[0x9f, 0xff], &trailing] {
        let error = links(&Block::new(DAG_CBOR, bytes.to_vec())).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Integrity, "{error}");
    }
}

#[test]
fn lists_in_lists_are_read_as_deep_as_is_stated() {
    let nested = |lists: usize| Block::new(DAG_CBOR, [vec![0x81; lists - 1], vec![0x80]].concat());
    assert_eq!(links(&nested(128)).expect("at the limit"), []);
    assert_eq!(links(&nested(129)).expect_err("above").kind(), ErrorKind::Integrity);
}

#[test]
fn more_links_than_the_limit_are_refused() {
    let cid = cid_of(RAW, b"a");
    let list = |count| cbor(&Ipld::List(vec![Ipld::Link(cid); count]));
    assert_eq!(links(&list(MAX_LINKS)).expect("at the limit").len(), MAX_LINKS);
    assert_eq!(links(&list(MAX_LINKS + 1)).expect_err("above").kind(), ErrorKind::TooLarge);
}

#[test]
fn parents_are_those_of_a_message_alone() {
    let [a, b] = [b"a", b"b"].map(|name| cid_of(DAG_CBOR, name));
    let author = Ipld::Bytes(vec![1; 38]);
    let message = ipld!({ "v": 1, "topic": "t", "author": author.clone(), "link": a, "parents": [a, b] });
    assert_eq!(parents(&cbor(&message)), [a, b]);
    assert_eq!(links(&cbor(&message)).expect("links").len(), 3);

    let many: Vec<Ipld> = vec![Ipld::Link(a); crate::limits::MAX_PARENTS + 1];
    for other in [
        ipld!({ "parents": [a] }),
        ipld!({ "v": 1, "topic": "t", "author": author.clone(), "parents": [1] }),
        ipld!({ "v": 1, "topic": "t", "author": author, "parents": many }),
        ipld!([a]),
    ] {
        assert_eq!(parents(&cbor(&other)), [], "{other:?}");
    }
    assert_eq!(parents(&Block::new(RAW, serde_ipld_dagcbor::to_vec(&message).expect("encodes"))), []);
    assert_eq!(parents(&Block::new(DAG_CBOR, vec![0xff])), []);
}

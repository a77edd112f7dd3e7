use super::*;
use crate::conformance::golden;
use crate::links::frames::{HEAD_BYTES, Head};
use crate::{DAG_CBOR, RAW, cid_of};

/// The file of a vector.
fn path(name: &str) -> String {
    format!("{}/tests/vectors/exchange/{name}.hex", env!("CARGO_MANIFEST_DIR"))
}

fn vector(name: &str) -> Vec<u8> {
    golden::read(path(name))
}

/// What we write is what the file says.
fn pinned(name: &str, frame: &[u8]) {
    golden::pinned(path(name), frame);
}

/// Head and body of a whole frame.
fn split(frame: &[u8]) -> (Head<Kind>, &[u8]) {
    let (head, body) = frame.split_first_chunk::<HEAD_BYTES>().expect("a head");
    let head = Head::decode(*head, &Limits::default()).expect("a good head");
    assert_eq!(head.length, body.len());
    (head, body)
}

fn ask_dag() -> AskDag {
    AskDag {
        have: vec![cid_of(RAW, b"have")],
        depth: u32::MAX,
        limit: u64::MAX,
        roots: vec![cid_of(DAG_CBOR, b"root")],
        follow: Follow::Parents,
    }
}

#[test]
fn every_frame_is_pinned() {
    let cid = cid_of(RAW, b"hello world");
    pinned("ask-block", &AskBlock { cid, max_bytes: 2 << 20, priority: -1 }.encode());
    pinned("ask-has", &ask_has_frame(&cid));
    pinned("ask-dag", &ask_dag().encode());
    pinned("block", &[&block_head(&cid, 11)[..], b"hello world"].concat());
    pinned("absent", &frame(Kind::Absent, &[]));
    pinned("present", &frame(Kind::Present, &[]));
    pinned("end", &frame(Kind::End, &[]));
    pinned("limit", &frame(Kind::Limit, &[]));
    pinned("busy", &frame(Kind::Busy, &[]));
}

#[test]
fn every_frame_is_read_back() {
    let bytes = vector("ask-block");
    let ask = AskBlock { cid: cid_of(RAW, b"hello world"), max_bytes: 2 << 20, priority: -1 };
    assert_eq!(AskBlock::decode(split(&bytes).1), Ok(ask));
    let bytes = vector("ask-dag");
    assert_eq!(AskDag::decode(split(&bytes).1), Ok(ask_dag()));
}

#[test]
fn a_length_is_refused_before_anything_is_allocated() {
    let limits = Limits::default();
    for kind in Kind::ALL.iter().copied() {
        let limit = kind.limit(&limits);
        let claim = |length: usize| {
            let [a, b, c, d] = u32::try_from(length + 1).expect("small").to_be_bytes();
            Head::<Kind>::decode([a, b, c, d, kind as u8], &limits)
        };
        assert_eq!(claim(limit), Ok(Head { kind, length: limit }));
        let refused = Broken::TooLong { kind: kind as u8, length: limit + 1, limit };
        assert_eq!(claim(limit + 1), Err(refused));
        assert!(Head::<Kind>::decode([0xff, 0xff, 0xff, 0xff, kind as u8], &limits).is_err());
    }
    assert_eq!(Head::<Kind>::decode([0, 0, 0, 0, 1], &limits), Err(Broken::Empty));
    assert_eq!(Head::<Kind>::decode([0, 0, 0, 1, 0], &limits), Err(Broken::Kind(0)));
}

#[test]
fn a_body_cut_or_with_a_tail_is_no_body() {
    type Reads = fn(&[u8]) -> bool;
    let reads: [(&str, Reads); 3] = [
        ("ask-block", |body| AskBlock::decode(body).is_ok()),
        ("ask-has", |body| read_cid(Kind::AskHas, body).is_ok()),
        ("ask-dag", |body| AskDag::decode(body).is_ok()),
    ];
    for (name, read) in reads {
        let bytes = vector(name);
        let body = split(&bytes).1;
        assert!(read(body), "{name}");
        assert!((0..body.len()).all(|length| !read(&body[..length])), "{name} cut");
        assert!(!read(&[body, &[0]].concat()), "{name} with a tail");
    }
}

#[test]
fn a_request_for_a_dag_has_roots_and_bounded_haves() {
    let cids = |n: usize| (0..n).map(|n| cid_of(RAW, &n.to_be_bytes())).collect::<Vec<_>>();
    let with = |roots: usize, have: usize| {
        let frame = AskDag { roots: cids(roots), have: cids(have), ..ask_dag() }.encode();
        assert!(frame.len() - HEAD_BYTES <= Kind::AskDag.limit(&Limits::default()) || have > MAX_HAVE);
        AskDag::decode(&frame[HEAD_BYTES..])
    };
    assert!(with(MAX_ROOTS, MAX_HAVE).is_ok());
    assert!(with(0, 0).is_err());
    assert!(with(MAX_ROOTS + 1, 0).is_err());
    assert!(with(1, MAX_HAVE + 1).is_err());
    let mut want = WantDag::new(cid_of(RAW, b"root"), std::time::Duration::from_secs(1));
    want.have = cids(MAX_HAVE + 7);
    assert_eq!(AskDag::new(&want).have.len(), MAX_HAVE, "what is left out only costs bandwidth");
}

#[test]
fn the_page_on_requests_states_the_limits() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/transports/exchange.md");
    let page = std::fs::read_to_string(path).expect("the page is there");
    for kind in Kind::ALL {
        let row = format!("| {:#04x} | {kind:?} |", kind.number());
        let row = page.lines().find(|line| line.starts_with(&row)).expect("a row for each kind");
        let most: String =
            row.rsplit('|').nth(1).expect("cells").chars().filter(char::is_ascii_digit).collect();
        assert_eq!(most, kind.limit(&Limits::default()).to_string(), "{row}");
    }
}

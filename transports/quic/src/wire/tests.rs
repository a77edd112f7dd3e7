use bytes::Bytes;
use carrick_core::conformance::golden;
use carrick_core::links::frames::HEAD_BYTES;
use carrick_core::{ErrorKind, Keypair, NetworkId, PeerRecord, Topic};

use super::*;

/// The file of a vector.
fn path(name: &str) -> String {
    format!("{}/tests/vectors/{name}.hex", env!("CARGO_MANIFEST_DIR"))
}

fn vector(name: &str) -> Vec<u8> {
    golden::read(path(name))
}

/// What we write is what the file says.
fn pinned(name: &str, frame: &[u8]) {
    golden::pinned(path(name), frame);
}

/// Head and body of a whole frame.
fn split(frame: &[u8]) -> (Head, &[u8]) {
    let (head, body) = frame.split_first_chunk::<HEAD_BYTES>().expect("a head");
    let head = Head::decode(*head, &Limits::default()).expect("a good head");
    assert_eq!(head.length, body.len());
    (head, body)
}

fn topic(name: &str) -> Topic {
    Topic::from_wire(name).expect("a topic")
}

fn hello() -> Hello {
    let mut seed = [7; 32];
    let key = Keypair::ed25519_from_bytes(&mut seed[..]).expect("a key");
    let addr = "/ip4/10.0.0.7/udp/4600/quic-v1".parse().expect("an address");
    let network = NetworkId::new("sensors-2026").expect("a network");
    let record = PeerRecord::sign(&key, &network, 1_700_000_000_000, vec![addr], vec![]).expect("signs");
    Hello {
        v: VERSION,
        record: record.encoded().to_vec(),
        topics: vec![topic("_carrick/heads/log"), topic("readings")],
        network,
        session: u64::MAX,
    }
}

#[test]
fn every_frame_is_pinned() {
    pinned("hello", &hello().encode());
    pinned("refused", &Refused::new(Reason::Network).encode());
    pinned("join", &frame(Kind::Join, b"readings"));
    pinned("leave", &frame(Kind::Leave, b"readings"));
    pinned("message", &[&message_head(&topic("readings"), 5)[..], b"hello"].concat());
}

#[test]
fn every_frame_is_read_back() {
    let limits = Limits::default();
    let bytes = vector("hello");
    assert_eq!(Hello::decode(split(&bytes).1, &limits), Ok(hello()));
    let bytes = vector("refused");
    assert_eq!(Refused::decode(split(&bytes).1), Ok(Refused::new(Reason::Network)));
    let bytes = vector("join");
    assert_eq!(read_topic(Kind::Join, split(&bytes).1), Ok(topic("readings")));
    let bytes = vector("message");
    let (topic_read, message) = read_message(Bytes::copy_from_slice(split(&bytes).1)).expect("reads");
    assert_eq!((topic_read, &message[..]), (topic("readings"), &b"hello"[..]));
}

#[test]
fn a_length_is_refused_before_anything_is_allocated() {
    let limits = Limits::default();
    for kind in Kind::ALL.iter().copied() {
        let limit = kind.limit(&limits);
        let claim = |length: usize| {
            let [a, b, c, d] = u32::try_from(length + 1).expect("small").to_be_bytes();
            Head::decode([a, b, c, d, kind as u8], &limits)
        };
        assert_eq!(claim(limit), Ok(Head { kind, length: limit }));
        let refused = Broken::TooLong { kind: kind as u8, length: limit + 1, limit };
        assert_eq!(claim(limit + 1), Err(refused));
        assert!(Head::decode([0xff, 0xff, 0xff, 0xff, kind as u8], &limits).is_err());
    }
    assert_eq!(Head::decode([0, 0, 0, 0, 1], &limits), Err(Broken::Empty));
    assert_eq!(Head::decode([0, 0, 0, 1, 0], &limits), Err(Broken::Kind(0)));
}

#[test]
fn a_truncated_body_is_no_body() {
    let limits = Limits::default();
    let cut = |name: &str, read: &dyn Fn(&[u8]) -> bool| {
        let bytes = vector(name);
        let body = split(&bytes).1;
        assert!(read(body), "{name}");
        for length in 0..body.len() {
            assert!(!read(&body[..length]), "{name} cut to {length}");
        }
    };
    cut("hello", &|body| Hello::decode(body, &limits).is_ok());
    cut("refused", &|body| Refused::decode(body).is_ok());
}

#[test]
fn a_body_with_a_tail_is_no_body() {
    let limits = Limits::default();
    let long = |name: &str| {
        let bytes = vector(name);
        [split(&bytes).1, &[0]].concat()
    };
    assert!(Hello::decode(&long("hello"), &limits).is_err());
    assert!(Refused::decode(&long("refused")).is_err());
}

#[test]
fn only_the_canonical_form_is_read() {
    // {"code": 2, "text": "x"}, then with the number in two bytes, the keys turned round, and one key more.
    let good = b"\xa2\x64code\x02\x64text\x61x";
    assert!(Refused::decode(good).is_ok());
    for bad in [
        &b"\xa2\x64code\x18\x02\x64text\x61x"[..],
        b"\xa2\x64text\x61x\x64code\x02",
        b"\xa3\x64code\x02\x64more\x01\x64text\x61x",
        b"\xbf\x64code\x02\x64text\x61x\xff",
    ] {
        assert!(Refused::decode(bad).is_err(), "{bad:02x?}");
    }
}

#[test]
fn another_version_is_told_from_nonsense() {
    let limits = Limits::default();
    // {"v": 2, "new": true}
    assert_eq!(Hello::decode(b"\xa2\x61v\x02\x63new\xf5", &limits), Err(Broken::Version(2)));
    assert!(matches!(Hello::decode(b"\xa0", &limits), Err(Broken::Body(0x01, _))));
}

#[test]
fn a_hello_names_its_topics_in_order_and_within_the_limit() {
    let limits = Limits::default();
    let with = |topics: Vec<Topic>| {
        let frame = Hello { topics, ..hello() }.encode();
        Hello::decode(&frame[HEAD_BYTES..], &limits)
    };
    assert!(with(vec![topic("b"), topic("a")]).is_err());
    assert!(with(vec![topic("a"), topic("a")]).is_err());
    let many = |n: usize| (0..n).map(|n| topic(&format!("{n:0>256}"))).collect();
    assert!(with(many(limits.topics_per_peer)).is_ok());
    assert!(with(many(limits.topics_per_peer + 1)).is_err());
    let largest = Hello { topics: many(limits.topics_per_peer), ..hello() }.encode();
    assert!(largest.len() - HEAD_BYTES <= Kind::Hello.limit(&limits), "the limit leaves room for all topics");
}

#[test]
fn text_of_the_far_end_is_cleaned() {
    assert_eq!(clean("a\x1b[2Jb\n"), "a[2Jb");
    assert_eq!(clean(&"x".repeat(1_000)).len(), MAX_TEXT_BYTES);
    let error = Topic::from_wire("a\nb").expect_err("a control character");
    assert_eq!(error.kind(), ErrorKind::Config);
}

/// Reads a body as a receiver would; what matters is that it returns.
fn read(kind: Kind, body: &[u8]) -> bool {
    match kind {
        Kind::Hello => Hello::decode(body, &Limits::default()).is_ok(),
        Kind::Refused => Refused::decode(body).is_ok(),
        Kind::Join | Kind::Leave => read_topic(kind, body).is_ok(),
        Kind::Message => read_message(Bytes::copy_from_slice(body)).is_ok(),
        Kind::Record => true,
    }
}

#[test]
fn no_changed_byte_makes_a_reader_panic() {
    for name in ["hello", "refused", "join", "message"] {
        let bytes = vector(name);
        let (Head { kind, .. }, body) = split(&bytes);
        assert!(read(kind, body), "{name}");
        for at in 0..body.len() {
            for value in 0..=u8::MAX {
                let mut changed = body.to_vec();
                changed[at] = value;
                read(kind, &changed);
            }
        }
    }
}

#[test]
fn the_page_on_the_wire_format_states_the_limits() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/transports/quic.md");
    let page = std::fs::read_to_string(path).expect("the page is there");
    for kind in Kind::ALL {
        let row = format!("| {:#04x} | {kind:?} |", kind.number());
        let row = page.lines().find(|line| line.starts_with(&row)).expect("a row for each kind");
        let most: String =
            row.rsplit('|').nth(1).expect("cells").chars().filter(char::is_ascii_digit).collect();
        assert_eq!(most, kind.limit(&Limits::default()).to_string(), "{row}");
    }
    for reason in (0..).map_while(|code| (Reason::from_code(code) as u64 == code).then_some(code)) {
        assert!(page.contains(&format!("\n| {reason} | ")), "a row for code {reason}");
    }
}

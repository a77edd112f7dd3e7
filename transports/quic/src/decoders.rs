//! The decoders of this crate, with good inputs and what each may take: for `tests/decoders.rs`, which tries them with
//! changed inputs. No part of the public interface.

use std::sync::LazyLock;

use bytes::Bytes;
use carrick_core::conformance::decoder::Decoder;
use carrick_core::limits::{MAX_ROOTS, MAX_TOPIC_BYTES};
use carrick_core::{Cid, Follow, Limits, Multiaddr, RAW, Topic, cid_of};

use crate::address::target;
use crate::tls::peer_of_spki;
use crate::wire::{
    AskBlock, AskDag, HEAD_BYTES, Head, Hello, Kind, MAX_HAVE, Refused, read_cid, read_message, read_topic,
};

static LIMITS: LazyLock<Limits> = LazyLock::new(Limits::default);

/// All of them.
pub fn all() -> Vec<Decoder> {
    let decoder = |name, read, check, longest, samples, memory| Decoder {
        name,
        read,
        check,
        samples,
        longest,
        memory: longest + memory,
    };
    let longest = |kind: Kind| kind.limit(&LIMITS);
    let dag_bytes = (MAX_ROOTS + MAX_HAVE) * size_of::<Cid>() + longest(Kind::AskDag);
    vec![
        decoder("frames", frames, |_| (), longest(Kind::Message), vec![vectors().concat()], dag_bytes),
        decoder("hello", hello, hello_again, longest(Kind::Hello), hellos(), 4 * longest(Kind::Hello)),
        decoder("refused", refused, |_| (), longest(Kind::Refused), bodies(Kind::Refused), 2_048),
        decoder("topic", topic, topic_again, longest(Kind::Join), bodies(Kind::Join), 2_048),
        decoder("message", message, |_| (), longest(Kind::Message), messages(), 2_048),
        decoder("ask_block", ask_block, ask_block_again, longest(Kind::AskBlock), bodies(Kind::AskBlock), 0),
        decoder("ask_has", ask_has, |_| (), longest(Kind::AskHas), bodies(Kind::AskHas), 0),
        decoder("ask_dag", ask_dag, ask_dag_again, longest(Kind::AskDag), requests(), dag_bytes),
        decoder("block", block, |_| (), 256, bodies(Kind::Block), 0),
        decoder("certificate", certificate, |_| (), 256, vec![key()], 1_024),
        decoder("dialled", dialled, |_| (), 512, addresses(), 4_096),
    ]
}

/// Frames, one after the other, as a stream brings them.
pub fn frames(mut bytes: &[u8]) -> bool {
    while let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() {
        let Ok(head) = Head::decode(*head, &LIMITS) else { return false };
        let Some((body, rest)) = rest.split_at_checked(head.length) else { return false };
        if !read(head.kind, body) {
            return false;
        }
        bytes = rest;
    }
    bytes.is_empty()
}

/// The body of a frame of any kind.
fn read(kind: Kind, bytes: &[u8]) -> bool {
    match kind {
        Kind::Hello => hello(bytes),
        Kind::Refused => refused(bytes),
        Kind::Join | Kind::Leave => topic(bytes),
        Kind::Message => message(bytes),
        Kind::AskBlock => ask_block(bytes),
        Kind::AskHas => ask_has(bytes),
        Kind::AskDag => ask_dag(bytes),
        Kind::Block => block(bytes),
        // The core tries it.
        Kind::Record => true,
        Kind::Absent | Kind::Present | Kind::End | Kind::Limit | Kind::Busy => bytes.is_empty(),
    }
}

/// A hello.
pub fn hello(bytes: &[u8]) -> bool {
    Hello::decode(bytes, &LIMITS).is_ok()
}

fn hello_again(bytes: &[u8]) {
    let hello = Hello::decode(bytes, &LIMITS).expect("was read already");
    assert_eq!(hello.encode()[HEAD_BYTES..], *bytes);
}

/// A refusal.
pub fn refused(bytes: &[u8]) -> bool {
    Refused::decode(bytes).is_ok_and(|refused| refused.text.len() <= bytes.len())
}

/// The topic of a join or leave.
pub fn topic(bytes: &[u8]) -> bool {
    read_topic(Kind::Join, bytes).is_ok()
}

fn topic_again(bytes: &[u8]) {
    let topic = read_topic(Kind::Join, bytes).expect("was read already");
    assert_eq!(topic.as_str().as_bytes(), bytes);
}

/// A message frame, without the message.
pub fn message(bytes: &[u8]) -> bool {
    let read = read_message(Bytes::copy_from_slice(bytes));
    read.is_ok_and(|(topic, message)| 2 + topic.as_str().len() + message.len() == bytes.len())
}

/// A request for a block.
pub fn ask_block(bytes: &[u8]) -> bool {
    AskBlock::decode(bytes).is_ok()
}

fn ask_block_again(bytes: &[u8]) {
    let ask = AskBlock::decode(bytes).expect("was read already");
    assert_eq!(ask.encode()[HEAD_BYTES..], *bytes);
}

/// The question for a block.
pub fn ask_has(bytes: &[u8]) -> bool {
    read_cid(Kind::AskHas, bytes).is_ok_and(|cid| cid.to_bytes() == bytes)
}

/// A request for a DAG.
pub fn ask_dag(bytes: &[u8]) -> bool {
    AskDag::decode(bytes).is_ok()
}

fn ask_dag_again(bytes: &[u8]) {
    let ask = AskDag::decode(bytes).expect("was read already");
    assert_eq!(ask.encode()[HEAD_BYTES..], *bytes);
}

/// The beginning of a block frame; the block itself is the core's to check.
pub fn block(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_first() else { return false };
    let cid = rest.get(..usize::from(*length));
    cid.is_some_and(|cid| read_cid(Kind::Block, cid).is_ok())
}

/// The key that the far end shows in place of a certificate.
pub fn certificate(bytes: &[u8]) -> bool {
    peer_of_spki(bytes).is_some()
}

/// An address out of a record, before it is dialled.
pub fn dialled(bytes: &[u8]) -> bool {
    Multiaddr::try_from(bytes.to_vec()).is_ok_and(|addr| target(&addr).is_some())
}

/// All golden frames.
fn vectors() -> Vec<Vec<u8>> {
    macro_rules! vectors {
        ($($name:literal)+) => { [$(include_str!(concat!("../tests/vectors/", $name, ".hex"))),+] };
    }
    vectors!("hello" "refused" "join" "leave" "message" "ask-block" "ask-has" "ask-dag" "block" "absent"
        "present" "end" "limit" "busy")
    .map(unhex)
    .into()
}

/// Hex, with comments behind `#`.
fn unhex(text: &str) -> Vec<u8> {
    let digits = text.lines().flat_map(|line| line.split('#').next()).flat_map(str::chars);
    let digits: Vec<u8> = digits.filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// The bodies of the golden frames of a kind.
fn bodies(kind: Kind) -> Vec<Vec<u8>> {
    let frames = vectors().into_iter().filter(|frame| frame[HEAD_BYTES - 1] == kind as u8);
    frames.map(|frame| frame[HEAD_BYTES..].to_vec()).collect()
}

/// The golden one, and the largest.
fn hellos() -> Vec<Vec<u8>> {
    let mut hellos = bodies(Kind::Hello);
    let golden = Hello::decode(&hellos[0], &LIMITS).expect("good");
    let topic = |n| Topic::from_wire(format!("{n:0>MAX_TOPIC_BYTES$}")).expect("a topic");
    let topics = (0..LIMITS.topics_per_peer).map(topic).collect();
    hellos.push(Hello { topics, ..golden }.encode()[HEAD_BYTES..].to_vec());
    hellos
}

fn messages() -> Vec<Vec<u8>> {
    let topic = [&256_u16.to_be_bytes()[..], &[b'x'; MAX_TOPIC_BYTES]].concat();
    [bodies(Kind::Message), vec![[topic, vec![7; LIMITS.envelope_bytes()]].concat()]].concat()
}

/// The golden one, and the largest.
fn requests() -> Vec<Vec<u8>> {
    let cids = |count: usize| (0..count).map(|n| cid_of(RAW, &n.to_be_bytes())).collect();
    let largest = AskDag {
        have: cids(MAX_HAVE),
        depth: u32::MAX,
        limit: u64::MAX,
        roots: cids(MAX_ROOTS),
        follow: Follow::All,
    };
    [bodies(Kind::AskDag), vec![largest.encode()[HEAD_BYTES..].to_vec()]].concat()
}

fn key() -> Vec<u8> {
    let point = [&[0x58][..], &[0x66; 31]].concat();
    [&[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00], &point[..]].concat()
}

fn addresses() -> Vec<Vec<u8>> {
    ["/ip4/10.0.0.7/udp/4600/quic-v1", "/ip6/fd00::7/udp/1/quic-v1", "/dns6/example.org/udp/1/quic-v1"]
        .map(|text| text.parse::<Multiaddr>().expect("an address").to_vec())
        .into()
}

//! The decoders of this crate, with good inputs and what each may take: for `tests/decoders.rs`, which tries them with
//! changed inputs. No part of the public interface.

use std::sync::LazyLock;

use bytes::Bytes;
use carrick_core::conformance::decoder::{self, Decoder};
use carrick_core::conformance::golden::unhex;
use carrick_core::limits::MAX_TOPIC_BYTES;
use carrick_core::links::frames::{FrameKind as _, HEAD_BYTES};
use carrick_core::{Limits, Multiaddr, Topic};

use crate::address::target;
use crate::tls::peer_of_spki;
use crate::wire::{Hello, Kind, Refused, read_message, read_topic};

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
    vec![
        decoder(
            "frames",
            frames,
            |_| (),
            longest(Kind::Message),
            vec![vectors().concat()],
            4 * longest(Kind::Hello),
        ),
        decoder("hello", hello, hello_again, longest(Kind::Hello), hellos(), 4 * longest(Kind::Hello)),
        decoder("refused", refused, |_| (), longest(Kind::Refused), bodies(Kind::Refused), 2_048),
        decoder("topic", topic, topic_again, longest(Kind::Join), bodies(Kind::Join), 2_048),
        decoder("message", message, |_| (), longest(Kind::Message), messages(), 2_048),
        decoder("certificate", certificate, |_| (), 256, vec![key()], 1_024),
        decoder("dialled", dialled, |_| (), 512, addresses(), 4_096),
    ]
}

/// Frames, one after the other, as a stream brings them.
pub fn frames(bytes: &[u8]) -> bool {
    decoder::frames(bytes, &LIMITS, read)
}

/// The body of a frame of any kind.
fn read(kind: Kind, bytes: &[u8]) -> bool {
    match kind {
        Kind::Hello => hello(bytes),
        Kind::Refused => refused(bytes),
        Kind::Join | Kind::Leave => topic(bytes),
        Kind::Message => message(bytes),
        // The core tries it.
        Kind::Record => true,
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
    vectors!("hello" "refused" "join" "leave" "message").map(unhex).into()
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

fn key() -> Vec<u8> {
    let point = [&[0x58][..], &[0x66; 31]].concat();
    [&[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00], &point[..]].concat()
}

fn addresses() -> Vec<Vec<u8>> {
    ["/ip4/10.0.0.7/udp/4600/quic-v1", "/ip6/fd00::7/udp/1/quic-v1", "/dns6/example.org/udp/1/quic-v1"]
        .map(|text| text.parse::<Multiaddr>().expect("an address").to_vec())
        .into()
}

//! The decoders of this crate, with good inputs and what each may take: for `tests/decoders.rs`, which tries them with
//! changed inputs. No part of the public interface.

use bytes::Bytes;
use carrick_core::conformance::decoder::Decoder;
use carrick_core::limits::MAX_RECORD_BYTES;
use carrick_core::links::Reason;
use carrick_core::{Multiaddr, NetworkId};
use futures::FutureExt as _;
use futures::io::Cursor;

use crate::wire::{Frame, Hello, VERSION};
use crate::{address, bitswap, config, routing, way};

/// Longest text that is read as a swarm key, in bytes.
const MAX_KEY_BYTES: usize = 4_096;

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
    let mut all = vec![
        decoder("frames", frames, |_| (), 16 << 10, vec![bodies().concat()], 4 * MAX_RECORD_BYTES),
        decoder("frame", frame, frame_again, 1 + MAX_RECORD_BYTES, unframed(), 8_192),
        decoder("swarm_key", swarm_key, |_| (), MAX_KEY_BYTES, keys(), 1_024),
        // Of its own disk: the library makes room for what a list says it holds, up to a mebibyte.
        decoder("known", known, |_| (), 4_096, vec![routing::known()], 2 << 20),
        decoder("page", page, |_| (), 4_096, vec![routing::page()], 2 << 20),
        decoder("address", addr, |_| (), 1_024, addresses(), 8_192),
    ];
    all.extend(bitswap::decoders::decoders());
    all
}

/// Frames of a link, one after the other, as a stream brings them.
pub fn frames(bytes: &[u8]) -> bool {
    let mut stream = Cursor::new(bytes);
    loop {
        if stream.position() == bytes.len() as u64 {
            return true;
        }
        let reading = Frame::read_now(&mut stream).now_or_never();
        if !matches!(reading, Some(Ok(_))) {
            return false;
        }
    }
}

/// A frame without its length.
pub fn frame(bytes: &[u8]) -> bool {
    Frame::decode(Bytes::copy_from_slice(bytes)).is_ok()
}

fn frame_again(bytes: &[u8]) {
    let frame = Frame::decode(Bytes::copy_from_slice(bytes)).expect("was read already");
    assert!(frame.encode().ends_with(bytes));
}

/// The text of a swarm key.
pub fn swarm_key(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(config::is_swarm_key)
}

/// What is saved of a peer that was met.
pub fn known(bytes: &[u8]) -> bool {
    routing::is_known(bytes)
}

/// A page of what strangers announced.
pub fn page(bytes: &[u8]) -> bool {
    routing::is_page(bytes)
}

/// An address out of a record or of a provider.
pub fn addr(bytes: &[u8]) -> bool {
    let Ok(addr) = Multiaddr::try_from(bytes.to_vec()) else { return false };
    let usable = address::class(&addr) != address::Class::Unusable;
    way::way(&addr).is_some() && usable
}

/// One frame of every kind.
fn bodies() -> Vec<Vec<u8>> {
    let network = NetworkId::new("sensors").expect("a name");
    let frames = [
        Frame::Hello(Hello { v: VERSION, network, session: 7 }),
        Frame::Record(Bytes::from_static(&[7; MAX_RECORD_BYTES])),
        Frame::Record(Bytes::from_static(&[7; 300])),
        Frame::Bye(Reason::Network.into()),
    ];
    frames.iter().map(|frame| frame.encode().to_vec()).collect()
}

fn unframed() -> Vec<Vec<u8>> {
    let without = |frame: Vec<u8>| {
        let (_, body) = unsigned_varint::decode::usize(&frame).expect("a length");
        body.to_vec()
    };
    bodies().into_iter().map(without).collect()
}

fn keys() -> Vec<Vec<u8>> {
    let digits = "0f".repeat(32);
    ["\n", "\r\n"]
        .map(|end| format!("/key/swarm/psk/1.0.0/{end}/base16/{end}{digits}{end}").into_bytes())
        .into()
}

fn addresses() -> Vec<Vec<u8>> {
    const PEER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
    [
        "/ip4/10.0.0.7/tcp/4601/p2p/PEER",
        "/ip6/fd00::7/udp/1/quic-v1",
        "/dnsaddr/example.org",
        "/ip4/10.0.0.7/tcp/1/p2p/PEER/p2p-circuit/p2p/PEER",
    ]
    .map(|text| text.replace("PEER", PEER).parse::<Multiaddr>().expect("an address").to_vec())
    .into()
}

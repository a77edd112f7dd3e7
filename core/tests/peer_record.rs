//! The peer record is what its golden vectors say, in both directions. `vectors/gen-peer-record.py` made them, apart from this
//! code.

use carrick_core::{ErrorKind, Keypair, Multiaddr, NetworkId, PeerRecord};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
struct Vector {
    name: String,
    refused: Option<String>,
    seed: String,
    network: NetworkId,
    seq: u64,
    peer: String,
    addrs: Vec<Multiaddr>,
    aliases: Vec<(String, String)>,
    encoded: String,
}

/// Those that are read, and those that are refused although the signature holds.
fn vectors() -> (Vec<Vector>, Vec<Vector>) {
    let all: Vec<Vector> =
        serde_json::from_str(include_str!("vectors/peer-record.json")).expect("the vectors are JSON");
    all.into_iter().partition(|vector| vector.refused.is_none())
}

fn hex(text: &str) -> Vec<u8> {
    let digit = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex");
    (0..text.len()).step_by(2).map(digit).collect()
}

#[test]
fn every_golden_record_is_read_as_it_says() {
    for vector in vectors().0 {
        let record = PeerRecord::decode(hex(&vector.encoded), &vector.network).expect(&vector.name);
        assert_eq!(record.peer().to_bytes(), hex(&vector.peer), "{}", vector.name);
        assert_eq!((record.seq(), record.addrs()), (vector.seq, &vector.addrs[..]), "{}", vector.name);
        assert_eq!(record.aliases(), vector.aliases, "{}", vector.name);
    }
}

#[test]
fn signing_makes_exactly_the_golden_bytes() {
    for vector in vectors().0 {
        let key = Keypair::ed25519_from_bytes(hex(&vector.seed)).expect("a key");
        let record =
            PeerRecord::sign(&key, &vector.network, vector.seq, vector.addrs, vector.aliases).expect("signs");
        assert_eq!(*record.encoded(), hex(&vector.encoded), "{}", vector.name);
    }
}

#[test]
fn every_golden_refusal_is_neither_read_nor_signed() {
    for vector in vectors().1 {
        let error = PeerRecord::decode(hex(&vector.encoded), &vector.network).expect_err(&vector.name);
        assert_eq!(error.kind(), ErrorKind::Integrity, "{}", vector.name);
        let key = Keypair::ed25519_from_bytes(hex(&vector.seed)).expect("a key");
        let error = PeerRecord::sign(&key, &vector.network, vector.seq, vector.addrs, vector.aliases);
        assert_eq!(error.expect_err(&vector.name).kind(), ErrorKind::Config, "{}", vector.name);
    }
}

//! The peer record is what its golden vectors say, in both directions. `vectors/gen-peer-record.py` made them, apart from this
//! code.

use carrick_core::{Keypair, Multiaddr, NetworkId, PeerRecord};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
struct Vector {
    name: String,
    seed: String,
    network: NetworkId,
    seq: u64,
    peer: String,
    addrs: Vec<Multiaddr>,
    aliases: Vec<(String, String)>,
    encoded: String,
}

fn vectors() -> Vec<Vector> {
    serde_json::from_str(include_str!("vectors/peer-record.json")).expect("the vectors are JSON")
}

fn hex(text: &str) -> Vec<u8> {
    let digit = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex");
    (0..text.len()).step_by(2).map(digit).collect()
}

#[test]
fn every_golden_record_is_read_as_it_says() {
    for vector in vectors() {
        let record = PeerRecord::decode(hex(&vector.encoded), &vector.network).expect(&vector.name);
        assert_eq!(record.peer().to_bytes(), hex(&vector.peer), "{}", vector.name);
        assert_eq!((record.seq(), record.addrs()), (vector.seq, &vector.addrs[..]), "{}", vector.name);
        assert_eq!(record.aliases(), vector.aliases, "{}", vector.name);
    }
}

#[test]
fn signing_makes_exactly_the_golden_bytes() {
    for vector in vectors() {
        let key = Keypair::ed25519_from_bytes(hex(&vector.seed)).expect("a key");
        let record =
            PeerRecord::sign(&key, &vector.network, vector.seq, vector.addrs, vector.aliases).expect("signs");
        assert_eq!(*record.encoded(), hex(&vector.encoded), "{}", vector.name);
    }
}

//! No bytes of a daemon, or of whoever stands in its place, make a decoder panic, take long or take much memory;
//! `carrick_core::conformance::decoder` tells how to widen a run and how to repeat one.

use carrick_core::conformance::decoder::SLACK_BYTES;
use carrick_transport_ipfs_http::decoders;

carrick_core::decoder_suite!(decoders::all(); id swarm names line providers pins stored fault location endpoint target);

/// The longest answer that is read.
const LONGEST: usize = 8 << 20;

#[track_caller]
fn takes_little(read: fn(&[u8]) -> bool, bytes: &[u8], most: usize) {
    let mut taken = true;
    let peak = allocation_counter::measure(|| taken = read(bytes)).bytes_max as usize;
    assert!(!taken && peak <= most + SLACK_BYTES, "{peak} bytes of memory");
}

fn many(head: &str, entry: &str) -> Vec<u8> {
    let mut all = head.to_owned();
    while all.len() < LONGEST {
        all.push_str(entry);
    }
    all.into_bytes()
}

#[test]
fn a_list_takes_memory_for_what_is_allowed_and_not_for_what_is_there() {
    takes_little(decoders::names, &many(r#"{"Strings":["","#, r#""","#), 5 << 20);
    takes_little(decoders::links, &many(r#"{"Peers":["#, r#"{"Addr":"","Peer":""},"#), 3 << 20);
    takes_little(decoders::id, &many(r#"{"ID":"","Addresses":["#, r#""","#), 0);
    takes_little(decoders::providers, &many(r#"{"Type":4,"Responses":["#, r#"{"ID":""},"#), 1 << 20);
}

/// Base58 takes the square of its length to read; the suite says how long a line may take.
#[test]
fn a_long_name_is_none() {
    let name = "1z".repeat(LONGEST / 4);
    assert!(!decoders::line(format!(r#"{{"from":"{name}","data":"u","seqno":"u"}}"#).as_bytes()));
    assert!(!decoders::stored(format!(r#"{{"Key":"z{name}"}}"#).as_bytes()));
    assert!(decoders::id(format!(r#"{{"ID":"","Addresses":["/p2p/{name}"]}}"#).as_bytes()));
}

#[test]
fn depth_takes_little() {
    takes_little(decoders::id, &many(r#"{"ID":"","Other":"#, "["), 2 * LONGEST);
}

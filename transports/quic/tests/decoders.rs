//! No bytes make a decoder panic, take long or take much memory; `carrick_core::conformance::decoder` tells how to widen
//! a run and how to repeat one.

use carrick_core::conformance::decoder::{Decoder, SLACK_BYTES};
use carrick_transport_quic::decoders;

carrick_core::decoder_suite!(decoders::all(); frames hello refused topic message certificate dialled);

fn decoder(name: &str) -> Decoder {
    decoders::all().into_iter().find(|decoder| decoder.name == name).expect("a decoder")
}

#[track_caller]
fn takes_little(name: &str, bytes: &[u8]) {
    let decoder = decoder(name);
    let mut taken = true;
    let peak = allocation_counter::measure(|| taken = (decoder.read)(bytes)).bytes_max as usize;
    assert!(!taken && peak <= decoder.memory + SLACK_BYTES, "{name}: {peak} bytes of memory");
}

#[test]
fn a_list_takes_memory_for_what_is_allowed_and_not_for_what_is_there() {
    let golden = decoder("hello").samples[0].clone();
    let at = golden.windows(6).position(|window| window == b"topics").expect("there") + 6;
    let end = golden.windows(7).position(|window| window == b"network").expect("there") - 1;
    let endless = [0x9b, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];
    takes_little("hello", &[&golden[..at], &endless, &golden[at + 1..]].concat());
    let many = [&[0x99, 0x30, 0x00][..], &b"\x61x".repeat(0x3000)].concat();
    takes_little("hello", &[&golden[..at], &many, &golden[end..]].concat());
}

#[test]
fn a_refusal_does_not_repeat_all_that_it_refuses() {
    takes_little("message", &[&u16::MAX.to_be_bytes()[..], &[1; 65_535]].concat());
}

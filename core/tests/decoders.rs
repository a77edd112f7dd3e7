//! No bytes make a decoder panic, take long or take much memory; `carrick_core::conformance::decoder` tells how to widen
//! a run and how to repeat one.

use carrick_core::conformance::decoder::{Decoder, SLACK_BYTES};
use carrick_core::decoders;

carrick_core::decoder_suite!(decoders::all(); envelope record unixfs links car claim address text window key requests ask_block ask_has ask_dag block);

fn decoder(name: &str) -> Decoder {
    decoders::all().into_iter().find(|decoder| decoder.name == name).expect("a decoder")
}

/// A sample of a decoder in which a few bytes stand in the place of others.
#[track_caller]
fn changed(decoder: &Decoder, old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut found = decoder.samples.iter().filter_map(|sample| {
        let at = sample.windows(old.len()).position(|window| window == old)?;
        Some([&sample[..at], new, &sample[at + old.len()..]].concat())
    });
    found.next().expect("a sample has it")
}

#[track_caller]
fn takes_little(decoder: &Decoder, bytes: &[u8]) {
    let mut taken = true;
    let peak = allocation_counter::measure(|| taken = (decoder.read)(bytes)).bytes_max as usize;
    assert!(!taken && peak <= decoder.memory + SLACK_BYTES, "{}: {peak} bytes of memory", decoder.name);
}

#[test]
fn a_list_takes_memory_for_what_is_there_and_not_for_what_it_says() {
    let endless = |name: &str| [name.as_bytes(), &[0x9b, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]].concat();
    let record = decoder("record");
    takes_little(&record, &changed(&record, b"eaddrs\x81", &endless("eaddrs")));
    takes_little(&record, &changed(&record, b"galiases\x80", &endless("galiases")));
    let envelope = decoder("envelope");
    takes_little(&envelope, &changed(&envelope, b"gparents\x80", &endless("gparents")));
}

#[test]
fn a_request_takes_memory_for_what_is_allowed() {
    let endless = [&b"dhave"[..], &[0x9b, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]].concat();
    let ask_dag = decoder("ask_dag");
    takes_little(&ask_dag, &changed(&ask_dag, b"dhave\x81", &endless));
}

#[test]
fn a_refusal_does_not_repeat_all_that_it_refuses() {
    let envelope = decoder("envelope");
    let text = |length: u16| [&[0x79][..], &length.to_be_bytes(), &vec![1; length.into()]].concat();
    takes_little(&envelope, &[&[0xa1][..], &text(60_000), &[1]].concat());
    takes_little(
        &envelope,
        &changed(&envelope, b"etopichreadings", &[b"etopic", &text(60_000)[..]].concat()),
    );
}

#![no_main]

use std::sync::LazyLock;

use carrick_core::conformance::decoder::Decoder;

static DECODERS: LazyLock<Vec<Decoder>> = LazyLock::new(|| carrick_fuzz::chosen("libp2p"));

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| carrick_fuzz::run(&DECODERS, bytes));

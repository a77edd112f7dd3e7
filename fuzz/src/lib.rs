//! What the targets share: the decoders of each crate, of which `DECODER` may choose one.

use carrick_core::conformance::decoder::Decoder;

/// A target: its name, and the decoders that it tries.
pub type Target = (&'static str, fn() -> Vec<Decoder>);

/// All targets.
pub const TARGETS: [Target; 6] = [
    ("core", carrick_core::decoders::all),
    ("ipfs-http", carrick_transport_ipfs_http::decoders::all),
    ("ledger", carrick_plugin_ledger::decoders::all),
    ("libp2p", carrick_transport_libp2p::decoders::all),
    ("quic", carrick_transport_quic::decoders::all),
    ("store", carrick_plugin_store_fjall::decoders::all),
];

/// The decoders of a target, or the one that `DECODER` names.
pub fn chosen(target: &str) -> Vec<Decoder> {
    let mut decoders: Vec<Decoder> =
        TARGETS.iter().filter(|(name, _)| *name == target).flat_map(|(_, all)| all()).collect();
    if let Ok(name) = std::env::var("DECODER") {
        decoders.retain(|decoder| decoder.name == name);
    }
    assert!(!decoders.is_empty(), "{target} has no such decoder");
    decoders
}

/// Gives bytes to those decoders to which the program would give so many.
pub fn run(decoders: &[Decoder], bytes: &[u8]) {
    for decoder in decoders.iter().filter(|decoder| bytes.len() <= decoder.longest) {
        decoder.run(bytes);
    }
}

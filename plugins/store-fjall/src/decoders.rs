//! The decoders of this crate, with good inputs and what each may take: for `tests/decoders.rs`, which tries them with
//! changed inputs. No part of the public interface.

use carrick_core::conformance::decoder::Decoder;
use carrick_core::{Cid, Owner, Pin, RAW, Usage, cid_of};

use crate::{journal, keys};

/// All of them. A journal is a short one: the longer a torn one, the longer it is searched.
pub fn all() -> Vec<Decoder> {
    let decoder = |name, read: fn(&[u8]) -> bool, samples, longest| Decoder {
        name,
        read,
        check: |_| (),
        samples,
        longest,
        memory: longest,
    };
    let pin = keys::pin(&cid(), &Owner::new("ledger/é")).expect("short");
    vec![
        decoder("journal", journal, vec![journal::sample(1), journal::sample(6)], 2_048),
        decoder("block_key", block_key, vec![keys::block(&cid())], 256),
        decoder("pin_key", pin_key, vec![pin], 256),
        decoder("meta_key", meta_key, vec![keys::meta("peers/é").expect("short")], 256),
        decoder("usage", usage, vec![keys::usage(Usage::new(3, u64::MAX)).to_vec()], 256),
    ]
}

/// A journal, sound or torn.
pub fn journal(bytes: &[u8]) -> bool {
    journal::torn(bytes, &mut None) == Ok(None)
}

/// The key of a block.
pub fn block_key(bytes: &[u8]) -> bool {
    keys::read_block(bytes).is_ok()
}

/// The key of a pin.
pub fn pin_key(bytes: &[u8]) -> bool {
    let Ok(Pin { cid, owner, .. }) = keys::read_pin(bytes, &[0]) else { return false };
    keys::pin(&cid, &owner).is_ok()
}

/// The key of a piece of metadata.
pub fn meta_key(bytes: &[u8]) -> bool {
    keys::read_meta(bytes).is_ok_and(|name| keys::meta(&name).is_ok_and(|key| key == bytes))
}

/// The counters.
pub fn usage(bytes: &[u8]) -> bool {
    keys::read_usage(bytes).is_ok_and(|usage| keys::usage(usage) == bytes)
}

fn cid() -> Cid {
    cid_of(RAW, b"content")
}

//! The inputs of the reference vectors.

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use multihash_codetable::{Code, MultihashDigest};
use serde::Deserialize;

/// A deterministic input, as the vectors describe it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Hash)]
pub(super) struct Input {
    kind: String,
    pub(super) size: usize,
    #[serde(default)]
    seed: String,
    sha256: Option<String>,
}

impl Input {
    /// Generates it, and compares it with its checksum where there is one.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let bytes = match self.kind.as_str() {
            "mod251" => repeat(&(0..251).collect::<Vec<u8>>(), self.size),
            "zero" => vec![0; self.size],
            "ascii" => self.seed.as_bytes()[..self.size].to_vec(),
            "sha" => counted_hashes(self.size),
            "chacha20" => key_stream(&self.seed, self.size),
            kind => panic!("unknown generator {kind}"),
        };
        if let Some(expected) = &self.sha256 {
            let hex: String = sha256(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(&hex, expected, "the generator itself is wrong: {self:?}");
        }
        bytes
    }
}

/// Byte `i` is `i % 251`, so that no power of two repeats.
pub(super) fn mod251(size: usize) -> Vec<u8> {
    repeat(&(0..251).collect::<Vec<u8>>(), size)
}

/// By doubling, because a loop over bytes takes seconds in a debug build.
fn repeat(pattern: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = pattern.to_vec();
    while bytes.len() < size {
        bytes.extend_from_within(..);
    }
    bytes.truncate(size);
    bytes
}

fn counted_hashes(size: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..size.div_ceil(32)).flat_map(|k| sha256(k.to_string().as_bytes())).collect();
    bytes.truncate(size);
    bytes
}

fn key_stream(seed: &str, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    let key: [u8; 32] = sha256(seed.as_bytes()).try_into().expect("32 bytes");
    ChaCha20::new(&key.into(), &[0; 12].into()).apply_keystream(&mut bytes);
    bytes
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    Code::Sha2_256.digest(bytes).digest().to_vec()
}

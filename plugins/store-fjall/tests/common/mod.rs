//! What these tests share.

use std::path::Path;

use carrick_core::{Block, Limits, RAW, Result, Site};
use carrick_plugin_store_fjall::{FjallConfig, FjallStore};

/// Opens the store of a data folder.
pub(crate) async fn open(data_dir: &Path, config: FjallConfig) -> Result<FjallStore> {
    FjallStore::open(config, Site::new("store", data_dir, Limits::default())).await
}

/// A block of so many bytes, another one for each number.
#[allow(dead_code, reason = "not every test binary needs it")]
pub(crate) fn block(n: u64, size: usize) -> Block {
    let mut state = n;
    let bytes = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    });
    Block::new(RAW, bytes.take(size).collect::<Vec<u8>>())
}

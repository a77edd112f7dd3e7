//! The table that configures the store.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where the store lives and how much it may take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct FjallConfig {
    /// The folder of the store; a relative path counts from the node's data folder. Made when it is missing.
    /// Default `blocks`.
    pub path: PathBuf,
    /// Bytes of blocks kept at most; a `put` beyond it fails with `Full`. Counts the blocks themselves, not what the
    /// disk needs beside them. Default: no bound but the disk.
    pub max_bytes: Option<u64>,
    /// Bytes of the disk that stay free: a `put` that would eat into them fails with `Full`. They are what deleting,
    /// tidying up and writing metadata need when the disk is nearly full. Default 128 MiB; 0 risks a store that can
    /// only be read until somebody makes room and the node is restarted.
    pub reserve_bytes: u64,
}

impl Default for FjallConfig {
    fn default() -> Self {
        Self { path: "blocks".into(), max_bytes: None, reserve_bytes: 128 << 20 }
    }
}

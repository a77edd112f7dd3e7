//! How a file is cut into blocks: the same layout gives the same CID everywhere.

use std::fmt;
use std::str::FromStr;

use cid::Version;
use rust_unixfs::dir::builder::TreeOptions;
use rust_unixfs::file::adder::{BalancedCollector, Chunker, FileAdder};
use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind};

/// A folder whose estimated size exceeds this becomes a sharded one, as in Kubo.
pub(super) const SHARD_THRESHOLD: usize = 256 * 1024;

/// How files become blocks, by the names that Kubo gives its import profiles.
///
/// All are balanced trees of sha2-256 blocks without mode and modification time. The same content under the same layout
/// has the same CID as in Kubo.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Layout {
    /// `unixfs-v1-2025`: chunks of 1 MiB, 1,024 links a node, raw leaves, CIDv1. The default.
    #[default]
    #[serde(rename = "unixfs-v1-2025")]
    UnixfsV1_2025,
    /// `kubo-cid-v1`, as `ipfs add --cid-version=1`: chunks of 256 KiB, 174 links a node, raw leaves, CIDv1.
    #[serde(rename = "kubo-cid-v1")]
    KuboCidV1,
    /// `unixfs-v0-2015`, as a plain `ipfs add`: chunks of 256 KiB in dag-pb leaves, 174 links a node, CIDv0.
    #[serde(rename = "unixfs-v0-2015")]
    UnixfsV0_2015,
}

impl Layout {
    /// Every layout, the default first.
    pub const ALL: [Self; 3] = [Self::UnixfsV1_2025, Self::KuboCidV1, Self::UnixfsV0_2015];

    /// The name in configuration and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::UnixfsV1_2025 => "unixfs-v1-2025",
            Self::KuboCidV1 => "kubo-cid-v1",
            Self::UnixfsV0_2015 => "unixfs-v0-2015",
        }
    }

    pub(super) fn shape(self) -> Shape {
        let kubo =
            Shape { chunk: 256 << 10, links: 174, version: Version::V1, estimate: ShardEstimate::Links };
        match self {
            Self::UnixfsV1_2025 => {
                Shape { chunk: 1 << 20, links: 1024, estimate: ShardEstimate::Block, ..kubo }
            }
            Self::KuboCidV1 => kubo,
            Self::UnixfsV0_2015 => Shape { version: Version::V0, ..kubo },
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Layout {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|layout| layout.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::new(ErrorKind::Config, "layout", format!("unknown layout {name:?}; known are {names}"))
        })
    }
}

/// A layout in numbers. Raw leaves go with CIDv1, dag-pb leaves with CIDv0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) chunk: usize,
    pub(super) links: usize,
    pub(super) version: Version,
    pub(super) estimate: ShardEstimate,
}

/// What is compared with [`SHARD_THRESHOLD`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ShardEstimate {
    /// The sum of the bytes of all names and CIDs.
    Links,
    /// The encoded folder.
    Block,
}

impl Shape {
    pub(super) fn file_adder(self) -> FileAdder {
        FileAdder::builder()
            .with_chunker(Chunker::Size(self.chunk))
            .with_collector(BalancedCollector::with_branching_factor(self.links))
            .with_cid_version(self.version)
            .with_raw_leaves(self.version == Version::V1)
            .build()
    }

    /// Options for one plain folder. Sharding is off: rust-unixfs decides by links alone, so we decide ourselves.
    pub(super) fn folder_options(self) -> TreeOptions {
        let mut options = TreeOptions::default();
        options.wrap_with_directory();
        options.block_size_limit(None);
        options.shard_threshold(None);
        options.cid_version(self.version);
        options
    }

    /// The length of every CID under this layout: sha2-256 with or without version and codec.
    pub(super) fn cid_bytes(self) -> usize {
        if self.version == Version::V0 { 34 } else { 36 }
    }
}

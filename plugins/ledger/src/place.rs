//! Where an entry stands in the order.

use carrick_core::{Cid, DAG_CBOR, MessageId};
use cid::multihash::Multihash;

/// Multihash code of SHA-256, by which every message is named.
const SHA2_256: u64 = 0x12;
/// Bytes of a SHA-256 digest.
const DIGEST: usize = 32;

/// Where an entry stands: first by its clock, then by its CID, of which only the digest differs between entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    clock: u64,
    digest: Digest,
}

/// What names an entry.
pub(crate) type Digest = [u8; DIGEST];

impl Place {
    /// The place of an entry that has this clock; `None` for the CID of what is no message.
    pub(crate) fn new(clock: u64, cid: &Cid) -> Option<Self> {
        Some(Self { clock, digest: digest(cid)? })
    }

    pub(crate) fn of(clock: u64, digest: Digest) -> Self {
        Self { clock, digest }
    }

    /// 1 + the highest clock among the parents; 1 where there is none.
    pub(crate) fn clock(&self) -> u64 {
        self.clock
    }

    /// The entry's CID.
    pub(crate) fn cid(&self) -> Cid {
        cid(&self.digest)
    }

    /// The entry's id as a message.
    pub(crate) fn id(&self) -> MessageId {
        MessageId::from_cid(self.cid())
    }

    pub(crate) fn digest(&self) -> &Digest {
        &self.digest
    }
}

/// What names an entry; `None` for the CID of what is no message.
pub(crate) fn digest(cid: &Cid) -> Option<Digest> {
    let hash = cid.hash();
    let is_message = cid.codec() == DAG_CBOR && hash.code() == SHA2_256;
    is_message.then(|| hash.digest().try_into().ok()).flatten()
}

/// The CID of the entry that is named so.
pub(crate) fn cid(digest: &Digest) -> Cid {
    // A digest of 32 bytes always fits.
    Cid::new_v1(DAG_CBOR, Multihash::wrap(SHA2_256, digest).unwrap_or_default())
}

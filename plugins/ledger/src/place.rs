//! Where an entry stands in the order.

use carrick_core::{Cid, MessageId};
/// What names an entry, or a page; an entry's CID, or a page's.
pub(crate) use carrick_core::{Digest, cid_of_digest as cid, digest_of as digest};

/// Bytes of a digest.
const DIGEST: usize = size_of::<Digest>();
/// Bytes of a clock, and of a place.
pub(crate) const CLOCK: usize = 8;
pub(crate) const PLACE: usize = CLOCK + DIGEST;

/// Where an entry stands: first by its clock, then by its CID, of which only the digest differs between entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    clock: u64,
    digest: Digest,
}

impl Place {
    /// The place of an entry that has this clock; `None` for the CID of what is no message.
    pub(crate) fn new(clock: u64, cid: &Cid) -> Option<Self> {
        Some(Self { clock, digest: digest(cid)? })
    }

    pub(crate) fn of(clock: u64, digest: Digest) -> Self {
        Self { clock, digest }
    }

    /// Its bytes in a record: the clock, big-endian, and the digest.
    pub(crate) fn to_bytes(self) -> [u8; PLACE] {
        let mut bytes = [0; PLACE];
        bytes[..CLOCK].copy_from_slice(&self.clock.to_be_bytes());
        bytes[CLOCK..].copy_from_slice(&self.digest);
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; PLACE]) -> Self {
        let (mut clock, mut digest) = ([0; CLOCK], [0; DIGEST]);
        clock.copy_from_slice(&bytes[..CLOCK]);
        digest.copy_from_slice(&bytes[CLOCK..]);
        Self { clock: u64::from_be_bytes(clock), digest }
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

//! Content by its address: a claim is bytes not yet hashed, a block bytes that were.

use std::fmt;

use bytes::Bytes;
use cid::{Cid, Version};
use multihash_codetable::{Code, MultihashDigest};

use crate::{Error, ErrorKind, Result};

/// The multicodec of raw bytes.
pub const RAW: u64 = 0x55;
pub(crate) const SHA2_256: u64 = 0x12;
const BLAKE3: u64 = 0x1e;
const DIGEST_BYTES: u8 = 32;

/// The CID (version 1, sha2-256) of `bytes` under a codec.
pub fn cid_of(codec: u64, bytes: &[u8]) -> Cid {
    Cid::new_v1(codec, Code::Sha2_256.digest(bytes))
}

/// Which CIDs a node takes: sha2-256 and blake3, 32 bytes of digest.
///
/// Identity hashes carry their content in the address and weak ones prove nothing, so both are refused before
/// anybody is asked for them.
#[derive(Clone, Copy, Debug)]
pub struct CidPolicy;

impl CidPolicy {
    /// Checks hash and digest length of a CID.
    ///
    /// # Errors
    /// `Rejected` with the reason.
    pub fn check(cid: &Cid) -> Result<()> {
        let hash = cid.hash();
        let reason = match hash.code() {
            SHA2_256 | BLAKE3 if hash.size() == DIGEST_BYTES => return Ok(()),
            SHA2_256 | BLAKE3 => format!("{cid} has a digest of {} bytes, not {DIGEST_BYTES}", hash.size()),
            0 => format!("{cid} has an identity hash: it carries its content and proves nothing"),
            code => format!("{cid} uses hash function {code:#x}; sha2-256 and blake3 are taken"),
        };
        Err(Error::new(ErrorKind::Rejected, "cid", reason))
    }
}

/// Bytes that somebody says belong to a CID. Nothing is stored, relayed or handed out before [`Claim::check`].
#[derive(Clone)]
pub struct Claim {
    cid: Cid,
    bytes: Bytes,
    checked: bool,
}

impl Claim {
    /// What a provider sent for `cid`.
    pub fn new(cid: Cid, bytes: Bytes) -> Self {
        Self { cid, bytes, checked: false }
    }

    /// The address claimed.
    pub fn cid(&self) -> &Cid {
        &self.cid
    }

    /// How many bytes were sent.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes, for a peer that checks them itself.
    pub(crate) fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// Hashes the bytes and compares; once checked it costs nothing.
    ///
    /// # Errors
    /// `Integrity` when the bytes are not those of the CID, `Rejected` when its hash proves nothing.
    pub fn check(self) -> Result<Block> {
        if !self.checked {
            CidPolicy::check(&self.cid)?;
            let code = if self.cid.hash().code() == BLAKE3 { Code::Blake3_256 } else { Code::Sha2_256 };
            if code.digest(&self.bytes) != *self.cid.hash() {
                let detail = format!("{} bytes do not hash to {}", self.bytes.len(), self.cid);
                return Err(Error::new(ErrorKind::Integrity, "check", detail));
            }
        }
        Ok(Block { cid: self.cid, bytes: self.bytes })
    }
}

impl From<Block> for Claim {
    fn from(block: Block) -> Self {
        Self { cid: block.cid, bytes: block.bytes, checked: true }
    }
}

/// Bytes that hash to their CID. There is no way to make one without hashing.
#[derive(Clone, PartialEq, Eq)]
pub struct Block {
    cid: Cid,
    bytes: Bytes,
}

impl Block {
    /// Hashes bytes of one's own into a block (CIDv1, sha2-256).
    pub fn new(codec: u64, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { cid: cid_of(codec, &bytes), bytes }
    }

    /// Hashes bytes into a block whose address has a prefix, as [bitswap] calls what a CID tells beside its digest: its
    /// version, the codec and the hash function, all as multicodec numbers. The digest is of 32 bytes.
    ///
    /// # Errors
    /// `Rejected` when [`CidPolicy`] takes no such hash, or no CID has the prefix: version 0 is DAG-PB and sha2-256 alone.
    ///
    /// [bitswap]: https://specs.ipfs.tech/bitswap-protocol/
    pub fn with_prefix(version: u64, codec: u64, hash: u64, bytes: Bytes) -> Result<Self> {
        let code = match hash {
            SHA2_256 => Code::Sha2_256,
            BLAKE3 => Code::Blake3_256,
            _ => return Err(no_prefix(format!("the hash function {hash:#x} is not taken"))),
        };
        let cid =
            Version::try_from(version).and_then(|version| Cid::new(version, codec, code.digest(&bytes)));
        Ok(Self { cid: cid.map_err(|error| no_prefix(error.to_string()))?, bytes })
    }

    /// A block whose address was computed from these very bytes a moment ago.
    pub(crate) fn hashed(cid: Cid, bytes: Bytes) -> Self {
        Self { cid, bytes }
    }

    /// Its address.
    pub fn cid(&self) -> &Cid {
        &self.cid
    }

    /// Its content.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Gives up the content without a copy.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// The length of its content.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }
}

fn no_prefix(detail: String) -> Error {
    Error::new(ErrorKind::Rejected, "cid prefix", detail)
}

// Both without the bytes: a log line or a failed assertion would print megabytes.
impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Claim({}, {} bytes)", self.cid, self.bytes.len())
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Block({}, {} bytes)", self.cid, self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dag::DAG_PB;
    use cid::multihash::Multihash;

    #[test]
    fn a_known_block_has_the_known_cid() {
        let block = Block::new(RAW, &b"hello world"[..]);
        assert_eq!(block.cid().to_string(), "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e");
    }

    #[test]
    fn wrong_bytes_are_no_block() {
        let cid = cid_of(RAW, b"right");
        let error = Claim::new(cid, Bytes::from_static(b"wrong")).check().expect_err("wrong bytes");
        assert_eq!(error.kind(), ErrorKind::Integrity);
        assert!(Claim::new(cid, Bytes::from_static(b"right")).check().is_ok());
    }

    #[test]
    fn a_block_is_made_with_the_prefix_that_is_asked_for() {
        let block = |version, codec, hash| Block::with_prefix(version, codec, hash, Bytes::from_static(b"x"));
        for made in [block(0, DAG_PB, SHA2_256), block(1, RAW, BLAKE3), block(1, RAW, SHA2_256)] {
            let made = made.expect("a prefix");
            let checked = Claim::new(*made.cid(), made.bytes().clone()).check();
            assert_eq!(checked.expect("its bytes"), made);
        }
        assert_eq!(block(0, DAG_PB, SHA2_256).expect("a prefix").cid().version(), Version::V0);
        for (version, codec, hash) in
            [(0, RAW, SHA2_256), (0, DAG_PB, BLAKE3), (2, RAW, SHA2_256), (1, RAW, 0x11)]
        {
            let error = block(version, codec, hash).expect_err("no such CID");
            assert_eq!(error.kind(), ErrorKind::Rejected);
        }
    }

    #[test]
    fn hashes_that_prove_nothing_are_refused() {
        let identity = Cid::new_v1(RAW, Multihash::wrap(0, b"content").expect("fits"));
        let weak = Cid::new_v1(RAW, Multihash::wrap(0x11, &[0; 20]).expect("fits"));
        let short = Cid::new_v1(RAW, Multihash::wrap(SHA2_256, &[0; 19]).expect("fits"));
        for cid in [identity, weak, short] {
            let error = Claim::new(cid, Bytes::new()).check().expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::Rejected);
        }
    }
}

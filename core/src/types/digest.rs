//! The part of a message's CID in which it differs from that of another message.

use cid::Cid;
use cid::multihash::Multihash;

use super::block::SHA2_256;
use super::message::DAG_CBOR;

/// The SHA-256 hash by which a message is named, as any DAG-CBOR block may be: all else in the CID is the same for all.
pub type Digest = [u8; 32];

/// The hash in such a CID; `None` where it is of another kind.
pub fn digest_of(cid: &Cid) -> Option<Digest> {
    let hash = cid.hash();
    let named_so = cid.codec() == DAG_CBOR && hash.code() == SHA2_256;
    hash.digest().try_into().ok().filter(|_| named_so)
}

/// The CID (version 1) of which a digest is the part.
pub fn cid_of_digest(digest: &Digest) -> Cid {
    // 32 bytes always fit.
    Cid::new_v1(DAG_CBOR, Multihash::wrap(SHA2_256, digest).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RAW, cid_of};

    #[test]
    fn a_message_id_is_its_digest() {
        let cid = cid_of(DAG_CBOR, b"x");
        assert_eq!(digest_of(&cid).map(|digest| cid_of_digest(&digest)), Some(cid));
        assert_eq!(digest_of(&cid_of(RAW, b"x")), None);
    }
}

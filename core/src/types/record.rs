//! Where a peer listens on all its transports, signed by it.

use bytes::Bytes;
use libp2p_identity::{Keypair, PeerId, PublicKey};
use multiaddr::Multiaddr;
use serde::{Deserialize, Serialize};

use super::at_most;
use crate::limits::{MAX_NUMBER, MAX_RECORD_BYTES};
use crate::{Error, ErrorKind, NetworkId, Result};

const DOMAIN: &[u8] = b"carrick/peer-record/1:";
const MAX_ADDRS: usize = 32;
const MAX_ALIASES: usize = 16;

/// Where a peer can be found on every transport it runs, and its foreign names, signed by it.
///
/// At most 2 KiB encoded, 32 addresses, 16 aliases. One can only be made by signing or by checking a signature, so a
/// record in hand is genuine; whether it is still true is another matter. Of two records the higher `seq` holds; it is at
/// most 2^63 − 1.
/// Encoded as a canonical dag-cbor map `{seq, sig, peer, addrs, aliases}`; `sig` covers `carrick/peer-record/1:`,
/// the network, `:` and the map without it, so that a record of one network is worth nothing in another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerRecord {
    peer: PeerId,
    seq: u64,
    addrs: Vec<Multiaddr>,
    aliases: Vec<(String, String)>,
    encoded: Bytes,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    seq: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sig: Option<serde_bytes::ByteBuf>,
    peer: serde_bytes::ByteBuf,
    #[serde(deserialize_with = "at_most::<MAX_ADDRS, serde_bytes::ByteBuf, _, _>")]
    addrs: Vec<serde_bytes::ByteBuf>,
    #[serde(deserialize_with = "at_most::<MAX_ALIASES, (String, String), _, _>")]
    aliases: Vec<(String, String)>,
}

impl Wire {
    fn encode(&self) -> Result<Vec<u8>> {
        serde_ipld_dagcbor::to_vec(self)
            .map_err(|source| refused("a record could not be encoded").from_source(source))
    }

    fn signed_bytes(&mut self, network: &NetworkId) -> Result<Vec<u8>> {
        let sig = self.sig.take();
        let body = self.encode()?;
        self.sig = sig;
        Ok([DOMAIN, network.as_str().as_bytes(), b":", &body].concat())
    }
}

fn refused(detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::Integrity, "peer record", detail)
}

impl PeerRecord {
    /// Signs a record of one's own. Addresses and aliases beyond the limits are left out, the last first.
    ///
    /// # Errors
    /// `Config` when `seq` is above 2^63 − 1; `Unexpected` when the key cannot sign.
    pub fn sign(
        key: &Keypair,
        network: &NetworkId,
        seq: u64,
        mut addrs: Vec<Multiaddr>,
        mut aliases: Vec<(String, String)>,
    ) -> Result<Self> {
        if seq > MAX_NUMBER {
            let detail = format!("seq is {seq}; at most {MAX_NUMBER} is allowed");
            return Err(
                Error::new(ErrorKind::Config, "peer record", detail).mend("set the clock of this machine")
            );
        }
        addrs.truncate(MAX_ADDRS);
        aliases.truncate(MAX_ALIASES);
        loop {
            let peer = key.public().to_peer_id();
            let mut wire = Wire {
                seq,
                sig: None,
                peer: serde_bytes::ByteBuf::from(peer.to_bytes()),
                addrs: addrs.iter().map(|addr| serde_bytes::ByteBuf::from(addr.to_vec())).collect(),
                aliases: aliases.clone(),
            };
            let signature = key.sign(&wire.signed_bytes(network)?).map_err(|source| {
                Error::new(ErrorKind::Unexpected, "peer record", "the key did not sign").from_source(source)
            })?;
            wire.sig = Some(serde_bytes::ByteBuf::from(signature));
            let encoded = wire.encode()?;
            if encoded.len() <= MAX_RECORD_BYTES {
                return Ok(Self { peer, seq, addrs, aliases, encoded: encoded.into() });
            }
            if aliases.pop().is_none() {
                addrs.pop();
            }
        }
    }

    /// Reads a record of another peer and checks everything about it.
    ///
    /// # Errors
    /// `TooLarge` above 2 KiB; `Integrity` when it is malformed, not canonical, or not signed by the peer it names.
    pub fn decode(encoded: impl Into<Bytes>, network: &NetworkId) -> Result<Self> {
        let encoded = encoded.into();
        if encoded.len() > MAX_RECORD_BYTES {
            let detail = format!("{} bytes; at most {MAX_RECORD_BYTES} are allowed", encoded.len());
            return Err(Error::new(ErrorKind::TooLarge, "peer record", detail));
        }
        let mut wire: Wire = serde_ipld_dagcbor::from_slice(&encoded)
            .map_err(|source| refused("malformed").from_source(source))?;
        if wire.encode()? != encoded {
            return Err(refused("not in canonical form"));
        }
        if wire.seq > MAX_NUMBER {
            return Err(refused("its number is above 2^63 - 1"));
        }
        let peer =
            PeerId::from_bytes(&wire.peer).map_err(|source| refused("no peer id").from_source(source))?;
        let key = public_key(&peer).ok_or_else(|| refused("the peer id carries no ed25519 key"))?;
        // Before the signature, which costs the most.
        let addrs = wire
            .addrs
            .iter()
            .map(|addr| Multiaddr::try_from(addr.to_vec()))
            .collect::<Result<_, _>>()
            .map_err(|source| refused("an address is malformed").from_source(source))?;
        let signed = wire.signed_bytes(network)?;
        if !wire.sig.as_ref().is_some_and(|sig| key.verify(&signed, sig)) {
            return Err(refused(format!("not signed by {peer}")));
        }
        Ok(Self { peer, seq: wire.seq, addrs, aliases: wire.aliases, encoded })
    }

    /// Whose record it is.
    pub fn peer(&self) -> &PeerId {
        &self.peer
    }

    /// Its number: the higher of two holds. By default the Unix time in milliseconds at which it was made.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Where the peer listens, without `/p2p/`.
    pub fn addrs(&self) -> &[Multiaddr] {
        &self.addrs
    }

    /// Its names elsewhere, as pairs of kind and name, such as a daemon's own peer id.
    pub fn aliases(&self) -> &[(String, String)] {
        &self.aliases
    }

    /// The record as it travels.
    pub fn encoded(&self) -> &Bytes {
        &self.encoded
    }
}

/// The ed25519 key inside a peer id, if it carries one. A key has one id: other encodings of it are none.
pub(crate) fn public_key(peer: &PeerId) -> Option<PublicKey> {
    let hash = peer.as_ref();
    let key = (hash.code() == 0).then(|| PublicKey::try_decode_protobuf(hash.digest()).ok())??;
    key.clone().try_into_ed25519().ok()?;
    (key.to_peer_id() == *peer).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Keypair {
        Keypair::generate_ed25519()
    }

    #[test]
    fn a_record_crosses_unchanged() {
        let addr: Multiaddr = "/ip4/10.0.0.7/udp/4600/quic-v1".parse().expect("address");
        let record =
            PeerRecord::sign(&key(), &network(), 7, vec![addr], vec![("kubo".into(), "12D3".into())])
                .expect("signs");
        assert_eq!(PeerRecord::decode(record.encoded().clone(), &network()).expect("decodes"), record);
    }

    fn network() -> NetworkId {
        NetworkId::new("home").expect("a network")
    }

    #[test]
    fn a_record_of_one_network_is_worth_nothing_in_another() {
        let record = PeerRecord::sign(&key(), &network(), 7, vec![], vec![]).expect("signs");
        let other = NetworkId::new("elsewhere").expect("a network");
        let error = PeerRecord::decode(record.encoded().clone(), &other).expect_err("replayed");
        assert_eq!(error.kind(), ErrorKind::Integrity);
    }

    #[test]
    fn a_changed_bit_is_refused() {
        let record = PeerRecord::sign(&key(), &network(), 7, vec![], vec![]).expect("signs");
        for at in 0..record.encoded().len() {
            let mut bytes = record.encoded().to_vec();
            bytes[at] ^= 1;
            assert!(PeerRecord::decode(bytes, &network()).is_err(), "bit {at} went unseen");
        }
    }

    #[test]
    fn a_record_is_cut_to_its_limit() {
        let long = |n: usize| vec![(n.to_string(), "x".repeat(300)); 16];
        let record = PeerRecord::sign(&key(), &network(), 7, vec![], long(1)).expect("signs");
        assert!(record.encoded().len() <= MAX_RECORD_BYTES);
        assert!(record.aliases().len() < 16);
        let error = PeerRecord::decode(vec![0; MAX_RECORD_BYTES + 1], &network()).expect_err("too large");
        assert_eq!(error.kind(), ErrorKind::TooLarge);
    }
}

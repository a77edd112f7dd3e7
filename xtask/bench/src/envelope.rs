//! The envelope of a message, as well as it can be written and checked: what its cryptography costs whoever does it.

use bytes::Bytes;
use carrick_core::{Block, Cid, DAG_CBOR, PeerId};
use libp2p_identity::{Keypair, PublicKey};
use serde::{Deserialize, Serialize};

use crate::Result;

/// What is signed is the envelope without its `sig`, which lies here.
const SIGNATURE_AT: usize = 4;
const OTHERS_AT: usize = 74;
const DOMAIN: &[u8] = b"carrick/message/1:";

#[derive(Serialize, Deserialize)]
struct Envelope<'a> {
    v: u64,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    sig: Option<&'a serde_bytes::Bytes>,
    time: u64,
    topic: &'a str,
    seqno: u64,
    #[serde(borrow)]
    author: &'a serde_bytes::Bytes,
    network: &'a str,
    parents: Vec<Cid>,
    #[serde(borrow)]
    payload: &'a serde_bytes::Bytes,
}

/// Checks the messages of one author: the form, the canonical encoding, the signature. The key is decoded once, the buffer
/// used again.
pub(crate) struct Checker {
    author: Vec<u8>,
    key: PublicKey,
    canonical: Vec<u8>,
}

impl Checker {
    pub(crate) fn of(author: &PeerId) -> Result<Self> {
        let key = PublicKey::try_decode_protobuf(author.as_ref().digest())?;
        Ok(Self { author: author.to_bytes(), key, canonical: Vec::new() })
    }

    pub(crate) fn check(&mut self, bytes: &[u8]) -> Result<()> {
        let envelope: Envelope<'_> = serde_ipld_dagcbor::from_slice(bytes)?;
        self.canonical.clear();
        serde_ipld_dagcbor::to_writer(&mut self.canonical, &envelope)?;
        if self.canonical != *bytes || **envelope.author != *self.author {
            return Err("not canonical, or of another author".into());
        }
        let signature = envelope.sig.ok_or("no signature")?;
        let signed = [DOMAIN, &[bytes[0] - 1], &bytes[1..SIGNATURE_AT], &bytes[OTHERS_AT..]].concat();
        if self.key.verify(&signed, signature) { Ok(()) } else { Err("the signature does not hold".into()) }
    }
}

/// Writes messages of one author, each following the one before it, as the entries of a ledger with one writer do.
pub(crate) struct Chain {
    key: Keypair,
    author: Vec<u8>,
    network: &'static str,
    topic: String,
    time: u64,
    seqno: u64,
    last: Option<Cid>,
}

impl Chain {
    /// One that begins at this time, in milliseconds, with this number.
    pub(crate) fn new(network: &'static str, topic: String, now: u64) -> Self {
        let key = Keypair::generate_ed25519();
        let author = key.public().to_peer_id().to_bytes();
        Self { key, author, network, topic, time: now, seqno: now, last: None }
    }

    pub(crate) fn author(&self) -> PeerId {
        self.key.public().to_peer_id()
    }

    /// Signs, encodes and hashes the next message.
    pub(crate) fn next(&mut self, payload: &[u8]) -> Result<Block> {
        let mut envelope = Envelope {
            v: 1,
            sig: None,
            time: self.time,
            topic: &self.topic,
            seqno: self.seqno,
            author: serde_bytes::Bytes::new(&self.author),
            network: self.network,
            parents: self.last.into_iter().collect(),
            payload: serde_bytes::Bytes::new(payload),
        };
        let mut signed = DOMAIN.to_vec();
        serde_ipld_dagcbor::to_writer(&mut signed, &envelope)?;
        let signature = self.key.sign(&signed)?;
        envelope.sig = Some(serde_bytes::Bytes::new(&signature));
        let block = Block::new(DAG_CBOR, Bytes::from(serde_ipld_dagcbor::to_vec(&envelope)?));
        self.seqno += 1;
        self.last = Some(*block.cid());
        Ok(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_holds_and_what_is_changed_does_not() {
        let mut chain = Chain::new("bench", "ledger/bench".into(), 1_700_000_000_000);
        let mut checker = Checker::of(&chain.author()).expect("a key");
        for _ in 0..2 {
            let block = chain.next(&[7; 256]).expect("signs");
            checker.check(block.bytes()).expect("holds");
            let mut changed = block.bytes().to_vec();
            *changed.last_mut().expect("not empty") ^= 1;
            assert!(checker.check(&changed).is_err());
        }
    }
}

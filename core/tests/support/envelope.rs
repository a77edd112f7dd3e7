//! Envelopes made apart from the crate, honest or hostile.
//!
//! Wrong in more ways than `carrick_core::conformance::forged`, such as in a field of another type, and there without the feature
//! `conformance`.

use std::collections::BTreeMap;

use carrick_core::{Bytes, Cid, DAG_CBOR, Keypair, MessageId, RAW, Topic, cid_of};
use ipld_core::ipld::Ipld;

use super::{NETWORK, NOW, key, topic, value_bytes};

const DOMAIN: &[u8] = b"carrick/message/1:";

/// An envelope before it is signed; every field may be wrong.
#[derive(Clone, Debug)]
pub(crate) struct Envelope {
    pub(crate) key: Keypair,
    pub(crate) v: i128,
    pub(crate) network: String,
    pub(crate) topic: String,
    pub(crate) author: Vec<u8>,
    pub(crate) seqno: u64,
    pub(crate) time: u64,
    pub(crate) parents: Vec<Cid>,
    pub(crate) payload: Option<Vec<u8>>,
    pub(crate) link: Option<Cid>,
    pub(crate) extra: Vec<(&'static str, Ipld)>,
}

impl Envelope {
    /// A good one, by the author of a number.
    pub(crate) fn by(author: u8, seqno: u64, payload: impl AsRef<[u8]>) -> Self {
        let key = key(author);
        Self {
            v: 1,
            network: NETWORK.into(),
            topic: topic().as_str().into(),
            author: key.public().to_peer_id().to_bytes(),
            seqno,
            time: NOW,
            parents: vec![],
            payload: Some(payload.as_ref().to_vec()),
            link: None,
            extra: vec![],
            key,
        }
    }

    /// The same, changed.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    pub(crate) fn on(self, topic: &Topic) -> Self {
        self.with(|e| e.topic = topic.as_str().into())
    }

    pub(crate) fn after(self, parents: impl IntoIterator<Item = Cid>) -> Self {
        self.with(|e| {
            e.parents = parents.into_iter().collect();
            e.parents.sort_unstable_by_key(Cid::to_bytes);
        })
    }

    /// Its payload travels as a link.
    pub(crate) fn linked(self, payload: &[u8]) -> Self {
        let link = cid_of(RAW, payload);
        self.with(|e| (e.payload, e.link) = (None, Some(link)))
    }

    /// The fields as they are signed.
    pub(crate) fn fields(&self) -> BTreeMap<String, Ipld> {
        let mut fields: BTreeMap<String, Ipld> = [
            ("v", Ipld::Integer(self.v)),
            ("time", Ipld::Integer(self.time.into())),
            ("topic", Ipld::String(self.topic.clone())),
            ("seqno", Ipld::Integer(self.seqno.into())),
            ("author", Ipld::Bytes(self.author.clone())),
            ("network", Ipld::String(self.network.clone())),
            ("parents", Ipld::List(self.parents.iter().copied().map(Ipld::Link).collect())),
        ]
        .into_iter()
        .chain(self.payload.clone().map(|payload| ("payload", Ipld::Bytes(payload))))
        .chain(self.link.map(|link| ("link", Ipld::Link(link))))
        .chain(self.extra.iter().cloned())
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        fields.retain(|name, _| name != "sig");
        fields
    }

    pub(crate) fn signature(&self) -> Vec<u8> {
        let signed = [DOMAIN, &value_bytes(&Ipld::Map(self.fields()))].concat();
        self.key.sign(&signed).expect("signs")
    }

    /// Signed, and encoded as it ought to be.
    pub(crate) fn encode(&self) -> Bytes {
        self.encode_signed(self.signature())
    }

    /// With a signature of one's own choice.
    pub(crate) fn encode_signed(&self, signature: Vec<u8>) -> Bytes {
        let mut fields = self.fields();
        fields.insert("sig".into(), Ipld::Bytes(signature));
        value_bytes(&Ipld::Map(fields)).into()
    }

    /// Signed, as names and encoded values in canonical order.
    pub(crate) fn entries(&self) -> Vec<(String, Vec<u8>)> {
        let mut fields = self.fields();
        fields.insert("sig".into(), Ipld::Bytes(self.signature()));
        let mut entries: Vec<_> =
            fields.into_iter().map(|(name, value)| (name, value_bytes(&value))).collect();
        entries.sort_by(|(a, _), (b, _)| (a.len(), a).cmp(&(b.len(), b)));
        entries
    }

    pub(crate) fn cid(&self) -> Cid {
        cid_of(DAG_CBOR, &self.encode())
    }

    pub(crate) fn id(&self) -> MessageId {
        MessageId::from_cid(self.cid())
    }
}

//! Packets of gossipsub, by hand.

use carrick_core::{Keypair, NetworkId};
use prost::Message as _;

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Rpc {
    #[prost(message, repeated, tag = "1")]
    pub(crate) subscriptions: Vec<Subscription>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) publish: Vec<Message>,
    #[prost(message, optional, tag = "3")]
    pub(crate) control: Option<Control>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Subscription {
    #[prost(bool, tag = "1")]
    pub(crate) subscribe: bool,
    #[prost(string, tag = "2")]
    pub(crate) topic: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Message {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) from: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) data: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) seqno: Vec<u8>,
    #[prost(string, tag = "4")]
    pub(crate) topic: String,
    #[prost(bytes = "vec", tag = "5")]
    pub(crate) signature: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Control {
    #[prost(message, repeated, tag = "1")]
    pub(crate) ihave: Vec<IHave>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) iwant: Vec<IWant>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) graft: Vec<Graft>,
    #[prost(message, repeated, tag = "4")]
    pub(crate) prune: Vec<Graft>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct IHave {
    #[prost(string, tag = "1")]
    pub(crate) topic: String,
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub(crate) ids: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct IWant {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub(crate) ids: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Graft {
    #[prost(string, tag = "1")]
    pub(crate) topic: String,
}

/// What a topic of a network is called on the wire.
pub(crate) fn named(network: &NetworkId, topic: &str) -> String {
    format!("carrick/{network}/{topic}")
}

impl Rpc {
    /// Joins topics, or leaves them.
    pub(crate) fn subscriptions(topics: impl IntoIterator<Item = String>, subscribe: bool) -> Self {
        let subscriptions = topics.into_iter().map(|topic| Subscription { subscribe, topic }).collect();
        Self { subscriptions, ..Self::default() }
    }

    /// A message of its signer, under a number of its own.
    pub(crate) fn message(key: &Keypair, topic: String, data: &[u8]) -> Self {
        Self { publish: vec![Message::signed(key, topic, data)], ..Self::default() }
    }

    /// With its length before it.
    pub(crate) fn framed(&self) -> Vec<u8> {
        self.encode_length_delimited_to_vec()
    }
}

impl Message {
    /// By a key, under a number of its own.
    pub(crate) fn signed(key: &Keypair, topic: String, data: &[u8]) -> Self {
        let mut message = Self {
            from: key.public().to_peer_id().to_bytes(),
            data: data.to_vec(),
            seqno: super::number().to_be_bytes().to_vec(),
            topic,
            signature: vec![],
        };
        let signed = [b"libp2p-pubsub:".to_vec(), message.encode_to_vec()].concat();
        message.signature = key.sign(&signed).expect("an ed25519 key signs");
        message
    }
}

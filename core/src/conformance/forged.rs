//! Messages that no node would make, for the tests of what judges them: validators, the rules of a ledger.
//!
//! They are encoded apart from the node's own code, as `docs/message-format.md` has it.

use ipld_core::ipld::Ipld;

use crate::{Block, Bytes, Cid, DAG_CBOR, Keypair, NetworkId, Time, Topic, cid_of};

/// Before what is signed.
const DOMAIN: &[u8] = b"carrick/message/1:";

/// A message as its forger wants it: encoded and signed as it ought to be, whatever it says.
///
/// ```
/// use carrick_core::conformance::forged::Forged;
/// use carrick_core::{Keypair, NetworkId, Result, Time, Topic};
///
/// # fn main() -> Result<()> {
/// let (network, topic, author) = (NetworkId::new("test")?, Topic::new("chat")?, Keypair::generate_ed25519());
/// let first = Forged::good(&network, &topic, &author, Time(1_700_000_000_000), "first");
/// let late = first.clone().after([first.cid()]).with(|late| late.time = Time(0));
/// // Both have one number: an equivocation, too. `Node::admit` takes what `encode` gives.
/// assert_ne!(first.encode(), late.encode());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Forged {
    /// The version of the format; 1 is spoken.
    pub version: u64,
    /// The network that it names.
    pub network: NetworkId,
    /// The topic that it names.
    pub topic: Topic,
    /// Who says that it is the author.
    pub author: Keypair,
    /// The author's number.
    pub number: u64,
    /// When the author says that it was.
    pub time: Time,
    /// What it follows: in this order, and as often as it stands here.
    pub parents: Vec<Cid>,
    /// A payload inside of it. A good message has either this or a link.
    pub payload: Option<Vec<u8>>,
    /// A payload that is a block of its own.
    pub link: Option<Cid>,
    /// Who signs it instead of its author.
    pub signer: Option<Keypair>,
}

impl Forged {
    /// One that is good unless it is changed: it follows nothing, and its number is its time in milliseconds, as a node's first
    /// one.
    pub fn good(
        network: &NetworkId,
        topic: &Topic,
        author: &Keypair,
        time: Time,
        payload: impl Into<Vec<u8>>,
    ) -> Self {
        Self {
            version: 1,
            network: network.clone(),
            topic: topic.clone(),
            author: author.clone(),
            number: time.as_millis(),
            time,
            parents: vec![],
            payload: Some(payload.into()),
            link: None,
            signer: None,
        }
    }

    /// The same, changed.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// The same, after these, which stand as they ought to.
    #[must_use]
    pub fn after(self, parents: impl IntoIterator<Item = Cid>) -> Self {
        let mut parents: Vec<Cid> = parents.into_iter().collect();
        parents.sort_unstable_by_key(Cid::to_bytes);
        self.with(|forged| forged.parents = parents)
    }

    /// The same with a payload that is a block of its own.
    #[must_use]
    pub fn linking(self, payload: Cid) -> Self {
        self.with(|forged| (forged.payload, forged.link) = (None, Some(payload)))
    }

    /// As it travels: what a node publishes, or takes by [`Node::admit`](crate::Node::admit). The same each time.
    ///
    /// # Panics
    /// With a key that does not sign.
    pub fn encode(&self) -> Bytes {
        let mut fields = self.fields();
        let signed = [DOMAIN, &map(&fields)].concat();
        let signature = self.signer.as_ref().unwrap_or(&self.author).sign(&signed).expect("the key signs");
        fields.push(("sig", Ipld::Bytes(signature)));
        map(&fields).into()
    }

    /// The block that others follow and fetch.
    ///
    /// # Panics
    /// As [`encode`](Self::encode).
    pub fn block(&self) -> Block {
        Block::new(DAG_CBOR, self.encode())
    }

    /// Its name.
    ///
    /// # Panics
    /// As [`encode`](Self::encode).
    pub fn cid(&self) -> Cid {
        cid_of(DAG_CBOR, &self.encode())
    }

    fn fields(&self) -> Vec<(&'static str, Ipld)> {
        let mut fields = vec![
            ("v", Ipld::Integer(self.version.into())),
            ("time", Ipld::Integer(self.time.as_millis().into())),
            ("topic", Ipld::String(self.topic.as_str().into())),
            ("seqno", Ipld::Integer(self.number.into())),
            ("author", Ipld::Bytes(self.author.public().to_peer_id().to_bytes())),
            ("network", Ipld::String(self.network.as_str().into())),
            ("parents", Ipld::List(self.parents.iter().copied().map(Ipld::Link).collect())),
        ];
        fields.extend(self.payload.clone().map(|payload| ("payload", Ipld::Bytes(payload))));
        fields.extend(self.link.map(|link| ("link", Ipld::Link(link))));
        fields
    }
}

/// The encoder puts the keys into their order.
fn map(fields: &[(&str, Ipld)]) -> Vec<u8> {
    let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    serde_ipld_dagcbor::to_vec(&Ipld::Map(fields.collect())).expect("such a map has an encoding")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Message, MessageId, RAW};

    fn good() -> (NetworkId, Forged) {
        let (network, topic) =
            (NetworkId::new("test").expect("a name"), Topic::new("chat").expect("a topic"));
        let forged = Forged::good(&network, &topic, &Keypair::generate_ed25519(), Time(7), "hello");
        (network, forged)
    }

    #[test]
    fn a_node_takes_what_is_good_and_nothing_that_was_spoilt() {
        let (network, good) = good();
        let read =
            |of: &Forged| Message::read_back(MessageId::from_cid(of.cid()), of.encode(), &network, 1 << 10);
        let following = good.clone().after([cid_of(DAG_CBOR, b"one"), cid_of(DAG_CBOR, b"other")]);
        for forged in [&good, &following, &good.clone().linking(cid_of(RAW, b"apart"))] {
            let message = read(forged).expect("it is good");
            assert_eq!(message.author(), Some(&good.author.public().to_peer_id()));
            assert_eq!((message.topic(), message.seqno(), message.time()), (&good.topic, 7, Time(7)));
            assert_eq!(message.parents(), forged.parents);
            assert_eq!(message.link(), forged.link.as_ref());
        }
        for spoilt in [
            good.clone().with(|forged| forged.version = 2),
            good.clone().with(|forged| forged.network = NetworkId::new("another").expect("a name")),
            good.clone().with(|forged| forged.signer = Some(Keypair::generate_ed25519())),
            good.clone().with(|forged| forged.link = Some(cid_of(RAW, b"both"))),
            good.clone().with(|forged| forged.payload = None),
            following.clone().with(|forged| forged.parents.reverse()),
        ] {
            read(&spoilt).expect_err("it is none");
        }
    }
}

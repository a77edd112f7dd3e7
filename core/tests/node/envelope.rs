//! The envelope is what its golden vectors say, in both directions. `vectors/gen-envelope.py` made them, apart from
//! this code.

use carrick_core::{Bytes, Cid, Delivery, Keypair, Message, NetworkId, Node, Relay, Time, Topic, TopicRules};
use futures::StreamExt as _;
use serde::Deserialize;

use crate::support::{Hands, Wire, memory, raw, remote, within};

#[derive(Debug, Deserialize)]
struct Vector {
    name: String,
    published: bool,
    seed: String,
    author: String,
    network: String,
    topic: String,
    seqno: u64,
    time: u64,
    parents: Vec<String>,
    payload: Option<String>,
    linked_bytes: Option<usize>,
    link: Option<String>,
    signature: String,
    encoded: String,
    id: String,
}

impl Vector {
    fn topic(&self) -> Topic {
        Topic::from_wire(&self.topic).expect(&self.name)
    }

    fn encoded(&self) -> Bytes {
        hex(&self.encoded).into()
    }

    fn payload(&self) -> Bytes {
        match (&self.payload, self.linked_bytes) {
            (Some(payload), _) => hex(payload).into(),
            (None, length) => (0..length.expect(&self.name)).map(|place| (place % 251) as u8).collect(),
        }
    }
}

fn vectors() -> Vec<Vector> {
    serde_json::from_str(include_str!("../vectors/envelope.json")).expect("the vectors are JSON")
}

fn hex(text: &str) -> Vec<u8> {
    let digit = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex");
    (0..text.len()).step_by(2).map(digit).collect()
}

async fn node(vector: &Vector, key: Option<Keypair>, clock: &Hands, wire: &Wire) -> Node {
    let mounted = wire.clone();
    let mut builder = Node::builder()
        .network(NetworkId::new(&vector.network).expect("a network id"))
        .clock(clock.clone())
        .store(memory())
        .mount("wire", |host| async move { Ok(mounted.open(host)) });
    if let Some(key) = key {
        builder = builder.identity(key);
    }
    builder.open().await.expect("opens")
}

fn assert_is(message: &Message, vector: &Vector) {
    let name = &vector.name;
    assert_eq!(message.id().to_string(), vector.id, "{name}");
    assert_eq!(message.encoded(), &vector.encoded(), "{name}");
    assert_eq!(message.topic(), &vector.topic(), "{name}");
    assert_eq!(message.author().expect(name).to_bytes(), hex(&vector.author), "{name}");
    assert_eq!((message.seqno(), message.time()), (vector.seqno, Time(vector.time)), "{name}");
    let parents: Vec<Cid> = vector.parents.iter().map(|parent| parent.parse().expect("a CID")).collect();
    assert_eq!(message.parents(), parents, "{name}");
    assert_eq!(message.link().map(Cid::to_string), vector.link, "{name}");
    assert_eq!(message.payload(), &vector.payload(), "{name}");
    assert!(vector.encoded.contains(&vector.signature), "{name}");
    assert_eq!(message.to_block().cid(), message.id().cid(), "{name}");
}

#[tokio::test(start_paused = true)]
async fn every_golden_envelope_is_read_as_it_says() {
    for vector in vectors() {
        let wire = Wire::new();
        wire.serves(remote(3), [&raw(vector.payload())]);
        let node = node(&vector, None, &Hands::at(vector.time), &wire).await;
        let mut subscription = node.subscribe(&vector.topic()).await.expect("subscribes");
        let answer = within(wire.hand(&remote(3), &vector.topic(), vector.encoded())).await;
        assert_eq!(answer, Relay::Accept, "{}", vector.name);
        match subscription.next().await {
            Some(Delivery::Message(message)) => assert_is(&message, &vector),
            other => panic!("{}: {other:?}", vector.name),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_publishes_exactly_the_golden_bytes() {
    let published: Vec<_> = vectors().into_iter().filter(|vector| vector.published).collect();
    let (wire, clock) = (Wire::new(), Hands::at(0));
    let key = Keypair::ed25519_from_bytes(hex(&published[0].seed)).expect("a key");
    let node = node(&published[0], Some(key), &clock, &wire).await;
    for vector in &published {
        clock.set(vector.time);
        let told = node.publish(&vector.topic(), vector.payload()).await.expect(&vector.name);
        assert_eq!(told.id.to_string(), vector.id, "{}", vector.name);
        let out = wire.published().pop().expect("published");
        assert_eq!((out.bytes, out.id), (vector.encoded(), told.id), "{}", vector.name);
        if let Some(link) = &vector.link {
            let link = link.parse().expect("a CID");
            assert!(node.store().has(&link).await.expect("has"), "a linked payload is stored first");
        }
    }
}

/// Kept messages are blocks: whoever has the id gets the very bytes.
#[tokio::test(start_paused = true)]
async fn a_kept_message_is_served_under_its_id() {
    let vector = vectors().into_iter().find(|vector| vector.parents.len() == 64).expect("there is one");
    let wire = Wire::new();
    let node = node(&vector, None, &Hands::at(vector.time), &wire).await;
    node.set_rules(vector.topic(), TopicRules::kept());
    let _subscription = node.subscribe(&vector.topic()).await.expect("subscribes");
    assert_eq!(wire.hand(&remote(3), &vector.topic(), vector.encoded()).await, Relay::Accept);
    let id = vector.id.parse().expect("a CID");
    let served = wire.host().block(&remote(4), &id).await.expect("serves").expect("has it");
    assert_eq!(served.bytes(), &vector.encoded());
}

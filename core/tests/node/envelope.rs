//! The envelope is what its golden vectors say, in both directions. `vectors/gen-envelope.py` made them, apart from
//! this code.

use carrick_core::limits::MAX_NUMBER;
use carrick_core::{
    Bytes, Cid, Delivery, ErrorKind, Keypair, Message, NetworkId, Node, Relay, Time, Topic, TopicRules,
};
use futures::StreamExt as _;
use serde::Deserialize;

use crate::support::{Envelope, Hands, Wire, memory, on, open, payloads, raw, remote, within};

#[derive(Debug, Deserialize)]
struct Vector {
    name: String,
    published: bool,
    refused: Option<String>,
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

/// Those that are read, and those that are refused although the signature holds.
fn vectors() -> (Vec<Vector>, Vec<Vector>) {
    let all: Vec<Vector> =
        serde_json::from_str(include_str!("../vectors/envelope.json")).expect("the vectors are JSON");
    all.into_iter().partition(|vector| vector.refused.is_none())
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
    for vector in vectors().0 {
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
async fn every_golden_refusal_is_rejected_whatever_the_clock_says() {
    for vector in vectors().1 {
        let wire = Wire::new();
        let node = node(&vector, None, &Hands::at(vector.time), &wire).await;
        let _subscription = node.subscribe(&vector.topic()).await.expect("subscribes");
        let answer = within(wire.hand(&remote(3), &vector.topic(), vector.encoded())).await;
        assert_eq!((answer, node.counter("malformed")), (Relay::Reject, 1), "{}", vector.name);
    }
}

/// A reader elsewhere stops there too, so nothing larger is ever signed.
#[tokio::test(start_paused = true)]
async fn a_node_publishes_up_to_the_largest_number_and_not_above() {
    let (wire, clock) = (Wire::new(), Hands::at(MAX_NUMBER));
    let vector = vectors().0.pop().expect("there is one");
    let node = node(&vector, None, &clock, &wire).await;
    node.publish(&vector.topic(), "last").await.expect("the largest number");
    let error = node.publish(&vector.topic(), "one more").await.expect_err("its number is too large");
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(error.hint().is_some());
    clock.set(u64::MAX);
    let other = Topic::new("other").expect("a topic");
    node.publish(&other, "late").await.expect_err("its time is too large");
    assert_eq!((wire.published().len(), wire.host().record().seq()), (1, MAX_NUMBER));
}

#[tokio::test(start_paused = true)]
async fn the_numbers_below_the_largest_are_taken_once_too() {
    let wire = Wire::new();
    let (_node, mut subscription) = open(on(&wire)).await;
    for (number, answer) in [
        (MAX_NUMBER, Relay::Accept),
        (MAX_NUMBER - 1, Relay::Accept),
        (MAX_NUMBER - 1_023, Relay::Accept),
        (MAX_NUMBER - 1_024, Relay::Ignore),
        (1, Relay::Ignore),
    ] {
        let message = Envelope::by(1, number, number.to_string()).encode();
        assert_eq!(wire.deliver(&remote(1), message).await, answer, "{number}");
    }
    let again = Envelope::by(1, MAX_NUMBER, "another").encode();
    assert_eq!(wire.deliver(&remote(1), again).await, Relay::Ignore);
    assert_eq!(payloads(&mut subscription).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_node_publishes_exactly_the_golden_bytes() {
    let published: Vec<_> = vectors().0.into_iter().filter(|vector| vector.published).collect();
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
    let vector = vectors().0.into_iter().find(|vector| vector.parents.len() == 64).expect("there is one");
    let wire = Wire::new();
    let node = node(&vector, None, &Hands::at(vector.time), &wire).await;
    node.set_rules(vector.topic(), TopicRules::kept());
    let _subscription = node.subscribe(&vector.topic()).await.expect("subscribes");
    assert_eq!(wire.hand(&remote(3), &vector.topic(), vector.encoded()).await, Relay::Accept);
    let id = vector.id.parse().expect("a CID");
    let served = wire.host().block(&remote(4), &id).await.expect("serves").expect("has it");
    assert_eq!(served.bytes(), &vector.encoded());
}

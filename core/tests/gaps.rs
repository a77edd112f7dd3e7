//! Kept topics of real nodes, in one process and in virtual time: what a node missed comes to it late.

use std::collections::BTreeSet;
use std::time::Duration;

use carrick_core::{
    Delivery, Keep, Keypair, NetworkId, Node, Owner, PeerAddr, Subscription, Topic, TopicRules,
};
use carrick_transport_memory::MemoryNetwork;
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::time::timeout;

/// Longer than anything takes, in virtual time.
const PATIENCE: Duration = Duration::from_secs(600);

fn topic() -> Topic {
    Topic::new("readings").expect("a topic")
}

async fn open(wire: &MemoryNetwork, messages: u64) -> (Node, Subscription) {
    let mut rules = TopicRules::default();
    (rules.keep, rules.keep_messages) = (Keep::Everything, Some(messages));
    let node = Node::builder().network(NetworkId::new("test").expect("a network"));
    let node = node.identity(Keypair::generate_ed25519()).topic(topic(), rules);
    let node = node.mount("memory", wire.transport()).open().await.expect("opens");
    let subscription = node.subscribe(&topic()).await.expect("subscribes");
    (node, subscription)
}

async fn link(one: &Node, other: &Node) {
    one.connect(&PeerAddr::from(other.listen_addrs().remove(0))).await.expect("connects");
    for node in [one, other] {
        timeout(PATIENCE, node.ready(&topic(), 1)).await.expect("in time").expect("ready");
    }
}

async fn publish(node: &Node, range: std::ops::Range<u32>) {
    for n in range {
        node.publish(&topic(), n.to_string()).await.expect("publishes");
    }
}

/// The next messages, in the order of their coming, and how many gaps were told before the last of them.
async fn next(subscription: &mut Subscription, messages: usize) -> (Vec<String>, usize) {
    let (mut came, mut gaps) = (Vec::new(), 0);
    while came.len() < messages {
        match timeout(PATIENCE, subscription.next()).await.expect("in time").expect("open") {
            Delivery::Message(message) => came.push(String::from_utf8_lossy(message.payload()).into_owned()),
            Delivery::Gap(_) => gaps += 1,
            other => panic!("{other:?}"),
        }
    }
    (came, gaps)
}

async fn kept(node: &Node) -> BTreeSet<carrick_core::Cid> {
    let pins = node.pins(Some(&Owner::topic(&topic())));
    pins.map_ok(|pin| pin.cid).try_collect().await.expect("lists")
}

/// Three in a line: the last can ask only the one between, which misses the same and mends it at the same moment.
#[tokio::test(start_paused = true)]
async fn a_part_that_was_cut_off_gets_what_it_missed() {
    let wire = MemoryNetwork::new(1);
    let [(author, _own), (between, mut first), (far, mut second)] =
        [open(&wire, 1_000).await, open(&wire, 1_000).await, open(&wire, 1_000).await];
    link(&author, &between).await;
    link(&between, &far).await;
    publish(&author, 0..1).await;
    for subscription in [&mut first, &mut second] {
        assert_eq!(next(subscription, 1).await, (vec!["0".into()], 0));
    }
    wire.partition(&[&[author.peer_id()], &[between.peer_id(), far.peer_id()]]);
    publish(&author, 1..51).await;
    wire.heal();
    link(&author, &between).await;
    publish(&author, 51..52).await;
    for subscription in [&mut first, &mut second] {
        let (came, gaps) = next(subscription, 51).await;
        assert_eq!((came[0].as_str(), gaps), ("51", 0), "the newest does not wait");
        assert_eq!(came[1..], (1..51).map(|n| n.to_string()).collect::<Vec<_>>());
    }
    assert_eq!(kept(&author).await.len(), 52);
    assert_eq!((kept(&between).await, kept(&far).await), (kept(&author).await, kept(&author).await));
}

#[tokio::test(start_paused = true)]
async fn what_nobody_keeps_any_more_is_told() {
    let wire = MemoryNetwork::new(2);
    let [(author, _own), (reader, mut subscription)] = [open(&wire, 5).await, open(&wire, 20).await];
    link(&author, &reader).await;
    publish(&author, 0..1).await;
    next(&mut subscription, 1).await;
    wire.partition(&[&[author.peer_id()], &[reader.peer_id()]]);
    publish(&author, 1..30).await;
    author.collect_garbage().await.expect("collects");
    wire.heal();
    link(&author, &reader).await;
    publish(&author, 30..31).await;
    let (came, gaps) = next(&mut subscription, 6).await;
    assert_eq!(came, ["30", "25", "26", "27", "28", "29"]);
    assert_eq!(gaps, 0);
    let told = timeout(PATIENCE, subscription.next()).await.expect("in time").expect("open");
    assert!(matches!(told, Delivery::Gap(_)), "{told:?}");
}

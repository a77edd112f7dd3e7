//! Messages: bare ones with whoever speaks gossipsub, and envelopes over a Kubo between two nodes.

use std::collections::BTreeSet;
use std::time::Instant;

use carrick_core::{Delivery, Message, Node, Subscription, Topic};
use carrick_interop::{Daemon, Helia, Kubo, Listener, OldKubo, Peer};
use futures::StreamExt as _;

use super::{
    APART, PATIENCE, aside, builder, config, connect, open, ours, raw, remote, soon, theirs, timed, topic,
    wire,
};

/// Messages each way.
const MANY: usize = 500;
/// Messages on their way at once. With Kubo it is one: it looks at several of one author at once, and refuses what has a lower
/// number than one it was done with before.
const AT_ONCE: usize = 16;

/// Somebody who is no node and takes part in a topic.
trait Other {
    fn id(&self) -> String;
    fn says(&mut self, data: &[u8]);
    fn hears(&mut self) -> carrick_interop::Message;
}

struct OfKubo<'a>(&'a Daemon, Listener);

impl Other for OfKubo<'_> {
    fn id(&self) -> String {
        self.0.id.clone()
    }

    fn says(&mut self, data: &[u8]) {
        self.0.publish(&wire(&raw()), data).expect("publishes");
    }

    fn hears(&mut self) -> carrick_interop::Message {
        loop {
            let heard = self.1.next(PATIENCE).expect("hears").expect("a message");
            // It hears itself, too.
            if heard.from != self.0.id {
                return heard;
            }
        }
    }
}

impl Other for Peer {
    fn id(&self) -> String {
        Self::id(self).to_owned()
    }

    fn says(&mut self, data: &[u8]) {
        self.publish(&wire(&raw()), data).expect("publishes");
    }

    fn hears(&mut self) -> carrick_interop::Message {
        self.next(&wire(&raw()), PATIENCE).expect("hears").expect("a message")
    }
}

async fn message(subscription: &mut Subscription) -> Message {
    let next = async {
        match subscription.next().await.expect("the node is open") {
            Delivery::Message(message) => message,
            other => panic!("{other:?}"),
        }
    };
    soon("a message", next).await
}

/// Waits until a node knows that somebody takes part in a topic.
async fn on(node: &Node, topic: &Topic, id: &str) {
    let who = remote(id);
    let known = async {
        let mut events = node.events();
        while !node.topic_peers(topic).await.expect("peers").contains(&who) {
            events.next().await.expect("the node is open");
        }
    };
    soon("that it takes part", known).await;
}

/// Each hears all that the other says, once, and our numbers rise. So many messages are on their way at once.
async fn talk(node: &Node, mut heard: Subscription, other: &mut dyn Other, at_once: usize) {
    on(node, &raw(), &other.id()).await;
    let (mut said, mut numbers) = (BTreeSet::new(), BTreeSet::new());
    let began = Instant::now();
    for n in 0..MANY {
        let text = format!("{n} of ours");
        said.insert(text.clone());
        node.publish(&raw(), text).await.expect("publishes");
        while said.len() >= at_once || (n + 1 == MANY && !said.is_empty()) {
            let message = aside(|| other.hears());
            let text = String::from_utf8_lossy(&message.data).into_owned();
            assert!(said.remove(&text), "{text:?} was not said, or was heard before");
            assert_eq!(message.from, node.peer_id().to_string());
            // Those on their way at the same time may overtake each other.
            let below = numbers.range(message.seqno..).count();
            assert!(below < at_once, "{below} later numbers are below {}", message.seqno);
            numbers.insert(message.seqno);
        }
    }
    timed(&format!("{MANY} messages out"), 0, began);
    let began = Instant::now();
    for n in 0..MANY {
        let text = format!("{n} of theirs");
        aside(|| other.says(text.as_bytes()));
        said.insert(text);
        while said.len() >= at_once || (n + 1 == MANY && !said.is_empty()) {
            let message = message(&mut heard).await;
            let text = String::from_utf8_lossy(message.payload()).into_owned();
            assert!(said.remove(&text), "{text:?} was not said, or was heard before");
        }
    }
    timed(&format!("{MANY} messages in"), 0, began);
}

/// A node on the topic of bare payloads.
async fn subscribed() -> (Node, Subscription) {
    let node = open(config()).await;
    let subscription = node.subscribe(&raw()).await.expect("subscribes");
    (node, subscription)
}

#[tokio::test(flavor = "multi_thread")]
async fn bare_messages_go_to_kubo_and_come_from_it() {
    let kubo = aside(|| Kubo::run(1, &APART)).expect("a daemon");
    let daemon = &kubo.daemons()[0];
    let mut other = OfKubo(daemon, daemon.subscribe(&wire(&raw())).expect("subscribes"));
    let (node, subscription) = subscribed().await;
    connect(&node, theirs(daemon, "/tcp/")).await;
    aside(|| daemon.until_on_topic(&wire(&raw()), &node.peer_id().to_string())).expect("known");
    talk(&node, subscription, &mut other, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bare_messages_go_to_helia_and_come_from_it() {
    let mut helia = aside(|| Helia::run(&[])).expect("a peer");
    helia.subscribe(&wire(&raw())).expect("subscribes");
    let (node, subscription) = subscribed().await;
    aside(|| helia.connect(&ours(&node, "/quic-v1"))).expect("connects");
    aside(|| helia.until_on_topic(&wire(&raw()), &node.peer_id().to_string())).expect("known");
    talk(&node, subscription, &mut *helia, AT_ONCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bare_messages_go_to_an_old_kubo_and_come_from_it() {
    let mut old = aside(|| OldKubo::run(&[])).expect("a peer");
    old.subscribe(&wire(&raw())).expect("subscribes");
    let (node, subscription) = subscribed().await;
    connect(&node, old.tcp()).await;
    aside(|| old.until_on_topic(&wire(&raw()), &node.peer_id().to_string())).expect("known");
    talk(&node, subscription, &mut *old, 1).await;
}

/// Kubo refuses what has a lower number than it heard of an author, also before it was started again.
#[tokio::test(flavor = "multi_thread")]
async fn kubo_hears_a_node_that_was_started_again() {
    let kubo = aside(|| Kubo::run(1, &APART)).expect("a daemon");
    let daemon = &kubo.daemons()[0];
    let mut other = OfKubo(daemon, daemon.subscribe(&wire(&raw())).expect("subscribes"));
    let key = carrick_core::Keypair::generate_ed25519();
    let mut last = 0;
    for life in ["first", "second", "third"] {
        let node = builder(config()).identity(key.clone()).open().await.expect("opens");
        connect(&node, theirs(daemon, "/tcp/")).await;
        on(&node, &raw(), &daemon.id).await;
        node.publish(&raw(), life).await.expect("publishes");
        let heard = aside(|| other.hears());
        assert_eq!(heard.data, life.as_bytes());
        assert!(heard.seqno > last, "{} is not above {last}", heard.seqno);
        last = heard.seqno;
        node.close().await.expect("closes");
    }
}

/// Kubo passes envelopes on as it does any message.
#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_hear_each_other_over_a_kubo_between_them() {
    let kubo = aside(|| Kubo::run(1, &APART)).expect("a daemon");
    let between = &kubo.daemons()[0];
    let _takes_part = between.subscribe(&wire(&topic())).expect("subscribes");
    let (one, other) = (open(config()).await, open(config()).await);
    let mut hears = [one.subscribe(&topic()).await, other.subscribe(&topic()).await]
        .map(|heard| heard.expect("subscribes"));
    connect(&one, theirs(between, "/tcp/")).await;
    connect(&other, theirs(between, "/quic-v1")).await;
    for node in [&one, &other] {
        on(node, &topic(), &between.id).await;
        aside(|| between.until_on_topic(&wire(&topic()), &node.peer_id().to_string())).expect("known");
    }
    for n in 0..100 {
        for (from, to) in [(&one, 1), (&other, 0)] {
            let text = format!("{n} from {}", from.peer_id());
            from.publish(&topic(), text.clone()).await.expect("publishes");
            let heard = message(&mut hears[to]).await;
            assert_eq!((heard.payload(), heard.author()), (&text.into(), Some(&from.peer_id())));
        }
    }
    for node in [&one, &other] {
        let peers = node.peers().await.expect("peers");
        assert!(peers.iter().all(|peer| peer.remote == remote(&between.id)), "{peers:?}");
    }
}

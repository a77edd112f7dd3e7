//! Verdicts that come when gossipsub has forgotten the message.

use std::time::Duration;

use async_trait::async_trait;
use carrick_core::{
    Block, Context, Delivery, Message, NetworkId, Node, Subscription, Topic, TopicRules, Validator, Verdict,
};
use carrick_transport_libp2p::{Libp2p, Libp2pConfig, Routing};
use futures::StreamExt as _;
use tokio::time::{sleep, timeout};

/// Longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longer than the history of messages that these nodes have.
const LATE: Duration = Duration::from_millis(400);

/// Takes its time, and accepts everything.
#[derive(Debug)]
struct Slow;

#[async_trait]
impl Validator for Slow {
    async fn message(&self, _: &Context<'_>, _: &Message) -> Verdict {
        sleep(LATE).await;
        Verdict::Accept
    }

    async fn block(&self, _: &Context<'_>, _: &Block) -> Verdict {
        Verdict::Accept
    }

    async fn accepted(&self, _: &Context<'_>, _: &Message) -> carrick_core::Result<()> {
        Ok(())
    }
}

fn topic(raw: bool) -> Topic {
    Topic::new(if raw { "bare" } else { "readings" }).expect("a topic")
}

async fn soon<T>(what: &str, happens: impl Future<Output = T>) -> T {
    timeout(PATIENCE, happens).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

async fn node(slow: bool) -> Node {
    let mut config = Libp2pConfig::default();
    config.listen = Some(vec!["/ip4/127.0.0.1/tcp/0".parse().expect("an address")]);
    config.neighbours = 0;
    config.routing = Routing::None;
    config.gossipsub.heartbeat_interval.0 = Duration::from_millis(50);
    (config.gossipsub.history_length, config.gossipsub.history_gossip) = (2, 1);
    let mut builder = Node::builder().network(NetworkId::new("late").expect("a network"));
    builder = builder.topic(topic(true), TopicRules::raw());
    if slow {
        builder = builder.validator(std::sync::Arc::new(Slow));
    }
    builder.mount("libp2p", move |host| Libp2p::open(config, host)).open().await.expect("opens")
}

async fn link(node: &Node, other: &Node) {
    let addr = other.listen_addrs().first().cloned().expect("it listens").into();
    soon("a link", node.connect(&addr)).await.expect("connects");
}

async fn heard(subscription: &mut Subscription) -> Vec<u8> {
    loop {
        match soon("a message", subscription.next()).await {
            Some(Delivery::Message(message)) => return message.payload().to_vec(),
            Some(_) => {}
            None => panic!("the node closed"),
        }
    }
}

/// Author, a node that judges slowly, and one that knows only that one.
async fn through_a_slow_node(raw: bool) -> ([Node; 3], Subscription) {
    let (author, between, last) = (node(false).await, node(true).await, node(false).await);
    let topic = topic(raw);
    let mut there = between.subscribe(&topic).await.expect("subscribes");
    let at_the_end = last.subscribe(&topic).await.expect("subscribes");
    link(&author, &between).await;
    link(&last, &between).await;
    let _wants_it = author.subscribe(&topic).await.expect("subscribes");
    soon("a neighbour", author.ready(&topic, 1)).await.expect("open");
    soon("two neighbours", between.ready(&topic, 2)).await.expect("open");
    author.publish(&topic, "late").await.expect("publishes");
    assert_eq!(heard(&mut there).await, b"late");
    ([author, between, last], at_the_end)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_accepted_late_goes_on_all_the_same() {
    let (_nodes, mut at_the_end) = through_a_slow_node(false).await;
    assert_eq!(heard(&mut at_the_end).await, b"late");
}

/// Published again it would be another message: whoever has the first would hear it twice, and two slow nodes would never end.
#[tokio::test(flavor = "multi_thread")]
async fn a_raw_message_that_is_accepted_late_is_passed_on_under_no_other_name() {
    let ([_author, between, _last], mut at_the_end) = through_a_slow_node(true).await;
    between.publish(&topic(true), "its own").await.expect("publishes");
    assert_eq!(heard(&mut at_the_end).await, b"its own");
}

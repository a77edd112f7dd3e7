//! Messages: relayed after the verdict, bounded, counted.

use std::sync::Arc;

use carrick_core::{
    Block, Bytes, Context, ErrorKind, Lane, Limits, Message, MessageId, Outgoing, Receipt, Result, Skip,
    Topic, TopicRules, Transport, Validator, Verdict, async_trait,
};
use carrick_transport_memory::MemoryNetwork;

use crate::common::{Joined, PATIENCE, builder, kind, line, next, open, silence, topic};

/// Refuses whatever says so.
#[derive(Debug)]
struct NothingBad;

#[async_trait]
impl Validator for NothingBad {
    async fn message(&self, _: &Context<'_>, message: &Message) -> Verdict {
        match &message.payload()[..] {
            b"reject" => Verdict::Reject("it says so".into()),
            b"ignore" => Verdict::Ignore("it says so".into()),
            _ => Verdict::Accept,
        }
    }

    async fn block(&self, _: &Context<'_>, _: &Block) -> Verdict {
        Verdict::Accept
    }

    async fn accepted(&self, _: &Context<'_>, _: &Message) -> Result<()> {
        Ok(())
    }
}

fn outgoing(topic: &Topic, bytes: Bytes, lane: Lane) -> Outgoing {
    Outgoing { id: MessageId::of(&bytes), topic: topic.clone(), bytes, lane }
}

async fn publish(from: &Joined, message: &Outgoing) -> Result<Receipt> {
    from.memory.broadcast().expect("has it").publish(message).await
}

#[tokio::test(start_paused = true)]
async fn a_line_of_three_relays_after_the_verdict() {
    let wire = MemoryNetwork::new(1);
    let a = open(&wire, builder(1)).await;
    let b = open(&wire, builder(2).validator(Arc::new(NothingBad))).await;
    let c = open(&wire, builder(3)).await;
    b.dial(&a).await;
    b.dial(&c).await;
    let mut at_b = b.node.subscribe(&topic()).await.expect("subscribes");
    let mut at_c = c.node.subscribe(&topic()).await.expect("subscribes");
    let mut at_a = a.node.subscribe(&topic()).await.expect("subscribes");
    for payload in ["one", "reject", "ignore", "two"] {
        let published = a.node.publish(&topic(), payload).await.expect("publishes");
        assert_eq!(published.sent_to, Some(1), "{payload}");
    }
    for subscription in [&mut at_b, &mut at_c] {
        assert_eq!(next(subscription).await, "one");
        assert_eq!(next(subscription).await, "two");
        silence(subscription).await;
    }
    silence(&mut at_a).await;
}

#[tokio::test(start_paused = true)]
async fn in_a_circle_everybody_gets_each_message_once() {
    let wire = MemoryNetwork::new(3);
    let nodes = line(&wire, 4).await;
    nodes[3].dial(&nodes[0]).await;
    let mut subscriptions = Vec::new();
    for joined in &nodes {
        subscriptions.push(joined.node.subscribe(&topic()).await.expect("subscribes"));
    }
    for payload in ["one", "two", "three"] {
        nodes[0].node.publish(&topic(), payload).await.expect("publishes");
    }
    for subscription in &mut subscriptions[1..] {
        for payload in ["one", "two", "three"] {
            assert_eq!(next(subscription).await, payload);
        }
        silence(subscription).await;
    }
    silence(&mut subscriptions[0]).await;
}

#[tokio::test(start_paused = true)]
async fn bare_payloads_go_round_a_circle_once() {
    let wire = MemoryNetwork::new(1);
    let mut nodes = Vec::new();
    for number in 1..=3 {
        nodes.push(open(&wire, builder(number).topic(topic(), TopicRules::raw())).await);
    }
    for (from, to) in [(0, 1), (1, 2), (2, 0)] {
        nodes[from].dial(&nodes[to]).await;
    }
    let mut subscriptions = Vec::new();
    for joined in &nodes {
        subscriptions.push(joined.node.subscribe(&topic()).await.expect("subscribes"));
    }
    // Twice the same bytes are two messages: the wire's own number tells them apart.
    for _ in 0..2 {
        assert_eq!(nodes[0].node.publish(&topic(), "bare").await.expect("publishes").sent_to, Some(2));
    }
    for subscription in &mut subscriptions[1..] {
        assert_eq!(next(subscription).await, "bare");
        assert_eq!(next(subscription).await, "bare");
        silence(subscription).await;
    }
    silence(&mut subscriptions[0]).await;
}

#[tokio::test(start_paused = true)]
async fn only_who_joined_gets_messages_and_a_left_topic_falls_silent() {
    let wire = MemoryNetwork::new(1);
    let nodes = line(&wire, 2).await;
    let other = Topic::new("other").expect("a topic");
    let mut at_b = nodes[1].node.subscribe(&topic()).await.expect("subscribes");
    assert_eq!(nodes[0].node.publish(&other, "x").await.expect("publishes").sent_to, Some(0));
    let broadcast = nodes[1].memory.broadcast().expect("has it");
    // It is on its way already when the topic is left.
    nodes[0].node.publish(&topic(), "late").await.expect("publishes");
    broadcast.leave(&topic()).await.expect("leaves");
    broadcast.leave(&topic()).await.expect("again");
    assert_eq!(nodes[0].node.publish(&topic(), "later").await.expect("publishes").sent_to, Some(0));
    silence(&mut at_b).await;
}

#[tokio::test(start_paused = true)]
async fn limits_are_kept_at_both_ends() {
    let wire = MemoryNetwork::new(1);
    let a = open(&wire, builder(1)).await;
    let mut limits = Limits::default();
    (limits.payload_bytes, limits.topics_per_peer) = (1 << 10, 2);
    let small = open(&wire, builder(2).limits(limits.clone())).await;
    a.dial(&small).await;

    let broadcast = small.memory.broadcast().expect("has it");
    let numbered = |n: u8| Topic::new(format!("t{n}")).expect("a topic");
    for n in [0, 1, 1] {
        broadcast.join(&numbered(n)).await.expect("within the limit");
    }
    assert_eq!(kind(broadcast.join(&numbered(2)).await), ErrorKind::TooLarge);

    let largest = a.node.limits().envelope_bytes();
    let sized = |bytes: usize| outgoing(&numbered(0), vec![0; bytes].into(), Lane::Own);
    assert_eq!(kind(publish(&a, &sized(largest + 1)).await), ErrorKind::TooLarge);
    let receipt = publish(&a, &sized(largest)).await.expect("within our own limit");
    assert_eq!(receipt, Receipt::counted(0, vec![(Skip::TooLarge, 1)]));
    let receipt = publish(&a, &sized(limits.envelope_bytes())).await.expect("within both limits");
    assert_eq!(receipt, Receipt::counted(1, vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_drops_and_counts() {
    let wire = MemoryNetwork::new(1);
    let mut limits = Limits::default();
    limits.payload_bytes = 1 << 10;
    limits.send_queue_bytes = limits.envelope_bytes();
    let a = open(&wire, builder(1).limits(limits)).await;
    let b = open(&wire, builder(2)).await;
    a.dial(&b).await;
    let _reading = b.node.subscribe(&topic()).await.expect("subscribes");
    // Nothing here yields, so the far end reads nothing meanwhile.
    let message = |lane| outgoing(&topic(), vec![0; 2 << 10].into(), lane);
    for _ in 0..5 {
        assert_eq!(publish(&a, &message(Lane::Own)).await.expect("taken"), Receipt::counted(1, vec![]));
    }
    let receipt = publish(&a, &message(Lane::Relay)).await.expect("an answer");
    assert_eq!(receipt, Receipt::counted(0, vec![(Skip::QueueFull, 1)]));
    assert_eq!(a.node.counter("dropped"), 4);
}

#[tokio::test(start_paused = true)]
async fn a_late_joiner_gets_what_comes_after_it() {
    let wire = MemoryNetwork::new(1);
    let nodes = line(&wire, 2).await;
    let mut at_b = nodes[1].node.subscribe(&topic()).await.expect("subscribes");
    nodes[0].node.publish(&topic(), "early").await.expect("publishes");
    let c = open(&wire, builder(3)).await;
    let mut at_c = c.node.subscribe(&topic()).await.expect("subscribes");
    c.dial(&nodes[1]).await;
    assert_eq!(next(&mut at_b).await, "early");
    nodes[0].node.publish(&topic(), "late").await.expect("publishes");
    loop {
        // The early one may still have been on its way through the gate when the link came up.
        if next(&mut at_c).await == "late" {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_many_threads_links_come_and_go_while_messages_flow() {
    let wire = MemoryNetwork::new(1);
    let nodes = Arc::new(line(&wire, 6).await);
    let mut readers = Vec::new();
    for joined in nodes.iter() {
        readers.push(joined.node.subscribe(&topic()).await.expect("subscribes"));
    }
    let publishing = (0..6).map(|at| {
        let nodes = nodes.clone();
        tokio::spawn(async move {
            for n in 0..50 {
                nodes[at].node.publish(&topic(), format!("{n} of {at}")).await.expect("publishes");
            }
        })
    });
    let linking = (0..6).map(|at| {
        let nodes = nodes.clone();
        tokio::spawn(async move {
            for step in 1..50 {
                let other = &nodes[(at + step) % 6];
                // Oneself is among them, and a link may be there or gone: all that matters is that nothing hangs.
                let _ = nodes[at].memory.dial(&other.addr()).await;
                let _ = nodes[at].memory.disconnect(&other.node.peer_id().into()).await;
            }
        })
    });
    let all = publishing.chain(linking).collect::<Vec<_>>();
    let done = tokio::time::timeout(PATIENCE, futures::future::join_all(all)).await.expect("nothing hangs");
    assert!(done.into_iter().all(|task| task.is_ok()));
    for joined in nodes.iter() {
        joined.node.close().await.expect("closes");
        assert_eq!(kind(joined.memory.peers().await), ErrorKind::Closed);
    }
}

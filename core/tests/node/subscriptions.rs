//! What a reader of a topic gets, how slow it may be, and what its coming and going does.

use carrick_core::{Delivery, Event, Message, Notice, Relay, Topic};
use futures::StreamExt as _;

use crate::support::{
    Call, Envelope, Wire, limits, next_payload, on, open, payloads, ready, remote, settle, topic,
};

async fn arrive(wire: &Wire, count: u64, size: usize) {
    for n in 0..count {
        let payload = format!("{n:0>size$}");
        assert_eq!(wire.deliver(&remote(1), Envelope::by(1, n, payload).encode()).await, Relay::Accept);
    }
}

fn message(delivery: &Delivery) -> &Message {
    match delivery {
        Delivery::Message(message) => message,
        other => panic!("no message: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_told_exactly_how_much_it_missed_and_others_are_not_harmed() {
    let wire = Wire::new();
    let (node, mut slow) = open(on(&wire).limits(limits(|l| l.subscriber_messages = 3))).await;
    let mut quick = node.subscribe(&topic()).await.expect("subscribes");
    for n in 0..10_u64 {
        let bytes = Envelope::by(1, n, n.to_string()).encode();
        assert_eq!(wire.deliver(&remote(1), bytes).await, Relay::Accept);
        assert_eq!(next_payload(&mut quick).await, n.to_string());
    }
    assert!(matches!(slow.next().await, Some(Delivery::Lagged(7))));
    assert_eq!(payloads(&mut slow), ["7", "8", "9"]);
    assert_eq!(node.counter("lagged"), 7);
    arrive_more(&wire).await;
    assert_eq!(payloads(&mut slow), ["10"], "and it goes on");
}

async fn arrive_more(wire: &Wire) {
    assert_eq!(wire.deliver(&remote(1), Envelope::by(1, 10, "10").encode()).await, Relay::Accept);
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_bounded_in_bytes_too() {
    let wire = Wire::new();
    let (node, mut slow) = open(on(&wire).limits(limits(|l| l.subscriber_bytes = 70_000))).await;
    arrive(&wire, 5, 30_000).await;
    assert!(matches!(slow.next().await, Some(Delivery::Lagged(3))));
    assert_eq!(ready(&mut slow).len(), 2);
    assert_eq!(node.counter("lagged"), 3);
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_told_when_a_message_follows_one_that_was_never_seen() {
    let wire = Wire::new();
    let (node, mut subscription) = open(on(&wire)).await;
    let first = Envelope::by(1, 1, "first");
    let lost = Envelope::by(1, 2, "lost").after([first.cid()]);
    let third = Envelope::by(1, 3, "third").after([lost.cid()]);
    assert_eq!(wire.deliver(&remote(1), first.encode()).await, Relay::Accept);
    assert_eq!(wire.deliver(&remote(1), third.encode()).await, Relay::Accept);
    let mut gaps = Vec::new();
    for delivery in ready(&mut subscription) {
        if let Delivery::Gap(gap) = delivery {
            gaps.push((gap.topic, gap.author, gap.last));
        }
    }
    assert_eq!(gaps, [(Some(topic()), Some(crate::support::peer(1)), Some(lost.id()))]);
    assert_eq!(node.counter("gap"), 1);
}

/// The first message of an author is the baseline: what was before it is nobody's loss.
#[tokio::test(start_paused = true)]
async fn the_first_message_of_an_author_opens_no_gap() {
    let wire = Wire::new();
    let (node, mut subscription) = open(on(&wire)).await;
    let before = Envelope::by(1, 1, "before");
    let first = Envelope::by(1, 2, "first seen").after([before.cid()]);
    let next = Envelope::by(1, 3, "next").after([first.cid()]);
    for message in [first, next] {
        assert_eq!(wire.deliver(&remote(1), message.encode()).await, Relay::Accept);
    }
    assert_eq!(payloads(&mut subscription), ["first seen", "next"]);
    assert_eq!(node.counter("gap"), 0);
}

#[tokio::test(start_paused = true)]
async fn what_a_wire_lost_is_told_to_the_readers_of_its_topic_or_to_all() {
    let wire = Wire::new();
    let (node, mut readings) = open(on(&wire)).await;
    let mut other = node.subscribe(&Topic::new("other").expect("a topic")).await.expect("subscribes");
    wire.host().notice(Notice::Gap { topic: Some(topic()), missed: Some(4) });
    wire.host().notice(Notice::Gap { topic: None, missed: None });
    let missed = |deliveries: Vec<Delivery>| -> Vec<Option<u64>> {
        let gap = |d| if let Delivery::Gap(gap) = d { Some(gap.missed) } else { None };
        deliveries.into_iter().filter_map(gap).collect()
    };
    assert_eq!(missed(ready(&mut readings)), [Some(4), None]);
    assert_eq!(missed(ready(&mut other)), [None]);
}

#[tokio::test(start_paused = true)]
async fn our_own_messages_are_not_among_them_even_when_a_wire_echoes_them() {
    let wire = Wire::new();
    let (node, mut subscription) = open(on(&wire)).await;
    node.publish(&topic(), "own").await.expect("publishes");
    let echo = wire.published()[0].bytes.clone();
    assert_eq!(wire.deliver(&remote(1), echo).await, Relay::Duplicate);
    assert!(ready(&mut subscription).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_message_has_its_fields() {
    let wire = Wire::new();
    let (_node, mut subscription) = open(on(&wire)).await;
    let envelope = Envelope::by(1, 42, "hello");
    assert_eq!(wire.deliver(&remote(2), envelope.encode()).await, Relay::Accept);
    let delivery = subscription.next().await.expect("goes on");
    let message = message(&delivery);
    assert_eq!((message.author(), message.seqno()), (Some(&crate::support::peer(1)), 42));
    assert_eq!((message.topic(), message.id()), (&topic(), &envelope.id()));
    assert_eq!(message.encoded(), &envelope.encode());
}

#[tokio::test(start_paused = true)]
async fn the_first_reader_joins_the_last_leaves_and_a_new_one_joins_again() {
    let wire = Wire::new();
    let joins = |wire: &Wire| -> Vec<&str> {
        let word = |call: &Call| match call {
            Call::Join(joined) if *joined == topic() => Some("join"),
            Call::Leave(left) if *left == topic() => Some("leave"),
            _ => None,
        };
        wire.calls().iter().filter_map(word).collect()
    };
    let (node, first) = open(on(&wire)).await;
    let second = node.subscribe(&topic()).await.expect("subscribes");
    drop(first);
    settle().await;
    assert_eq!(joins(&wire), ["join"]);
    drop(second);
    settle().await;
    assert_eq!(joins(&wire), ["join", "leave"]);
    let late = Envelope::by(1, 1, "late").encode();
    assert_eq!(wire.deliver(&remote(1), late.clone()).await, Relay::Ignore, "nobody reads it");
    let mut third = node.subscribe(&topic()).await.expect("subscribes");
    assert_eq!(joins(&wire), ["join", "leave", "join"]);
    assert_eq!(wire.deliver(&remote(1), late).await, Relay::Accept);
    assert_eq!(payloads(&mut third), ["late"]);
}

#[tokio::test(start_paused = true)]
async fn a_reader_joins_although_the_first_one_gave_up_half_way() {
    let wire = Wire::new();
    let node = on(&wire).open().await.expect("opens");
    let topic = topic();
    wire.lags(std::time::Duration::from_secs(1));
    let mut first = Box::pin(node.subscribe(&topic));
    assert!(futures::poll!(&mut first).is_pending());
    drop(first);
    let _second = node.subscribe(&topic).await.expect("subscribes");
    settle().await;
    let calls: Vec<_> =
        wire.calls().into_iter().filter(|c| matches!(c, Call::Join(_) | Call::Leave(_))).collect();
    assert!(matches!(calls[..], [Call::Join(_)]), "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_of_events_is_told_how_much_it_missed() {
    let wire = Wire::new();
    let node = on(&wire).open().await.expect("opens");
    let mut events = node.events();
    for _ in 0..1_030 {
        wire.host().notice(Notice::Up(remote(1), vec![]));
    }
    assert!(matches!(events.next().await, Some(Event::Lagged(6))));
    assert_eq!(ready(&mut events).len(), 1_024);
}

#[tokio::test(start_paused = true)]
async fn a_topic_is_ready_when_enough_peers_take_part() {
    let wire = Wire::new();
    let node = on(&wire).open().await.expect("opens");
    let (topic, waits) = (topic(), node.clone());
    let mut waiting = Box::pin(async move { waits.ready(&topic, 2).await });
    assert!(futures::poll!(&mut waiting).is_pending());
    for n in [1, 1, 2] {
        wire.host().notice(Notice::Joined(remote(n), crate::support::topic()));
    }
    crate::support::within(waiting).await.expect("ready");
    node.close().await.expect("closes");
    node.ready(&crate::support::topic(), 3).await.expect_err("closed");
}

//! `monotonic-time` in real nodes.

mod support;

use std::sync::Arc;

use carrick_core::{ErrorKind, Kind, Node, NodeBuilder, Registry, TopicRules, Verdict};
use carrick_plugin_validators::{MonotonicTime, MonotonicTimeConfig};
use carrick_transport_memory::MemoryNetwork;

use support::{Envelope, Hands, guarded, is_silent, line, next, node, reputation, topic};

const KEPT: &str = "guarded/kept";
const PASSING: &str = "guarded/passing";

async fn open(builder: NodeBuilder) -> Node {
    builder.topic(topic(KEPT), TopicRules::kept()).open().await.expect("opens")
}

async fn guard(wire: &MemoryNetwork, n: u8) -> Node {
    guard_of(node(wire, n), MonotonicTimeConfig::new(guarded())).await
}

async fn guard_of(builder: NodeBuilder, config: MonotonicTimeConfig) -> Node {
    open(builder.validator(Arc::new(MonotonicTime::new(config).expect("valid")))).await
}

/// An author whose node does not mind, and its clock.
async fn careless(wire: &MemoryNetwork, n: u8) -> (Node, Hands) {
    let clock = Hands::at(0);
    (open(node(wire, n).clock(clock.clone())).await, clock)
}

#[tokio::test(start_paused = true)]
async fn on_a_kept_topic_what_goes_back_is_rejected_with_all_that_follows_it() {
    let (wire, on) = (MemoryNetwork::new(1), topic(KEPT));
    let ((author, clock), (honest, _)) = (careless(&wire, 1).await, careless(&wire, 2).await);
    let (near, far) = (guard(&wire, 3).await, guard(&wire, 4).await);
    let mut heard = near.subscribe(&on).await.expect("subscribes");
    let mut relayed = far.subscribe(&on).await.expect("subscribes");
    line(&on, &[&author, &near, &far]).await;
    line(&on, &[&honest, &near]).await;

    author.publish(&on, "good").await.expect("publishes");
    assert_eq!((next(&mut heard).await, next(&mut relayed).await), ("good".into(), "good".into()));
    clock.set(-1);
    let back = author.publish(&on, "back").await.expect("its own node does not mind");
    assert!(is_silent(&mut heard).await);
    assert_eq!((near.counter("rejected"), near.counter("ignored")), (1, 0));
    assert!(reputation(&near, &author).await < 0.0);
    clock.set(1);
    author.publish(&on, "follows what was refused").await.expect("publishes");
    assert!(is_silent(&mut heard).await && is_silent(&mut relayed).await);
    assert_eq!(near.counter("rejected"), 1, "nobody is blamed for the one that follows");
    for guard in [&near, &far] {
        assert!(!guard.store().has(back.id.cid()).await.expect("reads"));
    }

    honest.publish(&on, "honest").await.expect("publishes");
    assert_eq!((next(&mut heard).await, next(&mut relayed).await), ("honest".into(), "honest".into()));
    for (of, whom) in [(&near, &honest), (&near, &far), (&far, &near)] {
        assert_eq!(reputation(of, whom).await, 0.0);
    }
}

#[tokio::test(start_paused = true)]
async fn on_a_kept_topic_the_message_before_is_fetched_where_it_was_not_heard() {
    let (wire, on) = (MemoryNetwork::new(1), topic(KEPT));
    let ((good, forward), (bad, back)) = (careless(&wire, 1).await, careless(&wire, 2).await);
    for author in [&good, &bad] {
        author.publish(&on, "first").await.expect("publishes to nobody");
    }
    let late = guard(&wire, 3).await;
    let mut heard = late.subscribe(&on).await.expect("subscribes");
    for author in [&good, &bad] {
        line(&on, &[author, &late]).await;
    }
    back.set(-1);
    bad.publish(&on, "back").await.expect("its own node does not mind");
    assert_eq!(next(&mut heard).await, "first");
    assert!(is_silent(&mut heard).await);
    assert_eq!(late.counter("rejected"), 1);
    forward.set(1);
    good.publish(&on, "second").await.expect("publishes");
    assert_eq!((next(&mut heard).await, next(&mut heard).await), ("first".into(), "second".into()));
}

#[tokio::test(start_paused = true)]
async fn on_other_topics_what_goes_back_is_ignored_and_who_could_not_know_is_not_blamed() {
    let (wire, on) = (MemoryNetwork::new(1), topic(PASSING));
    let (author, clock) = careless(&wire, 1).await;
    let (knows, late) = (guard(&wire, 2).await, guard(&wire, 3).await);
    let mut heard = knows.subscribe(&on).await.expect("subscribes");
    line(&on, &[&author, &knows]).await;
    author.publish(&on, "good").await.expect("publishes");
    assert_eq!(next(&mut heard).await, "good");

    let mut misled = late.subscribe(&on).await.expect("subscribes");
    line(&on, &[&author, &late, &knows]).await;
    clock.set(-1);
    author.publish(&on, "back").await.expect("its own node does not mind");
    assert_eq!(next(&mut misled).await, "back", "it has heard nothing before");
    assert!(is_silent(&mut heard).await);
    assert!(knows.counter("ignored") > 0 && knows.counter("rejected") == 0);
    assert_eq!((reputation(&knows, &late).await, reputation(&knows, &author).await), (0.0, 0.0));

    clock.set(0);
    author.publish(&on, "good again").await.expect("publishes");
    assert_eq!(next(&mut heard).await, "good again", "what was ignored counts nothing");
    assert_eq!(next(&mut misled).await, "good again");
}

#[tokio::test(start_paused = true)]
async fn on_other_topics_the_highest_number_counts_and_a_late_one_moves_nothing() {
    let (node, on) = (guard(&MemoryNetwork::new(1), 1).await, topic(PASSING));
    let _subscription = node.subscribe(&on).await.expect("subscribes");
    for (seqno, time, good) in [
        (9, 100, true),
        (10, 100, true),
        (5, 200, true),
        (11, 99, false),
        (12, 100, true),
        (13, 101, true),
        (14, 100, false),
    ] {
        let (topic, payload) = (on.clone(), vec![]);
        let message = Envelope { author: 2, topic, seqno, time, parents: vec![], payload };
        let verdict = node.admit(&on, message.encode(), None).await;
        let expected = if good { verdict.is_accept() } else { matches!(verdict, Verdict::Ignore(_)) };
        assert!(expected, "number {seqno} at {time}: {verdict:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn ones_own_node_refuses_to_go_back_and_goes_on_when_its_clock_has_caught_up() {
    let clock = Hands::at(5_000);
    let builder = node(&MemoryNetwork::new(1), 1).clock(clock.clone());
    let own = guard_of(builder, MonotonicTimeConfig::new(guarded())).await;
    for name in [KEPT, PASSING] {
        let on = topic(name);
        clock.set(5_000);
        own.publish(&on, "first").await.expect("publishes");
        clock.set(0);
        let refused = own.publish(&on, "back").await.expect_err("refused");
        assert_eq!(refused.kind(), ErrorKind::Rejected);
        let says = "its time is 5000 ms before that of its author's message before it";
        assert!(refused.detail().ends_with(says), "{refused}");
        own.publish(&topic("free"), "elsewhere").await.expect("not guarded");
        clock.set(5_000);
        own.publish(&on, "at the same moment").await.expect("publishes");
    }
}

#[tokio::test(start_paused = true)]
async fn on_other_topics_whoever_is_pushed_out_begins_anew() {
    let (wire, on) = (MemoryNetwork::new(1), topic(PASSING));
    let ((first, clock), (second, _)) = (careless(&wire, 1).await, careless(&wire, 2).await);
    let mut config = MonotonicTimeConfig::new(guarded());
    config.authors = 1;
    let guard = guard_of(node(&wire, 3), config).await;
    let mut heard = guard.subscribe(&on).await.expect("subscribes");
    for author in [&first, &second] {
        line(&on, &[author, &guard]).await;
    }
    first.publish(&on, "first").await.expect("publishes");
    assert_eq!(next(&mut heard).await, "first");
    clock.set(-1);
    first.publish(&on, "back").await.expect("publishes");
    assert!(is_silent(&mut heard).await);
    second.publish(&on, "second").await.expect("publishes");
    assert_eq!(next(&mut heard).await, "second");
    first.publish(&on, "anew").await.expect("publishes");
    assert_eq!(next(&mut heard).await, "anew");
}

#[test]
fn it_is_registered_under_its_name() {
    // Naming the crate links it.
    let _ = std::any::type_name::<MonotonicTime>();
    let registry = Registry::linked().expect("no name twice");
    let entry = registry.find(Kind::Validator, "monotonic-time").expect("linked");
    assert_eq!(entry.package, "carrick-plugin-validators");
}

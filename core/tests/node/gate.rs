//! What the gate answers to a transport, and how often.

use carrick_core::{Delivery, Lane, Relay, RelayGate, Topic, TopicRules, Verdict};
use futures::StreamExt as _;

use crate::support::{
    Envelope, Hands, Judge, NOW, Wire, limits, on, on_wires, open, payloads, payloads_beside_gaps, remote,
    settle, topic, within,
};

#[tokio::test(start_paused = true)]
async fn a_message_is_accepted_once_and_then_a_duplicate() {
    let wire = Wire::new();
    let (node, mut subscription) = open(on(&wire)).await;
    let message = Envelope::by(1, 1, "hello").encode();
    assert_eq!(wire.deliver(&remote(1), message.clone()).await, Relay::Accept);
    for from in [1, 2, 3] {
        assert_eq!(wire.deliver(&remote(from), message.clone()).await, Relay::Duplicate);
    }
    settle().await;
    assert_eq!(payloads(&mut subscription), ["hello"]);
    assert_eq!((node.counter("accepted"), node.counter("duplicate")), (1, 3));
    assert!(wire.published().is_empty(), "the transport that asked relays it itself");
}

#[tokio::test(start_paused = true)]
async fn copies_that_arrive_together_are_accepted_once() {
    let wire = Wire::new();
    let (_node, mut subscription) = open(on(&wire)).await;
    let message = Envelope::by(1, 1, "hello").encode();
    let answers: Vec<_> = (1..=5).map(|from| wire.hand(&remote(from), &topic(), message.clone())).collect();
    let mut answers = within(futures::future::join_all(answers)).await;
    answers.sort_by_key(|answer| format!("{answer:?}"));
    assert_eq!(
        answers,
        [Relay::Accept, Relay::Duplicate, Relay::Duplicate, Relay::Duplicate, Relay::Duplicate]
    );
    assert_eq!(payloads(&mut subscription), ["hello"]);
}

#[tokio::test(start_paused = true)]
async fn a_bridge_passes_a_message_on_once_and_not_where_it_came_from() {
    let (left, right) = (Wire::new(), Wire::new());
    let (_node, mut subscription) = open(on_wires(&[("left", &left), ("right", &right)])).await;
    let message = Envelope::by(1, 1, "hello").encode();
    assert_eq!(left.deliver(&remote(1), message.clone()).await, Relay::Accept);
    settle().await;
    assert_eq!(left.deliver(&remote(2), message.clone()).await, Relay::Duplicate);
    assert_eq!(
        right.deliver(&remote(3), message.clone()).await,
        Relay::Duplicate,
        "it went out there already"
    );
    settle().await;
    assert_eq!((left.relayed(&message), right.relayed(&message)), (0, 1));
    assert_eq!(right.published()[0].lane, Lane::Relay);
    assert_eq!(payloads(&mut subscription), ["hello"]);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_comes_over_both_transports_at_once_is_accepted_on_each() {
    let (left, right) = (Wire::new(), Wire::new());
    let (_node, mut subscription) = open(on_wires(&[("left", &left), ("right", &right)])).await;
    let message = Envelope::by(1, 1, "hello").encode();
    let (a, b) =
        (left.hand(&remote(1), &topic(), message.clone()), right.hand(&remote(2), &topic(), message.clone()));
    assert_eq!(within(futures::future::join(a, b)).await, (Relay::Accept, Relay::Accept));
    settle().await;
    assert_eq!((left.relayed(&message), right.relayed(&message)), (0, 0), "each relays what it accepted");
    assert_eq!(payloads(&mut subscription), ["hello"]);
}

/// A daemon passed the message on before we saw it: to publish it there again would feed a storm.
#[tokio::test(start_paused = true)]
async fn what_a_daemon_relayed_before_the_verdict_is_not_published_there_again() {
    let daemon = Wire::new().with(|caps| {
        let broadcast = caps.broadcast.as_mut().expect("broadcasts");
        broadcast.relay = RelayGate::BeforeVerdict;
        broadcast.hold_verdict = std::time::Duration::ZERO;
    });
    let other = Wire::new();
    let (node, mut subscription) = open(on_wires(&[("daemon", &daemon), ("other", &other)])).await;
    let message = Envelope::by(1, 1, "hello").encode();
    daemon.deliver(&remote(1), message.clone()).await;
    settle().await;
    assert_eq!((daemon.relayed(&message), other.relayed(&message)), (0, 1));
    let counters = node.status().await.expect("status").counters;
    assert_eq!(counters["daemon"].get("late_verdict"), None, "nobody waited for the verdict");
    assert_eq!(payloads(&mut subscription), ["hello"]);
}

#[tokio::test(start_paused = true)]
async fn what_comes_by_catch_up_is_not_relayed() {
    let wire = Wire::new();
    let (node, mut subscription) = open(on(&wire)).await;
    let message = Envelope::by(1, 1, "old").encode();
    assert_eq!(node.admit(&topic(), message.clone(), Some(remote(1))).await, Verdict::Accept);
    assert_eq!(
        node.admit(&topic(), message.clone(), None).await,
        Verdict::Accept,
        "a second time it is there"
    );
    settle().await;
    assert!(wire.published().is_empty());
    assert_eq!(payloads(&mut subscription), ["old"]);
}

/// Whoever serves what was asked for by its address cannot know what it was taken for.
#[tokio::test(start_paused = true)]
async fn one_that_was_fetched_for_another_topic_is_no_rubbish_on_its_own() {
    let wire = Wire::new();
    let (node, mut subscription) = open(on(&wire)).await;
    let (other, message) = (Topic::new("other").expect("a topic"), Envelope::by(1, 1, "hello").encode());
    let verdict = node.admit(&other, message.clone(), Some(remote(1))).await;
    assert_eq!(verdict, Verdict::Reject("it names another topic".into()));
    assert_eq!(node.counter("other_topic"), 1);
    assert_eq!(wire.deliver(&remote(2), message).await, Relay::Accept);
    assert_eq!(payloads(&mut subscription), ["hello"]);
}

#[tokio::test(start_paused = true)]
async fn whoever_admits_a_message_hears_what_is_wrong_with_it() {
    let node = on(&Wire::new()).open().await.expect("opens");
    let foreign = Envelope::by(1, 1, "x").with(|e| e.network = "other".into()).encode();
    for (bytes, what) in [(vec![0; 3].into(), "malformed"), (foreign, "network")] {
        let verdict = node.admit(&topic(), bytes, None).await;
        let Verdict::Reject(cause) = verdict else { panic!("{verdict:?}") };
        assert!(cause.contains(what), "{cause}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_taken_for_a_topic_that_was_not_joined() {
    let wire = Wire::new();
    let node = on(&wire).open().await.expect("opens");
    assert_eq!(wire.deliver(&remote(1), Envelope::by(1, 1, "x").encode()).await, Relay::Ignore);
    assert_eq!(node.counter("unjoined"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_clock_outside_the_skew_is_ignored_and_may_come_again() {
    let (wire, clock) = (Wire::new(), Hands::at(NOW));
    let (node, mut subscription) = open(on(&wire).clock(clock.clone())).await;
    let early = Envelope::by(1, 1, "early").with(|e| e.time = NOW + 120_001);
    let late = Envelope::by(2, 1, "late").with(|e| e.time = NOW - 120_001);
    for message in [&early, &late] {
        assert_eq!(wire.deliver(&remote(1), message.encode()).await, Relay::Ignore);
    }
    for (author, time) in [(3, NOW + 120_000), (4, NOW - 120_000)] {
        let edge = Envelope::by(author, 1, "edge").with(|e| e.time = time);
        assert_eq!(wire.deliver(&remote(1), edge.encode()).await, Relay::Accept);
    }
    clock.set(NOW + 1);
    assert_eq!(wire.deliver(&remote(1), early.encode()).await, Relay::Accept);
    assert_eq!(payloads(&mut subscription), ["edge", "edge", "early"]);
    assert!(node.peers().await.expect("peers").is_empty() && wire.host().relays_to(&remote(1)));
    assert_eq!(node.counter("ignored"), 2);
}

#[tokio::test(start_paused = true)]
async fn the_clock_is_not_asked_on_catch_up_nor_on_reserved_topics() {
    let wire = Wire::new();
    let (node, mut subscription) = open(on(&wire)).await;
    let old = Envelope::by(1, 1, "years old").with(|e| e.time = 1);
    assert_eq!(node.admit(&topic(), old.encode(), None).await, Verdict::Accept);
    assert_eq!(payloads(&mut subscription), ["years old"]);
    let reserved = Topic::reserved("carrick/heads/x").expect("a topic");
    let mut subscription = node.subscribe(&reserved).await.expect("subscribes");
    let old = Envelope::by(1, 1, "heads").with(|e| e.time = 1).on(&reserved).encode();
    assert_eq!(within(wire.hand(&remote(1), &reserved, old)).await, Relay::Accept);
    assert_eq!(payloads(&mut subscription), ["heads"]);
}

#[tokio::test(start_paused = true)]
async fn two_messages_with_one_number_are_told_and_on_an_ordinary_topic_the_first_stands() {
    let wire = Wire::new();
    let (node, mut subscription) = open(on(&wire)).await;
    let mut events = node.events();
    let (first, second) = (Envelope::by(1, 7, "one").encode(), Envelope::by(1, 7, "two").encode());
    assert_eq!(wire.deliver(&remote(1), first.clone()).await, Relay::Accept);
    assert_eq!(wire.deliver(&remote(2), second.clone()).await, Relay::Ignore);
    let proof = crate::support::event(&mut events, equivocation).await;
    assert_eq!(proof, (first, second));
    assert_eq!(payloads(&mut subscription), ["one"]);
    assert_eq!(node.counter("equivocation"), 1);
}

#[tokio::test(start_paused = true)]
async fn two_messages_with_one_number_are_told_and_on_a_kept_topic_both_are_accepted() {
    let wire = Wire::new();
    let (node, mut subscription) = open(on(&wire).topic(topic(), TopicRules::kept())).await;
    let mut events = node.events();
    let (first, second) = (Envelope::by(1, 7, "one").encode(), Envelope::by(1, 7, "two").encode());
    assert_eq!(wire.deliver(&remote(1), first.clone()).await, Relay::Accept);
    assert_eq!(wire.deliver(&remote(2), second.clone()).await, Relay::Accept);
    assert_eq!(crate::support::event(&mut events, equivocation).await, (first, second));
    assert_eq!(payloads(&mut subscription), ["one", "two"]);
}

#[tokio::test(start_paused = true)]
async fn an_equivocation_that_a_service_finds_is_told_once_and_only_where_it_is_one() {
    let wire = Wire::new();
    let (node, mut subscription) = open(on(&wire).topic(topic(), TopicRules::kept())).await;
    let mut events = node.events();
    for payload in ["one", "two"] {
        assert_eq!(wire.deliver(&remote(1), Envelope::by(1, 7, payload).encode()).await, Relay::Accept);
    }
    wire.deliver(&remote(1), Envelope::by(1, 8, "three").encode()).await;
    wire.deliver(&remote(1), Envelope::by(2, 7, "by another").encode()).await;
    let mut messages = Vec::new();
    for _ in 0..4 {
        let Some(Delivery::Message(message)) = subscription.next().await else { panic!("a message") };
        messages.push(message);
    }
    let [one, two, three, other] = &messages[..] else { panic!("four") };
    node.tell_equivocation(one, two);
    for none in [one, three, other] {
        node.tell_equivocation(one, none);
    }
    assert_eq!(node.counter("equivocation"), 1, "the node found it itself");
    node.tell_equivocation(two, one);
    let told =
        [(one, two), (two, one)].map(|(first, second)| (first.encoded().clone(), second.encoded().clone()));
    for told in told {
        assert_eq!(crate::support::event(&mut events, equivocation).await, told);
    }
}

fn equivocation(event: &carrick_core::Event) -> Option<(carrick_core::Bytes, carrick_core::Bytes)> {
    match event {
        carrick_core::Event::Equivocation { first, second } => {
            Some((first.encoded().clone(), second.encoded().clone()))
        }
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn numbers_may_skip_and_come_late_but_not_from_below_the_window() {
    let wire = Wire::new();
    let (_node, mut subscription) = open(on(&wire)).await;
    for (seqno, answer) in [
        (5_000, Relay::Accept),
        (9_000, Relay::Accept),
        (8_999, Relay::Accept),
        (7_977, Relay::Accept),
        (7_976, Relay::Ignore),
        (5_001, Relay::Ignore),
    ] {
        let message = Envelope::by(1, seqno, seqno.to_string()).encode();
        assert_eq!(wire.deliver(&remote(1), message).await, answer, "{seqno}");
    }
    let messages = payloads_beside_gaps(&mut subscription);
    assert_eq!(messages, ["5000", "9000", "8999", "7977"]);
}

/// What is cheap comes first: an old number is seen before its signature is looked at.
#[tokio::test(start_paused = true)]
async fn a_used_number_is_ignored_whoever_signed_it() {
    let wire = Wire::new();
    let (_node, mut subscription) = open(on(&wire)).await;
    assert_eq!(wire.deliver(&remote(1), Envelope::by(1, 5_000, "new").encode()).await, Relay::Accept);
    let forged = |seqno| Envelope::by(1, seqno, "forged").encode_signed(vec![7; 64]);
    assert_eq!(wire.deliver(&remote(2), forged(1)).await, Relay::Ignore);
    assert_eq!(wire.deliver(&remote(2), forged(5_001)).await, Relay::Reject);
    assert_eq!(payloads(&mut subscription), ["new"]);
}

#[tokio::test(start_paused = true)]
async fn numbers_count_for_each_author_and_topic_apart() {
    let wire = Wire::new();
    let (node, _subscription) = open(on(&wire)).await;
    let other = Topic::new("other").expect("a topic");
    let _other = node.subscribe(&other).await.expect("subscribes");
    assert_eq!(wire.deliver(&remote(1), Envelope::by(1, 1, "a").encode()).await, Relay::Accept);
    assert_eq!(wire.deliver(&remote(1), Envelope::by(2, 1, "b").encode()).await, Relay::Accept);
    let elsewhere = Envelope::by(1, 1, "c").on(&other).encode();
    assert_eq!(within(wire.hand(&remote(1), &other, elsewhere)).await, Relay::Accept);
}

#[tokio::test(start_paused = true)]
async fn an_accepted_number_is_refused_long_after_its_id_was_forgotten() {
    let (wire, clock) = (Wire::new(), Hands::at(NOW));
    let (node, mut subscription) = open(on(&wire).clock(clock.clone())).await;
    let message = Envelope::by(1, 1, "hello").with(|e| e.time = NOW + 100_000).encode();
    assert_eq!(wire.deliver(&remote(1), message.clone()).await, Relay::Accept);
    tokio::time::advance(std::time::Duration::from_secs(200)).await;
    clock.set(NOW + 200_000);
    assert_eq!(wire.deliver(&remote(2), message.clone()).await, Relay::Ignore);
    assert!(matches!(node.admit(&topic(), message, None).await, Verdict::Ignore(_)));
    assert_eq!(payloads(&mut subscription), ["hello"]);
}

/// A kept topic has no number window, so nothing but its id tells that a message was there before.
#[tokio::test(start_paused = true)]
async fn a_kept_message_that_comes_again_after_its_id_was_forgotten_is_not_taken_twice() {
    let (wire, clock, judge) = (Wire::new(), Hands::at(NOW), Judge::new().arc());
    let builder = on(&wire).clock(clock.clone()).topic(topic(), TopicRules::kept()).validator(judge.clone());
    let (node, mut subscription) = open(builder).await;
    let message = Envelope::by(1, 1, "entry").with(|e| e.time = NOW + 100_000).encode();
    assert_eq!(wire.deliver(&remote(1), message.clone()).await, Relay::Accept);
    tokio::time::advance(std::time::Duration::from_secs(200)).await;
    clock.set(NOW + 200_000);
    assert_ne!(wire.deliver(&remote(2), message.clone()).await, Relay::Accept);
    node.admit(&topic(), message, None).await;
    assert_eq!(payloads(&mut subscription), ["entry"]);
    assert_eq!(judge.took(), ["entry"]);
}

#[tokio::test(start_paused = true)]
async fn a_raw_topic_hands_out_bare_payloads() {
    let wire = Wire::new();
    let (node, mut subscription) = open(on(&wire).topic(topic(), TopicRules::raw())).await;
    assert_eq!(wire.deliver(&remote(1), "bare").await, Relay::Accept);
    assert_eq!(wire.deliver(&remote(2), "bare").await, Relay::Duplicate);
    let deliveries = crate::support::ready(&mut subscription);
    let [carrick_core::Delivery::Message(message)] = &deliveries[..] else { panic!("{deliveries:?}") };
    assert_eq!((message.author(), &message.payload()[..]), (None, &b"bare"[..]));
    let error = node.publish(&topic(), "mine").await.expect_err("the wire carries no bare payloads");
    assert_eq!(error.kind(), carrick_core::ErrorKind::Unsupported);
    assert!(error.hint().is_some());
}

/// Sent on, it would have another name, come back over whoever else bridges the two wires, and go round for ever.
#[tokio::test(start_paused = true)]
async fn a_raw_message_stays_on_its_wire() {
    let (left, right) = (Wire::new(), Wire::new());
    let builder = on_wires(&[("left", &left), ("right", &right)]).topic(topic(), TopicRules::raw());
    let (_node, mut subscription) = open(builder).await;
    assert_eq!(left.deliver(&remote(1), "bare").await, Relay::Accept);
    // Nobody waits for this verdict.
    drop(right.hand(&remote(2), &topic(), "also bare"));
    settle().await;
    assert_eq!(payloads(&mut subscription).len(), 2);
    assert_eq!((left.published().len(), right.published().len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_full_gate_makes_a_patient_wire_wait_and_an_impatient_one_shed() {
    let wire = Wire::new();
    let judge = Judge::new().messages(|_, _| std::future::pending());
    let builder = on(&wire).validator(judge.arc()).limits(limits(|l| l.gate_per_remote = 2));
    let (node, _subscription) = open(builder).await;
    let noisy = remote(1);
    let _busy: Vec<_> =
        (0..2).map(|n| wire.hand(&noisy, &topic(), Envelope::by(1, n, "x").encode())).collect();
    let host = wire.host();
    assert!(host.try_slot(&noisy).is_none());
    assert_eq!(node.counter("shed"), 1);
    let mut waiting = Box::pin(host.slot(&noisy));
    assert!(futures::poll!(&mut waiting).is_pending());
    assert!(host.try_slot(&remote(2)).is_some(), "another remote is not held up by a noisy one");
    within(waiting).await;
}

#[tokio::test(start_paused = true)]
async fn the_whole_gate_is_bounded_and_a_dropped_slot_gives_its_room_back() {
    let wire = Wire::new();
    let (node, _subscription) = open(on(&wire).limits(limits(|l| l.gate_total = 3))).await;
    let host = wire.host();
    let mut slots: Vec<_> = (0..3).map(|n| host.try_slot(&remote(n)).expect("room")).collect();
    assert!(host.try_slot(&remote(9)).is_none());
    assert_eq!(node.counter("shed"), 1);
    slots.pop();
    assert!(host.try_slot(&remote(9)).is_some());
}

#[tokio::test(start_paused = true)]
async fn many_remotes_waiting_for_room_all_get_it() {
    let wire = Wire::new();
    let builder = on(&wire).limits(limits(|l| (l.gate_total, l.gate_per_remote) = (2, 1)));
    let (_node, mut subscription) = open(builder).await;
    let host = wire.host();
    let all = futures::stream::iter(0..40_u8).for_each_concurrent(None, |n| {
        let host = host.clone();
        async move {
            let slot = host.slot(&remote(n % 8)).await;
            let bytes = Envelope::by(n, 1, n.to_string()).encode();
            let inbound = carrick_core::Inbound { from: remote(n % 8), topic: topic(), bytes, wire_id: None };
            assert_eq!(slot.deliver(inbound).await, Relay::Accept);
        }
    });
    within(all).await;
    assert_eq!(payloads(&mut subscription).len(), 40);
}

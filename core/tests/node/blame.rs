//! Who pays for what is not delivered, and for what nobody needs.

use carrick_core::{ErrorKind, Misdeed, Node, NodeBuilder, Notice, Relay, RelayGate};

use crate::support::{Does, Envelope, Shared, Wire, limits, on, on_wires, open, raw, ready, remote, settle};

async fn score(node: &Node, wire: &Wire) -> f64 {
    wire.connect(&[remote(2)]);
    node.peers().await.expect("peers")[0].reputation
}

/// What it costs the link that passed on a message when the payload does not come.
async fn cost(builder: NodeBuilder, wire: &Wire, linked: bool) -> f64 {
    let (node, _subscription) = open(builder).await;
    if linked {
        wire.host().notice(Notice::Up(remote(2), vec![]));
    }
    let message = Envelope::by(1, 1, "").linked(b"payload");
    assert_eq!(wire.deliver(&remote(2), message.encode()).await, Relay::Ignore);
    score(&node, wire).await
}

/// A wire on which nobody has anything.
fn barren() -> Wire {
    let wire = Wire::new();
    wire.serves(remote(2), []);
    wire
}

#[tokio::test(start_paused = true)]
async fn whoever_passes_on_what_it_has_not_got_is_blamed() {
    let wire = barren();
    assert_eq!(cost(on(&wire), &wire, true).await, -7.0);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_blamed_who_could_not_be_asked() {
    let wire = barren();
    assert_eq!(cost(on(&wire), &wire, false).await, 0.0, "its link is gone");

    let wire = Wire::new();
    assert_eq!(cost(on(&wire), &wire, true).await, 0.0, "there is nobody to ask");

    let wire = Wire::new().with(|caps| caps.fetch = None);
    assert_eq!(cost(on(&wire), &wire, true).await, 0.0, "no transport fetches");

    let (wire, other) = (Wire::new().with(|caps| caps.fetch = None), barren());
    let builder = on_wires(&[("wire", &wire), ("other", &other)]);
    assert_eq!(cost(builder, &wire, true).await, 0.0, "others were asked, over another transport");

    let wire = barren();
    let builder = on(&wire).limits(limits(|limits| limits.defer_blocks = 0));
    assert_eq!(cost(builder, &wire, true).await, 0.0, "nobody was asked");
    assert_eq!(wire.requests(), 0);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_blamed_whose_answer_is_another_one_or_came_too_late() {
    for kind in [ErrorKind::Busy, ErrorKind::Unreachable, ErrorKind::Timeout, ErrorKind::TooLarge] {
        let wire = Wire::new();
        wire.provider(remote(2), Does::Fail(kind));
        assert_eq!(cost(on(&wire), &wire, true).await, 0.0, "{kind:?}");
    }
    let wire = Wire::new();
    wire.provider(remote(2), Does::Stall);
    assert_eq!(cost(on(&wire), &wire, true).await, 0.0, "our own time was up");
}

#[tokio::test(start_paused = true)]
async fn nobody_is_blamed_for_a_store_that_is_full() {
    let (wire, store) = (Wire::new(), Shared::default());
    wire.serves(remote(2), [&raw("payload")]);
    store.fill(true);
    assert_eq!(cost(on(&wire).store(store.arc()), &wire, true).await, 0.0);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_blamed_who_had_to_relay_before_the_verdict() {
    let wire = barren().with(|caps| {
        caps.broadcast.as_mut().expect("broadcasts").relay = RelayGate::BeforeVerdict;
    });
    assert_eq!(cost(on(&wire), &wire, true).await, 0.0);
}

#[tokio::test(start_paused = true)]
async fn needless_things_are_free_until_they_are_too_many() {
    let wire = Wire::new();
    let (node, _subscription) = open(on(&wire)).await;
    for _ in 0..1_024 {
        wire.host().report(&remote(2), Misdeed::Needless);
    }
    assert_eq!(score(&node, &wire).await, 0.0);
    wire.host().report(&remote(2), Misdeed::Needless);
    assert_eq!(score(&node, &wire).await, -5.0);
    assert_eq!((node.counter("needless"), node.counter("misdeed_spam")), (1_025, 1));
}

#[tokio::test(start_paused = true)]
async fn who_brings_what_was_there_before_without_end_is_banned() {
    let wire = Wire::new();
    let (node, _subscription) = open(on(&wire)).await;
    let message = Envelope::by(1, 1, "once").encode();
    assert_eq!(wire.deliver(&remote(1), message.clone()).await, Relay::Accept);
    for _ in 0..1_024 {
        assert_eq!(wire.deliver(&remote(2), message.clone()).await, Relay::Duplicate);
    }
    assert_eq!(score(&node, &wire).await, 0.0);
    for _ in 0..20 {
        wire.deliver(&remote(2), message.clone()).await;
    }
    settle().await;
    assert_eq!(wire.disconnected(), [remote(2)]);
    assert!(!wire.host().relays_to(&remote(2)) && wire.host().relays_to(&remote(1)));
}

/// A slow link among fast ones brings late what is known by then.
#[tokio::test(start_paused = true)]
async fn a_link_that_brings_everything_once_more_at_once_is_not_blamed() {
    let wire = Wire::new();
    let (node, mut subscription) = open(on(&wire)).await;
    let messages: Vec<_> = (1..=3_000).map(|n| Envelope::by(1, n, "news").encode()).collect();
    wire.host().notice(Notice::Up(remote(2), vec![]));
    for message in &messages {
        assert_eq!(wire.deliver(&remote(1), message.clone()).await, Relay::Accept);
        ready(&mut subscription);
    }
    for message in &messages {
        assert_eq!(wire.deliver(&remote(2), message.clone()).await, Relay::Duplicate);
    }
    assert_eq!(score(&node, &wire).await, 0.0);
}

//! First frames that are no proper hello, and none at all.

use carrick_core::ErrorKind;

use super::*;
use crate::wire::{self, Refused};

/// Greets, is refused, and cut off for the same reason.
async fn refused(foe: &Foe, first: Bytes) -> Reason {
    let (_control, head, body) = foe.greet(first).await;
    assert_eq!(head.kind, Kind::Refused);
    let refused = Refused::decode(&body).expect("a refusal");
    let reason = Reason::from_code(refused.code);
    assert_eq!(refused.text, reason.text());
    assert_eq!(foe.closed().await, reason);
    reason
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hello_that_does_not_fit_is_refused_with_the_reason() {
    let good = Good::new("foe-hello").await;
    let foe = Foe::against(&good).await;
    let hello = foe.honest(&[]);

    let other = Hello { network: NetworkId::new("elsewhere").expect("a network id"), ..hello.clone() };
    assert_eq!(refused(&foe, other.encode()).await, Reason::Network);

    let foe = Foe::against(&good).await;
    let newer = Hello { v: 2, ..hello.clone() };
    assert_eq!(refused(&foe, newer.encode()).await, Reason::Version);

    // The record of another peer, though well signed.
    let foe = Foe::against(&good).await;
    assert_eq!(refused(&foe, hello.encode()).await, Reason::Malformed);

    let foe = Foe::against(&good).await;
    let unsorted = vec![topic(), Topic::new("a").expect("a topic")];
    let unsorted = Hello { topics: unsorted, ..foe.honest(&[]) };
    assert_eq!(refused(&foe, unsorted.encode()).await, Reason::Malformed);

    let foe = Foe::against(&good).await;
    assert_eq!(refused(&foe, Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0x01])).await, Reason::Malformed);

    let foe = Foe::against(&good).await;
    assert_eq!(refused(&foe, wire::frame(Kind::Join, b"too early")).await, Reason::Malformed);
    assert!(good.linked().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_holds_a_place_no_longer_than_the_deadline() {
    let mut few = limits();
    few.handshakes = 1;
    let good = Good::with("foe-silent", few).await;
    let foe = Foe::against(&good).await;
    let honest = Good::new("foe-silent").await;
    let error = soon(honest.node.connect(&good.addr())).await.expect_err("all places are taken");
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    assert!(error.detail().ends_with("it takes no more handshakes now"), "{error}");
    soon(foe.connection.closed()).await;
    honest.connect(&good).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_silent_ones_of_one_address_leave_places_for_others() {
    let mut few = limits();
    few.handshakes = 16;
    few.handshake = Duration::from_secs(60);
    let good = Good::with("foe-silent-many", few).await;
    // Two without a proof of their address; then two that were asked for it.
    let mut silent = vec![];
    for _ in 0..4 {
        silent.push(Foe::against(&good).await);
    }
    let next = Good::new("foe-silent-many").await;
    let error = soon(next.node.connect(&good.addr())).await.expect_err("its share is taken");
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    assert_eq!(good.node.counter("refused"), 1);
    drop(silent);
    soon(async { while next.node.connect(&good.addr()).await.is_err() {} }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_connection_limit_is_told() {
    let mut one = limits();
    one.connections = 1;
    let good = Good::with("foe-full", one).await;
    let (first, second) = (Good::new("foe-full").await, Good::new("foe-full").await);
    first.connect(&good).await;
    let error = soon(second.node.connect(&good.addr())).await.expect_err("full there");
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    assert!(error.detail().ends_with("refused: all its connections are taken"), "{error}");
    let error = soon(good.node.connect(&second.addr())).await.expect_err("full here");
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    assert_eq!(good.linked().await, [first.node.peer_id()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_was_started_again_replaces_its_former_life() {
    let good = Good::new("foe-again").await;
    let foe = Foe::against(&good).await;
    let _control = foe.enter(&[topic()]).await;
    // The same key, another session, while the old connection still stands.
    let again = foe.lender.shared.attempt(Some(good.node.peer_id()), socket(&good.addr()));
    let again = Foe { connection: soon(again).await.expect("TLS stands"), lender: foe.lender };
    let hello = Hello { session: 8, ..again.honest(&[]) };
    let (_control, head, _) = again.greet(hello.encode()).await;
    assert_eq!(head.kind, Kind::Hello);
    assert!(good.node.topic_peers(&topic()).await.expect("peers").is_empty());
    let closed = soon(foe.connection.closed()).await;
    let ConnectionError::ApplicationClosed(close) = closed else { panic!("closed otherwise: {closed}") };
    assert_eq!(Reason::from_code(close.error_code.into_inner()), Reason::Duplicate);
    assert_eq!(good.linked().await, [again.lender.node.peer_id()]);
}

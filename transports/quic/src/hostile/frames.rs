//! Frames that break the format, on every kind of stream.

use carrick_core::links::exchange;

use super::*;
use crate::wire;

/// Length and kind of a frame, and nothing of its body.
fn claim(length: u32, kind: u8) -> Vec<u8> {
    [&length.to_be_bytes()[..], &[kind]].concat()
}

async fn stage(network: &str) -> (Good, Good, Foe, Control) {
    let (good, neighbour) = (Good::new(network).await, Good::new(network).await);
    good.connect(&neighbour).await;
    let foe = Foe::against(&good).await;
    let control = foe.enter(&[]).await;
    (good, neighbour, foe, control)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_of_4_gib_ends_the_link_on_the_control_stream() {
    let (good, neighbour, foe, mut control) = stage("foe-4g-control").await;
    control.send.write_all(&claim(u32::MAX, Kind::Join as u8)).await.expect("writes");
    assert_eq!(foe.closed().await, Reason::Malformed);
    malformed_and_still_served(&good, &neighbour).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_of_4_gib_ends_the_link_on_the_message_stream() {
    let (good, neighbour, foe, _control) = stage("foe-4g-message").await;
    let mut send = foe.connection.open_uni().await.expect("opens");
    send.write_all(&claim(u32::MAX, Kind::Message as u8)).await.expect("writes");
    assert_eq!(foe.closed().await, Reason::Malformed);
    malformed_and_still_served(&good, &neighbour).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_of_4_gib_ends_the_link_on_a_request_stream() {
    let (good, neighbour, foe, _control) = stage("foe-4g-request").await;
    let (mut send, _recv) = foe.connection.open_bi().await.expect("opens");
    send.write_all(&claim(u32::MAX, exchange::Kind::AskDag as u8)).await.expect("writes");
    assert_eq!(foe.closed().await, Reason::Malformed);
    malformed_and_still_served(&good, &neighbour).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_are_none_end_the_link() {
    let message = |topic: &[u8]| {
        let length = u16::try_from(topic.len()).expect("short").to_be_bytes();
        wire::frame(Kind::Message, &[&length[..], topic].concat()).to_vec()
    };
    let cases: [(&str, Vec<u8>); 6] = [
        ("foe-empty", claim(0, Kind::Message as u8)),
        ("foe-kind", claim(1, 0xee)),
        ("foe-misplaced", wire::frame(Kind::Hello, &[]).to_vec()),
        ("foe-short", wire::frame(Kind::Message, &[0]).to_vec()),
        ("foe-topic-length", wire::frame(Kind::Message, &[0xff, 0xff, b'x']).to_vec()),
        ("foe-topic-text", message(b"\xff\xfe")),
    ];
    for (network, bytes) in cases {
        let (good, neighbour, foe, _control) = stage(network).await;
        let mut send = foe.connection.open_uni().await.expect("opens");
        send.write_all(&bytes).await.expect("writes");
        assert_eq!(foe.closed().await, Reason::Malformed, "{network}");
        malformed_and_still_served(&good, &neighbour).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_cannot_be_read_ends_the_link() {
    let cid = carrick_core::cid_of(carrick_core::RAW, b"x").to_bytes();
    let cases = [
        ("foe-cid", wire::frame(exchange::Kind::AskHas, b"no cid")),
        ("foe-cid-tail", wire::frame(exchange::Kind::AskHas, &[&cid[..], b"x"].concat())),
        ("foe-ask-short", wire::frame(exchange::Kind::AskBlock, &[0, 0])),
        ("foe-dag", wire::frame(exchange::Kind::AskDag, &[0xa0])),
        ("foe-answer", wire::frame(exchange::Kind::Present, &[])),
    ];
    for (network, frame) in cases {
        let (good, neighbour, foe, _control) = stage(network).await;
        let (mut send, _recv) = foe.connection.open_bi().await.expect("opens");
        send.write_all(&frame).await.expect("writes");
        assert_eq!(foe.closed().await, Reason::Malformed, "{network}");
        malformed_and_still_served(&good, &neighbour).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_not_signed_ends_the_link() {
    let (good, neighbour, foe, mut control) = stage("foe-record").await;
    let mut record = foe.lender.shared.host.record().encoded().to_vec();
    *record.last_mut().expect("not empty") ^= 1;
    control.send.write_all(&wire::frame(Kind::Record, &record)).await.expect("writes");
    assert_eq!(foe.closed().await, Reason::Malformed);
    malformed_and_still_served(&good, &neighbour).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_topic_more_than_allowed_ends_the_link() {
    let (good, neighbour, foe, mut control) = stage("foe-topics").await;
    for n in 0..=good.node.limits().topics_per_peer {
        let frame = wire::frame(Kind::Join, format!("topic-{n}").as_bytes());
        control.send.write_all(&frame).await.expect("writes");
    }
    assert_eq!(foe.closed().await, Reason::Malformed);
    malformed_and_still_served(&good, &neighbour).await;
}

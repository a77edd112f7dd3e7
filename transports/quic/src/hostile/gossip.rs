//! Peers that take no messages, or too many.

use carrick_core::{Lane, MessageId, Skip};
use futures::StreamExt;

use super::*;
use crate::wire;

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_never_reads_costs_its_queue_and_nothing_else() {
    let good = Good::new("foe-deaf").await;
    let neighbour = Good::new("foe-deaf").await;
    good.connect(&neighbour).await;
    let mut at_neighbour = neighbour.node.subscribe(&topic()).await.expect("subscribes");
    let foe = Foe::against(&good).await;
    let _control = foe.enter(&[topic()]).await;
    soon(good.node.ready(&topic(), 2)).await.expect("ready");
    // More than its queue and all windows of QUIC hold together.
    let (mut sent, mut skipped) = (0, 0);
    for n in 0..100_u32 {
        let payload = vec![u8::try_from(n).expect("small"); good.node.limits().payload_bytes];
        let published = good.node.publish(&topic(), payload).await.expect("publishes");
        sent += published.sent_to.expect("counted");
        skipped +=
            published.skipped.iter().filter(|(why, _)| *why == Skip::QueueFull).map(|s| s.1).sum::<u32>();
        // One after the other, so that the neighbour's own queue is never the one that is full.
        soon(at_neighbour.next()).await.expect("arrives");
    }
    assert_eq!(sent + skipped, 200);
    // Of one lane the oldest goes: each new one is taken, and each beyond the bound costs an old one.
    assert!(good.node.counter("dropped") >= 50, "{}", good.node.counter("dropped"));
    let link = good.shared.link(foe.remote().peer().expect("a peer")).expect("linked still");
    assert!(link.messages.bytes() <= good.node.limits().send_queue_bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_topics_not_joined_are_dropped() {
    let good = Good::new("foe-unjoined").await;
    let foe = Foe::against(&good).await;
    let _control = foe.enter(&[]).await;
    let mut send = foe.connection.open_uni().await.expect("opens");
    let bytes = b"whatever";
    for _ in 0..10 {
        send.write_all(&wire::message_head(&topic(), bytes.len())).await.expect("writes");
        send.write_all(bytes).await.expect("writes");
    }
    send.finish().expect("open");
    soon(send.stopped()).await.expect("all was read");
    good.counts("unjoined", 10).await;
    assert_eq!(good.linked().await, [*foe.remote().peer().expect("a peer")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_goes_out_again_and_again_what_we_pass_on_not_back() {
    let good = Good::new("foe-again-and-again").await;
    let foe = Foe::against(&good).await;
    let _control = foe.enter(&[topic()]).await;
    let bytes = Bytes::from_static(b"the same");
    let id = MessageId::of(&bytes);
    for _ in 0..3 {
        assert_eq!(good.shared.send(&topic(), &id, &bytes, Lane::Own).sent_to, Some(1));
    }
    let mut reader =
        Reader::new(Recv(soon(foe.connection.accept_uni()).await.expect("opens")), &foe.lender.shared.host);
    for _ in 0..3 {
        let head = soon(reader.expect(&[Kind::Message])).await.expect("a frame");
        let body = soon(reader.body(head.length)).await.expect("reads");
        assert_eq!(wire::read_message(body), Ok((topic(), bytes.clone())));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_stops_half_way_ends_the_link_and_gives_its_room_back() {
    let mut few = limits();
    few.gate_total = 1;
    let good = Good::with("foe-half-message", few).await;
    let neighbour = Good::new("foe-half-message").await;
    neighbour.connect(&good).await;
    let mut at_good = good.node.subscribe(&topic()).await.expect("subscribes");
    soon(neighbour.node.ready(&topic(), 1)).await.expect("ready");
    let foe = Foe::against(&good).await;
    let _control = foe.enter(&[topic()]).await;
    let mut send = foe.connection.open_uni().await.expect("opens");
    send.write_all(&wire::message_head(&topic(), 1_000)).await.expect("writes");
    send.write_all(b"half of i").await.expect("writes");
    assert_eq!(foe.closed().await, Reason::Stalled);
    assert_eq!(good.node.counter("misdeed_stalled"), 1);
    neighbour.node.publish(&topic(), "there is room").await.expect("publishes");
    soon(at_good.next()).await.expect("arrives");
}

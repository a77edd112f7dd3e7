//! Publishing: what it tells, what is kept while nobody is there, and what is too large.

use std::time::Duration;

use carrick_core::{ErrorKind, Event, Lane, Limits, Notice, Receipt, Remote, Skip, TopicRules, Verdict};
use futures::FutureExt as _;

use crate::support::{
    Judge, Wire, event, key, on, on_wires, open, raw, ready, remote, settle, topic, within,
};

fn nobody(wire: &Wire) {
    wire.reaches(Receipt::counted(0, vec![]));
}

fn joins(wire: &Wire, who: Remote) {
    wire.reaches(Receipt::counted(1, vec![]));
    wire.host().notice(Notice::Joined(who, topic()));
}

#[tokio::test(start_paused = true)]
async fn it_tells_how_far_a_message_went_over_all_transports() {
    let (left, right) = (Wire::new(), Wire::new());
    let node = on_wires(&[("left", &left), ("right", &right)]).open().await.expect("opens");
    left.reaches(Receipt::counted(2, vec![(Skip::QueueFull, 1)]));
    right.reaches(Receipt::counted(3, vec![(Skip::QueueFull, 1), (Skip::Banned, 2)]));
    let told = node.publish(&topic(), "x").await.expect("publishes");
    assert_eq!((told.sent_to, told.queued), (Some(5), false));
    assert_eq!(told.skipped, [(Skip::QueueFull, 2), (Skip::Banned, 2)]);
    right.reaches(Receipt::unknown());
    assert_eq!(node.publish(&topic(), "y").await.expect("publishes").sent_to, None);
    for wire in [&left, &right] {
        let out = wire.published();
        assert!(out.iter().all(|out| out.lane == Lane::Own));
        assert_eq!(out.len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn what_nobody_was_there_for_goes_out_when_the_first_joins() {
    let wire = Wire::new();
    let node = on(&wire).open().await.expect("opens");
    nobody(&wire);
    for payload in ["a", "b"] {
        assert!(node.publish(&topic(), payload).await.expect("publishes").queued);
    }
    joins(&wire, remote(1));
    settle().await;
    let sent = wire.published();
    assert_eq!(sent.len(), 4);
    assert_eq!((&sent[2].bytes, &sent[3].bytes), (&sent[0].bytes, &sent[1].bytes), "the same, in order");
    wire.host().notice(Notice::Joined(remote(2), topic()));
    settle().await;
    assert_eq!(wire.published().len(), 4, "once");
    tokio::time::advance(Duration::from_secs(60)).await;
    settle().await;
    assert_eq!(node.counter("expired"), 0);
}

#[tokio::test(start_paused = true)]
async fn whoever_joins_while_a_message_is_being_published_gets_it() {
    let wire = Wire::new();
    let node = on(&wire).open().await.expect("opens");
    nobody(&wire);
    let strings = wire.clone();
    let first = std::sync::atomic::AtomicBool::new(true);
    wire.on_publish(move |host, _| {
        if first.swap(false, std::sync::atomic::Ordering::Relaxed) {
            strings.reaches(Receipt::counted(1, vec![]));
            host.notice(Notice::Joined(remote(1), topic()));
        }
    });
    node.publish(&topic(), "x").await.expect("publishes");
    settle().await;
    assert_eq!(wire.published().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_published_later_goes_out_later() {
    let wire = Wire::new();
    let node = on(&wire).open().await.expect("opens");
    wire.lags(Duration::from_millis(100));
    let topic = topic();
    let told = futures::future::join_all(["a", "b"].map(|payload| node.publish(&topic, payload))).await;
    let told: Vec<_> = told.into_iter().map(|told| told.expect("publishes").id).collect();
    assert_eq!(wire.published().iter().map(|out| out.id).collect::<Vec<_>>(), told);
}

#[tokio::test(start_paused = true)]
async fn what_was_kept_goes_before_what_is_published_after() {
    let wire = Wire::new();
    let node = on(&wire).open().await.expect("opens");
    nobody(&wire);
    let kept = node.publish(&topic(), "kept").await.expect("publishes").id;
    wire.lags(Duration::from_millis(100));
    joins(&wire, remote(1));
    settle().await;
    let later = node.publish(&topic(), "later").await.expect("publishes").id;
    assert_eq!(wire.published().iter().map(|out| out.id).collect::<Vec<_>>(), [kept, kept, later]);
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_expires_with_an_event_and_a_count() {
    let wire = Wire::new();
    let node = on(&wire).open().await.expect("opens");
    let mut events = node.events();
    nobody(&wire);
    let told = node.publish(&topic(), "x").await.expect("publishes");
    let look = |event: &Event| if let Event::Expired { id, .. } = event { Some(*id) } else { None };
    assert_eq!(event(&mut events, look).await, told.id);
    assert_eq!(node.counter("expired"), 1);
    joins(&wire, remote(1));
    settle().await;
    assert_eq!(wire.published().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn at_most_64_are_kept_and_the_oldest_goes_first() {
    let wire = Wire::new();
    let node = on(&wire).open().await.expect("opens");
    let mut events = node.events();
    nobody(&wire);
    let mut ids = Vec::new();
    for n in 0..66_u8 {
        ids.push(node.publish(&topic(), vec![n]).await.expect("publishes").id);
    }
    let look = |event| if let Event::Expired { id, .. } = event { Some(id) } else { None };
    let expired: Vec<_> = ready(&mut events).into_iter().filter_map(look).collect();
    assert_eq!(expired, ids[..2]);
    joins(&wire, remote(1));
    settle().await;
    let sent: Vec<_> = wire.published()[66..].iter().map(|out| out.id).collect();
    assert_eq!(sent, ids[2..]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_kept_for_a_kept_topic_whose_heads_tell() {
    let wire = Wire::new();
    let node = on(&wire).topic(topic(), TopicRules::kept()).open().await.expect("opens");
    nobody(&wire);
    let told = node.publish(&topic(), "x").await.expect("publishes");
    assert!(!told.queued);
    assert!(node.store().has(told.id.cid()).await.expect("has"), "it is stored instead");
    joins(&wire, remote(1));
    settle().await;
    assert_eq!(wire.published().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_payload_above_the_inline_limit_travels_as_a_link_and_above_the_block_limit_not_at_all() {
    let wire = Wire::new();
    let node = on(&wire).open().await.expect("opens");
    let Limits { payload_bytes, block_bytes, .. } = *node.limits();
    node.publish(&topic(), vec![1; payload_bytes]).await.expect("inline");
    assert!(wire.published()[0].bytes.len() > payload_bytes);
    assert_eq!(node.store().usage().await.expect("usage").blocks, 0);

    let payload = raw(vec![2; payload_bytes + 1]);
    node.publish(&topic(), payload.bytes().clone()).await.expect("linked");
    assert!(wire.published()[1].bytes.len() < 1_000);
    assert!(node.store().has(payload.cid()).await.expect("has"));

    node.publish(&topic(), vec![3; block_bytes]).await.expect("the largest");
    let error = node.publish(&topic(), vec![4; block_bytes + 1]).await.expect_err("too large");
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(error.hint().is_some_and(|hint| hint.contains("CID")));
    assert_eq!(wire.published().len(), 3);
    let told = node.publish(&topic(), "next").await;
    assert!(told.is_ok(), "a refused one takes nothing from the next");
}

#[tokio::test(start_paused = true)]
async fn the_linked_payload_reaches_the_other_side() {
    let (ours, theirs) = (Wire::new(), Wire::new());
    let node = on(&ours).open().await.expect("opens");
    let payload = raw(vec![7; 300_000]);
    node.publish(&topic(), payload.bytes().clone()).await.expect("publishes");
    let (_other, mut subscription) = open(on(&theirs).identity(key(1))).await;
    theirs.serves(Remote::Peer(node.peer_id()), [&payload]);
    theirs.deliver(&Remote::Peer(node.peer_id()), ours.published()[0].bytes.clone()).await;
    assert_eq!(crate::support::next_payload(&mut subscription).await.len(), 300_000);
}

#[tokio::test(start_paused = true)]
async fn publishing_on_one_topic_is_one_at_a_time_and_in_the_order_of_the_calls() {
    let wire = Wire::new();
    let slow = Judge::new().messages(|_, _| async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        Verdict::Accept
    });
    let node = on(&wire).validator(slow.arc()).open().await.expect("opens");
    let topic = topic();
    let calls: Vec<_> = (0..5).map(|n| node.publish(&topic, n.to_string())).collect();
    let told = within(futures::future::join_all(calls)).await;
    let ids: Vec<_> = told.into_iter().map(|told| told.expect("publishes").id).collect();
    let mut links = Vec::new();
    for out in wire.published() {
        let block = carrick_core::Block::new(carrick_core::DAG_CBOR, out.bytes);
        links.push(carrick_core::dag::parents(&block));
    }
    assert!(links[0].is_empty());
    for (n, parents) in links.iter().enumerate().skip(1) {
        assert_eq!(parents, &[*ids[n - 1].cid()], "each follows the one before");
    }
}

#[tokio::test(start_paused = true)]
async fn a_publish_that_is_given_up_uses_no_number_twice() {
    let wire = Wire::new();
    let slow = Judge::new().messages(|_, _| async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        Verdict::Accept
    });
    let node = on(&wire).validator(slow.arc()).open().await.expect("opens");
    let topic = topic();
    for n in 0..3 {
        let mut given_up = Box::pin(node.publish(&topic, format!("given up {n}")));
        assert!((&mut given_up).now_or_never().is_none());
        settle().await;
        drop(given_up);
        node.publish(&topic, format!("kept {n}")).await.expect("publishes");
    }
    assert_eq!(node.counter("equivocation"), 0);
    assert_eq!(wire.published().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn without_a_broadcast_transport_it_is_unsupported() {
    let wire = Wire::new().with(|caps| caps.broadcast = None);
    let node = on(&wire).open().await.expect("opens");
    let error = node.publish(&topic(), "x").await.expect_err("unsupported");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.hint().is_some());
}

#[tokio::test(start_paused = true)]
async fn where_no_transport_dials_connect_is_unsupported() {
    let wire = Wire::new().with(|caps| caps.dials = false);
    let node = on(&wire).open().await.expect("opens");
    let somebody = carrick_core::PeerAddr::new(
        key(1).public().to_peer_id(),
        vec!["/ip4/192.0.2.1/udp/4600/quic-v1".parse().expect("an address")],
    );
    let error = node.connect(&somebody).await.expect_err("unsupported");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.hint().is_some());
}

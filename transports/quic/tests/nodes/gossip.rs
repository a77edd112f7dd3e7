//! Messages through several nodes.

use carrick_core::{Event, Remote};

use crate::common::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_line_of_three_passes_messages_on_in_order() {
    let network = network("gossip-line");
    let (a, b, c) = (node(&network).await, node(&network).await, node(&network).await);
    let mut at_b = b.subscribe(&topic()).await.expect("subscribes");
    let mut at_c = c.subscribe(&topic()).await.expect("subscribes");
    connect(&a, &b).await;
    connect(&b, &c).await;
    for n in 0..200 {
        let published = a.publish(&topic(), format!("{n}")).await.expect("publishes");
        assert_eq!(published.sent_to, Some(1));
        assert!(published.skipped.is_empty() && !published.queued);
    }
    for n in 0..200 {
        assert_eq!(next(&mut at_b).await, n.to_string());
        assert_eq!(next(&mut at_c).await, n.to_string());
    }
    assert_eq!(peers(&c).await, [b.peer_id()], "the ends are not connected");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_ring_each_gets_each_message_once() {
    let network = network("gossip-ring");
    let mut nodes = Vec::new();
    let mut subscriptions = Vec::new();
    for _ in 0..4 {
        let node = node(&network).await;
        subscriptions.push(node.subscribe(&topic()).await.expect("subscribes"));
        nodes.push(node);
    }
    for at in 0..4 {
        connect(&nodes[at], &nodes[(at + 1) % 4]).await;
    }
    for (at, node) in nodes.iter().enumerate() {
        soon(node.ready(&topic(), 2)).await.expect("ready");
        for n in 0..20 {
            node.publish(&topic(), format!("{at}-{n}")).await.expect("publishes");
        }
    }
    for (at, subscription) in subscriptions.iter_mut().enumerate() {
        let mut got = Vec::new();
        for _ in 0..60 {
            got.push(next(subscription).await);
        }
        got.sort();
        got.dedup();
        assert_eq!(got.len(), 60, "each once");
        assert!(!got.iter().any(|text| text.starts_with(&format!("{at}-"))), "not one's own");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_published_before_the_close_arrives() {
    let network = network("gossip-close");
    let (a, b) = (node(&network).await, node(&network).await);
    let mut at_b = b.subscribe(&topic()).await.expect("subscribes");
    connect(&a, &b).await;
    soon(a.ready(&topic(), 1)).await.expect("ready");
    for n in 0..15 {
        let published = a.publish(&topic(), format!("{n:60000}")).await.expect("publishes");
        assert_eq!((published.sent_to, published.skipped), (Some(1), vec![]));
    }
    a.close().await.expect("closes");
    for n in 0..15 {
        assert_eq!(next(&mut at_b).await.trim(), n.to_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_joined_and_left_while_connected() {
    let network = network("gossip-topics");
    let (a, b) = (node(&network).await, node(&network).await);
    connect(&a, &b).await;
    let published = a.publish(&topic(), "to nobody").await.expect("publishes");
    assert_eq!((published.sent_to, published.queued), (Some(0), true));
    let mut events = a.events();
    let mut subscription = b.subscribe(&topic()).await.expect("subscribes");
    let joined = |event: &Event| {
        matches!(event, Event::Joined { remote, topic: of, .. }
            if *remote == Remote::Peer(b.peer_id()) && *of == topic())
    };
    event(&mut events, joined).await;
    assert_eq!(next(&mut subscription).await, "to nobody");
    drop(subscription);
    event(&mut events, |event| matches!(event, Event::Left { topic: of, .. } if *of == topic())).await;
    assert!(a.topic_peers(&topic()).await.expect("peers").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn large_payloads_travel_as_links() {
    let network = network("gossip-large");
    let (a, b) = (node(&network).await, node(&network).await);
    let mut at_b = b.subscribe(&topic()).await.expect("subscribes");
    connect(&a, &b).await;
    let inline = "x".repeat(a.limits().payload_bytes);
    let linked = "y".repeat(a.limits().payload_bytes + 1);
    for payload in [&inline, &linked] {
        a.publish(&topic(), payload.clone()).await.expect("publishes");
        assert_eq!(next(&mut at_b).await, *payload);
    }
}

//! Several nodes on one daemon.

use carrick_core::Delivery;
use carrick_interop::Kubo;
use futures::StreamExt as _;

use super::node::until;
use super::{config, open, soon, text, topic};

/// Who only publishes on a topic learns of others on its daemon, as it does of those on other daemons.
#[tokio::test]
async fn who_only_publishes_finds_a_neighbour_on_its_daemon_and_notices_that_it_leaves() {
    let kubo = Kubo::run(1, &[]).expect("a daemon");
    let (here, _) = open(config(&kubo.daemons()[0])).await.expect("opens");
    let (near, _) = open(config(&kubo.daemons()[0])).await.expect("opens");
    let alone = here.publish(&topic(), "kept").await.expect("publishes");
    assert_eq!((alone.sent_to, alone.queued), (Some(0), true));
    let mut heard = near.subscribe(&topic()).await.expect("subscribes");
    soon("a reader", here.ready(&topic(), 1)).await.expect("ready");
    assert_eq!(text(&mut heard).await, "kept");
    let published = here.publish(&topic(), "said").await.expect("publishes");
    assert_eq!((published.sent_to, published.queued), (None, false));
    assert_eq!(text(&mut heard).await, "said");
    assert_eq!(here.status().await.expect("status").links, 0, "its own daemon is no link");
    drop(heard);
    let nobody = until(async || here.topic_peers(&topic()).await.expect("asks").is_empty());
    soon("that it left", nobody).await;
    let alone = here.publish(&topic(), "to nobody").await.expect("publishes");
    assert_eq!((alone.sent_to, alone.queued), (Some(0), true));
}

#[tokio::test]
async fn nodes_on_one_daemon_hear_each_other_once_and_do_not_take_each_other_for_nobody() {
    let kubo = Kubo::run(1, &[]).expect("a daemon");
    let mut nodes = Vec::new();
    for _ in 0..3 {
        let (node, _) = open(config(&kubo.daemons()[0])).await.expect("opens");
        let subscription = node.subscribe(&topic()).await.expect("subscribes");
        nodes.push((node, subscription));
    }
    for from in 0..nodes.len() {
        let said = format!("from {from}");
        let published = nodes[from].0.publish(&topic(), said.clone()).await.expect("publishes");
        // Until somebody else was heard over its daemon a node cannot know that it is not alone.
        assert_eq!(
            (published.sent_to, published.queued),
            if from == 0 { (Some(0), true) } else { (None, false) }
        );
        for (at, (_, heard)) in nodes.iter_mut().enumerate().filter(|(at, _)| *at != from) {
            assert_eq!(text(heard).await, said, "at {at}");
        }
    }
    let (leaves, _) = nodes.pop().expect("three");
    leaves.close().await.expect("closes");
    nodes[0].0.publish(&topic(), "goes on").await.expect("publishes");
    assert_eq!(text(&mut nodes[1].1).await, "goes on");
    // Nothing came twice, and nobody heard itself.
    nodes[1].0.publish(&topic(), "last").await.expect("publishes");
    let next = soon("the last", nodes[0].1.next()).await;
    assert!(matches!(next, Some(Delivery::Message(message)) if &message.payload()[..] == b"last"));
}

//! `size` in real nodes.

mod support;

use std::sync::Arc;

use carrick_core::{ErrorKind, Kind, Node, NodeBuilder, Registry, TopicRules};
use carrick_plugin_validators::{Size, SizeConfig};
use carrick_transport_memory::MemoryNetwork;

use support::{guarded, is_silent, line, next, node, reputation, topic};

/// Above what travels inside an envelope.
const LIMIT: usize = 100_000;

async fn open(builder: NodeBuilder) -> Node {
    builder.topic(topic("guarded/kept"), TopicRules::kept()).open().await.expect("opens")
}

async fn guard(wire: &MemoryNetwork, n: u8) -> Node {
    let size = Size::new(SizeConfig::new(guarded(), LIMIT as u64)).expect("valid");
    open(node(wire, n).validator(Arc::new(size))).await
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_is_neither_stored_nor_delivered_nor_relayed_and_its_author_alone_is_blamed() {
    let (wire, kept) = (MemoryNetwork::new(1), topic("guarded/kept"));
    let (careless, honest) = (open(node(&wire, 1)).await, open(node(&wire, 2)).await);
    let (near, far) = (guard(&wire, 3).await, guard(&wire, 4).await);
    let mut heard = near.subscribe(&kept).await.expect("subscribes");
    let mut relayed = far.subscribe(&kept).await.expect("subscribes");
    line(&kept, &[&careless, &near, &far]).await;
    line(&kept, &[&honest, &near]).await;

    let large = careless.publish(&kept, vec![b'x'; LIMIT + 1]).await.expect("its own node does not mind");
    assert!(is_silent(&mut heard).await && is_silent(&mut relayed).await);
    assert!(!near.store().has(large.id.cid()).await.expect("reads"));
    assert!(!far.store().has(large.id.cid()).await.expect("reads"));
    assert_eq!((near.counter("rejected"), far.counter("rejected")), (1, 0));
    assert!(reputation(&near, &careless).await < 0.0);

    let fits = "y".repeat(LIMIT);
    honest.publish(&kept, fits.clone()).await.expect("publishes");
    assert!(next(&mut heard).await == fits && next(&mut relayed).await == fits);
    for (of, whom) in [(&near, &honest), (&near, &far), (&far, &near)] {
        assert_eq!(reputation(of, whom).await, 0.0);
    }
}

#[tokio::test(start_paused = true)]
async fn ones_own_payloads_are_measured_too_and_other_topics_are_free() {
    let guard = guard(&MemoryNetwork::new(1), 1).await;
    let refused = guard.publish(&topic("guarded/a"), vec![0; LIMIT + 1]).await.expect_err("refused");
    assert_eq!(refused.kind(), ErrorKind::Rejected);
    assert!(refused.detail().contains("is 100001 bytes, and at most 100000 are allowed"), "{refused}");
    guard.publish(&topic("guarded/a"), vec![0; LIMIT]).await.expect("fits");
    guard.publish(&topic("free"), vec![0; LIMIT + 1]).await.expect("not guarded");
}

#[test]
fn it_is_registered_under_its_name() {
    // Naming the crate links it.
    let _ = std::any::type_name::<Size>();
    let registry = Registry::linked().expect("no name twice");
    let entry = registry.find(Kind::Validator, "size").expect("linked");
    assert_eq!(entry.package, "carrick-plugin-validators");
}

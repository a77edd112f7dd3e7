//! Links that are slow, lossy, or gone: as the seed and the conditions say.

use std::time::Duration;

use carrick_core::{ErrorKind, Limits, PeerId};
use carrick_transport_memory::{Conditions, MemoryNetwork};
use tokio::time::Instant;

use crate::common::{Joined, builder, event, kind, line, next, open, silence, topic};
use carrick_core::node::Event;

fn conditions(change: impl FnOnce(&mut Conditions)) -> Conditions {
    let mut conditions = Conditions::default();
    change(&mut conditions);
    conditions
}

/// So many MiB, no two of them equal.
fn content(mebibytes: u8) -> Vec<u8> {
    (0..mebibytes).flat_map(|n| vec![n; 1 << 20]).collect()
}

async fn publish(from: &Joined, count: usize) -> Vec<String> {
    let mut payloads = Vec::new();
    for n in 0..count {
        payloads.push(n.to_string());
        from.node.publish(&topic(), n.to_string()).await.expect("publishes");
    }
    payloads
}

#[tokio::test(start_paused = true)]
async fn a_delay_is_kept_by_messages_and_content() {
    let wire = MemoryNetwork::new(1);
    wire.set_conditions(conditions(|c| c.delay = Duration::from_millis(40)));
    let nodes = line(&wire, 3).await;
    let mut at_c = nodes[2].node.subscribe(&topic()).await.expect("subscribes");
    let _relays = nodes[1].node.subscribe(&topic()).await.expect("subscribes");
    let began = Instant::now();
    for payload in publish(&nodes[0], 3).await {
        assert_eq!(next(&mut at_c).await, payload);
    }
    assert_eq!(began.elapsed().as_millis(), 80, "two links, and all three at once");

    let put = nodes[1].node.put(&content(3)[..], Default::default()).await.expect("puts");
    let began = Instant::now();
    let got = nodes[0].node.get(&put.cid, Default::default()).await.expect("gets");
    assert_eq!(got.blocks, 4);
    assert_eq!(began.elapsed().as_millis(), 80, "one round trip");
}

#[tokio::test(start_paused = true)]
async fn what_is_lost_is_lost_and_what_comes_twice_is_handed_out_once() {
    let wire = MemoryNetwork::new(1);
    let nodes = line(&wire, 2).await;
    let mut at_b = nodes[1].node.subscribe(&topic()).await.expect("subscribes");
    wire.set_conditions(conditions(|c| c.duplicate = 1.0));
    let payloads = publish(&nodes[0], 20).await;
    for payload in payloads {
        assert_eq!(next(&mut at_b).await, payload);
    }
    silence(&mut at_b).await;
    // The second copy of some came while the first was judged.
    assert!(nodes[1].node.counter("duplicate") > 0);
    wire.set_conditions(conditions(|c| c.loss = 1.0));
    publish(&nodes[0], 20).await;
    silence(&mut at_b).await;
}

#[tokio::test(start_paused = true)]
async fn order_is_kept_unless_it_is_not_to_be() {
    let wire = MemoryNetwork::new(1);
    let nodes = line(&wire, 1).await;
    // Nothing waits for what is late, or the order would be mended.
    let mut limits = Limits::default();
    limits.reorder = Duration::ZERO;
    let b = open(&wire, builder(2).limits(limits)).await;
    nodes[0].dial(&b).await;
    let mut at_b = b.node.subscribe(&topic()).await.expect("subscribes");
    let jitter = Duration::from_millis(500);
    for (reorder, kept) in [(0.0, true), (0.5, false)] {
        wire.set_conditions(conditions(|c| (c.jitter, c.reorder) = (jitter, reorder)));
        let payloads = publish(&nodes[0], 50).await;
        let mut heard = Vec::new();
        for _ in &payloads {
            heard.push(next(&mut at_b).await);
        }
        assert_eq!(heard == payloads, kept, "{heard:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn bandwidth_is_shared_by_all_that_crosses_in_a_direction() {
    let wire = MemoryNetwork::new(1);
    let nodes = line(&wire, 2).await;
    wire.set_conditions_between(
        nodes[0].node.peer_id(),
        nodes[1].node.peer_id(),
        conditions(|c| c.bandwidth = Some(1 << 20)),
    );
    let mut at_b = nodes[1].node.subscribe(&topic()).await.expect("subscribes");
    let put = nodes[0].node.put(&content(4)[..], Default::default()).await.expect("puts");
    let began = Instant::now();
    let fetching = async {
        nodes[1].node.get(&put.cid, Default::default()).await.expect("gets");
    };
    let talking = async {
        for payload in publish(&nodes[0], 32).await {
            assert_eq!(next(&mut at_b).await, payload);
        }
    };
    tokio::join!(fetching, talking);
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(4) && took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_partition_ends_links_until_it_heals() {
    let wire = MemoryNetwork::new(1);
    let nodes = line(&wire, 3).await;
    let ids: Vec<PeerId> = nodes.iter().map(|joined| joined.node.peer_id()).collect();
    let mut events = nodes[2].node.events();
    wire.partition(&[&ids[..2]]);
    event(&mut events, |event| matches!(event, Event::Down { .. })).await;
    assert_eq!(nodes[0].node.peers().await.expect("peers").len(), 1, "its side stays whole");
    assert_eq!(kind(nodes[2].node.connect(&nodes[1].addr()).await), ErrorKind::Unreachable);
    wire.heal();
    nodes[2].dial(&nodes[1]).await;
}

#[tokio::test(start_paused = true)]
async fn one_seed_gives_one_run() {
    let run = |seed| async move {
        let wire = MemoryNetwork::new(seed);
        wire.set_conditions(conditions(|c| {
            (c.delay, c.jitter) = (Duration::from_millis(5), Duration::from_millis(30));
            (c.loss, c.duplicate, c.reorder) = (0.2, 0.2, 0.2);
        }));
        let nodes = line(&wire, 3).await;
        let mut subscriptions = Vec::new();
        for joined in &nodes {
            subscriptions.push(joined.node.subscribe(&topic()).await.expect("subscribes"));
        }
        publish(&nodes[0], 30).await;
        publish(&nodes[2], 30).await;
        let mut heard = Vec::new();
        for subscription in &mut subscriptions {
            let began = Instant::now();
            while let Ok(Some(delivery)) =
                tokio::time::timeout(Duration::from_secs(2), futures::StreamExt::next(subscription)).await
            {
                heard.push(format!("{:?} {delivery:?}", began.elapsed()));
            }
        }
        heard
    };
    assert_eq!(run(7).await, run(7).await);
    assert_ne!(run(7).await, run(8).await);
}

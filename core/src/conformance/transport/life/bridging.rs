//! One node on two wires.

use futures::future::join_all;

use super::super::kit::topic;
use super::{Kit, Outcome};

pub(in super::super) async fn two_transports_bridge_without_a_loop(kit: Kit) -> Outcome {
    if kit.lacks_broadcast().await {
        return Outcome::Unsupported("broadcast");
    }
    // Two bridges between two wires make a circle.
    let (left, right) = (kit.node().await, kit.node().await);
    let mut members = vec![left.clone(), right.clone()];
    for _ in 0..2 {
        let [on_left, on_right] = kit.bridge().await;
        kit.link(&left, &on_left).await;
        kit.link(&right, &on_right).await;
        members.push(on_left);
    }
    let mut subscriptions = kit.subscribe(&members, &topic()).await;
    for (author, name) in [(&left, "left"), (&right, "right")] {
        for n in 0..5 {
            author.publish(&topic(), format!("{name} {n}")).await.expect("publishes");
        }
        for (member, subscription) in members.iter().zip(&mut subscriptions) {
            if member.peer_id() == author.peer_id() {
                continue;
            }
            for n in 0..5 {
                assert_eq!(kit.text(subscription).await, format!("{name} {n}"));
            }
        }
    }
    let rests = subscriptions.iter_mut().map(|subscription| kit.silence(subscription));
    join_all(rests).await;
    Outcome::Kept
}

//! Messages reach who they should, as they were sent, once.

use super::kit::topic;
use super::{Kit, Outcome};

pub(super) async fn published_message_reaches_every_subscriber(kit: Kit) -> Outcome {
    let members = kit.line(3).await;
    let mut subscriptions = kit.subscribe(&members, &topic()).await;
    for n in 0..30 {
        members[0].publish(&topic(), n.to_string()).await.expect("publishes");
    }
    for subscription in &mut subscriptions[1..] {
        for n in 0..30 {
            assert_eq!(kit.text(subscription).await, n.to_string());
        }
    }
    Outcome::Kept
}

pub(super) async fn each_message_is_handed_out_once(kit: Kit) -> Outcome {
    let members = kit.mesh(4).await;
    let mut subscriptions = kit.subscribe(&members, &topic()).await;
    for n in 0..10 {
        members[0].publish(&topic(), n.to_string()).await.expect("publishes");
    }
    for subscription in &mut subscriptions[1..] {
        for n in 0..10 {
            assert_eq!(kit.text(subscription).await, n.to_string());
        }
        kit.silence(subscription).await;
    }
    Outcome::Kept
}

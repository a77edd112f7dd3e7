//! Too much of anything is bounded and counted, and harms nobody else.

use futures::StreamExt as _;

use super::kit::topic;
use super::{Kit, Outcome};
use crate::{Delivery, Limits};

pub(super) async fn slow_reader_is_told_what_it_missed(kit: Kit) -> Outcome {
    let mut limits = Limits::default();
    limits.subscriber_messages = 4;
    let author = kit.node().await;
    let reader = kit.node_with(|builder| builder.limits(limits)).await;
    kit.link(&author, &reader).await;
    let members = [author.clone(), reader.clone()];
    let mut slow = kit.subscribe(&members, &topic()).await.pop().expect("its own");
    let mut quick = reader.subscribe(&topic()).await.expect("subscribes");
    for n in 0..10 {
        author.publish(&topic(), n.to_string()).await.expect("publishes");
        assert_eq!(kit.text(&mut quick).await, n.to_string());
    }
    let told = kit.soon("word of what was missed", slow.next()).await;
    assert!(matches!(told, Some(Delivery::Lagged(6))), "{told:?}");
    for n in 6..10 {
        assert_eq!(kit.text(&mut slow).await, n.to_string());
    }
    Outcome::Kept
}

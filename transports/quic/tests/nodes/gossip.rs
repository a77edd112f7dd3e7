//! Messages at the end of a link.

use crate::common::*;

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

//! A thousand topics over one daemon.

use std::sync::Arc;
use std::time::Instant;

use carrick_core::{Limits, Node, Topic};
use carrick_interop::{Daemon, Kubo};
use futures::future::try_join_all;
use futures::{StreamExt as _, stream};

use super::node::until;
use super::{builder, config, node, soon, text};

const MANY: usize = 1_000;

async fn roomy(daemon: &Daemon) -> Node {
    let mut limits = Limits::default();
    limits.topics_per_peer = MANY;
    node::over(builder().limits(limits), config(daemon)).await.expect("opens").0
}

fn joined(daemon: &Daemon) -> usize {
    let names = daemon.post("pubsub/ls", None).expect("the daemon answers");
    String::from_utf8_lossy(&names).matches("\"u").count()
}

#[tokio::test]
#[allow(clippy::print_stdout, reason = "figures for whoever runs it with --nocapture")]
async fn a_thousand_topics_are_joined_heard_and_left() {
    let kubo = Kubo::run(1, &[]).expect("a daemon");
    let daemon = &kubo.daemons()[0];
    let (node, near) = (roomy(daemon).await, roomy(daemon).await);
    let topics: Arc<Vec<Topic>> =
        Arc::new((0..MANY).map(|n| Topic::new(format!("topic-{n}")).expect("a topic")).collect());
    let began = Instant::now();
    let joining = stream::iter(topics.iter()).map(|topic| node.subscribe(topic)).buffered(32);
    let subscriptions: Vec<_> = soon("the topics", joining.collect::<Vec<_>>()).await;
    let mut subscriptions: Vec<_> =
        subscriptions.into_iter().map(|joined| joined.expect("subscribes")).collect();
    println!("joined after {:?}", began.elapsed());
    assert_eq!(joined(daemon), MANY);
    let some = [0, 1, 499, 998, 999];
    try_join_all(some.map(|n| near.publish(&topics[n], format!("on {n}")))).await.expect("publishes");
    for n in some {
        assert_eq!(text(&mut subscriptions[n]).await, format!("on {n}"));
    }
    let opened = node.status().await.expect("status").counters["ipfs-http"]["connections_opened"];
    println!("{opened} connections, heard after {:?}", began.elapsed());
    assert!(opened as usize <= MANY + 64, "{opened} connections");
    let began = Instant::now();
    drop(subscriptions);
    soon("that all are left", until(async || joined(daemon) == 0)).await;
    println!("left after {:?}", began.elapsed());
    near.close().await.expect("closes");
    node.close().await.expect("closes");
}

//! A thousand topics over one daemon.

use std::time::Instant;

use carrick_core::{Limits, Node, Subscription, Topic};
use carrick_interop::{Daemon, Kubo};
use futures::future::try_join_all;
use futures::{StreamExt as _, stream};
use rustix::process::{Resource, getrlimit, setrlimit};

use super::node::until;
use super::{builder, config, heard, node, soon, text};

const MANY: usize = 1_000;
/// Those on which something is said.
const SOME: [usize; 5] = [0, 1, 499, 998, 999];

async fn roomy(daemon: &Daemon) -> Node {
    allow_files();
    let mut limits = Limits::default();
    limits.topics_per_peer = MANY;
    node::over(builder().limits(limits), config(daemon)).await.expect("opens").0
}

/// Each topic takes a connection, and many systems allow 1,024 files where nobody asks for more.
fn allow_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("allowed");
}

fn joined(daemon: &Daemon) -> usize {
    let names = daemon.post("pubsub/ls", None).expect("the daemon answers");
    String::from_utf8_lossy(&names).matches("\"u").count()
}

fn topics() -> Vec<Topic> {
    (0..MANY).map(|n| Topic::new(format!("topic-{n}")).expect("a topic")).collect()
}

async fn subscribed(node: &Node, topics: &[Topic]) -> Vec<Subscription> {
    let joining = stream::iter(topics).map(|topic| node.subscribe(topic)).buffered(32);
    let joined = soon("the topics", joining.collect::<Vec<_>>()).await;
    joined.into_iter().map(|joined| joined.expect("subscribes")).collect()
}

#[tokio::test]
#[allow(clippy::print_stdout, reason = "figures for whoever runs it with --nocapture")]
async fn a_thousand_topics_are_joined_heard_and_left() {
    let kubo = Kubo::run(1, &[]).expect("a daemon");
    let daemon = &kubo.daemons()[0];
    let (node, near) = (roomy(daemon).await, roomy(daemon).await);
    let (topics, began) = (topics(), Instant::now());
    let mut subscriptions = subscribed(&node, &topics).await;
    println!("joined after {:?}", began.elapsed());
    assert_eq!(joined(daemon), MANY);
    try_join_all(SOME.map(|n| near.publish(&topics[n], format!("on {n}")))).await.expect("publishes");
    for n in SOME {
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

#[tokio::test]
#[allow(clippy::print_stdout, reason = "figures for whoever runs it with --nocapture")]
async fn a_thousand_topics_are_joined_again_when_the_daemon_is_back() {
    let mut kubo = Kubo::run(1, &[]).expect("a daemon");
    let daemon = kubo.daemons()[0].clone();
    let (node, near, topics) = (roomy(&daemon).await, roomy(&daemon).await, topics());
    let mut subscriptions = subscribed(&node, &topics).await;
    kubo.kill(0).expect("dies");
    kubo.start(0).expect("starts");
    let began = Instant::now();
    soon("that all are joined", until(async || joined(&daemon) == MANY)).await;
    println!("joined again after {:?}", began.elapsed());
    for n in SOME {
        let said = format!("on {n}");
        let heard = soon("a message", heard(&near, &topics[n], &said, &mut subscriptions[n])).await;
        assert_eq!(heard, said);
    }
}

//! Daemons that come and go between two looks at ours.

use carrick_core::{Event, Topic};
use futures::StreamExt as _;
use tokio::time::timeout;

use super::server::{ABSENT, Answer, Server};
use super::{PATIENCE, config, open, right};

const NOBODY: Answer = Answer::Good(r#"{"Peers":null}"#);
const SOMEBODY: Answer = Answer::Good(
    r#"{"Peers":[{"Addr":"/ip4/127.0.0.1/tcp/1","Peer":"12D3KooWRm8J3iL796zPFi2EtGGtUJn58AG67gcRzQ4FENEemvoK"}]}"#,
);
const ON_TOPIC: Answer =
    Answer::Good(r#"{"Strings":["12D3KooWRm8J3iL796zPFi2EtGGtUJn58AG67gcRzQ4FENEemvoK"]}"#);

/// The daemon may name it on the topic all the while.
#[tokio::test]
async fn who_comes_back_is_on_its_topics_again() {
    let server = Server::start([
        ("pubsub/sub", vec![Answer::Stall(b"")]),
        ("pubsub/peers?arg=uY2Fycmljay9mYXVsdHMvcmF3", vec![ON_TOPIC]),
        ("swarm/peers", vec![SOMEBODY, SOMEBODY, NOBODY, SOMEBODY]),
    ])
    .await;
    let mut config = config(&server);
    config.pubsub = true;
    let (node, transport) = open(config).await.expect("opens");
    let topic = Topic::new("raw").expect("a topic");
    let mut events = node.events();
    let _subscription = node.subscribe(&topic).await.expect("subscribes");
    timeout(PATIENCE, node.ready(&topic, 1)).await.expect("it is told").expect("it is there");
    let back = async {
        while !matches!(events.next().await, Some(Event::Down { .. })) {
            transport.peers().await.expect("peers");
        }
        while !matches!(events.next().await, Some(Event::Up { .. })) {
            transport.peers().await.expect("peers");
        }
    };
    timeout(PATIENCE, back).await.expect("it comes back");
    timeout(PATIENCE, node.ready(&topic, 1)).await.expect("it is told again").expect("it is there");
}

/// Who thinks that nobody is connected asks its daemon alone, and looks once more before it gives up.
#[tokio::test]
async fn who_has_just_come_is_asked() {
    let absent = Answer::Status(500, "", ABSENT);
    let server = Server::start([
        ("block/get", vec![absent, Answer::Good("hello world")]),
        ("swarm/peers", vec![NOBODY, SOMEBODY]),
    ])
    .await;
    let mut config = config(&server);
    config.poll = carrick_transport_ipfs_http::Seconds(PATIENCE);
    let (node, _) = open(config).await.expect("opens");
    let block = timeout(PATIENCE, node.block(right().cid(), vec![])).await.expect("it ends");
    assert_eq!(block.expect("it comes"), right());
}

//! No wait is without end, whatever the daemon does.

use std::time::{Duration, Instant};

use carrick_core::{ErrorKind, Topic, Want};
use carrick_transport_ipfs_http::Seconds;
use futures::future::join_all;
use tokio::time::timeout;

use crate::server::{Answer, Server};
use crate::{PATIENCE, config, open, right};

fn topic() -> Topic {
    Topic::new("readings").expect("a topic")
}

/// A subscription may be silent for as long as it likes; the word that there is none may not.
#[tokio::test]
async fn an_error_of_a_subscription_that_does_not_come_is_given_up() {
    for answer in [Answer::Refused, Answer::Silence] {
        let server = Server::start([("pubsub/sub", vec![answer])]).await;
        let mut config = config(&server);
        config.pubsub = true;
        let (_node, transport) = open(config).await.expect("opens");
        let topic = topic();
        let join = transport.broadcast().expect("it carries messages").join(&topic);
        timeout(PATIENCE, join).await.expect("it ends").expect_err("it failed");
    }
}

#[tokio::test]
async fn an_answer_that_drips_is_given_up() {
    let server = Server::start([("swarm/peers", vec![Answer::Drip])]).await;
    let error = timeout(PATIENCE, open(config(&server))).await.expect("it ends").expect_err("no answer");
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(error.to_string().contains("no whole answer"), "{error}");
}

/// Each has its own time, not that of all before it. On one topic they would wait for each other, to keep their order.
#[tokio::test]
async fn messages_that_are_not_taken_are_given_up_together() {
    let server = Server::start([("pubsub/pub", vec![Answer::Silence])]).await;
    let mut config = config(&server);
    config.pubsub = true;
    let (node, _transport) = open(config).await.expect("opens");
    let began = Instant::now();
    let publish = join_all((0..20).map(async |n| {
        let topic = Topic::new(format!("topic-{n}")).expect("a topic");
        node.publish(&topic, "a message").await
    }));
    for published in timeout(PATIENCE, publish).await.expect("they end") {
        assert_eq!(published.expect_err("it was not taken").kind(), ErrorKind::Timeout);
    }
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(2), "they were refused after {took:?}");
    assert!(took < Duration::from_secs(20), "one after the other they take 40 s");
}

#[tokio::test]
async fn what_a_stranger_says_is_one_short_line() {
    let long: &'static str =
        Box::leak(format!("{{\"Peers\":\"{}\"}}", "x\\n".repeat(1 << 20)).into_boxed_str());
    let server = Server::start([("swarm/peers", vec![Answer::Good(long)])]).await;
    let error = open(config(&server)).await.expect_err("junk").to_string();
    assert!(error.len() < 1_000 && !error.contains('\n'), "{} bytes", error.len());
}

/// A topic of which the daemon says nothing does not keep the others from being asked about.
#[tokio::test]
async fn one_topic_that_is_not_told_of_holds_up_no_other() {
    const SOMEBODY: &str = "12D3KooWRm8J3iL796zPFi2EtGGtUJn58AG67gcRzQ4FENEemvoK";
    let there: &'static str = format!(r#"{{"Strings":["{SOMEBODY}"]}}"#).leak();
    let server = Server::start([
        ("pubsub/sub", vec![Answer::Stall(b"")]),
        (
            "pubsub/ls",
            vec![Answer::Good(r#"{"Strings":["uY2Fycmljay9mYXVsdHMvb25l","uY2Fycmljay9mYXVsdHMvdHdv"]}"#)],
        ),
        ("pubsub/peers?arg=uY2Fycmljay9mYXVsdHMvb25l", vec![Answer::Silence]),
        ("pubsub/peers?arg=uY2Fycmljay9mYXVsdHMvdHdv", vec![Answer::Good(there)]),
    ])
    .await;
    let mut config = config(&server);
    config.pubsub = true;
    let (node, _transport) = open(config).await.expect("opens");
    let _one = node.subscribe(&Topic::new("one").expect("a topic")).await.expect("subscribes");
    let two = Topic::new("two").expect("a topic");
    let _two = node.subscribe(&two).await.expect("subscribes");
    timeout(PATIENCE, node.ready(&two, 1)).await.expect("it is asked about").expect("somebody is there");
}

/// Who looks for what nobody has keeps no block waiting.
#[tokio::test]
async fn searches_that_find_nothing_hold_up_no_block() {
    let server = Server::start([
        ("routing/findprovs", vec![Answer::Silence]),
        ("block/get", vec![Answer::Good("hello world")]),
    ])
    .await;
    let mut config = config(&server);
    config.concurrency = 2;
    config.request_timeout = Seconds(PATIENCE);
    let (_node, transport) = open(config).await.expect("opens");
    transport.peers().await.expect("peers");
    let (fetch, sought) = (transport.fetch().expect("it fetches"), right());
    let searching = join_all((0..2).map(|_| fetch.providers(sought.cid(), 1)));
    let fetching = async {
        server.until_asked("routing/findprovs", 2).await;
        fetch.block(&Want::new(*sought.cid(), PATIENCE)).await
    };
    let fetched = tokio::select! {
        biased;
        _ = searching => panic!("it waited for the searches"),
        fetched = fetching => fetched,
    };
    fetched.expect("it comes").claim.check().expect("a block");
}

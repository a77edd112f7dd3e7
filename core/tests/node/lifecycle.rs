//! Opening and closing: in order, whole or not at all, in bounded time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use carrick_core::{
    BroadcastCaps, Capabilities, Error, ErrorKind, GetOptions, Identity, Limits, Node, RelayGate,
    Requirements, Result, Service, Validator, Verdict, async_trait,
};
use futures::StreamExt as _;
use tokio::time::Instant;

use crate::support::{
    Call, Envelope, Shared, Wire, memory, on, on_wires, open, raw, ready, remote, settle, topic, within,
};

fn closes(wire: &Wire) -> usize {
    wire.calls().iter().filter(|call| matches!(call, Call::Close)).count()
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_node_without_close_frees_the_store_and_ends_the_tasks() {
    let (wire, store) = (Wire::new(), memory());
    let (weak, ended) = (Arc::downgrade(&store), Arc::new(AtomicBool::new(false)));
    let (node, mut subscription) = open(on(&wire).store(store)).await;
    let witness = EndsWith(Arc::clone(&ended));
    wire.host().spawn(async move {
        let _witness = witness;
        std::future::pending::<()>().await;
    });
    assert_eq!(wire.deliver(&remote(1), Envelope::by(1, 1, "x").encode()).await, carrick_core::Relay::Accept);
    settle().await;
    wire.let_go();
    let clone = node.clone();
    drop(node);
    settle().await;
    assert!(weak.upgrade().is_some() && !ended.load(Ordering::Relaxed), "a clone is the same node");
    drop(clone);
    settle().await;
    assert!(ended.load(Ordering::Relaxed), "the tasks ended");
    assert!(weak.upgrade().is_none(), "the store is free");
    assert_eq!(ready(&mut subscription).len(), 1);
    assert!(subscription.next().await.is_none(), "the subscription ends");
}

/// As at the end of a `main` that called `block_on`.
#[test]
fn a_subscription_may_be_dropped_outside_of_the_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let wire = Wire::new();
    let (node, subscription) = runtime.block_on(open(on(&wire)));
    drop(subscription);
    runtime.block_on(settle());
    assert!(wire.calls().iter().any(|call| matches!(call, Call::Leave(_))), "it unsubscribes all the same");
    let subscription = runtime.block_on(node.subscribe(&topic())).expect("subscribes");
    drop(runtime);
    drop((subscription, node));
}

#[tokio::test(start_paused = true)]
async fn whoever_closes_a_node_that_is_being_closed_waits_for_its_end() {
    let (wire, store) = (Wire::new(), Shared::default());
    let (node, _subscription) = open(on(&wire).store(store.arc())).await;
    wire.hang_on_close();
    let other = node.clone();
    let first = tokio::spawn(async move { other.close().await });
    settle().await;
    node.close().await.expect("closes");
    assert_eq!(store.closed(), 1);
    assert_eq!(first.await.expect("ends").expect_err("one hung").kind(), ErrorKind::Timeout);
}

struct EndsWith(Arc<AtomicBool>);

impl Drop for EndsWith {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn close_is_idempotent_and_closes_in_order() {
    let (wire, store) = (Wire::new(), Shared::default());
    let (node, mut subscription) = open(on(&wire).store(store.arc())).await;
    let mut events = node.events();
    for _ in 0..3 {
        node.close().await.expect("closes");
    }
    assert_eq!((closes(&wire), store.closed()), (1, 1));
    let calls = wire.calls();
    let at = |look: fn(&Call) -> bool| calls.iter().position(look).expect("called");
    assert!(at(|call| matches!(call, Call::Leave(_))) < at(|call| matches!(call, Call::Close)));
    assert!(subscription.next().await.is_none());
    ready(&mut events);
    assert!(events.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn close_takes_bounded_time_although_a_transport_hangs() {
    let (left, right, store) = (Wire::new(), Wire::new(), Shared::default());
    let builder = on_wires(&[("left", &left), ("right", &right)]).store(store.arc());
    let node = builder.open().await.expect("opens");
    left.hang_on_close();
    left.host().spawn(std::future::pending());
    let began = Instant::now();
    let error = within(node.close()).await.expect_err("it hangs");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(began.elapsed() <= Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!((closes(&right), store.closed()), (1, 1), "the others are closed all the same");
}

#[tokio::test(start_paused = true)]
async fn after_close_everything_is_closed() {
    let wire = Wire::new();
    let node = on(&wire).open().await.expect("opens");
    node.close().await.expect("closes");
    let block = raw("x");
    let errors: Vec<(&str, Error)> = vec![
        ("publish", node.publish(&topic(), "x").await.expect_err("closed")),
        ("subscribe", node.subscribe(&topic()).await.expect_err("closed")),
        ("block", node.block(block.cid(), vec![]).await.expect_err("closed")),
        ("get", node.get(block.cid(), GetOptions::default()).await.expect_err("closed")),
        ("put", node.put_blocks(&[block]).await.expect_err("closed")),
        (
            "connect",
            node.connect(&crate::support::peer(1).to_string().parse().expect("a peer"))
                .await
                .expect_err("closed"),
        ),
        ("disconnect", node.disconnect(&remote(1)).await.expect_err("closed")),
        ("ready", node.ready(&topic(), 1).await.expect_err("closed")),
        ("peers", node.peers().await.expect_err("closed")),
        ("status", node.status().await.expect_err("closed")),
        ("topic_peers", node.topic_peers(&topic()).await.expect_err("closed")),
    ];
    for (what, error) in errors {
        assert_eq!(error.kind(), ErrorKind::Closed, "{what}: {error}");
    }
    let verdict = within(node.admit(&topic(), Envelope::by(1, 1, "x").encode(), None)).await;
    assert!(matches!(verdict, Verdict::Ignore(_)), "{verdict:?}");
}

#[tokio::test(start_paused = true)]
async fn work_that_waits_ends_when_the_node_closes() {
    let wire = Wire::new();
    let judge = crate::support::Judge::new().messages(|_, _| std::future::pending());
    let (node, _subscription) = open(on(&wire).validator(judge.arc())).await;
    wire.provider(remote(1), crate::support::Does::Stall);
    wire.disobey();
    let answer = wire.hand(&remote(1), &topic(), Envelope::by(1, 1, "x").encode());
    let (asks, cid) = (node.clone(), *raw("x").cid());
    let asked = tokio::spawn(async move { asks.block(&cid, vec![]).await });
    settle().await;
    node.close().await.expect("closes");
    assert_eq!(within(answer).await, carrick_core::Relay::Ignore);
    let error = within(asked).await.expect("no panic").expect_err("closed");
    assert_eq!(error.kind(), ErrorKind::Closed);
}

#[tokio::test(start_paused = true)]
async fn when_a_transport_does_not_open_what_was_opened_is_closed() {
    let (wire, store) = (Wire::new(), Shared::default());
    let builder = on(&wire).store(store.arc()).mount("bad", |_| async {
        Err::<crate::support::Opened, _>(Error::new(ErrorKind::Config, "open", "port in use"))
    });
    let error = builder.open().await.expect_err("fails");
    assert_eq!(error.detail(), "port in use");
    assert_eq!((closes(&wire), store.closed()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn when_a_validator_or_service_does_not_open_the_store_is_closed() {
    for service in [false, true] {
        let (wire, store) = (Wire::new(), Shared::default());
        let fails = || Error::new(ErrorKind::Config, "open", "bad rules");
        let builder = on(&wire).store(store.arc());
        let builder = if service {
            builder.service_at("bad", move |_| async move { Err::<Arc<dyn Service>, _>(fails()) })
        } else {
            builder.validator_at("bad", move |_| async move { Err::<Arc<dyn Validator>, _>(fails()) })
        };
        builder.open().await.expect_err("fails");
        assert_eq!(store.closed(), 1, "service: {service}");
    }
}

#[derive(Debug)]
struct Steps(&'static str, bool, Arc<Mutex<Vec<String>>>);

#[async_trait]
impl Service for Steps {
    async fn start(&self, _: Node) -> Result<()> {
        self.2.lock().expect("lock").push(format!("start {}", self.0));
        if self.1 { Ok(()) } else { Err(Error::new(ErrorKind::Config, "start", "does not start")) }
    }

    async fn stop(&self) -> Result<()> {
        self.2.lock().expect("lock").push(format!("stop {}", self.0));
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn services_start_in_order_and_stop_in_the_other_before_anything_else() {
    let (wire, steps) = (Wire::new(), Arc::default());
    let builder = on(&wire).service(Arc::new(Steps("a", true, Arc::clone(&steps)))).service(Arc::new(Steps(
        "b",
        true,
        Arc::clone(&steps),
    )));
    let node = builder.open().await.expect("opens");
    node.close().await.expect("closes");
    assert_eq!(*steps.lock().expect("lock"), ["start a", "start b", "stop b", "stop a"]);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_does_not_start_closes_the_node() {
    let (wire, store, steps) = (Wire::new(), Shared::default(), Arc::default());
    let builder = on(&wire).store(store.arc()).service(Arc::new(Steps("a", false, Arc::clone(&steps))));
    let error = builder.open().await.expect_err("fails");
    assert_eq!(error.detail(), "does not start");
    assert_eq!((closes(&wire), store.closed()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn unmet_requirements_stop_the_start_and_each_is_named_with_the_mend() {
    let (good, store) = (Wire::new(), Shared::default());
    let bad = Wire::new().with(|caps| {
        let mut broadcast = BroadcastCaps::new(1_000);
        broadcast.relay = RelayGate::BeforeVerdict;
        *caps = Capabilities::new(Some(broadcast), None, Identity::Daemon);
    });
    let mut require = Requirements::default();
    require.relay = Some(RelayGate::AfterVerdict);
    require.identity = Some(Identity::Peer);
    require.private = true;
    require.message_bytes = Some(2_000);
    require.hold_verdict = Some(Duration::from_secs(60));
    let builder = on_wires(&[("good", &good), ("bad", &bad)]).store(store.arc());
    let mut requires_less = require.clone();
    requires_less.hold_verdict = None;
    let error = builder.require(requires_less).open().await.expect_err("unmet");
    assert_eq!((error.kind(), error.transport()), (ErrorKind::Config, Some("bad")));
    for words in [
        "relay must be after-verdict and is before-verdict",
        "identity must be peer and is daemon",
        "private must be true and is none",
        "message_bytes must be 2000 and is 1000",
    ] {
        assert!(error.detail().contains(words), "{error}");
    }
    assert!(error.hint().is_some_and(|hint| hint.contains("[node.require]")));
    assert_eq!((closes(&good), closes(&bad), store.closed()), (1, 1, 1));
    let error = on(&Wire::new()).require(require).open().await.expect_err("unmet");
    assert!(error.detail().contains("hold_verdict must be 60 s and is 30 s"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn two_transports_of_one_name_or_an_unknown_route_are_named() {
    let (a, b) = (Wire::new(), Wire::new());
    let error = on_wires(&[("same", &a), ("same", &b)]).open().await.expect_err("twice");
    assert!(error.kind() == ErrorKind::Config && error.detail().contains("\"same\""), "{error}");
    assert_eq!(closes(&a), 1);
    let error = on(&Wire::new()).broadcast(["carrier-pigeon"]).open().await.expect_err("unknown");
    assert!(error.detail().contains("carrier-pigeon") && error.hint().is_some(), "{error}");
    let mute = Wire::new().with(|caps| caps.broadcast = None);
    let error = on(&mute).broadcast(["wire"]).open().await.expect_err("cannot");
    assert!(error.detail().contains("cannot broadcast"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn limits_out_of_range_and_a_missing_network_stop_the_start() {
    let mut limits = Limits::default();
    limits.block_bytes = 1;
    let error = on(&Wire::new()).limits(limits).open().await.expect_err("out of range");
    assert!(error.detail().contains("block_bytes"), "{error}");
    let error = Node::builder().open().await.expect_err("no network");
    assert!(error.kind() == ErrorKind::Config && error.hint().is_some(), "{error}");
}

#[tokio::test(start_paused = true)]
async fn status_shows_transports_topics_store_and_counters() {
    let wire = Wire::new();
    let (node, _subscription) = open(on(&wire)).await;
    wire.deliver(&remote(1), "rubbish").await;
    node.put_blocks(&[raw("12345")]).await.expect("put");
    let status = node.status().await.expect("status");
    assert_eq!((status.transports.len(), status.topics.clone()), (1, vec![topic()]));
    assert_eq!((status.store.blocks, status.store.bytes), (1, 5));
    assert_eq!(status.counters["wire"]["malformed"], 1);
    assert!(status.addresses[0].to_string().ends_with(&format!("/p2p/{}", node.peer_id())));
}

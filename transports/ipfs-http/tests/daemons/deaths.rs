//! Daemons that die in the middle of something: what is told, what is left, and how soon all is well again.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use carrick_core::dag::Layout;
use carrick_core::{Delivery, ErrorKind, Event, Events, GetOptions, Message, MessageId, Node, Subscription};
use carrick_interop::Kubo;
use carrick_transport_ipfs_http::Seconds;
use futures::StreamExt as _;
use futures::future::join;
use tokio::io::{AsyncWriteExt as _, duplex};
use tokio::time::timeout;

use super::node::until;
use super::{PATIENCE, config, content, heard, open, pair, soon, topic};

/// How soon a node is well again once its daemon is back: it takes 2 s as a rule, and longer on a busy machine.
const BACK: Duration = Duration::from_secs(20);

async fn back<T>(what: &str, happens: impl Future<Output = T>) -> T {
    timeout(BACK, happens).await.unwrap_or_else(|_| panic!("{what} did not come back within {BACK:?}"))
}

async fn gap(events: &mut Events) {
    while !matches!(events.next().await, Some(Event::Gap { .. })) {}
}

/// Says something until it is heard.
async fn spoken(from: &Node, by: &mut Subscription) {
    heard(from, &topic(), "heard", by).await;
}

#[tokio::test]
async fn a_daemon_that_dies_in_a_put_is_told_and_the_same_put_mends_it() {
    let mut kubo = Kubo::run(1, &[]).expect("a daemon");
    let (node, transport) = open(config(&kubo.daemons()[0])).await.expect("opens");
    let content = content(24 << 20);
    let (mut give, take) = duplex(64 << 10);
    let feeding = async {
        let (before, after) = content.split_at(16 << 20);
        give.write_all(before).await.expect("it is read");
        kubo.kill(0).expect("dies");
        // The reader has gone where the put has ended already.
        let _ = give.write_all(after).await;
        drop(give);
    };
    let (put, ()) = soon("the end of a put", join(node.put(take, Layout::default()), feeding)).await;
    let error = put.expect_err("there is no daemon");
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("ipfs daemon")), "{error:?}");
    kubo.start(0).expect("starts");
    back("the daemon", until(async || transport.peers().await.is_ok())).await;
    let put = soon("a put", node.put(&content[..], Layout::default())).await.expect("puts");
    let seen = kubo.daemons()[0].post(&format!("cat?arg={}&offline=true", put.cid), None).expect("cat");
    assert!(seen == content, "the daemon has other bytes");
}

#[tokio::test]
async fn a_daemon_that_dies_in_a_get_is_told_and_the_next_get_goes_on() {
    let mut kubo = Kubo::run(2, &["--connect"]).expect("daemons");
    let [one, other] = pair(&kubo).await;
    let content = content(48 << 20);
    let put = soon("a put", one.put(&content[..], Layout::default())).await.expect("puts");
    let next = soon("a put", one.put(&b"something else"[..], Layout::default())).await.expect("puts");
    let get = other.get(&put.cid, GetOptions::default());
    let mut progress = get.progress();
    let killing = async {
        progress.wait_for(|progress| progress.blocks >= 2).await.expect("it goes on");
        kubo.kill(1).expect("dies");
    };
    let (got, ()) = soon("the end of a get", join(get, killing)).await;
    let error = got.expect_err("there is no daemon");
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    kubo.start(1).expect("starts");
    kubo.connect(0, 1).expect("connects");
    // Its first blocks may take Kubo more than 10 s.
    let patient = GetOptions { idle: Some(PATIENCE), ..GetOptions::default() };
    for root in [&next.cid, &put.cid] {
        let got = soon("a get", other.get(root, patient.clone())).await.expect("gets");
        assert!(got.bytes < content.len() as u64, "what had come was fetched again");
    }
}

#[tokio::test]
async fn a_subscription_is_back_soon_after_its_daemon() {
    let mut kubo = Kubo::run(1, &[]).expect("a daemon");
    let (node, transport) = open(config(&kubo.daemons()[0])).await.expect("opens");
    let mut subscription = node.subscribe(&topic()).await.expect("subscribes");
    let mut events = node.events();
    kubo.kill(0).expect("dies");
    soon("that it is noticed", until(async || transport.peers().await.is_err())).await;
    let elsewhere = carrick_core::Topic::new("elsewhere").expect("a topic");
    let error = node.subscribe(&elsewhere).await.expect_err("there is no daemon");
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    kubo.start(0).expect("starts");
    back("the subscription", gap(&mut events)).await;
    // Another node on the same daemon is heard over it.
    let (near, _) = open(config(&kubo.daemons()[0])).await.expect("opens");
    soon("a message", spoken(&near, &mut subscription)).await;
}

/// It takes connections and never answers, and later goes on as if nothing had been.
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_stops_for_a_while_is_noticed_and_goes_on() {
    let mut kubo = Kubo::run(1, &[]).expect("a daemon");
    let mut config = config(&kubo.daemons()[0]);
    config.request_timeout = Seconds(Duration::from_secs(3));
    let (one, transport) = open(config.clone()).await.expect("opens");
    let (other, _) = open(config).await.expect("opens");
    let mut subscription = other.subscribe(&topic()).await.expect("subscribes");
    soon("a message of before", spoken(&one, &mut subscription)).await;
    tokio::task::block_in_place(|| kubo.freeze(0)).expect("it stops");
    let state = || one.transports()[0].facts["state"].clone();
    soon("that it is noticed", until(async || state().starts_with("does not answer"))).await;
    let error = one.publish(&topic(), "nowhere").await.expect_err("it does not answer");
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    let error = one.put(&b"put meanwhile"[..], Layout::default()).await.expect_err("it does not answer");
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    tokio::task::block_in_place(|| kubo.thaw(0)).expect("it goes on");
    back("the daemon", until(async || transport.peers().await.is_ok())).await;
    back("messages", spoken(&one, &mut subscription)).await;
    let put = soon("a put", one.put(&b"put meanwhile"[..], Layout::default())).await.expect("puts");
    let there = kubo.daemons()[0].post(&format!("block/stat?offline=true&arg={}", put.cid), None);
    assert!(there.is_ok(), "{there:?}");
}

/// A subscription to which nothing may come twice.
struct Once(Subscription, BTreeSet<MessageId>);

impl Once {
    async fn to(node: &Node) -> Self {
        Self(node.subscribe(&topic()).await.expect("subscribes"), BTreeSet::new())
    }

    async fn message(&mut self) -> Message {
        loop {
            if let Delivery::Message(message) = self.0.next().await.expect("the node is open") {
                assert!(self.1.insert(*message.id()), "{message:?} came twice");
                return message;
            }
        }
    }

    /// Waits for one that this node publishes, again and again: a daemon may lose it.
    async fn hears(&mut self, from: &Node) {
        loop {
            from.publish(&topic(), "heard").await.expect("publishes");
            if timeout(Duration::from_millis(500), self.message()).await.is_ok() {
                return;
            }
        }
    }
}

/// Messages and blocks go on all the time; what fails says that the daemon is not there, and nothing else; and nothing is
/// heard twice. Both nodes share the daemon: how soon two of them find each other again is Kubo's affair.
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_started_again_under_load_takes_up_where_it_was() {
    let mut kubo = Kubo::run(1, &[]).expect("a daemon");
    let (one, _) = open(config(&kubo.daemons()[0])).await.expect("opens");
    let (other, transport) = open(config(&kubo.daemons()[0])).await.expect("opens");
    let [mut at_one, mut at_other] = [Once::to(&one).await, Once::to(&other).await];
    let mut events = other.events();
    let loading = async {
        for n in 0_u64.. {
            let (topic, content) = (topic(), n.to_be_bytes());
            let publishing = other.publish(&topic, format!("load {n}"));
            let (published, put) = join(publishing, other.put(&content[..], Layout::default())).await;
            for error in [published.err(), put.err()].into_iter().flatten() {
                assert!(matches!(error.kind(), ErrorKind::Unreachable | ErrorKind::Timeout), "{error}");
            }
        }
    };
    let load_heard = AtomicU64::new(0);
    let listening = async {
        loop {
            at_one.message().await;
            load_heard.fetch_add(1, Ordering::Relaxed);
        }
    };
    let story = async {
        for _ in 0..3 {
            soon("a message of before", at_other.hears(&one)).await;
            tokio::task::block_in_place(|| kubo.kill(0)).expect("dies");
            soon("that it is noticed", until(async || transport.peers().await.is_err())).await;
            tokio::task::block_in_place(|| kubo.start(0)).expect("starts");
            let again = async {
                gap(&mut events).await;
                at_other.hears(&one).await;
            };
            back("messages", again).await;
            let before = load_heard.load(Ordering::Relaxed);
            soon("the load", until(async || load_heard.load(Ordering::Relaxed) > before)).await;
        }
    };
    tokio::select! {
        ((), ()) = join(loading, listening) => unreachable!("they go on for ever"),
        () = story => {}
    }
}

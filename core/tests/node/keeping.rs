//! What a topic keeps within bounds: the oldest leave first, whatever happens to the node meanwhile.

use std::collections::BTreeSet;
use std::time::Duration;

use carrick_core::{Bytes, Cid, ErrorKind, Keep, Node, NodeBuilder, Owner, Relay, Subscription, TopicRules};
use futures::TryStreamExt as _;

use crate::support::{
    Envelope, Hands, NOW, Shared, Wire, on, open, payloads, raw, remote, settle, stored, topic, within,
};

fn rules(bound: impl FnOnce(&mut TopicRules)) -> TopicRules {
    let mut rules = TopicRules::default();
    rules.keep = Keep::Everything;
    bound(&mut rules);
    rules
}

fn newest(messages: u64) -> TopicRules {
    rules(|rules| rules.keep_messages = Some(messages))
}

/// Messages of one author, each a second younger than the one before.
fn messages(number: u64) -> Vec<Envelope> {
    let message = |n| Envelope::by(1, n, format!("message {n}")).with(|e| e.time = NOW - 100_000 + n * 1_000);
    let mut messages: Vec<Envelope> = Vec::new();
    for n in 0..number {
        messages.push(message(n).after(messages.last().map(Envelope::cid)));
    }
    messages
}

fn cids(messages: &[Envelope]) -> BTreeSet<Cid> {
    messages.iter().map(Envelope::cid).collect()
}

async fn kept(node: &Node) -> BTreeSet<Cid> {
    let pins = node.pins(Some(&Owner::topic(&topic())));
    pins.map_ok(|pin| pin.cid).try_collect().await.expect("lists")
}

async fn deliver(wire: &Wire, messages: &[Envelope]) {
    for message in messages {
        assert_eq!(wire.deliver(&remote(1), message.encode()).await, Relay::Accept);
    }
}

async fn opened(wire: &Wire, store: &Shared, rules: TopicRules) -> (Node, Subscription) {
    let builder: NodeBuilder = on(wire).store(store.arc()).topic(topic(), rules);
    open(builder).await
}

#[tokio::test(start_paused = true)]
async fn the_newest_are_kept_and_the_others_are_garbage() {
    let (wire, store) = (Wire::new(), Shared::default());
    let (node, mut subscription) = opened(&wire, &store, newest(3)).await;
    let messages = messages(8);
    deliver(&wire, &messages).await;
    assert_eq!(kept(&node).await, cids(&messages[5..]));
    assert_eq!(payloads(&mut subscription).len(), 8, "what leaves was handed out all the same");
    assert_eq!(node.counter("retired"), 5);
    assert_eq!(stored(&*store.arc()).await, cids(&messages), "to delete is a collection's part");
    within(node.collect_garbage()).await.expect("collects");
    assert_eq!(stored(&*store.arc()).await, cids(&messages[5..]));
}

#[tokio::test(start_paused = true)]
async fn bytes_are_bounded_too() {
    let (wire, messages) = (Wire::new(), messages(6));
    let size = messages.iter().map(|message| message.encode().len() as u64).max().expect("some");
    let bounded = rules(|rules| rules.keep_bytes = Some(2 * size));
    let (node, _subscription) = opened(&wire, &Shared::default(), bounded).await;
    deliver(&wire, &messages).await;
    assert_eq!(kept(&node).await, cids(&messages[4..]));
    let large = Envelope::by(1, 6, Bytes::from(vec![0; 4_000])).after([messages[5].cid()]);
    deliver(&wire, &[large]).await;
    assert_eq!(kept(&node).await, cids(&messages[4..]), "one that never fits pushes nothing out");
    assert_eq!(node.counter("not_kept"), 1);
}

#[tokio::test(start_paused = true)]
async fn what_becomes_too_old_leaves_without_anything_new() {
    let (wire, clock) = (Wire::new(), Hands::at(NOW));
    let bounded = rules(|rules| rules.keep_for = Some(Duration::from_secs(110)));
    let builder = on(&wire).clock(clock.clone()).topic(topic(), bounded);
    let (node, _subscription) = open(builder).await;
    let messages = messages(8);
    deliver(&wire, &messages).await;
    assert_eq!(kept(&node).await.len(), 8);
    // The first was 100 s old when it came.
    clock.set(NOW + 13_500);
    tokio::time::sleep(Duration::from_secs(61)).await;
    settle().await;
    assert_eq!(kept(&node).await, cids(&messages[4..]));
}

#[tokio::test(start_paused = true)]
async fn a_payload_that_travelled_apart_stays_as_long_as_a_message_has_it() {
    let (wire, shared, other) = (Wire::new(), raw(vec![1; 70_000]), raw(vec![2; 70_000]));
    wire.serves(remote(1), [&shared, &other]);
    let (node, _subscription) = opened(&wire, &Shared::default(), newest(2)).await;
    let mut messages = Vec::new();
    for (n, payload) in [&shared, &other, &shared, &other, &other].into_iter().enumerate() {
        let message =
            Envelope::by(1, n as u64, "").linked(payload.bytes()).with(|e| e.time = NOW - 10 + n as u64);
        messages.push(message.after(messages.last().map(Envelope::cid)));
    }
    deliver(&wire, &messages[..4]).await;
    let pinned = cids(&messages[2..4]).into_iter().chain([*shared.cid(), *other.cid()]);
    assert_eq!(kept(&node).await, pinned.collect());
    deliver(&wire, &messages[4..]).await;
    let pinned = cids(&messages[3..]).into_iter().chain([*other.cid()]);
    assert_eq!(kept(&node).await, pinned.collect(), "no message has the other one any more");
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_is_known_again_without_reading_a_message() {
    let (store, messages) = (Shared::default(), messages(9));
    let mut came = 0;
    for crash in [true, false, true] {
        let wire = Wire::new();
        store.away(true);
        let (node, subscription) = opened(&wire, &store, newest(4)).await;
        store.away(false);
        deliver(&wire, &messages[came..came + 3]).await;
        came += 3;
        assert_eq!(kept(&node).await, cids(&messages[came.saturating_sub(4)..came]));
        if crash {
            // Saved soon, as all that a node remembers.
            tokio::time::sleep(Duration::from_secs(1)).await;
            wire.let_go();
            drop((node, subscription));
        } else {
            node.close().await.expect("closes");
        }
    }
    let (node, _subscription) = opened(&Wire::new(), &store, newest(2)).await;
    assert_eq!(kept(&node).await, cids(&messages[7..]), "a tighter bound holds at once");
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_kept_everything_may_be_bounded_later_and_again() {
    let (store, messages) = (Shared::default(), messages(9));
    let mut came = 0;
    for (bound, left) in [(None, 3), (Some(4), 4), (None, 7), (Some(5), 5)] {
        let wire = Wire::new();
        let bounded = rules(|rules| rules.keep_messages = bound);
        let (node, _subscription) = opened(&wire, &store, bounded).await;
        let next = messages.len().min(came + 3);
        deliver(&wire, &messages[came..next]).await;
        came = next;
        assert_eq!(kept(&node).await, cids(&messages[came - left.min(came)..came]), "{bound:?}");
        node.close().await.expect("closes");
    }
}

#[tokio::test(start_paused = true)]
async fn bounds_may_come_and_go_while_the_node_runs() {
    let (wire, messages) = (Wire::new(), messages(9));
    let (node, _subscription) = opened(&wire, &Shared::default(), rules(|_| ())).await;
    deliver(&wire, &messages[..4]).await;
    node.set_rules(topic(), newest(2));
    settle().await;
    assert_eq!(kept(&node).await, cids(&messages[2..4]));
    node.set_rules(topic(), rules(|_| ()));
    settle().await;
    deliver(&wire, &messages[4..8]).await;
    assert_eq!(kept(&node).await, cids(&messages[2..8]));
    node.set_rules(topic(), newest(3));
    deliver(&wire, &messages[8..]).await;
    settle().await;
    assert_eq!(kept(&node).await, cids(&messages[6..]));
}

#[tokio::test(start_paused = true)]
async fn one_older_than_all_that_is_kept_is_handed_out_and_not_kept() {
    let (wire, messages) = (Wire::new(), messages(5));
    let (node, mut subscription) = opened(&wire, &Shared::default(), newest(3)).await;
    deliver(&wire, &messages[1..4]).await;
    let by_another = Envelope::by(2, 1, "late").with(|e| e.time = NOW - 110_000);
    deliver(&wire, std::slice::from_ref(&by_another)).await;
    assert_eq!(kept(&node).await, cids(&messages[1..4]));
    assert!(payloads(&mut subscription).contains(&"late".to_owned()));
    assert_eq!((node.counter("retired"), node.counter("not_kept")), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_costs_nothing_that_was_kept() {
    let (wire, store, messages) = (Wire::new(), Shared::default(), messages(5));
    let (node, _subscription) = opened(&wire, &store, newest(3)).await;
    deliver(&wire, &messages[..3]).await;
    store.fill(true);
    assert_eq!(wire.deliver(&remote(1), messages[3].encode()).await, Relay::Ignore);
    assert_eq!(kept(&node).await, cids(&messages[..3]));
    store.fill(false);
    deliver(&wire, &messages[3..]).await;
    assert_eq!(kept(&node).await, cids(&messages[2..]));
}

#[tokio::test(start_paused = true)]
async fn our_own_messages_are_kept_within_the_same_bounds() {
    let (wire, store) = (Wire::new(), Shared::default());
    let node = on(&wire).store(store.arc()).topic(topic(), newest(2)).open().await.expect("opens");
    let topic = topic();
    let publishing = (0..20).map(|n| node.publish(&topic, format!("{n}")));
    within(futures::future::try_join_all(publishing)).await.expect("publishes");
    assert_eq!(kept(&node).await.len(), 2);
}

#[tokio::test]
async fn rules_that_do_not_go_together_open_no_node() {
    let mut bare = TopicRules::raw();
    bare.keep = Keep::Everything;
    let mut nothing = TopicRules::default();
    nothing.keep_for = Some(Duration::from_secs(1));
    for (rules, names) in [(bare, "keep"), (nothing, "keep_for"), (newest(0), "keep_messages")] {
        let error = on(&Wire::new()).topic(topic(), rules).open().await.expect_err("it does not open");
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.detail().contains(&format!(": {names} ")), "{error}");
    }
}

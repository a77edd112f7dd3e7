//! What a node remembers when it comes back, after a clean end and after a crash.

use carrick_core::{Event, PeerRecord, Relay, TopicRules};
use futures::StreamExt as _;
use ipld_core::ipld::Ipld;

use crate::support::{
    Envelope, Hands, NOW, Shared, Wire, event, key, network, on, open, payloads, peer, ready, remote, settle,
    topic,
};

#[tokio::test(start_paused = true)]
async fn a_replay_is_refused_before_and_after_a_restart() {
    let store = Shared::default();
    let message = Envelope::by(1, 5, "once").encode();
    let wire = Wire::new();
    let (node, mut subscription) = open(on(&wire).store(store.arc())).await;
    assert_eq!(wire.deliver(&remote(1), message.clone()).await, Relay::Accept);
    assert_eq!(wire.deliver(&remote(2), message.clone()).await, Relay::Duplicate);
    assert_eq!(payloads(&mut subscription), ["once"]);
    node.close().await.expect("closes");

    let wire = Wire::new();
    let (_node, mut subscription) = open(on(&wire).store(store.arc())).await;
    assert_eq!(wire.deliver(&remote(2), message).await, Relay::Ignore, "its number was used");
    let next = Envelope::by(1, 6, "next").encode();
    assert_eq!(wire.deliver(&remote(1), next).await, Relay::Accept);
    assert_eq!(payloads(&mut subscription), ["next"]);
}

#[tokio::test(start_paused = true)]
async fn numbers_are_saved_soon_so_that_a_crash_forgets_little() {
    let store = Shared::default();
    let message = Envelope::by(1, 5, "once").encode();
    let wire = Wire::new();
    let (node, subscription) = open(on(&wire).store(store.arc())).await;
    assert_eq!(wire.deliver(&remote(1), message.clone()).await, Relay::Accept);
    tokio::time::advance(std::time::Duration::from_millis(300)).await;
    settle().await;
    wire.let_go();
    drop((node, subscription));
    assert_eq!(store.closed(), 0, "it crashed");

    let wire = Wire::new();
    let _open = open(on(&wire).store(store.arc())).await;
    assert_eq!(wire.deliver(&remote(2), message).await, Relay::Ignore);
}

#[tokio::test(start_paused = true)]
async fn numbers_that_could_not_be_saved_are_saved_the_next_time() {
    let store = Shared::default();
    let message = Envelope::by(1, 5, "once").encode();
    let wire = Wire::new();
    let (node, _subscription) = open(on(&wire).store(store.arc())).await;
    store.fill(true);
    assert_eq!(wire.deliver(&remote(1), message.clone()).await, Relay::Accept);
    tokio::time::advance(std::time::Duration::from_millis(300)).await;
    settle().await;
    assert_eq!(node.counter("save_failed"), 1);
    store.fill(false);
    node.close().await.expect("closes");

    let wire = Wire::new();
    let _open = open(on(&wire).store(store.arc())).await;
    assert_eq!(wire.deliver(&remote(2), message).await, Relay::Ignore);
}

#[tokio::test(start_paused = true)]
async fn our_own_numbers_rise_when_the_data_folder_is_put_back_to_an_earlier_day() {
    let (store, clock) = (Shared::default(), Hands::at(NOW));
    let mut numbers = Vec::new();
    let mut backup = None;
    for day in 0..3 {
        clock.set(NOW + 86_400_000 * day);
        let wire = Wire::new();
        let node = on(&wire).store(store.arc()).clock(clock.clone()).open().await.expect("opens");
        node.publish(&topic(), "x").await.expect("publishes");
        let prefix = format!("numbers/{}/", node.peer_id());
        node.close().await.expect("closes");
        for out in wire.published() {
            let fields: Ipld = serde_ipld_dagcbor::from_slice(&out.bytes).expect("dag-cbor");
            let Ok(Some(Ipld::Integer(number))) = fields.get("seqno") else {
                panic!("no number: {fields:?}")
            };
            numbers.push(*number);
        }
        let saved: Vec<_> = store.arc().list_meta("").map(|entry| entry.expect("reads")).collect().await;
        assert!(saved.iter().any(|(key, _)| key.starts_with(&prefix)), "{saved:?}");
        let saved: Vec<_> = saved.into_iter().map(|(key, value)| (key, Some(value))).collect();
        store.arc().set_meta(backup.get_or_insert(saved)).await.expect("put back");
    }
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
}

#[tokio::test(start_paused = true)]
async fn our_own_numbers_rise_across_across_restarts_and_crashes_even_when_the_clock_is_set_back() {
    let (store, clock) = (Shared::default(), Hands::at(NOW));
    let mut published = Vec::new();
    for life in 0..4 {
        let wire = Wire::new();
        let node = on(&wire).store(store.arc()).clock(clock.clone()).open().await.expect("opens");
        for n in 0..3 {
            node.publish(&topic(), format!("{life}.{n}")).await.expect("publishes");
        }
        published.extend(wire.published());
        wire.let_go();
        if life % 2 == 0 {
            node.close().await.expect("closes");
        }
        clock.set(NOW - 86_400_000 * (life + 1));
    }
    let wire = Wire::new();
    let (_node, mut subscription) =
        open(on(&wire).identity(crate::support::key(1)).topic(topic(), untimed())).await;
    for out in published {
        assert_eq!(wire.deliver(&remote(1), out.bytes).await, Relay::Accept);
    }
    let seqnos: Vec<u64> = ready(&mut subscription)
        .into_iter()
        .filter_map(|delivery| match delivery {
            carrick_core::Delivery::Message(message) => Some(message.seqno()),
            _ => None,
        })
        .collect();
    assert_eq!((seqnos.len(), seqnos[0]), (12, NOW));
    assert!(seqnos.is_sorted_by(|a, b| a < b), "{seqnos:?}");
}

fn untimed() -> TopicRules {
    let mut rules = TopicRules::default();
    rules.time = false;
    rules
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_a_message_follows_the_last_one_before() {
    let store = Shared::default();
    let mut published = Vec::new();
    for payload in ["before", "after"] {
        let wire = Wire::new();
        let node = on(&wire).store(store.arc()).open().await.expect("opens");
        node.publish(&topic(), payload).await.expect("publishes");
        published.extend(wire.published());
        node.close().await.expect("closes");
    }
    let wire = Wire::new();
    let (node, mut subscription) = open(on(&wire).identity(crate::support::key(1))).await;
    for out in &published {
        assert_eq!(wire.deliver(&remote(1), out.bytes.clone()).await, Relay::Accept);
    }
    assert_eq!(payloads(&mut subscription), ["before", "after"], "and no gap between them");
    assert_eq!(node.counter("gap"), 0);
}

#[tokio::test(start_paused = true)]
async fn whom_the_node_met_it_knows_after_a_restart_and_hearsay_it_forgets() {
    let store = Shared::default();
    let wire = Wire::new();
    let node = on(&wire).store(store.arc()).open().await.expect("opens");
    for n in [1, 2] {
        let addr = "/memory/7".parse().expect("an address");
        let record = PeerRecord::sign(&key(n), &network(), 1, vec![addr], vec![]).expect("signs");
        assert!(wire.host().learn(&remote(1), record));
    }
    node.close().await.expect("closes");

    let wire = Wire::new();
    let _node = on(&wire).store(store.arc()).open().await.expect("opens");
    let known = [1, 2].map(|n| wire.host().addresses(&peer(n)).len());
    assert_eq!(known, [1, 0]);
}

/// The window of an author is the baseline for what comes after the restart.
#[tokio::test(start_paused = true)]
async fn a_gap_that_opened_while_the_node_was_away_is_told() {
    let store = Shared::default();
    let wire = Wire::new();
    let (node, subscription) = open(on(&wire).store(store.arc())).await;
    let first = Envelope::by(1, 1, "first");
    assert_eq!(wire.deliver(&remote(1), first.encode()).await, Relay::Accept);
    node.close().await.expect("closes");
    drop(subscription);

    let missed = Envelope::by(1, 2, "missed").after([first.cid()]);
    let third = Envelope::by(1, 3, "third").after([missed.cid()]);
    let wire = Wire::new();
    let (node, _subscription) = open(on(&wire).store(store.arc())).await;
    let mut events = node.events();
    assert_eq!(wire.deliver(&remote(1), third.encode()).await, Relay::Accept);
    let gap =
        event(&mut events, |event| if let Event::Gap(gap) = event { Some(gap.clone()) } else { None }).await;
    assert_eq!(gap.last, Some(missed.id()));
}

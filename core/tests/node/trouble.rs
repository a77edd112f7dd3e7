//! A validator or a store that is in trouble for a minute: nobody is blamed, the node goes on, and what could not be judged is
//! taken when it comes again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use carrick_core::{
    Block, Bytes, Error, ErrorKind, MessageId, Node, Relay, Result, Topic, TopicRules, Verdict,
};
use futures::future::{join_all, pending};
use tokio::time::Instant;

use crate::support::{Envelope, Judge, Shared, Wire, on, open, payloads, raw, remote, topic, within};

const MINUTE: Duration = Duration::from_secs(60);
/// Links that bring something, and messages of each at a time: as many as have room.
const LINKS: u8 = 8;
const OF_EACH: u64 = 8;

fn passing() -> Topic {
    Topic::new("passing").expect("a topic")
}

fn messages() -> Vec<(u8, Bytes)> {
    let one = |from: u8, n: u64| (from, Envelope::by(from, n, format!("{n} of {from}")).encode());
    (1..=LINKS).flat_map(|from| (1..=OF_EACH).map(move |n| one(from, n))).collect()
}

/// All of them come at once; what becomes of each.
async fn bring(wire: &Wire, messages: &[(u8, Bytes)]) -> Vec<Relay> {
    let answers = messages.iter().map(|(from, bytes)| wire.hand(&remote(*from), &topic(), bytes.clone()));
    within(join_all(answers)).await
}

async fn nobody_is_blamed(node: &Node, wire: &Wire) {
    wire.connect(&(1..=LINKS).map(remote).collect::<Vec<_>>());
    for peer in node.peers().await.expect("peers") {
        assert_eq!(peer.reputation, 0.0, "{}", peer.remote);
    }
    assert!(wire.disconnected().is_empty());
    assert_eq!(node.counter("rejected"), 0);
}

/// How a validator fails.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    Hangs,
    Panics,
    HangsInAccepted,
    PanicsInAccepted,
    FailsInAccepted,
}

fn troubled(trouble: Trouble, well: Arc<AtomicBool>) -> Judge {
    let well_again = Arc::clone(&well);
    Judge::new()
        .messages(move |_, _| {
            let well = well.load(Ordering::Relaxed);
            async move {
                match trouble {
                    Trouble::Hangs if !well => pending().await,
                    Trouble::Panics if !well => panic!("on purpose"),
                    _ => Verdict::Accept,
                }
            }
        })
        .accepted(move |_| {
            let well = well_again.load(Ordering::Relaxed);
            async move {
                match trouble {
                    Trouble::HangsInAccepted if !well => pending().await,
                    Trouble::PanicsInAccepted if !well => panic!("on purpose"),
                    Trouble::FailsInAccepted if !well => {
                        Err(Error::new(ErrorKind::Unreachable, "apply", "the database is away"))
                    }
                    _ => Ok(()),
                }
            }
        })
}

#[tokio::test(start_paused = true)]
async fn a_validator_in_trouble_for_a_minute_costs_nobody_anything() {
    for trouble in [
        Trouble::Hangs,
        Trouble::Panics,
        Trouble::HangsInAccepted,
        Trouble::PanicsInAccepted,
        Trouble::FailsInAccepted,
    ] {
        for rules in [TopicRules::default(), TopicRules::kept()] {
            survives(trouble, rules).await;
        }
    }
}

async fn survives(trouble: Trouble, rules: TopicRules) {
    let (wire, well) = (Wire::new(), Arc::new(AtomicBool::new(false)));
    let judge = troubled(trouble, Arc::clone(&well)).arc();
    let (node, mut heard) = open(on(&wire).topic(topic(), rules).validator(judge)).await;
    let (began, messages) = (Instant::now(), messages());
    let mut came = 0;
    while began.elapsed() < MINUTE {
        let answers = bring(&wire, &messages).await;
        assert!(answers.iter().all(|answer| *answer == Relay::Ignore), "{trouble:?}: {answers:?}");
        came += messages.len() as u64;
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    assert!(payloads(&mut heard).is_empty(), "{trouble:?}");
    assert_eq!(node.counter("validator_failed"), came, "{trouble:?}: each is counted");
    nobody_is_blamed(&node, &wire).await;

    well.store(true, Ordering::Relaxed);
    let answers = bring(&wire, &messages).await;
    assert!(answers.iter().all(|answer| *answer == Relay::Accept), "{trouble:?}: {answers:?}");
    assert_eq!(payloads(&mut heard).len(), messages.len(), "{trouble:?}");
    within(node.close()).await.expect("closes");
}

#[tokio::test(start_paused = true)]
async fn a_store_in_trouble_for_a_minute_costs_nobody_anything_and_what_keeps_nothing_goes_on() {
    let (wire, disk) = (Wire::new(), Shared::default());
    let builder = on(&wire).store(disk.arc()).topic(topic(), TopicRules::kept());
    let (node, mut heard) = open(builder).await;
    let mut unkept = node.subscribe(&passing()).await.expect("subscribes");
    let before = raw("there before");
    node.put_blocks(std::slice::from_ref(&before)).await.expect("puts");

    disk.fail(true);
    let (began, messages, mut n) = (Instant::now(), messages(), 0);
    while began.elapsed() < MINUTE {
        n += 1;
        let answers = bring(&wire, &messages).await;
        assert!(answers.iter().all(|answer| *answer == Relay::Ignore), "{answers:?}");
        let other = Envelope::by(1, n, n.to_string()).on(&passing()).encode();
        assert_eq!(within(wire.hand(&remote(1), &passing(), other)).await, Relay::Accept);
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    assert_eq!(payloads(&mut unkept).len() as u64, n);
    assert!(payloads(&mut heard).is_empty());
    assert_eq!(node.counter("store_failed"), n * messages.len() as u64);
    fails_and_says_so(&node, &wire, &before).await;
    nobody_is_blamed(&node, &wire).await;

    disk.fail(false);
    let answers = bring(&wire, &messages).await;
    assert!(answers.iter().all(|answer| *answer == Relay::Accept), "{answers:?}");
    assert_eq!(payloads(&mut heard).len(), messages.len());
    for (_, message) in &messages {
        assert!(node.store().has(MessageId::of(message).cid()).await.expect("reads"));
    }
    node.publish(&topic(), "ours").await.expect("publishes");
    within(node.close()).await.expect("closes");
}

/// What needs the store is an error, here and for whoever asks us, and never that something is not there.
async fn fails_and_says_so(node: &Node, wire: &Wire, block: &Block) {
    let kind = |result: Result<()>| result.expect_err("the disk fails").kind();
    let served = wire.host().block(&remote(1), block.cid()).await;
    assert_eq!(kind(served.map(drop)), ErrorKind::Unexpected);
    let has = wire.host().has(&remote(1), block.cid()).await;
    assert_eq!(kind(has.map(drop)), ErrorKind::Unexpected);
    let put = node.put_blocks(&[raw("new")]).await;
    assert_eq!(kind(put.map(drop)), ErrorKind::Unexpected);
    let ours = node.publish(&topic(), "ours").await;
    assert_eq!(kind(ours.map(drop)), ErrorKind::Unexpected);
}

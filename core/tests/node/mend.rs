//! Gaps of kept topics are mended: what is missing comes late, nothing waits for it, and it costs bounded work.

use std::time::Duration;

use carrick_core::{
    Block, Cid, Delivery, Event, Events, Follow, Gap, Keep, Limits, Node, Relay, Subscription, TopicRules,
    Verdict,
};
use tokio::time::Instant;

use crate::support::{
    Does, Envelope, Judge, NOW, Shared, Wire, event, limits, next_payload, on, open, payloads,
    payloads_beside_gaps, peer, ready, remote, settle, topic, within,
};

fn kept() -> TopicRules {
    let mut rules = TopicRules::default();
    rules.keep = Keep::Everything;
    rules
}

async fn mending(wire: &Wire) -> (Node, Subscription) {
    open(on(wire).topic(topic(), kept())).await
}

/// Messages of an author, each following the one before and a second younger.
fn chain(author: u8, length: u64) -> Vec<Envelope> {
    let mut chain: Vec<Envelope> = Vec::new();
    for n in 0..length {
        let message = Envelope::by(author, n + 1, n.to_string()).after(chain.last().map(Envelope::cid));
        chain.push(message.with(|e| e.time = NOW - 100_000 + n * 1_000));
    }
    chain
}

fn blocks(messages: &[Envelope]) -> Vec<Block> {
    messages.iter().map(|message| Block::new(carrick_core::DAG_CBOR, message.encode())).collect()
}

async fn take(wire: &Wire, message: &Envelope) {
    assert_eq!(wire.deliver(&remote(1), message.encode()).await, Relay::Accept);
}

/// Delivers so many messages and waits for what comes of it.
async fn next(subscription: &mut Subscription, messages: usize) -> Vec<String> {
    let mut payloads = Vec::new();
    for _ in 0..messages {
        payloads.push(next_payload(subscription).await);
    }
    payloads
}

async fn gap(events: &mut Events) -> Gap {
    event(events, |event| if let Event::Gap(gap) = event { Some(gap.clone()) } else { None }).await
}

fn last(messages: &[Envelope], at: usize) -> Option<carrick_core::MessageId> {
    Some(messages[at].id())
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_is_fetched_and_comes_late_the_oldest_first() {
    let (wire, chain) = (Wire::new(), chain(3, 6));
    let (node, mut subscription) = mending(&wire).await;
    wire.serves(remote(2), &blocks(&chain));
    take(&wire, &chain[0]).await;
    take(&wire, &chain[4]).await;
    assert_eq!(next(&mut subscription, 5).await, ["0", "4", "1", "2", "3"]);
    take(&wire, &chain[5]).await;
    assert_eq!(next(&mut subscription, 1).await, ["5"]);
    let dags = wire.dags();
    let [want] = &dags[..] else { panic!("one request: {dags:?}") };
    assert_eq!((&want.roots, &want.have), (&vec![chain[3].cid()], &vec![chain[0].cid()]));
    assert_eq!((want.follow, &want.hints), (Follow::Parents, &vec![peer(1), peer(3)]));
    assert_eq!((node.counter("mended"), node.counter("gap"), node.counter("repair_failed")), (3, 0, 0));
    for message in &chain {
        assert!(
            node.store().has(&message.cid()).await.expect("reads"),
            "it is kept as if it had come in time"
        );
    }
    assert!(wire.published().is_empty(), "what came late is not passed on");
}

#[tokio::test(start_paused = true)]
async fn a_wire_of_single_blocks_mends_too() {
    let (wire, chain) = (Wire::new().singly(), chain(3, 6));
    let (node, mut subscription) = mending(&wire).await;
    wire.serves(remote(2), &blocks(&chain));
    take(&wire, &chain[0]).await;
    take(&wire, &chain[5]).await;
    assert_eq!(next(&mut subscription, 6).await, ["0", "5", "1", "2", "3", "4"]);
    settle().await;
    assert_eq!((wire.requests(), node.counter("gap")), (4, 0));
}

#[tokio::test(start_paused = true)]
async fn the_newer_one_does_not_wait_for_it() {
    let (wire, chain) = (Wire::new(), chain(3, 4));
    let (node, mut subscription) = mending(&wire).await;
    wire.provider(remote(2), Does::Stall);
    take(&wire, &chain[0]).await;
    let began = Instant::now();
    take(&wire, &chain[2]).await;
    take(&wire, &chain[3]).await;
    assert_eq!(payloads(&mut subscription), ["0", "2", "3"]);
    assert!(began.elapsed() <= Limits::default().reorder, "{:?}", began.elapsed());
    assert_eq!(node.counter("gap"), 0, "nothing is told while it may be mended");
}

#[tokio::test(start_paused = true)]
async fn what_nobody_has_is_told_and_the_author_of_it_rests() {
    let (wire, mut chain) = (Wire::new(), chain(3, 4));
    let (node, mut subscription) = mending(&wire).await;
    let mut events = node.events();
    wire.serves(remote(2), &[]);
    take(&wire, &chain[0]).await;
    let began = Instant::now();
    take(&wire, &chain[2]).await;
    assert_eq!(gap(&mut events).await.last, last(&chain, 1));
    assert!(began.elapsed() <= Limits::default().repair_time);
    let told = ready(&mut subscription);
    assert!(matches!(told.last(), Some(Delivery::Gap(gap)) if gap.author == Some(peer(3))), "{told:?}");
    let asked = wire.dags().len();
    assert!((2..=4).contains(&asked), "those who are asked may be about to get it: {asked}");

    chain[3] = Envelope::by(3, 9, "9").after([carrick_core::cid_of(carrick_core::DAG_CBOR, b"no message")]);
    take(&wire, &chain[3]).await;
    assert_eq!((node.counter("gap"), node.counter("repair_dropped")), (2, 1), "at once");
    assert_eq!((node.counter("repair_failed"), wire.dags().len()), (1, asked));
}

#[tokio::test(start_paused = true)]
async fn who_is_asked_too_early_is_asked_again() {
    let (wire, chain) = (Wire::new(), chain(3, 3));
    let (node, mut subscription) = mending(&wire).await;
    wire.serves(remote(2), &[]);
    take(&wire, &chain[0]).await;
    take(&wire, &chain[2]).await;
    settle().await;
    wire.no_providers();
    wire.serves(remote(2), &blocks(&chain));
    assert_eq!(next(&mut subscription, 3).await, ["0", "2", "1"]);
    assert_eq!((node.counter("mended"), node.counter("gap")), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn other_topics_are_as_they_were() {
    let mut unkept = kept();
    unkept.keep = Keep::Nothing;
    for (rules, gaps) in [(unkept, 1), (TopicRules::kept(), 0)] {
        let (wire, chain) = (Wire::new(), chain(3, 3));
        wire.serves(remote(2), &blocks(&chain));
        let (node, mut subscription) = open(on(&wire).topic(topic(), rules)).await;
        take(&wire, &chain[0]).await;
        take(&wire, &chain[2]).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        settle().await;
        assert_eq!((node.counter("gap"), node.counter("mended"), wire.dags().len()), (gaps, 0, 0));
        assert_eq!(payloads_beside_gaps(&mut subscription), ["0", "2"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_line_without_end_costs_what_one_repair_may() {
    let (wire, chain) = (Wire::new(), chain(3, 300));
    let limits = limits(|l| l.repair_messages = 16);
    let (node, mut subscription) = open(on(&wire).limits(limits).topic(topic(), kept())).await;
    let mut events = node.events();
    wire.serves(remote(2), &blocks(&chain));
    take(&wire, &chain[0]).await;
    take(&wire, &chain[200]).await;
    assert_eq!(gap(&mut events).await.last, last(&chain, 183));
    assert_eq!((node.counter("mended"), wire.dags().len()), (16, 1));
    let late: Vec<String> = (184..200).map(|n| n.to_string()).collect();
    assert_eq!(payloads_beside_gaps(&mut subscription)[2..], late);
}

#[tokio::test(start_paused = true)]
async fn bytes_of_one_repair_are_bounded() {
    let (wire, mut chain) = (Wire::new(), chain(3, 1));
    for n in 1..60 {
        chain.push(Envelope::by(3, n + 1, vec![n as u8; 60_000]).after([chain[chain.len() - 1].cid()]));
    }
    let limits = limits(|l| l.repair_bytes = 200_000);
    let (node, _subscription) = open(on(&wire).limits(limits).topic(topic(), kept())).await;
    let mut events = node.events();
    wire.serves(remote(2), &blocks(&chain));
    take(&wire, &chain[0]).await;
    take(&wire, &chain[59]).await;
    gap(&mut events).await;
    assert!((3..=4).contains(&node.counter("mended")), "{}", node.counter("mended"));
}

#[tokio::test(start_paused = true)]
async fn many_gaps_of_one_author_are_told_at_once_beyond_its_share() {
    let (wire, chain) = (Wire::new(), chain(3, 40));
    let limits = limits(|l| l.repairs_per_author = 3);
    let (node, _subscription) = open(on(&wire).limits(limits).topic(topic(), kept())).await;
    wire.provider(remote(2), Does::Stall);
    for n in (0..40).step_by(2) {
        take(&wire, &chain[n]).await;
    }
    assert_eq!((node.counter("repair_dropped"), node.counter("gap")), (16, 16));
    assert_eq!(wire.dags().len(), 1, "one after the other");
    // Another author is not held up by it.
    let other = self::chain(4, 3);
    wire.no_providers();
    wire.serves(remote(2), &blocks(&other));
    take(&wire, &other[0]).await;
    take(&wire, &other[2]).await;
    settle().await;
    assert_eq!(node.counter("mended"), 1);
    tokio::time::sleep(Limits::default().repair_time).await;
    settle().await;
    assert_eq!(node.counter("gap"), 19, "each gap is mended or told");
}

#[tokio::test(start_paused = true)]
async fn none_is_mended_where_none_may_be() {
    let (wire, chain) = (Wire::new(), chain(3, 3));
    let builder = on(&wire).limits(limits(|l| l.repairs = 0)).topic(topic(), kept());
    let (node, _subscription) = open(builder).await;
    wire.serves(remote(2), &blocks(&chain));
    take(&wire, &chain[0]).await;
    take(&wire, &chain[2]).await;
    assert_eq!((node.counter("gap"), wire.dags().len()), (1, 0));
}

/// Its numbers jump then, by more than the window is wide.
#[tokio::test(start_paused = true)]
async fn what_an_author_sent_before_it_started_anew_is_mended() {
    let (wire, mut chain) = (Wire::new(), chain(3, 4));
    let (node, mut subscription) = mending(&wire).await;
    for (n, seqno) in [(4, 50_000), (5, 50_001), (6, 900_000), (7, 900_001)] {
        chain.push(Envelope::by(3, seqno, n.to_string()).after([chain[n - 1].cid()]));
    }
    wire.serves(remote(2), &blocks(&chain));
    take(&wire, &chain[1]).await;
    take(&wire, &chain[7]).await;
    assert_eq!(next(&mut subscription, 7).await, ["1", "7", "2", "3", "4", "5", "6"]);
    assert_eq!((node.counter("mended"), node.counter("gap")), (5, 0));
    // Once.
    for (message, relay) in [(&chain[3], Relay::Duplicate), (&chain[0], Relay::Ignore)] {
        let answer = wire.deliver(&remote(1), message.encode()).await;
        assert!(answer == relay || (relay == Relay::Duplicate && answer == Relay::Accept), "{answer:?}");
    }
    assert!(payloads(&mut subscription).is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_older_than_what_is_kept_is_not_chased() {
    let mut few = kept();
    few.keep_messages = Some(4);
    let mut short = kept();
    short.keep_for = Some(Duration::from_millis(93_500));
    // The messages are from 100 s to 90 s old.
    for (rules, first) in [(few, 6), (short, 7)] {
        let (wire, chain) = (Wire::new(), chain(3, 11));
        let (node, mut subscription) = open(on(&wire).topic(topic(), rules)).await;
        let mut events = node.events();
        wire.serves(remote(2), &blocks(&chain));
        take(&wire, &chain[0]).await;
        take(&wire, &chain[10]).await;
        assert_eq!(gap(&mut events).await.last, last(&chain, first - 1));
        let late: Vec<String> = (first..10).map(|n| n.to_string()).collect();
        assert_eq!(payloads_beside_gaps(&mut subscription)[2..], late);
        assert_eq!(wire.dags().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_by_itself_meanwhile_is_no_gap_and_comes_once() {
    let (wire, chain) = (Wire::new(), chain(3, 3));
    let (node, mut subscription) = mending(&wire).await;
    wire.serves(remote(2), &[]);
    take(&wire, &chain[0]).await;
    take(&wire, &chain[2]).await;
    settle().await;
    take(&wire, &chain[1]).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    settle().await;
    assert_eq!(payloads(&mut subscription), ["0", "2", "1"]);
    assert_eq!((node.counter("gap"), node.counter("mended")), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_was_kept_before_a_restart_is_not_missing() {
    let (store, chain) = (Shared::default(), chain(3, 4));
    let wire = Wire::new();
    let (node, subscription) = open(on(&wire).store(store.arc()).topic(topic(), kept())).await;
    for message in &chain {
        take(&wire, message).await;
    }
    node.close().await.expect("closes");
    drop(subscription);

    let wire = Wire::new();
    let (node, mut subscription) = open(on(&wire).store(store.arc()).topic(topic(), kept())).await;
    take(&wire, &Envelope::by(3, 9, "9").after([chain[1].cid()])).await;
    settle().await;
    assert_eq!((node.counter("gap"), wire.dags().len()), (0, 0));
    assert_eq!(payloads(&mut subscription), ["9"]);
}

#[tokio::test(start_paused = true)]
async fn it_passes_the_gate_like_all_else() {
    let judge = Judge::new().messages(|message, _| async move {
        match &message.payload()[..] {
            b"1" => Verdict::Reject("no".into()),
            b"3" => Verdict::Ignore("not now".into()),
            _ => Verdict::Accept,
        }
    });
    let (wire, mut chain) = (Wire::new(), chain(3, 6));
    let (node, mut subscription) = open(on(&wire).topic(topic(), kept()).validator(judge.arc())).await;
    let mut events = node.events();
    // One that its author did not sign, at the end of the line.
    let forged = Envelope::by(3, 5, "forged").after([chain[3].cid()]);
    let forged = forged.encode_signed(vec![7; 64]);
    let forged = Block::new(carrick_core::DAG_CBOR, forged);
    chain[5] = Envelope::by(3, 6, "5").after([chain[4].cid(), *forged.cid()]);
    wire.serves(remote(2), blocks(&chain).iter().chain([&forged]));
    take(&wire, &chain[0]).await;
    take(&wire, &chain[5]).await;
    assert_eq!(gap(&mut events).await.last, last(&chain, 3), "it may come again");
    assert_eq!(payloads_beside_gaps(&mut subscription), ["0", "5", "2", "4"]);
    assert_eq!((node.counter("rejected"), node.counter("mended")), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn nothing_but_the_authors_own_messages_there_is_followed() {
    let wire = Wire::new();
    let (node, mut subscription) = mending(&wire).await;
    let first = Envelope::by(3, 1, "1");
    take(&wire, &first).await;
    let another = Envelope::by(4, 1, "another").after([carrick_core::cid_of(carrick_core::DAG_CBOR, b"x")]);
    let later = Envelope::by(3, 90, "later");
    let elsewhere = carrick_core::Topic::new("elsewhere").expect("a topic");
    let elsewhere = Envelope::by(3, 2, "elsewhere").on(&elsewhere);
    let parents = [another.clone(), later, elsewhere];
    wire.serves(remote(2), &blocks(&parents));
    let parents: Vec<Cid> = parents.iter().map(Envelope::cid).collect();
    take(&wire, &Envelope::by(3, 5, "5").after(parents)).await;
    within(async {
        while node.counter("gap") == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(payloads_beside_gaps(&mut subscription), ["1", "5"]);
    assert!(!node.store().has(&another.cid()).await.expect("reads"));
}

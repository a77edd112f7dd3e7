//! A message that cannot be judged yet: what it needs is fetched, out of the gate's way and within bounds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use carrick_core::{
    Block, Cid, DAG_CBOR, Error, ErrorKind, Limits, Need, Node, Relay, Store, Subscription, TopicRules,
    Verdict,
};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::support::{
    Call, Does, Envelope, Hands, Judge, NOW, Wire, limits, memory, on, on_wires, open, payloads, peer, raw,
    ready, remote, settle, stored, topic, within,
};

/// A ledger in small: an entry needs its parents, and the block its payload names, if it names one.
struct Ledger {
    wire: Wire,
    node: Node,
    subscription: Subscription,
    judge: Arc<Judge>,
}

async fn ledger(limits: Limits) -> Ledger {
    let wire = Wire::new();
    let store = memory();
    let judge = needs_parents(store.clone()).arc();
    let builder =
        on(&wire).store(store).limits(limits).topic(topic(), TopicRules::kept()).validator(judge.clone());
    let (node, subscription) = open(builder).await;
    Ledger { wire, node, subscription, judge }
}

fn needs_parents(store: Arc<dyn Store>) -> Judge {
    Judge::new().messages(move |message, _| {
        let store = Arc::clone(&store);
        async move {
            let named =
                String::from_utf8_lossy(message.payload()).strip_prefix("needs ").map(|cid| cid.parse());
            let blocks = named.map(|cid| Need::Block(cid.expect("a CID")));
            let needs = message.parents().iter().copied().map(Need::Message).chain(blocks);
            let mut missing = Vec::new();
            for need in needs {
                let (Need::Message(cid) | Need::Block(cid)) = need else { continue };
                if !store.has(&cid).await.expect("has") {
                    missing.push(need);
                }
            }
            if missing.is_empty() { Verdict::Accept } else { Verdict::Defer(missing) }
        }
    })
}

/// So many entries, each after the one before.
fn chain(author: u8, length: u64) -> Vec<Envelope> {
    let mut chain: Vec<Envelope> = Vec::new();
    for n in 0..length {
        let parent = chain.last().map(Envelope::cid);
        chain.push(Envelope::by(author, n, n.to_string()).after(parent));
    }
    chain
}

fn blocks(envelopes: &[Envelope]) -> Vec<Block> {
    let block = |envelope: &Envelope| Block::new(DAG_CBOR, envelope.encode());
    envelopes.iter().map(block).collect()
}

#[tokio::test(start_paused = true)]
async fn a_needed_block_is_fetched_and_the_message_asked_about_again() {
    let mut ledger = ledger(Limits::default()).await;
    let block = raw("what it needs");
    ledger.wire.serves(remote(5), [&block]);
    let message = Envelope::by(1, 1, format!("needs {}", block.cid()));
    assert_eq!(ledger.wire.deliver(&remote(2), message.encode()).await, Relay::Accept);
    assert_eq!(payloads(&mut ledger.subscription).len(), 1);
    assert_eq!((ledger.wire.requests(), ledger.node.counter("deferred")), (1, 1));
    assert!(ledger.node.store().has(block.cid()).await.expect("has"));
    let hints = ledger
        .wire
        .calls()
        .into_iter()
        .find_map(|call| if let Call::Block(w) = call { Some(w.hints) } else { None });
    assert_eq!(hints, Some(vec![peer(2), peer(1)]), "who sent it and who wrote it");
}

#[tokio::test(start_paused = true)]
async fn needed_messages_are_fetched_however_deep_and_come_out_before_what_follows_them() {
    let mut ledger = ledger(Limits::default()).await;
    let chain = chain(1, 20);
    ledger.wire.serves(remote(5), &blocks(&chain[..19]));
    assert_eq!(ledger.wire.deliver(&remote(2), chain[19].encode()).await, Relay::Accept);
    let expected: Vec<_> = (0..20).map(|n| n.to_string()).collect();
    assert_eq!(payloads(&mut ledger.subscription), expected);
    assert_eq!(ledger.judge.took(), expected);
    assert_eq!(stored(&**ledger.node.store()).await.len(), 20);
    assert!(ledger.wire.published().is_empty(), "what came by catch-up is not relayed");
}

#[tokio::test(start_paused = true)]
async fn two_ways_to_one_ancestor_fetch_it_once() {
    let mut ledger = ledger(Limits::default()).await;
    let root = Envelope::by(1, 1, "root");
    let left = Envelope::by(2, 1, "left").after([root.cid()]);
    let right = Envelope::by(3, 1, "right").after([root.cid()]);
    let head = Envelope::by(4, 1, "head").after([left.cid(), right.cid()]);
    ledger.wire.serves(remote(5), &blocks(&[root, left, right]));
    assert_eq!(ledger.wire.deliver(&remote(2), head.encode()).await, Relay::Accept);
    let mut came = payloads(&mut ledger.subscription);
    assert_eq!((came[0].as_str(), came[3].as_str()), ("root", "head"));
    came.sort();
    assert_eq!(came, ["head", "left", "right", "root"]);
    assert_eq!(ledger.wire.requests(), 3);
}

#[tokio::test(start_paused = true)]
async fn deeper_than_the_limit_is_ignored_and_counted() {
    let mut ledger = ledger(limits(|l| l.defer_depth = 4)).await;
    let chain = chain(1, 8);
    ledger.wire.serves(remote(5), &blocks(&chain));
    assert_eq!(ledger.wire.deliver(&remote(2), chain[4].encode()).await, Relay::Accept, "four below it");
    assert_eq!(payloads(&mut ledger.subscription).len(), 5);

    let mut ledger = self::ledger(limits(|l| l.defer_depth = 4)).await;
    ledger.wire.serves(remote(5), &blocks(&chain));
    assert_eq!(ledger.wire.deliver(&remote(2), chain[5].encode()).await, Relay::Ignore, "five below it");
    assert!(payloads(&mut ledger.subscription).is_empty());
    assert!(ledger.node.counter("defer_out_of_reach") >= 1);
}

#[tokio::test(start_paused = true)]
async fn wider_than_the_budget_is_ignored_and_counted() {
    let roots: Vec<_> = (0..6).map(|n| Envelope::by(n, 1, format!("root {n}"))).collect();
    for (budget, answer) in [(6, Relay::Accept), (5, Relay::Ignore)] {
        let ledger = ledger(limits(|l| l.defer_blocks = budget)).await;
        ledger.wire.serves(remote(5), &blocks(&roots));
        let head = Envelope::by(9, 1, "head").after(roots.iter().map(Envelope::cid));
        assert_eq!(ledger.wire.deliver(&remote(2), head.encode()).await, answer);
        let counted = ledger.node.counter("defer_out_of_reach") > 0;
        assert_eq!(counted, answer == Relay::Ignore);
    }
}

#[tokio::test(start_paused = true)]
async fn what_nobody_has_is_ignored_and_nobody_is_blamed() {
    let ledger = ledger(Limits::default()).await;
    ledger.wire.serves(remote(5), []);
    let orphan = Envelope::by(1, 2, "orphan").after([Envelope::by(1, 1, "lost").cid()]);
    assert_eq!(ledger.wire.deliver(&remote(2), orphan.encode()).await, Relay::Ignore);
    ledger.wire.connect(&[remote(2)]);
    assert_eq!(ledger.node.peers().await.expect("peers")[0].reputation, 0.0);
    let lost = [Envelope::by(1, 1, "lost")];
    ledger.wire.no_providers();
    ledger.wire.serves(remote(5), &blocks(&lost));
    assert_eq!(ledger.wire.deliver(&remote(2), orphan.encode()).await, Relay::Accept, "it may come again");
}

#[tokio::test(start_paused = true)]
async fn a_stalled_provider_ends_it_when_its_time_is_up() {
    let ledger = ledger(Limits::default()).await;
    ledger.wire.provider(remote(5), Does::Stall);
    ledger.wire.disobey();
    let orphan = Envelope::by(1, 2, "orphan").after([Envelope::by(1, 1, "lost").cid()]);
    let began = Instant::now();
    assert_eq!(ledger.wire.deliver(&remote(2), orphan.encode()).await, Relay::Ignore);
    assert_eq!(began.elapsed(), Duration::from_secs(30));
    settle().await;
    assert!(matches!(ledger.wire.calls().last(), Some(Call::Cancelled(_))), "the request ended with it");
}

#[tokio::test(start_paused = true)]
async fn the_clock_is_not_asked_again_after_a_deferral() {
    let (wire, clock, store) = (Wire::new(), Hands::at(NOW), memory());
    let block = raw("slow");
    wire.serves(remote(5), [&block]);
    let moved = clock.clone();
    let judge = Judge::new().blocks(move |_| {
        moved.set(NOW + 3_600_000);
        std::future::ready(Verdict::Accept)
    });
    let builder = on(&wire).clock(clock).store(store.clone()).validator(judge.arc());
    let (_node, mut subscription) = open(builder.validator(needs_parents(store).arc())).await;
    let message = Envelope::by(1, 1, format!("needs {}", block.cid()));
    assert_eq!(wire.deliver(&remote(2), message.encode()).await, Relay::Accept);
    assert_eq!(payloads(&mut subscription).len(), 1);
}

/// Everything that waits for a block nobody sends.
fn waits(author: u8, seqno: u64) -> Envelope {
    Envelope::by(author, seqno, format!("needs {}", raw("never").cid()))
}

#[tokio::test(start_paused = true)]
async fn a_deferred_message_holds_no_slot() {
    let ledger = ledger(limits(|l| (l.gate_per_remote, l.gate_total) = (1, 1))).await;
    ledger.wire.provider(remote(5), Does::Stall);
    let mut answers = Vec::new();
    for n in 0..10 {
        answers.push(ledger.wire.hand(&remote(2), &topic(), waits(1, n).encode()));
        settle().await;
    }
    let good = Envelope::by(9, 1, "good").encode();
    assert_eq!(ledger.wire.deliver(&remote(2), good).await, Relay::Accept);
    assert_eq!(within(futures::future::join_all(answers)).await, [Relay::Ignore; 10]);
}

#[tokio::test(start_paused = true)]
async fn a_deferred_message_loses_its_place_to_what_came_after_it() {
    let mut ledger = ledger(Limits::default()).await;
    ledger.wire.provider(remote(5), Does::Stall);
    let _waiting = ledger.wire.hand(&remote(2), &topic(), waits(1, 1).encode());
    settle().await;
    assert_eq!(ledger.wire.deliver(&remote(2), Envelope::by(1, 2, "next").encode()).await, Relay::Accept);
    assert_eq!(payloads(&mut ledger.subscription), ["next"]);
}

#[tokio::test(start_paused = true)]
async fn the_waiting_room_is_bounded_in_count() {
    room(|l| l.waiting = 3, 3, |n| waits(n as u8, 1)).await;
}

#[tokio::test(start_paused = true)]
async fn the_waiting_room_is_bounded_for_each_author() {
    room(|l| l.waiting_per_author = 3, 3, |n| waits(1, n)).await;
}

#[tokio::test(start_paused = true)]
async fn the_waiting_room_is_bounded_in_bytes() {
    let size = waits(1, 1).encode().len();
    room(|l| l.waiting_bytes = size * 3, 3, |n| waits(n as u8, 1)).await;
}

/// So many of ten wait; the others are ignored at once and counted; afterwards there is room again.
async fn room(change: impl FnOnce(&mut Limits), fits: usize, message: impl Fn(u64) -> Envelope) {
    let ledger = ledger(limits(change)).await;
    ledger.wire.provider(remote(5), Does::Stall);
    let mut answers: Vec<_> =
        (1..=10).map(|n| ledger.wire.hand(&remote(2), &topic(), message(n).encode())).collect();
    settle().await;
    let mut done = 0;
    for answer in &mut answers {
        if let std::task::Poll::Ready(answer) = futures::poll!(answer) {
            assert_eq!(answer, Relay::Ignore);
            done += 1;
        }
    }
    assert_eq!((done, ledger.node.counter("waiting_room_full")), (10 - fits, (10 - fits) as u64));
    tokio::time::advance(Duration::from_secs(31)).await;
    settle().await;
    let again = ledger.wire.hand(&remote(2), &topic(), message(1).encode());
    assert_eq!(within(again).await, Relay::Ignore);
    assert_eq!(ledger.node.counter("waiting_room_full"), (10 - fits) as u64, "there was room");
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_arrives_meanwhile_gets_the_same_answer_on_whichever_transport() {
    for accepts in [true, false] {
        let (left, right, store) = (Wire::new(), Wire::new(), memory());
        let block = raw("slow");
        left.serves(remote(5), [&block]);
        let go = Arc::new(Notify::new());
        let wait = Arc::clone(&go);
        let slow = Judge::new().blocks(move |_| {
            let wait = Arc::clone(&wait);
            async move {
                wait.notified().await;
                if accepts { Verdict::Accept } else { Verdict::Ignore("no".into()) }
            }
        });
        let builder = on_wires(&[("left", &left), ("right", &right)]).store(store.clone());
        let builder = builder.validator(slow.arc()).validator(needs_parents(store).arc());
        let (_node, mut subscription) = open(builder).await;
        let message = Envelope::by(1, 1, format!("needs {}", block.cid())).encode();
        let first = left.hand(&remote(2), &topic(), message.clone());
        settle().await;
        let second = left.hand(&remote(3), &topic(), message.clone());
        let third = right.hand(&remote(4), &topic(), message.clone());
        settle().await;
        go.notify_one();
        let mut answers = within(futures::future::join3(first, second, third)).await;
        if answers.0 == Relay::Duplicate {
            (answers.0, answers.1) = (answers.1, answers.0);
        }
        let expected = (Relay::Accept, Relay::Duplicate, Relay::Accept);
        assert_eq!(answers, if accepts { expected } else { (Relay::Ignore, Relay::Ignore, Relay::Ignore) });
        assert_eq!((left.requests(), payloads(&mut subscription).len()), (1, usize::from(accepts)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_linked_payload_is_there_before_validators_see_the_message() {
    let wire = Wire::new();
    let judge = Judge::new().arc();
    let (node, mut subscription) = open(on(&wire).validator(judge.clone())).await;
    let payload = raw(vec![b'p'; 100_000]);
    wire.serves(remote(5), [&payload]);
    let message = Envelope::by(1, 1, "").linked(payload.bytes());
    assert_eq!(wire.deliver(&remote(2), message.encode()).await, Relay::Accept);
    assert_eq!(judge.judged()[0].len(), 100_000);
    assert_eq!(payloads(&mut subscription)[0].len(), 100_000);
    assert!(node.store().has(payload.cid()).await.expect("has"));
}

#[tokio::test(start_paused = true)]
async fn a_linked_payload_counts_in_the_waiting_room() {
    let wire = Wire::new();
    let (node, _subscription) = open(on(&wire).limits(limits(|l| l.waiting_bytes = 100_000))).await;
    for (bytes, answer) in [(100_000, Relay::Ignore), (99_000, Relay::Accept)] {
        let payload = raw(vec![b'p'; bytes]);
        wire.no_providers();
        wire.serves(remote(5), [&payload]);
        let message = Envelope::by(1, bytes as u64, "").linked(payload.bytes());
        assert_eq!(wire.deliver(&remote(2), message.encode()).await, answer);
    }
    assert_eq!(node.counter("waiting_room_full"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_linked_payload_above_the_block_limit_is_not_taken() {
    let wire = Wire::new();
    let (_node, _subscription) = open(on(&wire).limits(limits(|l| l.block_bytes = 100_000))).await;
    let payload = raw(vec![b'p'; 100_001]);
    wire.serves(remote(5), [&payload]);
    let message = Envelope::by(1, 1, "").linked(payload.bytes());
    assert_eq!(wire.deliver(&remote(2), message.encode()).await, Relay::Ignore);
}

/// Else a message could make each node that hears it fetch so many blocks for nothing.
#[tokio::test(start_paused = true)]
async fn a_message_that_is_needed_is_fetched_no_larger_than_a_message_can_be() {
    let Ledger { wire, node, mut subscription, .. } = ledger(Limits::default()).await;
    let most = node.limits().envelope_bytes();
    let large = Block::new(DAG_CBOR, vec![0; most + 1]);
    wire.serves(remote(5), [&large]);
    let message = Envelope::by(1, 1, "after a large one").after([*large.cid()]);
    assert_eq!(wire.deliver(&remote(2), message.encode()).await, Relay::Ignore);
    let asked = wire.calls().into_iter().find_map(|call| match call {
        Call::Block(want) => Some(want.limit_bytes),
        _ => None,
    });
    assert_eq!(asked, Some(most));
    assert_eq!((node.counter("defer_out_of_reach"), node.counter("oversized")), (1, 0));
    assert!(payloads(&mut subscription).is_empty());
    assert_eq!(node.block(large.cid(), vec![]).await.expect("as a block it may be so large"), large);
}

/// Nobody fetches for an author who is not proven or may not speak.
#[tokio::test(start_paused = true)]
async fn a_forged_link_fetches_nothing() {
    let wire = Wire::new();
    let (_node, _subscription) = open(on(&wire)).await;
    let forged = Envelope::by(1, 1, "").linked(b"payload").encode_signed(vec![1; 64]);
    assert_eq!(wire.deliver(&remote(2), forged).await, Relay::Reject);
    assert_eq!(wire.requests(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_follows_a_refused_message_is_ignored_and_its_server_not_blamed() {
    let wire = Wire::new();
    let store = memory();
    let bad = Judge::new().messages(|message, _| {
        let bad = &message.payload()[..] == b"bad";
        std::future::ready(if bad { Verdict::Reject("bad".into()) } else { Verdict::Accept })
    });
    let builder = on(&wire).store(store.clone()).topic(topic(), TopicRules::kept());
    let (node, mut subscription) =
        open(builder.validator(bad.arc()).validator(needs_parents(store).arc())).await;
    let parent = Envelope::by(1, 1, "bad");
    wire.serves(remote(5), &blocks(std::slice::from_ref(&parent)));
    let child = Envelope::by(2, 1, "child").after([parent.cid()]);
    for _ in 0..3 {
        assert_eq!(wire.deliver(&remote(2), child.encode()).await, Relay::Ignore);
    }
    assert!(payloads(&mut subscription).is_empty());
    assert!(!node.store().has(&parent.cid()).await.expect("has"), "a refused message is not stored");
    wire.connect(&[remote(2), remote(5)]);
    for peer in node.peers().await.expect("peers") {
        assert_eq!(peer.reputation, 0.0, "{}", peer.remote);
    }
}

/// A need is met by what a validator took, not by what merely lies in the store.
#[tokio::test(start_paused = true)]
async fn a_parent_whose_taking_failed_is_taken_when_its_child_needs_it() {
    let wire = Wire::new();
    let failed = Arc::new(AtomicBool::new(false));
    let taken = Arc::new(AtomicBool::new(false));
    let (fails, takes, has) = (Arc::clone(&failed), Arc::clone(&taken), Arc::clone(&taken));
    let judge = Judge::new()
        .messages(move |message, _| {
            let missing: Vec<_> = message.parents().iter().copied().map(Need::Message).collect();
            let there = missing.is_empty() || has.load(Ordering::Relaxed);
            std::future::ready(if there { Verdict::Accept } else { Verdict::Defer(missing) })
        })
        .accepted(move |message| {
            let parent = &message.payload()[..] == b"parent";
            let result = if parent && !fails.swap(true, Ordering::Relaxed) {
                Err(Error::new(ErrorKind::Full, "apply", "no room"))
            } else {
                takes.store(true, Ordering::Relaxed);
                Ok(())
            };
            std::future::ready(result)
        })
        .arc();
    let builder = on(&wire).topic(topic(), TopicRules::kept()).validator(judge.clone());
    let (_node, mut subscription) = open(builder).await;
    let parent = Envelope::by(1, 1, "parent");
    wire.serves(remote(5), &blocks(std::slice::from_ref(&parent)));
    assert_eq!(wire.deliver(&remote(2), parent.encode()).await, Relay::Ignore);
    let child = Envelope::by(1, 2, "child").after([parent.cid()]);
    assert_eq!(wire.deliver(&remote(2), child.encode()).await, Relay::Accept);
    assert_eq!(payloads(&mut subscription), ["parent", "child"]);
}

#[tokio::test(start_paused = true)]
async fn a_deferral_that_names_nothing_ends_as_ignore() {
    let wire = Wire::new();
    let judge = Judge::new().messages(|_, _| std::future::ready(Verdict::Defer(vec![])));
    let (node, _subscription) = open(on(&wire).validator(judge.arc())).await;
    assert_eq!(wire.deliver(&remote(1), Envelope::by(1, 1, "x").encode()).await, Relay::Ignore);
    assert_eq!(node.counter("defer_out_of_reach"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_deferral_that_asks_again_and_again_for_what_is_there_ends_as_ignore() {
    let wire = Wire::new();
    let block = raw("there");
    let cid: Cid = *block.cid();
    let judge = Judge::new().messages(move |_, _| std::future::ready(Verdict::Defer(vec![Need::Block(cid)])));
    let (node, mut subscription) = open(on(&wire).validator(judge.arc())).await;
    node.put_blocks(&[block]).await.expect("put");
    assert_eq!(wire.deliver(&remote(1), Envelope::by(1, 1, "x").encode()).await, Relay::Ignore);
    assert!(ready(&mut subscription).is_empty());
}

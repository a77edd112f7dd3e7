//! One author's messages on one topic come out in the order in which they arrived, but none before the one it follows,
//! if that comes soon; nothing else waits for anything.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use carrick_core::{Error, ErrorKind, Inbound, Limits, Node, Relay, Topic, TopicRules, Verdict};
use tokio::sync::oneshot;
use tokio::time::{Duration, Instant};

use crate::support::{
    Does, Envelope, Judge, Wire, limits, on, open, payloads, payloads_beside_gaps, remote, settle, topic,
    within,
};

/// Judges a message when the test says so.
#[derive(Clone, Default)]
struct Court(Arc<Mutex<BTreeMap<String, oneshot::Sender<Verdict>>>>);

impl Court {
    fn judge(&self) -> Arc<Judge> {
        let court = self.clone();
        Judge::new()
            .messages(move |message, _| {
                let (tell, told) = oneshot::channel();
                let name = String::from_utf8_lossy(message.payload()).into_owned();
                court.0.lock().expect("lock").insert(name, tell);
                async move { told.await.expect("the test judges") }
            })
            .arc()
    }

    async fn say(&self, payload: &str, verdict: Verdict) {
        settle().await;
        let tell = self.0.lock().expect("lock").remove(payload).expect("it is being judged");
        tell.send(verdict).expect("somebody waits");
        settle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_author_whose_first_message_takes_long_is_heard_in_order() {
    let (wire, court) = (Wire::new(), Court::default());
    let (_node, mut subscription) = open(on(&wire).validator(court.judge())).await;
    let answers: Vec<_> = (1..=3)
        .map(|n| wire.hand(&remote(n), &topic(), Envelope::by(1, n.into(), n.to_string()).encode()))
        .collect();
    court.say("3", Verdict::Accept).await;
    court.say("2", Verdict::Accept).await;
    assert!(payloads(&mut subscription).is_empty());
    court.say("1", Verdict::Accept).await;
    assert_eq!(payloads(&mut subscription), ["1", "2", "3"]);
    assert_eq!(within(futures::future::join_all(answers)).await, [Relay::Accept; 3]);
}

#[tokio::test(start_paused = true)]
async fn those_in_the_gate_together_go_in_the_order_of_their_numbers() {
    let (wire, court) = (Wire::new(), Court::default());
    let (_node, mut subscription) = open(on(&wire).validator(court.judge())).await;
    let _answers: Vec<_> = [3, 1, 2]
        .map(|n| wire.hand(&remote(1), &topic(), Envelope::by(1, n, n.to_string()).encode()))
        .into_iter()
        .collect();
    for payload in ["3", "2", "1"] {
        court.say(payload, Verdict::Accept).await;
    }
    assert_eq!(payloads(&mut subscription), ["1", "2", "3"]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_message_does_not_hold_up_the_next() {
    let (wire, court) = (Wire::new(), Court::default());
    let (_node, mut subscription) = open(on(&wire).validator(court.judge())).await;
    let _answers: Vec<_> = (1..=4)
        .map(|n| wire.hand(&remote(1), &topic(), Envelope::by(1, n, n.to_string()).encode()))
        .collect();
    for payload in ["2", "4"] {
        court.say(payload, Verdict::Accept).await;
    }
    court.say("1", Verdict::Ignore("no".into())).await;
    assert_eq!(payloads(&mut subscription), ["2"]);
    court.say("3", Verdict::Reject("no".into())).await;
    assert_eq!(payloads(&mut subscription), ["4"]);
}

#[tokio::test(start_paused = true)]
async fn a_validator_that_never_answers_does_not_hold_up_its_author_for_longer_than_its_budget() {
    let (wire, court) = (Wire::new(), Court::default());
    let (_node, mut subscription) = open(on(&wire).validator(court.judge())).await;
    let first = wire.hand(&remote(1), &topic(), Envelope::by(1, 1, "1").encode());
    let second = wire.hand(&remote(1), &topic(), Envelope::by(1, 2, "2").encode());
    court.say("2", Verdict::Accept).await;
    assert_eq!(within(first).await, Relay::Ignore);
    assert_eq!(within(second).await, Relay::Accept);
    assert_eq!(payloads(&mut subscription), ["2"]);
}

#[tokio::test(start_paused = true)]
async fn other_authors_and_other_topics_overtake() {
    let (wire, court) = (Wire::new(), Court::default());
    let (node, mut subscription) = open(on(&wire).validator(court.judge())).await;
    let other = Topic::new("other").expect("a topic");
    let mut others = node.subscribe(&other).await.expect("subscribes");
    let _slow = wire.hand(&remote(1), &topic(), Envelope::by(1, 1, "slow").encode());
    let _b = wire.hand(&remote(1), &topic(), Envelope::by(2, 1, "another author").encode());
    let _c = wire.hand(&remote(1), &other, Envelope::by(1, 1, "another topic").on(&other).encode());
    court.say("another author", Verdict::Accept).await;
    court.say("another topic", Verdict::Accept).await;
    assert_eq!(payloads(&mut subscription), ["another author"]);
    assert_eq!(payloads(&mut others), ["another topic"]);
    court.say("slow", Verdict::Accept).await;
    assert_eq!(payloads(&mut subscription), ["slow"]);
}

/// Messages of one author, each following the one before.
fn chain(author: u8, payloads: &[&str]) -> Vec<Envelope> {
    let mut chain: Vec<Envelope> = Vec::new();
    for (n, payload) in (1..).zip(payloads) {
        let message = Envelope::by(author, n, payload).after(chain.last().map(Envelope::cid));
        chain.push(message);
    }
    chain
}

/// Among several ways to a node the later message may take the shorter one.
#[tokio::test(start_paused = true)]
async fn a_message_that_comes_early_waits_for_the_one_it_follows() {
    let wire = Wire::new();
    let (node, mut subscription) = open(on(&wire)).await;
    let chain = chain(1, &["1", "2", "3", "4", "5"]);
    let mut answers = Vec::new();
    // The first of an author too: 2 names 1, though nothing of this author was ever seen.
    for (way, at) in [(1, 1), (2, 0), (1, 4), (1, 3), (2, 2)] {
        answers.push(wire.hand(&remote(way), &topic(), chain[at].encode()));
        settle().await;
    }
    assert_eq!(within(futures::future::join_all(answers)).await, [Relay::Accept; 5]);
    assert_eq!(payloads(&mut subscription), ["1", "2", "3", "4", "5"]);
    assert_eq!((node.counter("gap"), node.counter("early")), (0, 3));
}

/// In whatever order they come, as long as all come in time.
#[tokio::test(start_paused = true)]
async fn every_order_of_arrival_is_mended() {
    for order in permutations(&[1, 2, 3, 4]) {
        let wire = Wire::new();
        let (node, mut subscription) = open(on(&wire)).await;
        let chain = chain(1, &["0", "1", "2", "3", "4"]);
        let mut answers = vec![wire.hand(&remote(1), &topic(), chain[0].encode())];
        settle().await;
        for at in &order {
            answers.push(wire.hand(&remote(*at as u8), &topic(), chain[*at].encode()));
            settle().await;
        }
        let began = Instant::now();
        assert_eq!(within(futures::future::join_all(answers)).await, [Relay::Accept; 5]);
        assert_eq!(payloads(&mut subscription), ["0", "1", "2", "3", "4"], "after {order:?}");
        assert_eq!((node.counter("gap"), began.elapsed()), (0, Duration::ZERO), "after {order:?}");
    }
}

fn permutations(of: &[usize]) -> Vec<Vec<usize>> {
    if of.is_empty() {
        return vec![vec![]];
    }
    let first = |at: usize| {
        let (mut rest, first) = (of.to_vec(), of[at]);
        rest.remove(at);
        permutations(&rest).into_iter().map(move |rest| [vec![first], rest].concat())
    };
    (0..of.len()).flat_map(first).collect()
}

/// An author that names what never comes holds up nobody else of the same link, and itself no longer than there is room.
#[tokio::test(start_paused = true)]
async fn those_who_wait_behind_an_early_message_hold_no_slot() {
    for (room, waits) in [(64, true), (4, false)] {
        let limits = limits(|l| (l.gate_per_remote, l.waiting_per_author) = (4, room));
        let wire = Wire::new();
        let (node, mut subscription) = open(on(&wire).limits(limits)).await;
        let mut chain = chain(1, &["never comes", "1", "2", "3", "4", "5", "6", "7", "8"]);
        let began = Instant::now();
        let mut answers = Vec::new();
        for message in chain.drain(1..) {
            let slot = within(wire.host().slot(&remote(1))).await;
            let bytes = message.encode();
            answers.push(slot.deliver(Inbound { from: remote(1), topic: topic(), bytes, wire_id: None }));
            settle().await;
        }
        assert_eq!(wire.deliver(&remote(1), Envelope::by(2, 1, "another").encode()).await, Relay::Accept);
        assert_eq!(began.elapsed(), Duration::ZERO, "room for {room}");
        assert_eq!(payloads(&mut subscription).len(), if waits { 1 } else { 9 });
        assert_eq!(within(futures::future::join_all(answers)).await, [Relay::Accept; 8]);
        assert_eq!(node.counter("waiting_room_full"), 0);
    }
}

/// A message that is still being judged is late, not lost.
#[tokio::test(start_paused = true)]
async fn no_gap_is_told_for_what_is_being_judged() {
    let (wire, court) = (Wire::new(), Court::default());
    let (node, mut subscription) = open(on(&wire).validator(court.judge())).await;
    wire.provider(remote(1), Does::Stall);
    let zero = Envelope::by(1, 1, "0");
    let large = Envelope::by(1, 2, "").linked(b"large").after([zero.cid()]);
    let next = Envelope::by(1, 3, "next").after([large.cid()]);
    let mut answers = Vec::new();
    for message in [&zero, &large, &next] {
        answers.push(wire.hand(&remote(1), &topic(), message.encode()));
        settle().await;
    }
    court.say("0", Verdict::Accept).await;
    court.say("next", Verdict::Accept).await;
    tokio::time::sleep(Limits::default().reorder * 2).await;
    assert_eq!((payloads(&mut subscription), node.counter("gap")), (vec!["0".into(), "next".into()], 0));
}

/// Until then nothing of its author is handed out, and a validator that takes its time changes nothing of it.
#[tokio::test(start_paused = true)]
async fn an_early_message_waits_while_the_one_it_follows_is_judged() {
    let (wire, court) = (Wire::new(), Court::default());
    let (_node, mut subscription) = open(on(&wire).validator(court.judge())).await;
    let chain = chain(1, &["1", "2", "3"]);
    let _answers: Vec<_> = [1, 2, 0].map(|at| wire.hand(&remote(1), &topic(), chain[at].encode())).into();
    court.say("3", Verdict::Accept).await;
    court.say("2", Verdict::Accept).await;
    tokio::time::sleep(Limits::default().reorder * 2).await;
    assert!(payloads(&mut subscription).is_empty());
    court.say("1", Verdict::Accept).await;
    assert_eq!(payloads(&mut subscription), ["1", "2", "3"]);
}

/// What does not come in time is told as a gap, once the wait is over; and while messages of an author are being lost,
/// its others wait for none.
#[tokio::test(start_paused = true)]
async fn an_early_message_waits_no_longer_than_its_limit() {
    let wire = Wire::new();
    let (node, mut subscription) = open(on(&wire)).await;
    let chain = chain(1, &["1", "lost", "3", "lost too", "5", "late", "7"]);
    let began = Instant::now();
    assert_eq!(wire.deliver(&remote(1), chain[0].encode()).await, Relay::Accept);
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(wire.deliver(&remote(1), chain[2].encode()).await, Relay::Accept);
    let waited = began.elapsed();
    assert!(waited >= Limits::default().reorder && waited < Limits::default().reorder * 2, "{waited:?}");
    assert_eq!(wire.deliver(&remote(1), chain[4].encode()).await, Relay::Accept);
    assert_eq!(began.elapsed(), waited, "not again");
    assert_eq!(
        (payloads_beside_gaps(&mut subscription), node.counter("gap")),
        (vec!["1".into(), "3".into(), "5".into()], 2)
    );

    tokio::time::sleep(Duration::from_secs(2)).await;
    let early = wire.hand(&remote(1), &topic(), chain[6].encode());
    let late = wire.hand(&remote(1), &topic(), chain[5].encode());
    assert_eq!((within(early).await, within(late).await), (Relay::Accept, Relay::Accept));
    assert_eq!(payloads_beside_gaps(&mut subscription), ["late", "7"], "it waits again");
}

/// Those that wait hold no slot: the one they wait for comes in over the same link.
#[tokio::test(start_paused = true)]
async fn an_early_message_gives_its_slot_up() {
    let wire = Wire::new();
    let (_node, mut subscription) = open(on(&wire).limits(limits(|l| l.gate_per_remote = 1))).await;
    let chain = chain(1, &["1", "2"]);
    let early = wire.hand(&remote(1), &topic(), chain[1].encode());
    settle().await;
    let first = within(wire.host().slot(&remote(1))).await;
    let bytes = chain[0].encode();
    let inbound = Inbound { from: remote(1), topic: topic(), bytes, wire_id: None };
    assert_eq!((within(first.deliver(inbound)).await, within(early).await), (Relay::Accept, Relay::Accept));
    assert_eq!(payloads(&mut subscription), ["1", "2"]);
}

#[tokio::test(start_paused = true)]
async fn with_a_limit_of_zero_nothing_waits() {
    let wire = Wire::new();
    let (node, mut subscription) = open(on(&wire).limits(limits(|l| l.reorder = Duration::ZERO))).await;
    let chain = chain(1, &["1", "2", "3"]);
    let began = Instant::now();
    for at in [0, 2, 1] {
        assert_eq!(wire.deliver(&remote(1), chain[at].encode()).await, Relay::Accept);
    }
    assert_eq!(
        (payloads_beside_gaps(&mut subscription), began.elapsed()),
        (vec!["1".into(), "3".into(), "2".into()], Duration::ZERO)
    );
    assert_eq!(node.counter("early"), 0);
}

/// What was refused is not waited for.
#[tokio::test(start_paused = true)]
async fn a_message_does_not_wait_for_one_that_was_rejected() {
    let wire = Wire::new();
    let judge = Judge::new().messages(|message, _| async move {
        if message.payload() == &b"2"[..] { Verdict::Reject("no".into()) } else { Verdict::Accept }
    });
    let (_node, mut subscription) = open(on(&wire).validator(judge.arc())).await;
    let began = Instant::now();
    for message in chain(1, &["1", "2", "3"]) {
        wire.deliver(&remote(1), message.encode()).await;
    }
    assert_eq!(
        (payloads(&mut subscription), began.elapsed()),
        (vec!["1".into(), "3".into()], Duration::ZERO)
    );
}

/// A forger cannot hold up an author by sending in its name.
#[tokio::test(start_paused = true)]
async fn a_forged_message_takes_no_turn_for_long() {
    let (wire, court) = (Wire::new(), Court::default());
    let (_node, mut subscription) = open(on(&wire).validator(court.judge())).await;
    let forged = Envelope::by(1, 1, "forged").encode_signed(vec![7; 64]);
    let first = wire.hand(&remote(2), &topic(), forged);
    let second = wire.hand(&remote(1), &topic(), Envelope::by(1, 2, "real").encode());
    court.say("real", Verdict::Accept).await;
    assert_eq!((within(first).await, within(second).await), (Relay::Reject, Relay::Accept));
    assert_eq!(payloads(&mut subscription), ["real"]);
}

/// Delivers a parent and what follows it, which has a lower number.
fn family(wire: &Wire) -> [impl Future<Output = Relay> + use<>; 2] {
    let parent = Envelope::by(1, 9, "parent");
    let child = Envelope::by(1, 3, "child").after([parent.cid()]);
    [parent, child].map(|message| wire.hand(&remote(1), &topic(), message.encode()))
}

#[tokio::test(start_paused = true)]
async fn on_a_ledger_each_comes_after_those_it_follows_whatever_their_numbers() {
    let (wire, slow) = (Wire::new(), Duration::from_millis(100));
    let judge = Judge::new().accepted(move |message| async move {
        tokio::time::sleep(if message.payload() == &b"parent"[..] { slow } else { Duration::ZERO }).await;
        Ok(())
    });
    let judge = judge.arc();
    let builder = on(&wire).topic(topic(), TopicRules::kept()).validator(judge.clone());
    let (_node, mut subscription) = open(builder).await;
    let began = Instant::now();
    assert_eq!(within(futures::future::join_all(family(&wire))).await, [Relay::Accept; 2]);
    assert_eq!(began.elapsed(), slow, "it waits for nothing else");
    assert_eq!(judge.took(), ["parent", "child"]);
    assert_eq!(payloads(&mut subscription), ["parent", "child"]);
}

#[tokio::test(start_paused = true)]
async fn on_a_ledger_what_follows_one_that_cannot_be_taken_is_ignored_at_once() {
    let (wire, slow) = (Wire::new(), Duration::from_millis(100));
    let judge = Judge::new().accepted(move |_| async move {
        tokio::time::sleep(slow).await;
        Err(Error::new(ErrorKind::Full, "note", "no room"))
    });
    let judge = judge.arc();
    let builder = on(&wire).topic(topic(), TopicRules::kept()).validator(judge.clone());
    let (_node, mut subscription) = open(builder).await;
    let began = Instant::now();
    assert_eq!(within(futures::future::join_all(family(&wire))).await, [Relay::Ignore; 2]);
    assert_eq!(began.elapsed(), slow);
    assert_eq!(judge.took(), ["parent"], "its child was not even tried");
    assert!(payloads(&mut subscription).is_empty());
}

/// Longer than anything is waited for.
fn patient(change: impl FnOnce(&mut Limits)) -> Limits {
    limits(|l| {
        l.validation = l.defer_time * 2;
        change(l);
    })
}

/// Waits until a message was given up whose parent does not go on.
async fn given_up_in_time(node: &Node) {
    let began = Instant::now();
    while node.counter("defer_expired") == 0 {
        tokio::time::advance(Duration::from_secs(1)).await;
        settle().await;
    }
    assert!(began.elapsed() <= Limits::default().defer_time + Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn on_a_ledger_whoever_waits_for_its_parent_to_be_taken_holds_no_slot_and_not_for_ever() {
    let wire = Wire::new();
    let judge = Judge::new().accepted(|message| async move {
        if message.payload() == &b"parent"[..] {
            std::future::pending::<()>().await;
        }
        Ok(())
    });
    let builder = on(&wire).limits(patient(|l| l.gate_per_remote = 2)).validator(judge.arc());
    let (node, _subscription) = open(builder.topic(topic(), TopicRules::kept())).await;
    let _family = family(&wire);
    settle().await;
    let other = wire.hand(&remote(1), &topic(), Envelope::by(2, 1, "other").encode());
    assert_eq!(within(other).await, Relay::Accept, "its slot is free");
    given_up_in_time(&node).await;
}

#[tokio::test(start_paused = true)]
async fn on_a_ledger_nobody_waits_for_ever_for_its_parent_to_be_judged() {
    let wire = Wire::new();
    let judge = Judge::new().messages(|message, _| async move {
        if message.payload() == &b"parent"[..] {
            std::future::pending::<()>().await;
        }
        Verdict::Accept
    });
    let builder = on(&wire).limits(patient(|_| {})).validator(judge.arc());
    let (node, _subscription) = open(builder.topic(topic(), TopicRules::kept())).await;
    let _family = family(&wire);
    settle().await;
    given_up_in_time(&node).await;
}

/// A validator may have seen it among what is on its way.
#[tokio::test(start_paused = true)]
async fn on_a_ledger_a_parent_that_comes_while_its_child_is_judged_goes_first_too() {
    let (wire, court) = (Wire::new(), Court::default());
    let builder = on(&wire).topic(topic(), TopicRules::kept()).validator(court.judge());
    let (_node, mut subscription) = open(builder).await;
    let [parent, child] = [Envelope::by(1, 9, "parent"), Envelope::by(1, 3, "child")];
    let child = child.after([parent.cid()]);
    let _child = wire.hand(&remote(1), &topic(), child.encode());
    settle().await;
    let _parent = wire.hand(&remote(1), &topic(), parent.encode());
    court.say("child", Verdict::Accept).await;
    assert!(payloads(&mut subscription).is_empty());
    court.say("parent", Verdict::Accept).await;
    assert_eq!(payloads(&mut subscription), ["parent", "child"]);
}

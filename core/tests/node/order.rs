//! One author's messages on one topic come out in the order in which they arrived; nothing else waits for anything.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use carrick_core::{Relay, Topic, Verdict};
use tokio::sync::oneshot;

use crate::support::{Envelope, Judge, Wire, on, open, payloads, remote, settle, topic, within};

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
async fn the_order_is_that_of_arrival_not_of_the_numbers() {
    let (wire, court) = (Wire::new(), Court::default());
    let (_node, mut subscription) = open(on(&wire).validator(court.judge())).await;
    let _answers: Vec<_> = [3, 1, 2]
        .map(|n| wire.hand(&remote(1), &topic(), Envelope::by(1, n, n.to_string()).encode()))
        .into_iter()
        .collect();
    for payload in ["1", "2", "3"] {
        court.say(payload, Verdict::Accept).await;
    }
    assert_eq!(payloads(&mut subscription), ["3", "1", "2"]);
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

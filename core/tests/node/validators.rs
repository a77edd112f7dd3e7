//! What follows from a validator's word, and from its failing to give one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use carrick_core::{
    Block, Bytes, Cid, Context, DAG_CBOR, Error, ErrorKind, Message, MessageId, Path, Relay, RelayGate,
    Remote, Result, TopicRules, Validator, Verdict, async_trait,
};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::support::{
    Asked, Envelope, Judge, NOW, Wire, foreign, limits, on, on_wires, open, payloads, remote, settle, topic,
    within,
};

fn says(verdict: Verdict) -> Judge {
    Judge::new().messages(move |_, _| std::future::ready(verdict.clone()))
}

/// Says it the first time only; then it accepts.
fn says_once(verdict: Verdict) -> Judge {
    let first = AtomicUsize::new(0);
    Judge::new().messages(move |_, _| {
        let first = first.fetch_add(1, Ordering::Relaxed) == 0;
        std::future::ready(if first { verdict.clone() } else { Verdict::Accept })
    })
}

#[tokio::test(start_paused = true)]
async fn a_validator_learns_how_from_whom_and_over_what_a_message_came() {
    let (wire, judge) = (Wire::new(), Judge::new().arc());
    let (node, _subscription) = open(on(&wire).validator(judge.clone())).await;
    wire.deliver(&remote(2), Envelope::by(1, 1, "live").encode()).await;
    node.admit(&topic(), Envelope::by(1, 2, "late").encode(), Some(remote(3))).await;
    node.publish(&topic(), "own").await.expect("publishes");
    let asked = |payload: &str, path, from, transport: Option<&str>| Asked::Message {
        payload: payload.into(),
        path,
        from,
        transport: transport.map(str::to_owned),
    };
    assert_eq!(
        judge.asked(),
        [
            asked("live", Path::Live, Some(remote(2)), Some("wire")),
            Asked::Accepted("live".into()),
            asked("late", Path::CatchUp, Some(remote(3)), None),
            Asked::Accepted("late".into()),
            asked("own", Path::Own, None, None),
            Asked::Accepted("own".into()),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn ignored_is_nobodys_fault_and_may_come_again() {
    let (wire, judge) = (Wire::new(), says_once(Verdict::Ignore("not now".into())).arc());
    let (node, mut subscription) = open(on(&wire).validator(judge)).await;
    let message = Envelope::by(1, 1, "hello").encode();
    assert_eq!(wire.deliver(&remote(1), message.clone()).await, Relay::Ignore);
    assert_eq!((node.counter("ignored"), reputation(&node, &wire, remote(1)).await), (1, 0.0));
    assert_eq!(wire.deliver(&remote(2), message).await, Relay::Accept);
    assert_eq!(payloads(&mut subscription), ["hello"]);
}

#[tokio::test(start_paused = true)]
async fn rejected_is_remembered_and_costs_every_link_it_comes_over() {
    let (wire, judge) = (Wire::new(), says(Verdict::Reject("bad".into())).arc());
    let (node, mut subscription) = open(on(&wire).validator(judge.clone())).await;
    let message = Envelope::by(1, 1, "bad").encode();
    for from in [1, 2] {
        assert_eq!(wire.deliver(&remote(from), message.clone()).await, Relay::Reject);
        let score = reputation(&node, &wire, remote(from)).await;
        assert_eq!(score, -10.0, "the second as much as the first");
    }
    assert_eq!(judge.judged(), ["bad"], "asked once");
    assert!(judge.took().is_empty() && payloads(&mut subscription).is_empty());
    assert_eq!(reputation(&node, &wire, remote(3)).await, 0.0);
}

async fn reputation(node: &carrick_core::Node, wire: &Wire, who: Remote) -> f64 {
    wire.connect(&[who]);
    node.peers().await.expect("peers")[0].reputation
}

/// Behind a daemon nobody but the author can be blamed: whoever passed it on had no say.
#[tokio::test(start_paused = true)]
async fn where_a_daemon_relayed_first_only_the_proven_author_is_blamed() {
    let daemon = Wire::new().with(|caps| {
        caps.broadcast.as_mut().expect("broadcasts").relay = RelayGate::BeforeVerdict;
    });
    let (node, _subscription) = open(on(&daemon).validator(says(Verdict::Reject("bad".into())).arc())).await;
    let message = Envelope::by(1, 1, "bad").encode();
    for _ in 0..2 {
        assert_eq!(daemon.deliver(&foreign(1), message.clone()).await, Relay::Reject);
    }
    assert_eq!(daemon.deliver(&foreign(1), "rubbish").await, Relay::Reject);
    let forged = Envelope::by(3, 1, "forged").encode_signed(vec![0; 64]);
    assert_eq!(daemon.deliver(&foreign(1), forged).await, Relay::Reject);
    assert_eq!(reputation(&node, &daemon, foreign(1)).await, 0.0, "the link is not to blame");
    assert_eq!(reputation(&node, &daemon, remote(1)).await, -10.0, "the author is, once");
    assert_eq!(reputation(&node, &daemon, remote(3)).await, 0.0, "nor is who signed nothing");
}

/// Whoever serves what we asked for by its address did nothing wrong, whatever it is.
#[tokio::test(start_paused = true)]
async fn nobody_is_blamed_for_what_comes_by_catch_up() {
    let wire = Wire::new();
    let (node, _subscription) = open(on(&wire).validator(says(Verdict::Reject("bad".into())).arc())).await;
    let message = Envelope::by(1, 1, "bad").encode();
    for bytes in [message.clone(), message, "rubbish".into()] {
        let verdict = node.admit(&topic(), bytes, Some(remote(2))).await;
        assert!(matches!(verdict, Verdict::Reject(_)), "{verdict:?}");
    }
    assert_eq!(reputation(&node, &wire, remote(2)).await, 0.0);
}

#[tokio::test(start_paused = true)]
async fn the_first_validator_that_does_not_accept_decides() {
    let wire = Wire::new();
    let (first, second, third) = (
        Judge::new().arc(),
        says(Verdict::Ignore("no".into())).arc(),
        says(Verdict::Reject("no".into())).arc(),
    );
    let builder = on(&wire).validator(first.clone()).validator(second.clone()).validator(third.clone());
    let (_node, _subscription) = open(builder).await;
    assert_eq!(wire.deliver(&remote(1), Envelope::by(1, 1, "x").encode()).await, Relay::Ignore);
    assert_eq!((first.judged().len(), second.judged().len(), third.judged().len()), (1, 1, 0));
    assert!(first.took().is_empty(), "nobody takes what one refused");
}

/// A validator that panics is ignored, once; the same message may come again.
#[tokio::test(start_paused = true)]
async fn a_panicking_validator_counts_as_ignore() {
    let first = AtomicUsize::new(0);
    let judge = Judge::new().messages(move |_, _| {
        let first = first.fetch_add(1, Ordering::Relaxed) == 0;
        async move {
            assert!(!first, "on purpose");
            Verdict::Accept
        }
    });
    fails_then_passes(judge).await;
}

#[tokio::test(start_paused = true)]
async fn a_validator_that_panics_before_it_awaits_counts_as_ignore() {
    let first = AtomicUsize::new(0);
    let judge = Judge::new().messages(move |_, _| {
        assert!(first.fetch_add(1, Ordering::Relaxed) != 0, "on purpose");
        std::future::ready(Verdict::Accept)
    });
    fails_then_passes(judge).await;
}

#[tokio::test(start_paused = true)]
async fn a_late_validator_counts_as_ignore() {
    let first = AtomicUsize::new(0);
    let judge = Judge::new().messages(move |_, _| {
        let first = first.fetch_add(1, Ordering::Relaxed) == 0;
        async move {
            if first {
                std::future::pending::<()>().await;
            }
            Verdict::Accept
        }
    });
    let began = Instant::now();
    fails_then_passes(judge).await;
    assert_eq!(began.elapsed().as_secs(), 2, "the budget");
}

#[tokio::test(start_paused = true)]
async fn an_error_from_accepted_counts_as_ignore() {
    fails_then_passes(takes(|| async { Err(Error::new(ErrorKind::Full, "apply", "no room")) })).await;
}

#[tokio::test(start_paused = true)]
async fn a_late_accepted_counts_as_ignore() {
    fails_then_passes(takes(std::future::pending)).await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_accepted_counts_as_ignore() {
    fails_then_passes(takes(|| async { panic!("on purpose") })).await;
}

/// Does this the first time it is told of a message.
fn takes<F>(first: impl Fn() -> F + Send + Sync + 'static) -> Judge
where
    F: Future<Output = carrick_core::Result<()>> + Send + 'static,
{
    let (times, first) = (AtomicUsize::new(0), Arc::new(first));
    Judge::new().accepted(move |_| {
        let again = times.fetch_add(1, Ordering::Relaxed) > 0;
        let first = Arc::clone(&first);
        async move { if again { Ok(()) } else { first().await } }
    })
}

/// The first time its validator fails: Ignore, counted, nobody blamed, not handed out. The second time it is accepted.
async fn fails_then_passes(judge: Judge) {
    let (left, right, judge) = (Wire::new(), Wire::new(), judge.arc());
    let builder = on_wires(&[("left", &left), ("right", &right)]).validator(judge.clone());
    let (node, mut subscription) = open(builder).await;
    let message = Envelope::by(1, 1, "hello").encode();
    assert_eq!(left.deliver(&remote(1), message.clone()).await, Relay::Ignore);
    settle().await;
    assert_eq!(node.counter("validator_failed"), 1);
    assert_eq!((right.relayed(&message), payloads(&mut subscription).len()), (0, 0));
    assert_eq!(reputation(&node, &left, remote(1)).await, 0.0);
    assert_eq!(left.deliver(&remote(2), message.clone()).await, Relay::Accept);
    settle().await;
    assert_eq!((right.relayed(&message), payloads(&mut subscription)), (1, vec!["hello".to_owned()]));
    assert_eq!(node.counter("validator_failed"), 1);
}

#[tokio::test(start_paused = true)]
async fn accepted_comes_once_and_before_relay_and_hand_out() {
    let go = Arc::new(Notify::new());
    let wait = Arc::clone(&go);
    let judge = Judge::new()
        .accepted(move |_| {
            let wait = Arc::clone(&wait);
            async move {
                wait.notified().await;
                Ok(())
            }
        })
        .arc();
    let (left, right) = (Wire::new(), Wire::new());
    let (_node, mut subscription) =
        open(on_wires(&[("left", &left), ("right", &right)]).validator(judge.clone())).await;
    let message = Envelope::by(1, 1, "hello").encode();
    let mut answer = left.hand(&remote(1), &topic(), message.clone());
    settle().await;
    assert_eq!(judge.took(), ["hello"]);
    assert!(futures::poll!(&mut answer).is_pending());
    assert_eq!((right.published().len(), payloads(&mut subscription).len()), (0, 0));
    go.notify_one();
    assert_eq!(within(answer).await, Relay::Accept);
    settle().await;
    assert_eq!((right.relayed(&message), payloads(&mut subscription).len()), (1, 1));
    for from in [2, 3] {
        assert_eq!(left.deliver(&remote(from), message.clone()).await, Relay::Duplicate);
    }
    assert_eq!(judge.took(), ["hello"]);
}

#[tokio::test(start_paused = true)]
async fn validators_run_concurrently() {
    let judge = Judge::new().messages(|_, _| async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Verdict::Accept
    });
    let wire = Wire::new();
    let (_node, mut subscription) = open(on(&wire).validator(judge.arc())).await;
    let began = Instant::now();
    let answers: Vec<_> = (1..=60)
        .map(|n| wire.hand(&remote(1), &topic(), Envelope::by(n % 6, n.into(), n.to_string()).encode()))
        .collect();
    let answers = within(futures::future::join_all(answers)).await;
    assert!(answers.iter().all(|answer| *answer == Relay::Accept), "{answers:?}");
    assert_eq!(began.elapsed(), Duration::from_secs(1));
    assert_eq!(payloads(&mut subscription).len(), 60);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_future_of_deliver_cancels_nothing_and_the_node_relays_in_its_place() {
    let go = Arc::new(Notify::new());
    let wire = Wire::new();
    let (_node, mut subscription) = open(on(&wire).validator(waits_for(&go))).await;
    let message = Envelope::by(1, 1, "hello").encode();
    let answer = wire.hand(&remote(1), &topic(), message.clone());
    settle().await;
    drop(answer);
    go.notify_one();
    settle().await;
    assert_eq!(payloads(&mut subscription), ["hello"]);
    assert_eq!(wire.relayed(&message), 1);
}

#[tokio::test(start_paused = true)]
async fn when_one_of_two_deliveries_is_dropped_the_other_relays() {
    let go = Arc::new(Notify::new());
    let wire = Wire::new();
    let (_node, mut subscription) = open(on(&wire).validator(waits_for(&go))).await;
    let message = Envelope::by(1, 1, "hello").encode();
    let first = wire.hand(&remote(1), &topic(), message.clone());
    let second = wire.hand(&remote(2), &topic(), message.clone());
    settle().await;
    drop(first);
    go.notify_one();
    assert_eq!(within(second).await, Relay::Accept);
    settle().await;
    assert_eq!((wire.relayed(&message), payloads(&mut subscription).len()), (0, 1));
}

fn waits_for(go: &Arc<Notify>) -> Arc<Judge> {
    let go = Arc::clone(go);
    Judge::new()
        .messages(move |_, _| {
            let go = Arc::clone(&go);
            async move {
                go.notified().await;
                Verdict::Accept
            }
        })
        .arc()
}

#[tokio::test(start_paused = true)]
async fn a_verdict_later_than_the_wire_holds_is_ignored_there_and_published_on_accept() {
    let wire = Wire::new().with(|caps| {
        caps.broadcast.as_mut().expect("broadcasts").hold_verdict = Duration::from_secs(1);
    });
    let go = Arc::new(Notify::new());
    let (node, mut subscription) = open(on(&wire).validator(waits_for(&go))).await;
    let message = Envelope::by(1, 1, "hello").encode();
    let began = Instant::now();
    assert_eq!(wire.deliver(&remote(1), message.clone()).await, Relay::Ignore);
    assert_eq!((began.elapsed(), node.counter("late_verdict")), (Duration::from_secs(1), 1));
    assert!(wire.published().is_empty());
    go.notify_one();
    settle().await;
    assert_eq!((wire.relayed(&message), payloads(&mut subscription).len()), (1, 1));
    assert_eq!(wire.deliver(&remote(2), message).await, Relay::Duplicate, "it went out there");
}

#[tokio::test(start_paused = true)]
async fn a_second_copy_waits_for_the_same_answer_and_holds_no_slot() {
    let go = Arc::new(Notify::new());
    let (wire, other) = (Wire::new(), Wire::new());
    let builder = on_wires(&[("wire", &wire), ("other", &other)]).validator(waits_for(&go));
    let (_node, _subscription) = open(builder.limits(limits(|l| l.gate_per_remote = 1))).await;
    let message = Envelope::by(1, 1, "hello").encode();
    let first = wire.hand(&remote(1), &topic(), message.clone());
    let copies: Vec<_> = (0..10).map(|_| wire.hand(&remote(2), &topic(), message.clone())).collect();
    let elsewhere = other.hand(&remote(2), &topic(), message.clone());
    assert!(wire.host().try_slot(&remote(1)).is_none(), "the first holds its slot");
    assert!(wire.host().try_slot(&remote(2)).is_some(), "the copies hold none");
    go.notify_one();
    assert_eq!(within(first).await, Relay::Accept);
    for copy in copies {
        assert_eq!(within(copy).await, Relay::Duplicate);
    }
    assert_eq!(within(elsewhere).await, Relay::Accept);
}

#[tokio::test(start_paused = true)]
async fn our_own_validators_may_refuse_what_we_publish() {
    for verdict in [Verdict::Ignore("no".into()), Verdict::Reject("no".into())] {
        let wire = Wire::new();
        let node = on(&wire).validator(says(verdict).arc()).open().await.expect("opens");
        let error = node.publish(&topic(), "x").await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Rejected);
        assert!(wire.published().is_empty());
    }
}

/// Reads back what a message follows, and remembers what it found and under which rules.
#[derive(Debug, Default)]
struct ReadsBack(std::sync::Mutex<Vec<ReadBack>>);

type ReadBack = (Option<TopicRules>, Result<Option<Message>>);

#[async_trait]
impl Validator for ReadsBack {
    async fn message(&self, cx: &Context<'_>, message: &Message) -> Verdict {
        for parent in message.parents() {
            let found = cx.stored(&MessageId::from_cid(*parent)).await;
            self.0.lock().expect("lock").push((cx.rules, found));
        }
        Verdict::Accept
    }

    async fn block(&self, cx: &Context<'_>, _: &Block) -> Verdict {
        assert_eq!(cx.rules, None, "a block is of no topic");
        Verdict::Accept
    }

    async fn accepted(&self, _: &Context<'_>, _: &Message) -> Result<()> {
        Ok(())
    }
}

impl ReadsBack {
    fn last(&self) -> ReadBack {
        self.0.lock().expect("lock").pop().expect("it was asked")
    }
}

#[tokio::test(start_paused = true)]
async fn a_validator_reads_back_what_is_stored_of_the_messages_before() {
    let (wire, reads) = (Wire::new(), Arc::new(ReadsBack::default()));
    let rules = TopicRules::kept();
    let (_node, _subscription) = open(on(&wire).topic(topic(), rules).validator(reads.clone())).await;
    let first = Envelope::by(1, 1, "first");
    let follows = |n: u64, parent: Cid| Envelope::by(1, n, "second").after([parent]).encode();
    assert_eq!(wire.deliver(&remote(1), follows(2, first.cid())).await, Relay::Accept);
    let (under, found) = reads.last();
    assert!(matches!(found, Ok(None)), "it is not there: {found:?}");
    assert_eq!(under, Some(rules));
    assert_eq!(wire.deliver(&remote(1), first.encode()).await, Relay::Accept);
    assert_eq!(wire.deliver(&remote(1), follows(3, first.cid())).await, Relay::Accept);
    let found = reads.last().1.expect("reads").expect("is there");
    assert_eq!((found.id(), found.author(), found.seqno()), (&first.id(), Some(&crate::support::peer(1)), 1));
    assert_eq!(
        (found.time().as_millis(), found.topic(), &found.payload()[..]),
        (NOW, &topic(), &b"first"[..])
    );
}

/// A block may be put there by anybody: what the gate would not take is not read for a message.
#[tokio::test(start_paused = true)]
async fn what_is_stored_and_no_message_of_the_network_is_not_read_for_one() {
    let (wire, reads) = (Wire::new(), Arc::new(ReadsBack::default()));
    let (node, _subscription) = open(on(&wire).validator(reads.clone())).await;
    let forged = Envelope::by(1, 1, "forged").encode_signed(vec![0; 64]);
    let elsewhere = Envelope::by(1, 1, "elsewhere").with(|e| e.network = "another".into()).encode();
    let newer = Envelope::by(1, 1, "newer").with(|e| e.v = 2).encode();
    for (n, (bytes, says)) in [
        (forged, "its signature does not hold"),
        (elsewhere, "of another network"),
        (newer, "version 2 is not spoken here"),
        (Bytes::from_static(b"\xa0"), "malformed"),
    ]
    .into_iter()
    .enumerate()
    {
        let block = Block::new(DAG_CBOR, bytes);
        node.put_blocks(std::slice::from_ref(&block)).await.expect("puts");
        let after = Envelope::by(1, 2 + n as u64, "after").after([*block.cid()]).encode();
        assert_eq!(wire.deliver(&remote(1), after).await, Relay::Accept);
        let error = reads.last().1.expect_err(says);
        assert_eq!(error.kind(), ErrorKind::Rejected);
        assert!(error.detail().contains(says), "{error}");
    }
}

//! A message is good when the node says so, and not before.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;

use super::judge::Judge;
use super::kit::topic;
use super::probe::{Log, Probe};
use super::provider::{Provider, asks_host};
use super::{Kit, Member, Outcome, Setup};
use crate::{Block, ErrorKind, Event, Identity, Limits, RAW, Relay, RelayGate, Remote, Skip, Subscription};

/// A line of three, of which the one in the middle judges.
struct Line {
    judge: Arc<Judge>,
    /// At the one that judges.
    probe: Probe,
    author: Member,
    judging: Member,
    _behind: Member,
    _at_author: Subscription,
    at_judging: Subscription,
    at_behind: Subscription,
}

impl Line {
    async fn new(kit: &Kit) -> Self {
        Self::with(kit, Probe::default(), patient()).await
    }

    async fn with(kit: &Kit, probe: Probe, limits: Limits) -> Self {
        Self::of(kit, kit.node().await, probe, limits).await
    }

    async fn of(kit: &Kit, author: Member, probe: Probe, limits: Limits) -> Self {
        let judge = Judge::new();
        let judging = kit.probed(&probe, |builder| builder.limits(limits).validator(judge.clone())).await;
        let behind = kit.node().await;
        kit.link(&author, &judging).await;
        kit.link(&judging, &behind).await;
        if relay(&author) == RelayGate::Never {
            kit.link(&author, &behind).await;
        }
        let members = [author.clone(), judging.clone(), behind.clone()];
        let subscriptions = kit.subscribe(&members, &topic()).await;
        let [_at_author, at_judging, at_behind] = subscriptions.try_into().expect("three");
        Self { judge, probe, author, judging, _behind: behind, _at_author, at_judging, at_behind }
    }

    /// Whether what is behind hears only what was judged.
    fn judges_first(&self) -> bool {
        relay(&self.judging) == RelayGate::AfterVerdict
    }

    async fn post(&self, kit: &Kit, n: u64, payload: &str) {
        kit.post(&self.author, &kit.letter(n, payload.to_owned())).await;
    }
}

fn relay(member: &Member) -> RelayGate {
    member.broadcast_caps().relay
}

/// Limits under which a validator may take its time.
fn patient() -> Limits {
    Limits { validation: Duration::from_secs(60), ..Limits::default() }
}

/// A node that judges, and others that are linked with it.
async fn judging<const N: usize>(
    kit: &Kit,
    probe: &Probe,
) -> (Arc<Judge>, Member, Subscription, [Member; N]) {
    let judge = Judge::new();
    let judging = kit.probed(probe, |builder| builder.limits(patient()).validator(judge.clone())).await;
    let subscription = judging.subscribe(&topic()).await.expect("subscribes");
    let mut others = Vec::with_capacity(N);
    for _ in 0..N {
        let other = kit.node().await;
        kit.link(&other, &judging).await;
        kit.joined(&other, &topic(), 1).await;
        others.push(other);
    }
    (judge, judging, subscription, others.try_into().expect("as many as were opened"))
}

pub(super) async fn refused_is_not_handed_out(kit: Kit) -> Outcome {
    let mut line = Line::new(&kit).await;
    for payload in ["one", "reject", "ignore", "two"] {
        line.author.publish(&topic(), payload).await.expect("publishes");
    }
    for payload in ["one", "two"] {
        assert_eq!(kit.text(&mut line.at_judging).await, payload);
    }
    kit.silence(&mut line.at_judging).await;
    Outcome::Kept
}

pub(super) async fn rejected_is_not_relayed(kit: Kit) -> Outcome {
    let mut line = Line::new(&kit).await;
    line.post(&kit, 1, "reject").await;
    line.post(&kit, 2, "fine").await;
    let heard = if line.judges_first() { &["fine"][..] } else { &["reject", "fine"] };
    for payload in heard {
        assert_eq!(kit.text(&mut line.at_behind).await, *payload);
    }
    kit.silence(&mut line.at_behind).await;
    Outcome::Kept
}

pub(super) async fn relay_waits_for_the_verdict(kit: Kit) -> Outcome {
    let mut line = Line::new(&kit).await;
    line.post(&kit, 1, "hold").await;
    kit.soon("the validator to be asked", line.judge.holds(1)).await;
    if line.judges_first() {
        kit.silence(&mut line.at_behind).await;
        line.judge.release();
        assert_eq!(kit.text(&mut line.at_behind).await, "hold");
    } else {
        assert_eq!(kit.text(&mut line.at_behind).await, "hold");
        kit.silence(&mut line.at_judging).await;
        line.judge.release();
    }
    assert_eq!(kit.text(&mut line.at_judging).await, "hold");
    Outcome::Kept
}

pub(super) async fn ignored_is_not_relayed_and_may_come_again(kit: Kit) -> Outcome {
    let mut line = Line::new(&kit).await;
    line.post(&kit, 1, "once").await;
    kit.seen("a first answer", &line.probe, |log| log.answers == [Relay::Ignore]).await;
    if line.judges_first() {
        kit.silence(&mut line.at_behind).await;
    }
    line.post(&kit, 1, "once").await;
    assert_eq!(kit.text(&mut line.at_judging).await, "once");
    assert_eq!(kit.text(&mut line.at_behind).await, "once");
    kit.silence(&mut line.at_behind).await;
    Outcome::Kept
}

pub(super) async fn accepted_is_relayed_once_on_each_transport(kit: Kit) -> Outcome {
    let probe = Probe::default();
    let mut members = kit.line(3).await;
    let [author, _, meeting] = &members[..] else { panic!("three are three") };
    let (other_way, end) = (kit.node().await, kit.probed(&probe, |builder| builder).await);
    for (one, other) in [(author, &other_way), (&other_way, meeting), (meeting, &end)] {
        kit.link(one, other).await;
    }
    members.extend([other_way, end]);
    let mut subscriptions = kit.subscribe(&members, &topic()).await;
    if members[0].never_relays() {
        members[0].publish(&topic(), "to neighbours").await.expect("publishes");
        assert_eq!(kit.text(&mut subscriptions[1]).await, "to neighbours");
        assert!(probe.log().handed.is_empty(), "it says that it relays nothing");
        return Outcome::Unsupported("relaying");
    }
    let at_end = subscriptions.last_mut().expect("its own");
    for n in 0..5 {
        members[0].publish(&topic(), n.to_string()).await.expect("publishes");
        assert_eq!(kit.text(at_end).await, n.to_string());
    }
    kit.silence(at_end).await;
    each_once(&probe, 5);
    // Where the wire links all with all, or passes on before anybody could know of a copy, nobody depends on a bridge.
    if members[0].caps().dials && relay(&members[0]) == RelayGate::AfterVerdict {
        passed_on_by_a_bridge(&kit.by_hand()).await;
    }
    Outcome::Kept
}

/// Asserts that so many messages were handed over, each of them once.
fn each_once(probe: &Probe, messages: usize) {
    let handed = probe.log().handed;
    assert!(handed.len() == messages && handed.values().all(|times| *times == 1), "{handed:?}");
}

/// One node on two wires hears every message on both of them; on each somebody hears only what it passes on.
async fn passed_on_by_a_bridge(kit: &Kit) {
    let (author, bridge) = (kit.node().await, kit.bridge().await);
    let (probes, mut members) = ([Probe::default(), Probe::default()], vec![author.clone()]);
    for (side, probe) in bridge.iter().zip(&probes) {
        let (before, behind) = (kit.node().await, kit.probed(probe, |builder| builder).await);
        // A bridge is dialled, because it does not choose the wire it dials over.
        for (one, other) in [(&author, &before), (&before, side), (&behind, side)] {
            kit.link(one, other).await;
        }
        members.extend([before, side.clone(), behind]);
    }
    let mut subscriptions = kit.subscribe(&members, &topic()).await;
    for n in 0..5 {
        author.publish(&topic(), n.to_string()).await.expect("publishes");
        for subscription in &mut subscriptions[1..] {
            assert_eq!(kit.text(subscription).await, n.to_string());
        }
    }
    join_all(subscriptions.iter_mut().map(|subscription| kit.silence(subscription))).await;
    probes.iter().for_each(|probe| each_once(probe, 5));
}

pub(super) async fn second_copy_waits_for_the_same_verdict(kit: Kit) -> Outcome {
    let probe = Probe::default();
    let (judge, _judging, mut at_judging, others) = judging::<2>(&kit, &probe).await;
    let letter = kit.letter(1, "hold");
    for other in &others {
        kit.post(other, &letter).await;
    }
    let log = kit.seen("two copies that wait", &probe, |log| log.waiting() == 2).await;
    assert!(log.answers.is_empty(), "{log:?}");
    judge.release();
    let log = kit.seen("two answers", &probe, |log| log.answers.len() == 2).await;
    assert!(log.answers.contains(&Relay::Accept) && log.answers.contains(&Relay::Duplicate), "{log:?}");
    assert_eq!(kit.text(&mut at_judging).await, "hold");
    kit.silence(&mut at_judging).await;
    Outcome::Kept
}

pub(super) async fn late_accept_is_delivered_and_relayed(kit: Kit) -> Outcome {
    let mut line = Line::with(&kit, Probe::holding(Duration::from_millis(50)), patient()).await;
    line.post(&kit, 1, "hold").await;
    kit.seen("that it is held no longer", &line.probe, |log| log.answers == [Relay::Ignore]).await;
    if line.judges_first() {
        kit.silence(&mut line.at_behind).await;
    }
    line.judge.release();
    assert_eq!(kit.text(&mut line.at_judging).await, "hold");
    if line.judges_first() && !line.judging.broadcast_caps().late_relay {
        kit.silence(&mut line.at_behind).await;
        return Outcome::Unsupported("relaying after a late verdict");
    }
    assert_eq!(kit.text(&mut line.at_behind).await, "hold");
    Outcome::Kept
}

pub(super) async fn deferral_fetches_a_block_and_then_delivers(kit: Kit) -> Outcome {
    let mut line = Line::new(&kit).await;
    if line.judging.caps().fetch.is_none() {
        assert!(line.judging.transport.fetch().is_none(), "what is not promised is not there");
        return Outcome::Unsupported("fetch");
    }
    let block = Block::new(RAW, &b"awaited"[..]);
    line.author.put_blocks(std::slice::from_ref(&block)).await.expect("puts");
    let payload = format!("block {}", block.cid());
    line.post(&kit, 1, &payload).await;
    for subscription in [&mut line.at_judging, &mut line.at_behind] {
        assert_eq!(kit.text(subscription).await, payload);
    }
    assert!(line.judging.store().has(block.cid()).await.expect("a store"));
    Outcome::Kept
}

pub(super) async fn deferral_fetches_a_message_and_then_delivers(kit: Kit) -> Outcome {
    let mut line = Line::new(&kit).await;
    if line.judging.caps().fetch.is_none() {
        assert!(line.judging.transport.fetch().is_none(), "what is not promised is not there");
        return Outcome::Unsupported("fetch");
    }
    let first = kit.letter(1, "first");
    line.author.put_blocks(&[first.to_block()]).await.expect("puts");
    let second = format!("message {}", first.id());
    line.post(&kit, 2, &second).await;
    assert_eq!(kit.text(&mut line.at_judging).await, "first", "it passes the gate itself");
    assert_eq!(kit.text(&mut line.at_judging).await, second);
    assert_eq!(kit.text(&mut line.at_behind).await, second, "what was fetched is not relayed");
    Outcome::Kept
}

pub(super) async fn deferral_that_cannot_be_met_is_ignored(kit: Kit) -> Outcome {
    let limits = Limits { defer_time: kit.patience() / 10, ..patient() };
    // It is asked for what it has not, and does not say so.
    let author = kit.node_wrapped(Provider::silent()).await;
    let mut line = Line::of(&kit, author, Probe::default(), limits).await;
    let waiting = format!("block {}", Block::new(RAW, &b"nobody has it"[..]).cid());
    line.post(&kit, 1, &waiting).await;
    line.post(&kit, 2, "fine").await;
    assert_eq!(kit.text(&mut line.at_judging).await, "fine", "what waits holds up nothing");
    let both = |log: &Log| log.answers.len() == 2;
    let mut answers = kit.seen("two answers", &line.probe, both).await.answers;
    let asked = line.author.caps().fetch.is_some_and(|caps| asks_host(&caps));
    // Where nobody can be silent, it may be known at once that nobody has it.
    if !asked {
        answers.sort_by_key(|answer| *answer != Relay::Accept);
    }
    assert_eq!(answers, [Relay::Accept, Relay::Ignore]);
    let heard = if line.judges_first() { vec!["fine"] } else { vec![&*waiting, "fine"] };
    for payload in heard {
        assert_eq!(kit.text(&mut line.at_behind).await, payload);
    }
    kit.silence(&mut line.at_behind).await;
    Outcome::Kept
}

pub(super) async fn failing_validator_is_ignored(kit: Kit) -> Outcome {
    let limits = Limits { validation: kit.quiet(), ..Limits::default() };
    let mut line = Line::with(&kit, Probe::default(), limits).await;
    for (n, payload) in [(1, "panic"), (2, "hang"), (3, "fail")] {
        line.post(&kit, n, payload).await;
        let what = format!("an answer to {payload:?}");
        kit.seen(&what, &line.probe, |log| log.answers == vec![Relay::Ignore; n as usize]).await;
    }
    line.post(&kit, 4, "fine").await;
    assert_eq!(kit.text(&mut line.at_judging).await, "fine");
    for info in line.judging.peers().await.expect("peers") {
        assert_eq!(info.reputation, 0.0, "nobody is blamed for a validator");
    }
    Outcome::Kept
}

pub(super) async fn reputation_falls_for_reject_alone(kit: Kit) -> Outcome {
    let probe = Probe::default();
    let (_judge, judging, _subscription, [good, bad]) = judging(&kit, &probe).await;
    kit.post(&good, &kit.letter(1, "fine")).await;
    kit.seen("an answer", &probe, |log| log.answers == [Relay::Accept]).await;
    for (n, payload) in [(1, "fine"), (2, "ignore"), (3, "reject")] {
        judging.blames_alone(None).await;
        kit.post(&bad, &kit.letter(n, payload)).await;
        kit.seen("an answer", &probe, |log| log.answers.len() as u64 == n + 1).await;
    }
    let answers = [Relay::Accept, Relay::Duplicate, Relay::Ignore, Relay::Reject];
    assert_eq!(probe.log().answers, answers);
    if relay(&judging) == RelayGate::AfterVerdict {
        let mut scores = judging.scores().await;
        scores.sort_unstable();
        assert_eq!(scores, [-10, 0]);
        judging.blames_alone(Some(&bad)).await;
    } else {
        judging.blames_alone(None).await;
    }
    Outcome::Kept
}

pub(super) async fn low_reputation_ends_the_relaying(kit: Kit) -> Outcome {
    let probe = Probe::default();
    let (_judge, judging, mut at_judging, [good, bad]) = judging(&kit, &probe).await;
    let members = [judging.clone(), good.clone(), bad.clone()];
    let mut subscriptions = kit.subscribe(&members, &topic()).await;
    // Five would do if time healed nothing.
    for n in 1..=6 {
        kit.post(&bad, &kit.letter(n, "reject")).await;
        kit.seen("an answer", &probe, |log| log.answers.len() as u64 == n).await;
    }
    kit.post(&bad, &kit.letter(7, "from the bad")).await;
    if relay(&judging) != RelayGate::AfterVerdict {
        assert_eq!(kit.text(&mut at_judging).await, "from the bad", "who relays first is not to blame");
        return Outcome::Unsupported("blame of links");
    }
    kit.silence(&mut at_judging).await;
    let published = judging.publish(&topic(), "to the good").await.expect("publishes");
    assert_eq!((published.sent_to, published.skipped), (Some(1), vec![(Skip::Banned, 1)]));
    kit.post(&good, &kit.letter(8, "from the good")).await;
    assert_eq!(kit.text(&mut at_judging).await, "from the good");
    assert_eq!(kit.text(&mut subscriptions[1]).await, "to the good");
    kit.silence(&mut subscriptions[2]).await;
    Outcome::Kept
}

pub(super) async fn ban_closes_and_stays_closed(kit: Kit) -> Outcome {
    let (_judge, judging, mut at_judging, [good]) = judging(&kit, &Probe::default()).await;
    let mut events = judging.events();
    let setup = Setup { bootstrap: vec![judging.addr()], ..Setup::default() };
    let bad = kit.open(kit.builder(), setup).await;
    kit.joined(&bad, &topic(), 1).await;
    for n in 1..=20 {
        kit.post(&bad, &kit.letter(n, "reject")).await;
    }
    let banned = kit.event("a ban", &mut events, |event| matches!(event, Event::Banned { .. })).await;
    let Event::Banned { remote } = banned else { panic!("that was waited for") };
    if relay(&judging) != RelayGate::AfterVerdict {
        assert_eq!(remote.peer(), kit.letter(1, "").author(), "the author alone is to blame");
        good.publish(&topic(), "fine").await.expect("publishes");
        assert_eq!(kit.text(&mut at_judging).await, "fine", "and nobody else");
        return Outcome::Unsupported("blame of links");
    }
    if judging.caps().identity != Identity::Peer {
        assert_eq!(remote.peer(), None, "no link proves a peer");
        good.publish(&topic(), "fine").await.expect("publishes");
        assert_eq!(kit.text(&mut at_judging).await, "fine", "nobody else is out");
        return Outcome::Unsupported("links that prove their peer");
    }
    assert_eq!(remote, Remote::Peer(bad.peer_id()));
    if !judging.caps().disconnects {
        let refused = judging.transport.disconnect(&remote).await.expect_err("it is not promised");
        assert_eq!(refused.kind(), ErrorKind::Unsupported);
        return Outcome::Unsupported("ending links");
    }
    kit.unlinked(&judging, &bad).await;
    kit.unlinked(&bad, &judging).await;
    for (from, to) in [(&bad, &judging), (&judging, &bad)] {
        let refused = kit.soon("a dial", from.connect(&to.addr())).await.expect_err("it is banned");
        assert_eq!(refused.kind(), ErrorKind::Unauthorized, "{refused}");
    }
    kit.post(&good, &kit.letter(21, "fine")).await;
    assert_eq!(kit.text(&mut at_judging).await, "fine");
    kit.silence(&mut at_judging).await;
    assert!(!judging.is_linked(&bad.peer_id()).await, "it stays out, though it is told to come back");
    judging.forgive(&remote);
    kit.link(&bad, &judging).await;
    Outcome::Kept
}

//! Too much of anything is bounded and counted, and harms nobody else.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::join;
use tokio::time::sleep;

use super::judge::Judge;
use super::kit::topic;
use super::probe::Probe;
use super::provider::no_fetch;
use super::{Kit, Member, Outcome};
use crate::dag::Layout;
use crate::{Delivery, GetOptions, Limits, Overload, Subscription, WantDag};

pub(super) async fn slow_reader_is_told_what_it_missed(kit: Kit) -> Outcome {
    let limits = Limits { subscriber_messages: 4, ..Limits::default() };
    let author = kit.node().await;
    let reader = kit.node_with(|builder| builder.limits(limits)).await;
    kit.link(&author, &reader).await;
    let members = [author.clone(), reader.clone()];
    let mut slow = kit.subscribe(&members, &topic()).await.pop().expect("its own");
    let mut quick = reader.subscribe(&topic()).await.expect("subscribes");
    for n in 0..10 {
        author.publish(&topic(), n.to_string()).await.expect("publishes");
        assert_eq!(kit.text(&mut quick).await, n.to_string());
    }
    let told = kit.soon("word of what was missed", slow.next()).await;
    assert!(matches!(told, Some(Delivery::Lagged(6))), "{told:?}");
    for n in 6..10 {
        assert_eq!(kit.text(&mut slow).await, n.to_string());
    }
    Outcome::Kept
}

/// Little room everywhere, so that it is soon full.
fn narrow() -> Limits {
    Limits {
        payload_bytes: 16 << 10,
        gate_per_remote: 4,
        gate_total: 6,
        send_queue_bytes: 64 << 10,
        receive_window_bytes: 64 << 10,
        validation: Duration::from_secs(60),
        ..Limits::default()
    }
}

/// A node that holds what says `hold`, and two that send to it.
struct Crowd {
    judge: Arc<Judge>,
    /// At the one that reads.
    probe: Probe,
    reader: Member,
    at_reader: Subscription,
    senders: [Member; 2],
}

impl Crowd {
    async fn new(kit: &Kit) -> Self {
        let (judge, probe) = (Judge::new(), Probe::default());
        let reader = kit.probed(&probe, |builder| builder.limits(narrow()).validator(judge.clone())).await;
        let at_reader = reader.subscribe(&topic()).await.expect("subscribes");
        let sender = async || {
            let sender = kit.node_with(|builder| builder.limits(narrow())).await;
            kit.link(&sender, &reader).await;
            kit.joined(&sender, &topic(), 1).await;
            sender
        };
        let senders = [sender().await, sender().await];
        Self { judge, probe, at_reader, senders, reader }
    }

    fn overload(&self) -> Overload {
        self.reader.broadcast_caps().overload
    }

    /// What was dropped and counted, at either end.
    fn dropped(&self) -> u64 {
        let sent: u64 = self.senders.iter().map(|sender| sender.counter("dropped")).sum();
        sent + self.reader.counter("shed")
    }
}

pub(super) async fn full_gate_waits_or_counts(kit: Kit) -> Outcome {
    let mut crowd = Crowd::new(&kit).await;
    for n in 1..=80 {
        let sender = &crowd.senders[usize::from(n > 40)];
        kit.post(sender, &kit.letter(n, format!("hold {n}"))).await;
    }
    kit.soon("a full gate", crowd.judge.holds(4)).await;
    kit.silence(&mut crowd.at_reader).await;
    let log = crowd.probe.log();
    assert!(log.most_of_one <= 4, "{} messages of one link were taken at once", log.most_of_one);
    assert!(log.most <= 6, "{} messages were taken at once", log.most);
    crowd.judge.release();
    let heard = kit.drain(&mut crowd.at_reader).await;
    if crowd.overload() == Overload::DropsUnseen {
        assert!(heard + crowd.dropped() <= 80, "more than were sent");
    } else {
        assert_eq!(heard + crowd.dropped(), 80, "{heard} came");
    }
    Outcome::Kept
}

pub(super) async fn one_noisy_peer_does_not_starve_another(kit: Kit) -> Outcome {
    let mut crowd = Crowd::new(&kit).await;
    let [noisy, quiet] = &crowd.senders;
    for n in 1..=40 {
        kit.post(noisy, &kit.letter(n, format!("hold {n}"))).await;
    }
    kit.soon("a full share", crowd.judge.holds(4)).await;
    quiet.publish(&topic(), "fine").await.expect("publishes");
    assert_eq!(kit.text(&mut crowd.at_reader).await, "fine");
    Outcome::Kept
}

/// A message that is held, about as large as it may be.
fn large(n: u64) -> String {
    format!("hold {n:16000}")
}

pub(super) async fn flood_is_bounded_and_every_drop_is_counted(kit: Kit) -> Outcome {
    let mut crowd = Crowd::new(&kit).await;
    let before = kit.allocated();
    // Measured, what is held must stand out from what a process takes anyway.
    let flood = if before.is_some() { 1_000 } else { 100 };
    for n in 1..=flood {
        kit.post(&crowd.senders[0], &kit.letter(n, large(n))).await;
        // Time to read it, for whoever reads more than there is room for.
        sleep(Duration::from_millis(1)).await;
    }
    kit.soon("a full gate", crowd.judge.holds(4)).await;
    kit.silence(&mut crowd.at_reader).await;
    let limits = narrow();
    let ceiling = limits.send_queue_bytes
        + 3 * limits.receive_window_bytes
        + limits.gate_per_remote * limits.envelope_bytes();
    if let (Some(before), Some(now)) = (before, kit.allocated()) {
        // Twice: what carries them takes room too, and wires keep what they sent until it is known to be there.
        let grown = now.saturating_sub(before);
        assert!(grown <= 2 * ceiling, "{grown} bytes more are allocated; the bounds together are {ceiling}");
    }
    if crowd.overload() == Overload::DropsUnseen {
        crowd.judge.release();
        assert!(kit.drain(&mut crowd.at_reader).await <= flood, "more than were sent");
        return Outcome::Unsupported("counting what a full wire drops");
    }
    let held = (flood - crowd.dropped()) * 16_000;
    assert!(held <= ceiling as u64, "{held} bytes are held; the bounds together are {ceiling}");
    crowd.judge.release();
    let heard = kit.drain(&mut crowd.at_reader).await;
    assert_eq!(heard + crowd.dropped(), flood, "{heard} came");
    Outcome::Kept
}

pub(super) async fn slow_peer_harms_no_other(kit: Kit) -> Outcome {
    let judge = Judge::new();
    let narrow = |builder: crate::NodeBuilder| builder.limits(narrow());
    let (author, quick) = (kit.node_with(narrow).await, kit.node_with(narrow).await);
    let slow = kit.node_with(|builder| narrow(builder).validator(judge.clone())).await;
    kit.link(&author, &slow).await;
    kit.link(&author, &quick).await;
    let members = [author.clone(), slow, quick];
    let mut subscriptions = kit.subscribe(&members, &topic()).await;
    for n in 1..=100 {
        author.publish(&topic(), large(n)).await.expect("publishes");
        assert_eq!(kit.text(&mut subscriptions[2]).await, large(n));
    }
    kit.soon("a full gate", judge.holds(4)).await;
    Outcome::Kept
}

pub(super) async fn small_messages_pass_beside_a_big_transfer(kit: Kit) -> Outcome {
    let members = kit.pair().await;
    let [near, far] = &members;
    let Some(caps) = near.caps().fetch else { return no_fetch(near).await };
    let mut subscriptions = kit.subscribe(&members, &topic()).await;
    // Four leaves, no two alike. Byte by byte a debug build takes longer for them than for the case.
    let content = [0_u8, 1, 2, 3].map(|n| vec![n; 1 << 20]).concat();
    let root = far.put(&content[..], Layout::default()).await.expect("puts").cid;
    if !caps.dag_in_one_request {
        // Block by block nothing can be left half done: they go side by side.
        let transfer = near.get(&root, GetOptions::default());
        let both = join(transfer, talk(&kit, &members, &mut subscriptions));
        let got = kit.soon("messages and a transfer", both).await.0.expect("all of it comes");
        assert!(got.bytes >= content.len() as u64, "{} bytes came", got.bytes);
        return Outcome::Kept;
    }
    let want = WantDag::new(root, 2 * kit.patience());
    let mut blocks = kit.soon("a DAG", near.fetch_dag(want)).await.expect("it comes");
    let first = kit.soon("its root", blocks.next()).await.expect("there is one").expect("it comes");
    assert_eq!(*first.block.cid(), root);
    talk(&kit, &members, &mut subscriptions).await;
    let rest = kit.soon("the rest", blocks.map(|block| block.expect("it comes").block.size()).collect());
    let rest: Vec<usize> = rest.await;
    assert_eq!(rest.iter().sum::<usize>(), content.len(), "all of it, after all");
    Outcome::Kept
}

/// Twenty messages each way, one after the other.
async fn talk(kit: &Kit, members: &[Member; 2], subscriptions: &mut [Subscription]) {
    for n in 0..20 {
        for (from, to) in [(0, 1), (1, 0)] {
            members[from].publish(&topic(), n.to_string()).await.expect("publishes");
            assert_eq!(kit.text(&mut subscriptions[to]).await, n.to_string());
        }
    }
}

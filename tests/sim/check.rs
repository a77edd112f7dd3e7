//! What must hold after a run.

use std::time::Duration;

use carrick::{Node, Store as _};
use tokio::runtime::Handle;
use tokio::time::sleep;

use crate::member::Member;
use crate::run::World;

/// All of it, but that nothing is left over.
pub(crate) async fn all(world: &mut World) {
    world.members.iter().for_each(Member::adds_up);
    the_log_is_the_same_everywhere(world).await;
    the_log_was_said_and_heard(world).await;
    the_last_news_were_heard(world);
    the_queues_were_looked_at(world);
    what_was_put_is_there(world).await;
    what_is_somewhere_can_be_fetched(world).await;
}

async fn the_log_is_the_same_everywhere(world: &mut World) {
    let mut first = None;
    for member in world.members.iter().filter(|member| member.honest) {
        let kept = member.kept().await;
        world.trace.note((member.at, kept.len()));
        let first = first.get_or_insert_with(|| kept.clone());
        let (less, more): (Vec<_>, Vec<_>) =
            (first.difference(&kept).collect(), kept.difference(first).collect());
        assert!(
            less.is_empty() && more.is_empty(),
            "node {} lacks {less:?} and has {more:?} beside what the first keeps",
            member.at
        );
    }
}

/// That none was overfull is seen elsewhere; here, that there was something to see. The dishonest one may be banned by
/// all, and then hears nothing.
fn the_queues_were_looked_at(world: &World) {
    for member in world.members.iter().filter(|member| member.honest) {
        let peaks = member.node().map(Node::peaks).unwrap_or_default();
        for (scope, name) in [
            ("node", "gate"),
            ("node", "gate_of_remote"),
            ("node", "subscriber_messages"),
            ("memory", "verdicts"),
            ("memory", "send_queue_bytes"),
            ("memory", "in_flight_bytes"),
        ] {
            let peak = peaks.get(scope).and_then(|peaks| peaks.get(name));
            assert!(
                peak.is_some_and(|peak| peak.most > 0),
                "node {}: {scope}: {name} was never used",
                member.at
            );
        }
    }
}

/// Nothing that an honest node was told is published is missing, nothing bad is there, and of what a node keeps its
/// subscribers heard all that is not its own.
async fn the_log_was_said_and_heard(world: &World) {
    for member in world.members.iter().filter(|member| member.honest) {
        let kept = member.kept().await;
        assert!(kept.is_disjoint(&world.bad), "node {} keeps what is bad", member.at);
        let lost: Vec<_> = world.acknowledged.difference(&kept).collect();
        assert!(lost.is_empty(), "node {} lacks {lost:?}, which were published", member.at);
        let unheard: Vec<_> = kept.symmetric_difference(&member.known).collect();
        assert!(unheard.is_empty(), "node {} keeps what it did not hand out: {unheard:?}", member.at);
    }
}

fn the_last_news_were_heard(world: &World) {
    for (at, member) in world.members.iter().enumerate().filter(|(_, member)| member.honest) {
        let mut of_others = world.told.iter().filter(|(whose, _)| *whose != at);
        let missed = of_others.find(|(_, id)| !member.heard(id));
        assert_eq!(missed, None, "node {} did not hear the news of one that is up", member.at);
    }
}

async fn what_was_put_is_there(world: &World) {
    for (member, put) in world.members.iter().zip(&world.put) {
        let looked_for = member.put.len();
        assert_eq!(looked_for, *put, "node {}: {looked_for} of {put} blocks were looked for", member.at);
        for block in &member.put {
            let stored = member.store().get(block.cid()).await.expect("reads");
            assert_eq!(stored.as_ref(), Some(block), "node {} lost what was put", member.at);
        }
    }
}

/// A node fetches all that its neighbours have; at the least one is linked with it.
async fn what_is_somewhere_can_be_fetched(world: &World) {
    let reader = world.members[0].node().expect("all are up");
    let linked = reader.peers().await.expect("peers");
    assert!(!linked.is_empty(), "nobody is linked with node 1");
    for peer in linked.iter().filter_map(|linked| linked.remote.peer()) {
        let member = world.members.iter().find(|member| member.peer() == *peer).expect("a member");
        for block in &member.put {
            assert_eq!(&reader.block(block.cid(), vec![*peer]).await.expect("it comes"), block);
        }
    }
}

/// Every task ended with its node.
pub(crate) async fn nothing_is_left() {
    // Cancelled tasks go at their next turn.
    for _ in 0..1_000 {
        if Handle::current().metrics().num_alive_tasks() == 0 {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("{} tasks are left over", Handle::current().metrics().num_alive_tasks());
}

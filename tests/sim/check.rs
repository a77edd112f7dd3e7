//! What must hold after a run.

use std::time::Duration;

use carrick::Store as _;
use tokio::runtime::Handle;
use tokio::time::sleep;

use crate::run::World;

/// All of it, but that nothing is left over.
pub(crate) async fn all(world: &mut World) {
    the_log_is_the_same_everywhere(world).await;
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

async fn what_was_put_is_there(world: &World) {
    for member in &world.members {
        for block in &member.put {
            let stored = member.store().get(block.cid()).await.expect("reads");
            assert_eq!(stored.as_ref(), Some(block), "node {}", member.at);
        }
    }
}

async fn what_is_somewhere_can_be_fetched(world: &World) {
    let Some(reader) = world.members[0].node() else { return };
    for member in &world.members {
        let near = world.members[0].node().is_some_and(|node| node.peer_id() == member.peer());
        let linked = reader.peers().await.expect("peers");
        let linked = linked.iter().any(|peer| peer.remote.peer() == Some(&member.peer()));
        for block in member.put.iter().filter(|_| near || linked) {
            assert_eq!(&reader.block(block.cid(), vec![member.peer()]).await.expect("it comes"), block);
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

//! A fold goes on after a restart.

use std::sync::Arc;

use carrick_core::{ErrorKind, Keypair, MemoryStore};

use crate::setting::{Lone, Made, Trace, cids};

async fn chain(node: &Lone, entries: usize) -> Vec<Made> {
    let mut made: Vec<Made> = vec![];
    for n in 0..entries {
        let before = made.last().map(Made::cid).into_iter().collect();
        made.push(node.write(n.to_string(), before).await);
    }
    made
}

#[tokio::test(start_paused = true)]
async fn what_was_saved_is_not_folded_again_unless_it_no_longer_fits() {
    let (key, store) = (Keypair::generate_ed25519(), Arc::new(MemoryStore::default()));
    let open = async || Lone::with(key.clone(), Arc::clone(&store) as _, vec![]).await;
    let node = open().await;
    let trace = Trace::default();
    let made = chain(&node, 3_500).await;
    let resumed = async |node: &Lone, version| {
        let folded = node.ledger.fold_saved("trace", version, trace.clone()).expect("open");
        let view = folded.current().await.expect("open");
        assert_eq!(view.state.len(), node.ledger.count().expect("open"));
        (trace.applied(), cids(&view.state))
    };
    let (applied, first) = resumed(&node, 1).await;
    assert_eq!(applied, 3_500);
    drop(node);
    let node = open().await;
    assert_eq!(resumed(&node, 1).await, (3_500 - 3 * 1_024, first.clone()));
    assert_eq!(resumed(&node, 2).await, (3_500, first), "another version");

    // One that stands between the second and the third that was saved. Of the version that was saved last.
    let other = Lone::open(vec![]).await;
    for entry in &made[..2_500] {
        other.take(entry).await;
    }
    node.take(&other.write("late", vec![made[2_499].cid()]).await).await;
    drop(node);
    let node = open().await;
    let (applied, second) = resumed(&node, 2).await;
    assert_eq!(applied, 3_501 - 2 * 1_024);
    assert_eq!(second[2_500..2_502].iter().filter(|cid| **cid == made[2_500].cid()).count(), 1);
    assert_eq!(resumed(&node, 1).await, (3_501, second), "only one version is kept");
    node.node.close().await.expect("closes");
}

#[tokio::test(start_paused = true)]
async fn the_name_is_checked() {
    let node = Lone::open(vec![]).await;
    let error = node.ledger.fold_saved("no/name", 1, Trace::default()).expect_err("no name");
    assert_eq!(error.kind(), ErrorKind::Config);
}

//! Blocks for transports that serve from a store of their own.

use std::slice;
use std::sync::Arc;
use std::time::Duration;

use carrick_core::{
    ErrorKind, GetOptions, Keep, MemoryStore, MessageId, Notice, Owner, Relay, Serving, Store as _,
    TopicRules,
};

use tokio::time::Instant;

use crate::support::{
    Call, Does, Envelope, Wire, linking, on, on_wires, open, raw, remote, settle, topic, within,
};

/// As long as the next block may be in coming while others wait to be handed over with it.
const LULL: Duration = Duration::from_secs(1);

fn daemon() -> Wire {
    Wire::new().with(|caps| caps.fetch.as_mut().expect("fetches").serving = Serving::FromOwnStore)
}

#[tokio::test(start_paused = true)]
async fn every_block_is_handed_over_once() {
    let wire = daemon();
    let node = on(&wire).open().await.expect("opens");
    settle().await;
    let block = raw("x");
    node.put_blocks(slice::from_ref(&block)).await.expect("put");
    let fetched = raw("y");
    wire.provider(remote(1), Does::Serve([(*fetched.cid(), fetched.bytes().clone())].into()));
    let asked = (0..20).map(|_| node.block(fetched.cid(), vec![]));
    for block in within(futures::future::join_all(asked)).await {
        assert_eq!(block.expect("fetched"), fetched);
    }
    tokio::time::sleep(LULL).await;
    settle().await;
    assert_eq!(wire.provided(), [*block.cid(), *fetched.cid()]);
    node.pin(block.cid(), Owner::user()).await.expect("pins");
    assert!(matches!(wire.calls().last(), Some(Call::Announce(root)) if root == block.cid()));
}

#[tokio::test(start_paused = true)]
async fn who_fetches_does_not_wait_until_it_is_handed_over() {
    let wire = daemon();
    let node = on(&wire).open().await.expect("opens");
    settle().await;
    let time = Duration::from_secs(5);
    wire.takes(time);
    let began = Instant::now();
    let blocks = [raw("x"), raw("y"), raw("z")];
    wire.serves(remote(1), &blocks);
    for block in &blocks {
        within(node.block(block.cid(), vec![])).await.expect("fetched");
        tokio::time::sleep(LULL / 2).await;
    }
    assert!(wire.provided().is_empty() && began.elapsed() < time);
    // All at once, soon after the last.
    tokio::time::sleep(LULL / 2 + time).await;
    settle().await;
    let mut provided = wire.provided();
    provided.sort_unstable();
    let mut all = blocks.map(|block| *block.cid());
    all.sort_unstable();
    assert_eq!(provided, all);
}

/// Others fetch it by its id.
#[tokio::test(start_paused = true)]
async fn a_message_that_is_kept_is_handed_over() {
    let wire = daemon();
    let mut rules = TopicRules::default();
    rules.keep = Keep::Everything;
    let (_node, _subscription) = open(on(&wire).topic(topic(), rules)).await;
    let message = Envelope::by(1, 1, "hello").encode();
    assert_eq!(wire.deliver(&remote(1), message.clone()).await, Relay::Accept);
    tokio::time::sleep(LULL).await;
    settle().await;
    assert_eq!(wire.provided(), [*MessageId::of(&message).cid()]);
}

#[tokio::test(start_paused = true)]
async fn what_goes_on_being_fetched_is_handed_over_all_the_same() {
    let wire = daemon();
    let node = on(&wire).open().await.expect("opens");
    settle().await;
    let blocks: Vec<_> = (0..40).map(|n| raw(format!("block {n}"))).collect();
    wire.serves(remote(1), &blocks);
    for block in &blocks {
        within(node.block(block.cid(), vec![])).await.expect("fetched");
        tokio::time::sleep(LULL / 2).await;
    }
    assert!(wire.provided().len() >= blocks.len() / 2);
}

#[tokio::test(start_paused = true)]
async fn what_was_stored_before_is_handed_over_when_the_node_opens_and_when_it_was_forgotten() {
    let (wire, store) = (daemon(), Arc::new(MemoryStore::default()));
    let blocks: Vec<_> = (0..600).map(|n| raw(format!("block {n}"))).collect();
    store.put(&blocks).await.expect("put");
    let _node = on(&wire).store(store).open().await.expect("opens");
    settle().await;
    let mut all: Vec<_> = blocks.iter().map(|block| *block.cid()).collect();
    all.sort_unstable();
    assert_eq!(wire.provided(), all);
    wire.host().notice(Notice::Forgot);
    settle().await;
    assert_eq!(wire.provided(), [all.clone(), all].concat());
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_is_handed_over_later() {
    let wire = daemon();
    let node = on(&wire).open().await.expect("opens");
    settle().await;
    for refusal in [ErrorKind::Unreachable, ErrorKind::Full] {
        let block = raw(format!("{refusal:?}"));
        wire.refuses(Some((vec![], refusal)));
        let error = node.put_blocks(slice::from_ref(&block)).await.expect_err("refused");
        assert_eq!(error.kind(), refusal);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(!wire.provided().contains(block.cid()));
        wire.refuses(None);
        tokio::time::sleep(Duration::from_secs(31)).await;
        assert!(wire.provided().contains(block.cid()), "{refusal:?}: without another put");
    }
    assert!(node.counter("provide_failed") >= 2);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_refused_for_ever_keeps_no_other_back() {
    let (wire, store) = (daemon(), Arc::new(MemoryStore::default()));
    let blocks: Vec<_> = (0..10).map(|n| raw(format!("block {n}"))).collect();
    store.put(&blocks).await.expect("put");
    wire.refuses(Some((vec![*blocks[3].cid()], ErrorKind::TooLarge)));
    let node = on(&wire).store(store).open().await.expect("opens");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(wire.provided().len(), 9, "each of the others once");
    assert_eq!(node.counter("provide_failed"), 1);
}

/// What was given before is not given once more for it.
#[tokio::test(start_paused = true)]
async fn only_what_was_refused_is_owed() {
    let (wire, store) = (daemon(), Arc::new(MemoryStore::default()));
    let [before, large, small, late] = ["before", "large", "small", "late"].map(raw);
    store.put(slice::from_ref(&before)).await.expect("put");
    let node = on(&wire).store(store).open().await.expect("opens");
    settle().await;
    wire.refuses(Some((vec![*large.cid()], ErrorKind::TooLarge)));
    let both = [large.clone(), small.clone()];
    for put in [&both[..], &both[..1]] {
        let error = node.put_blocks(put).await.expect_err("one of them is too large");
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(wire.provided(), [*before.cid(), *small.cid()]);
    }
    assert_eq!(node.counter("provide_failed"), 3, "of two, of one of them, and alone");
    wire.refuses(Some((vec![], ErrorKind::Unreachable)));
    node.put_blocks(slice::from_ref(&late)).await.expect_err("refused");
    wire.refuses(None);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(wire.provided(), [*before.cid(), *small.cid(), *late.cid()]);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_slow_wire_where_another_serves() {
    let (peers, slow) = (Wire::new(), daemon());
    let node = on_wires(&[("peers", &peers), ("slow", &slow)]).open().await.expect("opens");
    settle().await;
    let time = Duration::from_secs(60);
    slow.takes(time);
    let put: Vec<_> = (0..5_000).map(|n| raw(format!("block {n}"))).collect();
    let leaf = raw("leaf");
    let root = linking("root", &[*leaf.cid()]);
    peers.serves(remote(1), [&root, &leaf]);
    let began = Instant::now();
    within(node.put_blocks(&put[..1])).await.expect("put");
    settle().await;
    within(node.put_blocks(&put[1..])).await.expect("put");
    within(node.get(root.cid(), GetOptions::default())).await.expect("got");
    assert!(began.elapsed() < LULL && slow.provided().is_empty());
    tokio::time::sleep(time).await;
    settle().await;
    assert_eq!(slow.provided(), [*put[0].cid()], "what was put does not wait for more");
    tokio::time::sleep(30 * time).await;
    let (mut provided, mut all) = (slow.provided(), vec![*root.cid(), *leaf.cid()]);
    all.extend(put.iter().map(|block| *block.cid()));
    provided.sort_unstable();
    all.sort_unstable();
    assert!(provided == all, "each once: {} of {}", provided.len(), all.len());
}

#[tokio::test(start_paused = true)]
async fn who_gets_a_dag_does_not_wait_until_it_is_handed_over() {
    let wire = daemon();
    let node = on(&wire).open().await.expect("opens");
    settle().await;
    wire.takes(Duration::from_secs(60));
    let leaf = raw("leaf");
    let root = linking("root", &[*leaf.cid()]);
    wire.serves(remote(1), [&root, &leaf]);
    let began = Instant::now();
    within(node.get(root.cid(), GetOptions::default())).await.expect("got");
    assert!(began.elapsed() < LULL && wire.provided().is_empty());
    tokio::time::sleep(Duration::from_secs(62)).await;
    assert_eq!(wire.provided().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_dropped_hands_nothing_over() {
    let wire = daemon();
    let node = on(&wire).open().await.expect("opens");
    wire.refuses(Some((vec![], ErrorKind::Unreachable)));
    let block = raw("x");
    node.put_blocks(slice::from_ref(&block)).await.expect_err("refused");
    settle().await;
    drop(node);
    wire.refuses(None);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(wire.provided().is_empty());
}

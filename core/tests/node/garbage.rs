//! Garbage collection: what goes, what stays, and what happens beside it.

use std::collections::BTreeSet;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use carrick_core::dag::Layout;
use carrick_core::{
    Block, Bytes, Cid, Collected, DAG_CBOR, ErrorKind, GetOptions, Node, Owner, Pin, PinDepth, Relay,
    Serving, Store as _, TopicRules,
};
use futures::TryStreamExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;

use crate::support::{
    Call, Does, End, Envelope, Shared, Wire, linking, memory, on, open, raw, remote, settle, stored, topic,
    within,
};

fn daemon() -> Wire {
    Wire::new().with(|caps| caps.fetch.as_mut().expect("fetches").serving = Serving::FromOwnStore)
}

fn raws(name: &str, number: usize) -> Vec<Block> {
    (0..number).map(|n| raw(format!("{name} {n}"))).collect()
}

fn cids<'a>(blocks: impl IntoIterator<Item = &'a Block>) -> BTreeSet<Cid> {
    blocks.into_iter().map(|block| *block.cid()).collect()
}

async fn collect(node: &Node) -> Collected {
    within(node.collect_garbage()).await.expect("collects")
}

fn numbers(collected: Collected) -> (u64, u64, u64) {
    (collected.kept, collected.deleted, collected.bytes)
}

#[tokio::test(start_paused = true)]
async fn what_no_pin_holds_is_deleted() {
    let node = on(&Wire::new()).open().await.expect("opens");
    let [below, alone, single, loose] = ["below", "alone", "single", "loose"].map(raw);
    let absent = raw("absent");
    let middle = linking("middle", &[*below.cid(), *absent.cid()]);
    let root = linking("root", &[*middle.cid(), *linking("absent", &[]).cid()]);
    let over_single = linking("over single", &[*single.cid()]);
    let kept = [&below, &middle, &root, &alone, &over_single];
    let blocks: Vec<Block> = kept.into_iter().chain([&single, &loose]).cloned().collect();
    node.put_blocks(&blocks).await.expect("puts");
    node.pin(root.cid(), Owner::user()).await.expect("pins");
    node.pin(alone.cid(), Owner::new("another")).await.expect("pins");
    let pin = Pin { cid: *over_single.cid(), owner: Owner::user(), depth: PinDepth::Block };
    node.store().pin(&pin).await.expect("pins");
    assert_eq!(numbers(collect(&node).await), (5, 2, (single.size() + loose.size()) as u64));
    assert_eq!(stored(&**node.store()).await, cids(kept));
    assert_eq!(numbers(collect(&node).await), (5, 0, 0), "nothing is left to do");

    assert!(node.unpin(root.cid(), &Owner::user()).await.expect("unpins"));
    assert!(!node.unpin(root.cid(), &Owner::user()).await.expect("unpins"), "it is gone");
    assert!(!node.unpin(alone.cid(), &Owner::user()).await.expect("unpins"), "it is another's");
    collect(&node).await;
    assert_eq!(stored(&**node.store()).await, cids([&alone, &over_single]));
    let left: Vec<Pin> = node.pins(None).try_collect().await.expect("lists");
    assert_eq!(left.len(), 2);
    let own: Vec<Pin> = node.pins(Some(&Owner::user())).try_collect().await.expect("lists");
    assert_eq!(own, [pin]);
}

#[tokio::test(start_paused = true)]
async fn what_is_removed_takes_along_what_nothing_else_holds() {
    let node = on(&Wire::new()).open().await.expect("opens");
    let [own, shared, loose] = ["own", "shared", "loose"].map(raw);
    let root = linking("root", &[*own.cid(), *shared.cid(), *raw("absent").cid()]);
    let other = linking("other", &[*shared.cid()]);
    node.put_blocks(&[own.clone(), shared.clone(), loose.clone(), root.clone(), other.clone()])
        .await
        .expect("puts");
    for pinned in [&root, &other] {
        node.pin(pinned.cid(), Owner::user()).await.expect("pins");
    }
    let removed = node.remove(root.cid(), &Owner::user()).await.expect("removes");
    assert_eq!(numbers(removed), (1, 2, (root.size() + own.size()) as u64));
    assert_eq!(
        stored(&**node.store()).await,
        cids([&shared, &other, &loose]),
        "garbage elsewhere is not its part"
    );
    let error = node.remove(root.cid(), &Owner::user()).await.expect_err("it is gone");
    assert_eq!(error.kind(), ErrorKind::NotFound);

    node.pin(other.cid(), Owner::new("another")).await.expect("pins");
    let removed = node.remove(other.cid(), &Owner::user()).await.expect("removes");
    assert_eq!((removed.kept, removed.deleted), (2, 0), "another holds it");
    node.remove(loose.cid(), &Owner::user()).await.expect("one without a pin goes too");
    assert_eq!(stored(&**node.store()).await, cids([&shared, &other]));
}

#[tokio::test(start_paused = true)]
async fn it_is_told_what_is_here_and_who_holds_it() {
    let node = on(&Wire::new()).open().await.expect("opens");
    let [below, absent] = ["below", "absent"].map(raw);
    let root = linking("root", &[*below.cid(), *absent.cid()]);
    node.put_blocks(&[root.clone(), below.clone()]).await.expect("puts");
    for owner in ["another", "user"] {
        node.pin(root.cid(), Owner::new(owner)).await.expect("pins");
    }
    let stat = node.stat(root.cid()).await.expect("tells");
    assert_eq!((stat.blocks, stat.missing, stat.entry.links), (2, 1, 2));
    assert_eq!(stat.pins.iter().map(|pin| pin.owner.as_str()).collect::<Vec<_>>(), ["another", "user"]);
    assert_eq!(node.stat(below.cid()).await.expect("tells").pins, []);
    assert_eq!(node.stat(absent.cid()).await.expect_err("it is not here").kind(), ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn what_a_topic_keeps_stays() {
    let wire = Wire::new();
    let (node, _subscription) = open(on(&wire).topic(topic(), TopicRules::kept())).await;
    node.publish(&topic(), "own").await.expect("publishes");
    node.publish(&topic(), vec![b'o'; 100_000]).await.expect("publishes");
    let payload = raw(vec![b'p'; 100_000]);
    wire.serves(remote(5), [&payload]);
    let message = Envelope::by(1, 1, "").linked(payload.bytes());
    assert_eq!(wire.deliver(&remote(2), message.encode()).await, Relay::Accept);
    let before = stored(&**node.store()).await;
    assert_eq!(before.len(), 5);
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(numbers(collect(&node).await), (5, 0, 0));
    let pins: Vec<Pin> = node.pins(Some(&Owner::topic(&topic()))).try_collect().await.expect("lists");
    assert_eq!(pins.iter().map(|pin| pin.cid).collect::<BTreeSet<_>>(), before);
}

#[tokio::test(start_paused = true)]
async fn the_payload_of_a_message_stays_for_as_long_as_somebody_may_ask_for_it() {
    let wire = Wire::new();
    let (node, _subscription) = open(on(&wire)).await;
    node.publish(&topic(), vec![b'o'; 100_000]).await.expect("publishes");
    let payload = raw(vec![b'p'; 100_000]);
    wire.serves(remote(5), [&payload]);
    let message = Envelope::by(1, 1, "").linked(payload.bytes());
    assert_eq!(wire.deliver(&remote(2), message.encode()).await, Relay::Accept);
    tokio::time::sleep(Duration::from_secs(59)).await;
    assert_eq!(collect(&node).await.kept, 2);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(collect(&node).await.deleted, 2);
}

#[tokio::test(start_paused = true)]
async fn a_put_loses_nothing() {
    let node = on(&Wire::new()).open().await.expect("opens");
    // Each batch is written at 8 MiB; the fourth is the last.
    let content: Vec<u8> = (0..28_u32 << 18).flat_map(u32::to_le_bytes).collect();
    let (mut writer, reader) = tokio::io::duplex(1 << 20);
    let putting = node.put(reader, Layout::default());
    let feeding = async {
        for part in content.chunks(1 << 20) {
            writer.write_all(part).await.expect("it reads");
            settle().await;
            collect(&node).await;
        }
        writer.shutdown().await.expect("shuts");
    };
    let (put, ()) = futures::join!(putting, feeding);
    let put = put.expect("puts");
    assert_eq!(collect(&node).await.deleted, 0);
    let read: Vec<Bytes> = node.read(&put.cid, ..).try_collect().await.expect("all is there");
    assert!(read.concat() == content);
}

/// Fetches, over a wire that is slow to bring what the node has not, and collects garbage meanwhile.
async fn get_amid_collections(wire: Wire, slow: impl Fn(&Wire, &[Block])) {
    let node = on(&wire).open().await.expect("opens");
    let leaves = raws("leaf", 8);
    let middle = linking("middle", &leaves.iter().map(|leaf| *leaf.cid()).collect::<Vec<_>>());
    let root = linking("root", &[*middle.cid()]);
    let all: Vec<Block> = [&root, &middle].into_iter().chain(&leaves).cloned().collect();
    // Garbage of an earlier day, which the fetch counts on as soon as it met it.
    node.put_blocks(&all[..6]).await.expect("puts");
    slow(&wire, &all);
    let getting = tokio::spawn(node.get(root.cid(), GetOptions::default()));
    settle().await;
    assert_eq!(collect(&node).await.deleted, 0);
    assert!(!getting.is_finished());
    wire.no_providers();
    wire.serves(remote(1), &all);
    let got = within(getting).await.expect("ends").expect("gets");
    assert_eq!(collect(&node).await.deleted, 0);
    assert_eq!(stored(&**node.store()).await, cids(&all), "all is there for as long as somebody cares");
    drop(got);
    assert_eq!(collect(&node).await.deleted, 10, "nothing holds it any longer");
}

#[tokio::test(start_paused = true)]
async fn a_get_loses_nothing() {
    get_amid_collections(Wire::new(), |wire, all| {
        let one = vec![(*all[6].cid(), all[6].bytes().clone())];
        wire.provider(remote(1), Does::Script(one, End::Never));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_get_block_by_block_loses_nothing() {
    get_amid_collections(Wire::new().singly(), |wire, all| {
        wire.serves(remote(1), all);
        wire.lags(Duration::from_secs(5));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_held_or_pinned_first_and_put_in_one_call_stays() {
    let node = on(&Wire::new()).open().await.expect("opens");
    let leaf = raw("leaf");
    let root = linking("root", &[*leaf.cid()]);
    let hold = node.hold();
    hold.add([leaf.cid(), root.cid()]).await;
    let twice = node.hold();
    twice.add([leaf.cid()]).await;
    node.put_blocks(slice::from_ref(&leaf)).await.expect("puts");
    collect(&node).await;
    drop(twice);
    collect(&node).await;
    node.put_blocks(slice::from_ref(&root)).await.expect("puts");
    assert_eq!(collect(&node).await.kept, 2);
    drop(hold);
    assert_eq!(collect(&node).await.deleted, 2);
    node.pin(root.cid(), Owner::user()).await.expect("pins");
    node.put_blocks(&[leaf, root]).await.expect("puts");
    assert_eq!(collect(&node).await.kept, 2);
}

/// A node on a slow disk, with more garbage than is deleted at once, and a collection that is in the middle of it.
async fn amid_a_collection() -> (Node, Shared, Vec<Block>, tokio::task::JoinHandle<Collected>) {
    let disk = Shared::default();
    let node = on(&Wire::new()).store(disk.arc()).open().await.expect("opens");
    let mut garbage = raws("garbage", 600);
    node.put_blocks(&garbage).await.expect("puts");
    garbage.sort_by_key(|block| block.cid().to_bytes());
    disk.deletes_in(Duration::from_secs(1));
    let at_work = node.clone();
    let collecting = tokio::spawn(async move { at_work.collect_garbage().await.expect("collects") });
    tokio::time::sleep(Duration::from_millis(500)).await;
    (node, disk, garbage, collecting)
}

#[tokio::test(start_paused = true)]
async fn what_is_pinned_while_it_runs_stays_with_all_under_it() {
    let (node, _disk, garbage, collecting) = amid_a_collection().await;
    let later = &garbage[300..];
    let root = linking("root", &later.iter().map(|block| *block.cid()).collect::<Vec<_>>());
    node.put_blocks(slice::from_ref(&root)).await.expect("puts");
    node.pin(root.cid(), Owner::user()).await.expect("pins");
    let last = &garbage[256..300];
    for block in last {
        node.store().pin(&Pin::recursive(*block.cid(), Owner::user())).await.expect("pins");
    }
    assert_eq!(within(collecting).await.expect("ends").deleted, 256);
    let kept = cids(later.iter().chain(last).chain([&root]));
    assert_eq!(stored(&**node.store()).await, kept);
}

#[tokio::test(start_paused = true)]
async fn a_block_that_is_put_while_it_is_deleted_is_there_in_the_end() {
    let (node, _disk, garbage, collecting) = amid_a_collection().await;
    let (now, later, new) = (&garbage[0], &garbage[400], raw("new"));
    let puts = [later, &new, now].map(|block| {
        let (node, block) = (node.clone(), block.clone());
        async move { node.put_blocks(&[block]).await.expect("puts") }
    });
    let [later_put, new_put, now_put] = puts;
    // Only who puts what is deleted at this moment waits for that.
    later_put.await;
    new_put.await;
    assert!(!collecting.is_finished());
    within(now_put).await;
    assert_eq!(within(collecting).await.expect("ends").deleted, 599);
    assert_eq!(stored(&**node.store()).await, cids([now, later, &new]));
}

#[tokio::test(start_paused = true)]
async fn one_runs_at_a_time_and_may_be_given_up() {
    let (node, _disk, garbage, collecting) = amid_a_collection().await;
    collecting.abort();
    assert!(collecting.await.expect_err("given up").is_cancelled());
    node.put_blocks(&garbage).await.expect("nothing waits for it");
    let both = futures::join!(node.collect_garbage(), node.collect_garbage());
    assert_eq!(both.0.expect("collects").deleted + both.1.expect("collects").deleted, 600);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_deleted_while_it_is_not_known_what_is_held() {
    let disk = Shared::default();
    let node = on(&Wire::new()).store(disk.arc()).open().await.expect("opens");
    let leaf = raw("leaf");
    let root = linking("root", &[*leaf.cid()]);
    node.put_blocks(&[leaf.clone(), root.clone()]).await.expect("puts");
    node.pin(root.cid(), Owner::user()).await.expect("pins");
    disk.away(true);
    let error = node.collect_garbage().await.expect_err("the store does not read");
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    disk.away(false);
    disk.damage(*root.cid());
    let error = node.collect_garbage().await.expect_err("nobody knows what was under it");
    assert_eq!(error.kind(), ErrorKind::Integrity);
    assert!(
        error.hint().is_some_and(|hint| hint.contains("unpin") || hint.contains("pin of user")),
        "{error:?}"
    );
    assert_eq!(stored(&**node.store()).await, cids([&leaf, &root]));

    node.store().delete(root.cid()).await.expect("deletes");
    let odd = Block::new(0x0129, &b"{}"[..]);
    node.put_blocks(slice::from_ref(&odd)).await.expect("puts");
    node.pin(odd.cid(), Owner::user()).await.expect("pins");
    let error = node.collect_garbage().await.expect_err("its links are not known");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    node.unpin(odd.cid(), &Owner::user()).await.expect("unpins");
    // Malformed from the start: it never linked to anything.
    let malformed = Block::new(DAG_CBOR, &b"\xff"[..]);
    node.put_blocks(slice::from_ref(&malformed)).await.expect("puts");
    node.pin(malformed.cid(), Owner::user()).await.expect("pins");
    assert_eq!(collect(&node).await.kept, 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_deleted_is_withdrawn_and_what_is_put_again_is_handed_over_again() {
    let wire = daemon();
    let node = on(&wire).open().await.expect("opens");
    settle().await;
    let (garbage, kept) = (raws("garbage", 600), raw("kept"));
    node.put_blocks(&garbage).await.expect("puts");
    node.put_blocks(slice::from_ref(&kept)).await.expect("puts");
    node.pin(kept.cid(), Owner::user()).await.expect("pins");
    collect(&node).await;
    assert_eq!(wire.withdrawn().into_iter().collect::<BTreeSet<_>>(), cids(&garbage));
    node.put_blocks(&garbage[..1]).await.expect("puts");
    let last =
        wire.calls().into_iter().rev().find(|call| matches!(call, Call::Provide(_) | Call::Withdraw(_)));
    assert!(matches!(last, Some(Call::Provide(cid)) if cid == *garbage[0].cid()), "{last:?}");
    assert_eq!(wire.withdrawn().len(), 600);
}

#[tokio::test(start_paused = true)]
async fn what_is_deleted_is_withdrawn_where_the_host_serves_it_too_and_goes_whether_or_not_it_is() {
    for lets_go in [true, false] {
        let wire = Wire::new();
        if !lets_go {
            wire.clings(Some((vec![], ErrorKind::Timeout)));
        }
        let node = on(&wire).open().await.expect("opens");
        let garbage = raws("garbage", 300);
        node.put_blocks(&garbage).await.expect("puts");
        assert_eq!(collect(&node).await.deleted, 300);
        assert!(stored(&**node.store()).await.is_empty());
        let withdrawn = wire.withdrawn().into_iter().collect::<BTreeSet<_>>();
        assert_eq!(withdrawn, if lets_go { cids(&garbage) } else { BTreeSet::new() });
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_transport_does_not_let_go_stays_until_it_does() {
    let wire = daemon();
    let node = on(&wire).open().await.expect("opens");
    let garbage = raws("garbage", 10);
    node.put_blocks(&garbage).await.expect("puts");
    wire.clings(Some((vec![], ErrorKind::Unreachable)));
    let error = node.collect_garbage().await.expect_err("it is away");
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert_eq!((stored(&**node.store()).await.len(), node.counter("withdraw_failed")), (10, 10));
    wire.clings(Some((vec![*garbage[3].cid()], ErrorKind::Unexpected)));
    let collected = collect(&node).await;
    assert_eq!((collected.kept, collected.deleted), (1, 9), "one keeps no other back");
    assert_eq!(node.counter("withdraw_failed"), 11);
    wire.clings(None);
    assert_eq!(collect(&node).await.deleted, 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_discarded_is_withdrawn_and_its_pin_goes_with_it() {
    let (wire, owner) = (daemon(), Owner::new("service"));
    let node = on(&wire).open().await.expect("opens");
    let blocks = raws("page", 3);
    node.put_blocks(&blocks).await.expect("puts");
    for block in &blocks {
        node.pin(block.cid(), owner.clone()).await.expect("pins");
    }
    let [first, second, third] = [0, 1, 2].map(|n| *blocks[n].cid());
    wire.clings(Some((vec![second], ErrorKind::Unexpected)));
    assert_eq!(node.discard(&[first, second], &owner).await.expect("discards"), [first]);
    assert_eq!(stored(&**node.store()).await, [second, third].into());
    let pins: Vec<Pin> = node.pins(Some(&owner)).try_collect().await.expect("lists");
    assert_eq!(pins.len(), 2);
    wire.clings(None);
    assert_eq!(node.discard(&[second], &owner).await.expect("discards"), [second]);
    assert_eq!(wire.withdrawn().into_iter().collect::<BTreeSet<_>>(), [first, second].into());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_handed_over_behind_its_withdrawal() {
    let (wire, store) = (daemon(), memory());
    let block = raw("block");
    store.put(slice::from_ref(&block)).await.expect("puts");
    wire.takes(Duration::from_secs(5));
    let node = on(&wire).store(store).open().await.expect("opens");
    settle().await;
    assert!(wire.provided().is_empty(), "it is still being handed over");
    collect(&node).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let about_it: Vec<_> = wire
        .calls()
        .into_iter()
        .filter(|call| matches!(call, Call::Provide(_) | Call::Withdraw(_)))
        .collect();
    assert!(matches!(about_it[..], [Call::Provide(_), Call::Withdraw(_)]), "{about_it:?}");
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_collection_that_waits_for_a_slow_wire() {
    let wire = daemon();
    let node = on(&wire).open().await.expect("opens");
    let garbage = raws("garbage", 10);
    node.put_blocks(&garbage).await.expect("puts");
    settle().await;
    wire.takes(Duration::from_secs(60));
    let (putting, collecting) = (node.clone(), node.clone());
    let putting = tokio::spawn(async move { putting.put_blocks(&[raw("slow")]).await });
    settle().await;
    let collecting = tokio::spawn(async move { collecting.collect_garbage().await });
    settle().await;
    let began = Instant::now();
    within(node.pin(garbage[0].cid(), Owner::user())).await.expect("pins");
    assert!(began.elapsed().is_zero() && !putting.is_finished() && !collecting.is_finished());
    within(putting).await.expect("ends").expect("puts");
    let collected = within(collecting).await.expect("ends").expect("collects");
    assert_eq!((collected.kept, collected.deleted), (1, 10), "what was pinned stays");
}

#[tokio::test]
async fn a_large_collection_lets_others_run() {
    let store = memory();
    let garbage = raws("garbage", 50_000);
    let root = linking("root", &raws("kept", 1).iter().map(|leaf| *leaf.cid()).collect::<Vec<_>>());
    let mut pinned = vec![root];
    for n in 0..5_000 {
        let above = linking(&format!("above {n}"), &[*pinned[n].cid()]);
        pinned.push(above);
    }
    store.put(&garbage).await.expect("puts");
    store.put(&pinned).await.expect("puts");
    let top = pinned[pinned.len() - 1].cid();
    store.pin(&Pin::recursive(*top, Owner::user())).await.expect("pins");
    let node = on(&Wire::new()).store(store).open().await.expect("opens");
    let turns = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&turns);
    let other = tokio::spawn(async move {
        loop {
            counted.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
        }
    });
    let collected = node.collect_garbage().await.expect("collects");
    other.abort();
    assert_eq!((collected.kept, collected.deleted), (5_001, 50_000));
    assert!(turns.load(Ordering::Relaxed) > 5_000, "{turns:?}");
}

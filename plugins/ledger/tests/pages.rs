//! Long logs: who is far behind reads pages, and a ledger opens by its pages.

mod member;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use carrick_core::{
    Block, Bytes, DAG_CBOR, Keypair, Limits, MemoryStore, Owner, Pin, Site, Store as _, Topic, cid_of,
};
use carrick_plugin_store_fjall::{FjallConfig, FjallStore};
use carrick_transport_memory::{Conditions, MemoryNetwork};
use futures::TryStreamExt as _;
use tokio::time::timeout;

use member::{Member, PATIENCE, agree};

/// More than is fetched without pages, and several pages.
const MANY: usize = 1_500;

async fn long(wire: &MemoryNetwork) -> Member {
    let member = Member::open(wire).await;
    for n in 0..MANY {
        member.append(&format!("{n}")).await;
    }
    member
}

#[tokio::test(start_paused = true)]
async fn who_is_far_behind_gets_all_of_it_from_several_and_no_more() {
    let wire = MemoryNetwork::new(1);
    let first = long(&wire).await;
    let second = Member::open(&wire).await;
    second.join(&first).await;
    second.until(MANY).await;
    let late = Member::open(&wire).await;
    late.meet(&first).await;
    late.meet(&second).await;
    agree(&[&first, &second, &late], MANY).await;
    for n in 0..10 {
        first.append(&format!("then {n}")).await;
    }
    agree(&[&first, &second, &late], MANY + 10).await;
}

#[tokio::test(start_paused = true)]
async fn both_sides_of_a_long_partition_read_each_others_pages() {
    let wire = MemoryNetwork::new(2);
    let (one, other) = (long(&wire).await, long(&wire).await);
    one.meet(&other).await;
    agree(&[&one, &other], 2 * MANY).await;
}

/// Each side wrote more bytes than are fetched without pages, and about as many entries.
#[tokio::test(start_paused = true)]
async fn both_sides_wrote_much_in_few_entries() {
    let wire = MemoryNetwork::new(8);
    let (one, other) = (Member::open(&wire).await, Member::open(&wire).await);
    for n in 0..1_100 {
        let payload = vec![(n % 251) as u8; 64_000];
        let [made, too] = [&one, &other].map(|member| member.ledger.append(payload.clone()));
        let (made, too) = tokio::join!(made, too);
        made.and(too).expect("appends");
    }
    one.meet(&other).await;
    agree(&[&one, &other], 2_200).await;
}

/// It takes minutes before the first of them can be judged, and that is no lie.
#[tokio::test(start_paused = true)]
async fn large_entries_come_over_a_slow_link() {
    let wire = MemoryNetwork::new(11);
    let first = Member::open(&wire).await;
    for _ in 0..250 {
        first.ledger.append(vec![b'x'; 64_000]).await.expect("appends");
    }
    let mut slow = Conditions::default();
    slow.bandwidth = Some(100_000);
    wire.set_conditions(slow);
    let late = Member::open(&wire).await;
    late.meet(&first).await;
    // As long as they take, and somewhat more.
    let came = timeout(Duration::from_secs(200), late.until(250)).await;
    assert!(came.is_ok(), "{} of 250 came", late.ledger.count().expect("open"));
    agree(&[&first, &late], 250).await;
}

/// More heads than an entry may follow, or are told.
#[tokio::test(start_paused = true)]
async fn who_comes_late_gets_more_heads_than_are_told() {
    let wire = MemoryNetwork::new(9);
    let first = Member::open(&wire).await;
    for n in 0..70 {
        let writer = Member::open(&wire).await;
        writer.append(&format!("a root of {n}")).await;
        writer.meet(&first).await;
        first.until(n + 1).await;
        writer.node.close().await.expect("closes");
    }
    assert_eq!(first.ledger.heads().expect("open").len(), 70);
    let late = Member::open(&wire).await;
    late.meet(&first).await;
    agree(&[&first, &late], 70).await;
}

#[tokio::test(start_paused = true)]
async fn entries_come_while_others_are_fetched() {
    let wire = MemoryNetwork::new(3);
    let first = long(&wire).await;
    let late = Member::open(&wire).await;
    late.meet(&first).await;
    let writing = async {
        for n in 0..50 {
            first.append(&format!("meanwhile {n}")).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let own = late.append("of the one that is late").await;
    writing.await;
    let log = agree(&[&first, &late], MANY + 51).await;
    assert!(log.contains(&own));
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_catch_up_goes_on_where_it_was() {
    let wire = MemoryNetwork::new(4);
    let first = long(&wire).await;
    let (key, store) = (Keypair::generate_ed25519(), Arc::new(MemoryStore::default()));
    let late = Member::with(&wire, key.clone(), Arc::clone(&store) as _, vec![]).await;
    late.meet(&first).await;
    late.until(MANY / 3).await;
    // As after a power cut.
    drop(late);
    let gone = async {
        while !first.node.peers().await.expect("open").is_empty() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, gone).await.expect("its links end");
    let again = Member::with(&wire, key, store, vec![]).await;
    let had = again.ledger.count().expect("open");
    assert!((MANY / 3..MANY).contains(&had), "{had}");
    again.meet(&first).await;
    agree(&[&first, &again], MANY).await;
}

/// A node that keeps its ledger on a disk.
async fn on_disk(wire: &MemoryNetwork, key: &Keypair, folder: &Path) -> Member {
    let site = Site::new("store", folder, Limits::default());
    let store = FjallStore::open(FjallConfig::default(), site).await.expect("opens");
    Member::with(wire, key.clone(), Arc::new(store), vec![]).await
}

#[tokio::test]
async fn a_long_log_is_there_again() {
    let (wire, key) = (MemoryNetwork::new(5), Keypair::generate_ed25519());
    let folder = tempfile::tempdir().expect("a folder");
    let first = on_disk(&wire, &key, folder.path()).await;
    let log: Vec<_> = (0..MANY).map(|n| first.ledger.append(format!("{n}"))).collect();
    let log = futures::future::try_join_all(log).await.expect("appends");
    first.node.close().await.expect("closes");
    drop(first);
    let again = on_disk(&wire, &key, folder.path()).await;
    let read = again.log().await;
    assert!(read.iter().eq(log.iter().map(|appended| &appended.cid)));
    assert_eq!(again.ledger.heads().expect("open"), read[MANY - 1..]);
    assert_eq!(again.ledger.rank(&read[1_234]).await.expect("reads"), Some(1_234));
    let next = again.append("next").await;
    assert_eq!(again.ledger.rank(&next).await.expect("reads"), Some(MANY));
    again.node.close().await.expect("closes");
}

/// Pages that are lost are made anew from what is known of each entry.
#[tokio::test]
async fn a_ledger_without_its_pages_opens() {
    let (wire, key) = (MemoryNetwork::new(6), Keypair::generate_ed25519());
    let folder = tempfile::tempdir().expect("a folder");
    let first = on_disk(&wire, &key, folder.path()).await;
    for n in 0..100 {
        first.append(&format!("{n}")).await;
    }
    let mut log = first.log().await;
    first.node.close().await.expect("closes");
    drop(first);
    let site = Site::new("store", folder.path(), Limits::default());
    let store = FjallStore::open(FjallConfig::default(), site).await.expect("opens");
    let pages: Vec<Pin> = store.pins(Some(&Owner::new("ledger/test"))).try_collect().await.expect("reads");
    // Some alone, as a disk would lose them.
    for page in pages.iter().take(1.max(pages.len() / 2)) {
        assert!(store.delete(&page.cid).await.expect("deletes"));
    }
    store.close().await.expect("closes");
    drop(store);
    // The second time from what the first one saved.
    for _ in 0..2 {
        let again = on_disk(&wire, &key, folder.path()).await;
        assert_eq!(again.log().await, log);
        assert_eq!(again.ledger.heads().expect("open"), log[log.len() - 1..]);
        log.push(again.append("next").await);
        again.node.close().await.expect("closes");
    }
}

/// An old entry that comes again, as after a restart, stays an entry.
#[tokio::test]
async fn an_entry_that_comes_again_stays_one() {
    let (wire, key) = (MemoryNetwork::new(10), Keypair::generate_ed25519());
    let folder = tempfile::tempdir().expect("a folder");
    let first = on_disk(&wire, &key, folder.path()).await;
    for n in 0..10 {
        first.append(&format!("{n}")).await;
    }
    let log = first.log().await;
    first.node.close().await.expect("closes");
    drop(first);
    let again = on_disk(&wire, &key, folder.path()).await;
    for cid in &log {
        let block = again.node.store().get(cid).await.expect("reads").expect("there");
        let verdict = again.node.admit(again.ledger.topic(), block.into_bytes(), None).await;
        assert!(verdict.is_accept(), "{verdict:?}");
        assert!(again.ledger.entry(cid).await.expect("reads").is_some());
    }
    assert_eq!(again.log().await, log);
    let next = again.append("next").await;
    assert_eq!(again.ledger.heads().expect("open"), [next]);
    again.node.close().await.expect("closes");
}

/// Whoever tells pages that lead nowhere keeps nobody from the entries there are.
#[tokio::test(start_paused = true)]
async fn lying_pages_cost_their_teller_alone() {
    let wire = MemoryNetwork::new(7);
    let first = long(&wire).await;
    let stranger = Block::new(DAG_CBOR, Bytes::from_static(b"\xa0"));
    let nowhere = cid_of(DAG_CBOR, b"nobody has it");
    for (at, pages) in [nowhere, *stranger.cid()].into_iter().enumerate() {
        let liar = Member::without_a_ledger(&wire).await;
        liar.put_blocks(std::slice::from_ref(&stranger)).await.expect("stores");
        let late = Member::open(&wire).await;
        late.meet_node(&liar).await;
        let topic = Topic::reserved("carrick/heads/test").expect("a topic");
        let _heads = liar.subscribe(&topic).await.expect("joins");
        liar.ready(&topic, 1).await.expect("ready");
        let head = cid_of(DAG_CBOR, &[at as u8]);
        let told = ipld_core::ipld!({ "v": 1, "heads": [head], "entries": 1_000_000, "pages": pages });
        let told = serde_ipld_dagcbor::to_vec(&told).expect("encodes");
        liar.publish(&topic, told).await.expect("publishes");
        late.meet(&first).await;
        agree(&[&first, &late], MANY).await;
        let standing = timeout(PATIENCE, late.node.peers()).await.expect("in time").expect("open");
        assert_eq!(standing.len(), 2, "the liar is doubted, not banned");
    }
}

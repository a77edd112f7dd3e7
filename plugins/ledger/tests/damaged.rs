//! What a ledger keeps beside its entries, cut off or damaged: it opens with what is whole, gets the rest from others, and
//! leaves no page behind.

mod hooked;
mod member;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use carrick_core::{
    Bytes, Cid, Error, ErrorKind, Keypair, Owner, Pin, Result, Store as _, async_trait, cid_of_digest,
};
use carrick_transport_memory::MemoryNetwork;
use data_encoding::HEXLOWER;
use futures::TryStreamExt as _;

use hooked::{Asked, Hook, Hooked};
use member::{Member, agree};

/// A disk that outlives its node, and fails as a test wants.
#[derive(Debug, Default)]
struct Disk {
    /// Blocks that are there and cannot be read.
    damaged: Mutex<BTreeSet<Cid>>,
    /// The power fails once pages were written and before they are named.
    fails: AtomicBool,
    pinned: AtomicBool,
    /// The most keys that were written at once.
    largest: AtomicUsize,
}

#[async_trait]
impl Hook for Disk {
    async fn before(&self, asked: Asked<'_>) -> Result<()> {
        let fails = self.fails.load(Ordering::Relaxed);
        match asked {
            Asked::Get(cid) if self.damaged.lock().expect("lock").contains(cid) => {
                Err(Error::new(ErrorKind::Integrity, "store", "its bytes are others"))
            }
            Asked::Pin => {
                self.pinned.store(fails, Ordering::Relaxed);
                Ok(())
            }
            Asked::SetMeta if fails && self.pinned.load(Ordering::Relaxed) => {
                Err(Error::new(ErrorKind::Unexpected, "store", "the power fails"))
            }
            _ => Ok(()),
        }
    }

    fn wrote(&self, entries: &[(String, Option<Bytes>)]) {
        self.largest.fetch_max(entries.len(), Ordering::Relaxed);
    }

    fn deleted(&self, cid: &Cid) {
        self.damaged.lock().expect("lock").remove(cid);
    }

    fn outlives_its_node(&self) -> bool {
        true
    }
}

/// One node, again and again, on one disk.
struct Again {
    wire: MemoryNetwork,
    key: Keypair,
    disk: Arc<Hooked<Disk>>,
}

impl Again {
    fn on(seed: u8) -> Self {
        // So that the entries are the same each time, and with them where pages end.
        let key = Keypair::ed25519_from_bytes([seed; 32]).expect("32 bytes are a key");
        Self { wire: MemoryNetwork::new(seed.into()), key, disk: Arc::new(Hooked::<Disk>::default()) }
    }

    async fn open(&self) -> Member {
        Member::with(&self.wire, self.key.clone(), Arc::clone(&self.disk) as _, vec![]).await
    }

    /// Writes so many entries and stops cleanly; answers its log.
    async fn writes(&self, entries: usize) -> Vec<Cid> {
        let member = self.open().await;
        appends(&member, entries).await;
        let log = member.log().await;
        member.node.close().await.expect("closes");
        log
    }

    /// Writes so many more, and the power fails: they are on no page.
    async fn writes_until_the_power_fails(&self, entries: usize) -> Vec<Cid> {
        let member = self.open().await;
        appends(&member, entries).await;
        member.log().await
    }

    async fn pinned(&self) -> BTreeSet<Cid> {
        let pins: Vec<Pin> =
            self.disk.pins(Some(&Owner::new("ledger/test"))).try_collect().await.expect("reads");
        pins.iter().map(|pin| pin.cid).collect()
    }

    /// The page that stands for all.
    async fn root(&self) -> Cid {
        let root = self.disk.meta("ledger/test/pages").await.expect("reads").expect("saved");
        cid_of_digest(root[..32].try_into().expect("a digest"))
    }

    /// Takes the record of an entry away.
    async fn loses_record(&self, entry: &Cid) {
        let key = format!("ledger/test/entry/{}", HEXLOWER.encode(entry.hash().digest()));
        assert!(self.disk.meta(&key).await.expect("reads").is_some());
        self.disk.set_meta(&[(key, None)]).await.expect("writes");
    }
}

async fn appends(member: &Member, entries: usize) {
    for n in 0..entries {
        member.append(&format!("{n}")).await;
    }
}

/// Its pages are gone as well, so that the order is made of the records alone.
#[tokio::test(start_paused = true)]
async fn what_follows_an_entry_that_is_lost_is_none_until_it_comes_again() {
    let node = Again::on(1);
    let other = Member::open(&node.wire).await;
    let first = node.open().await;
    first.join(&other).await;
    appends(&first, 10).await;
    let log = agree(&[&first, &other], 10).await;
    first.node.close().await.expect("closes");
    drop(first);
    node.loses_record(&log[4]).await;
    assert!(node.disk.delete(&log[4]).await.expect("deletes"));
    assert!(node.disk.delete(&node.root().await).await.expect("deletes"));

    let again = node.open().await;
    assert_eq!(again.log().await, log[..4]);
    assert_eq!(again.ledger.heads().expect("open"), [log[3]]);
    assert_eq!(again.ledger.verify().await.expect("sound"), 4);
    for lost in &log[4..] {
        assert!(again.ledger.entry(lost).await.expect("reads").is_none());
    }
    again.meet(&other).await;
    assert_eq!(agree(&[&again, &other], 10).await, log);
}

/// Nobody else has it. What it is, an entry says itself.
#[tokio::test(start_paused = true)]
async fn records_that_are_lost_are_made_anew_from_their_entries() {
    let some: &[usize] = &[0, 4, 5, 9];
    // All of them, but for the name of the head: more than are written at once.
    let all: Vec<usize> = (0..600).collect();
    for (seed, entries, lost) in [(5, 10, some), (6, all.len(), &all)] {
        let node = Again::on(seed);
        let log = node.writes(entries).await;
        for lost in lost {
            node.loses_record(&log[*lost]).await;
        }
        assert!(node.disk.delete(&node.root().await).await.expect("deletes"));

        for _ in 0..2 {
            let again = node.open().await;
            assert_eq!(again.log().await, log);
            assert_eq!(again.ledger.heads().expect("open"), log[entries - 1..]);
            assert_eq!(again.ledger.verify_all().await.expect("sound"), entries as u64);
            again.node.close().await.expect("closes");
        }
    }
}

/// Its pages are whole, and the last entries are on none.
#[tokio::test(start_paused = true)]
async fn records_that_are_lost_after_a_power_cut_are_made_anew() {
    let node = Again::on(7);
    node.writes(10).await;
    let log = node.writes_until_the_power_fails(10).await;
    for pages_are_gone in [false, true] {
        for lost in [9, 10, 15, 19] {
            node.loses_record(&log[lost]).await;
        }
        if pages_are_gone {
            assert!(node.disk.delete(&node.root().await).await.expect("deletes"));
        }
        let again = node.open().await;
        assert_eq!(again.log().await, log);
        assert_eq!(again.ledger.heads().expect("open"), log[19..]);
        assert_eq!(again.ledger.verify_all().await.expect("sound"), 20);
        again.node.close().await.expect("closes");
    }
}

/// That entry cannot be made anew, and nothing is without it.
#[tokio::test(start_paused = true)]
async fn what_follows_an_entry_that_is_lost_is_forgotten_in_portions() {
    let node = Again::on(8);
    let log = node.writes(1_200).await;
    node.loses_record(&log[600]).await;
    assert!(node.disk.delete(&log[600]).await.expect("deletes"));
    assert!(node.disk.delete(&node.root().await).await.expect("deletes"));
    node.disk.largest.store(0, Ordering::Relaxed);
    let again = node.open().await;
    assert_eq!(again.log().await, log[..600]);
    let left = node.disk.list_meta("ledger/test/entry/").try_collect::<Vec<_>>().await.expect("reads");
    assert_eq!(left.len(), 600);
    assert!(node.disk.largest.load(Ordering::Relaxed) <= 1_024, "it is written at once");
}

#[tokio::test(start_paused = true)]
async fn a_ledger_opens_although_a_page_is_damaged_on_which_new_entries_belong() {
    let node = Again::on(2);
    node.writes(1_500).await;
    let log = node.writes_until_the_power_fails(10).await;
    let mut pages = node.pinned().await;
    assert!(pages.remove(&node.root().await) && !pages.is_empty());
    node.disk.damaged.lock().expect("lock").extend(pages);

    let third = node.open().await;
    assert_eq!(third.log().await, log);
    assert_eq!(third.ledger.verify_all().await.expect("sound"), 1_510);
    third.node.close().await.expect("closes");
    drop(third);
    // From pages again, and all of them can be read.
    let fourth = node.open().await;
    assert_eq!(fourth.log().await, log);
    assert_eq!(fourth.ledger.verify_all().await.expect("sound"), 1_510);
}

/// A page that stands for nothing any more is deleted one save later, in whatever session that is.
#[tokio::test(start_paused = true)]
async fn the_pages_of_one_session_go_in_a_later_one() {
    let node = Again::on(3);
    let mut roots = Vec::new();
    for _ in 0..4 {
        node.writes(10).await;
        roots.push(node.root().await);
    }
    assert_eq!(node.pinned().await, roots[2..].iter().copied().collect());
    for old in &roots[..2] {
        assert!(!node.disk.has(old).await.expect("reads"));
    }
}

/// Where several saves were cut off, one after the other, the pages of all of them go.
#[tokio::test(start_paused = true)]
async fn the_pages_of_saves_that_were_cut_off_go_in_later_ones() {
    let node = Again::on(4);
    for _ in 0..3 {
        let member = node.open().await;
        appends(&member, 10).await;
        node.disk.fails.store(true, Ordering::Relaxed);
        // It may say so.
        let _ = member.node.close().await;
        node.disk.fails.store(false, Ordering::Relaxed);
    }
    assert_eq!(node.pinned().await.len(), 3, "one of each save, and none is named");
    let mut roots = Vec::new();
    for _ in 0..2 {
        node.writes(10).await;
        roots.push(node.root().await);
    }
    assert_eq!(node.pinned().await, roots.into_iter().collect());
}

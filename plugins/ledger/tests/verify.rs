//! Checking a log: what is damaged is found and can be mended, and what was checked is not read again.

mod hooked;
mod member;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use carrick_core::{
    Bytes, Cid, Error, ErrorKind, Keypair, Owner, Pin, RAW, Result, Store as _, async_trait, cid_of,
};
use carrick_plugin_ledger::{Verified, VerifyOptions};
use carrick_transport_memory::MemoryNetwork;
use futures::TryStreamExt as _;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use hooked::{Asked, Hook, Hooked};
use member::{Member, PATIENCE, agree};

/// Several pages.
const MANY: usize = 3_000;
const ALL: VerifyOptions = VerifyOptions { all: true, mend: false };
const MEND: VerifyOptions = VerifyOptions { all: false, mend: true };

/// Counts what is read of a store that outlives its node.
#[derive(Debug, Default)]
struct Counting {
    reads: AtomicUsize,
    /// How often pages were saved.
    saves: watch::Sender<usize>,
    /// A block that is not read before there is a permit.
    held: Mutex<Option<(Cid, Arc<Semaphore>)>>,
}

impl Counting {
    /// How much was read since it was asked last.
    fn reads(&self) -> usize {
        self.reads.swap(0, Ordering::Relaxed)
    }
}

impl Hooked<Counting> {
    /// What the ledger notes under a kind of key.
    async fn notes(&self, kind: &str) -> Vec<(String, Bytes)> {
        self.list_meta(&format!("ledger/test/{kind}/")).try_collect().await.expect("reads")
    }
}

#[async_trait]
impl Hook for Counting {
    async fn before(&self, asked: Asked<'_>) -> Result<()> {
        if matches!(asked, Asked::Get(_) | Asked::Has | Asked::Meta(_)) {
            self.reads.fetch_add(1, Ordering::Relaxed);
        }
        let Asked::Get(cid) = asked else { return Ok(()) };
        let held = self.held.lock().expect("lock").clone().filter(|(held, _)| held == cid);
        if let Some((_, held)) = held {
            let _permit = held.acquire().await.expect("open");
        }
        Ok(())
    }

    fn wrote(&self, entries: &[(String, Option<Bytes>)]) {
        if entries.iter().any(|(key, _)| key.ends_with("/pages")) {
            self.saves.send_modify(|saves| *saves += 1);
        }
    }

    fn outlives_its_node(&self) -> bool {
        true
    }
}

/// A node whose pages are saved when it is opened again.
struct Kept {
    wire: MemoryNetwork,
    key: Keypair,
    store: Arc<Hooked<Counting>>,
}

impl Kept {
    fn new(seed: u64) -> Self {
        let (key, store) = (Keypair::generate_ed25519(), Arc::default());
        Self { wire: MemoryNetwork::new(seed), key, store }
    }

    async fn open(&self) -> Member {
        Member::with(&self.wire, self.key.clone(), Arc::clone(&self.store) as _, vec![]).await
    }

    /// Writes so many entries, and opens again.
    async fn written(seed: u64, entries: usize) -> (Self, Member) {
        let kept = Self::new(seed);
        let member = kept.open().await;
        for n in 0..entries {
            member.append(&format!("{n}")).await;
        }
        member.node.close().await.expect("closes");
        let member = kept.open().await;
        (kept, member)
    }
}

async fn verified(member: &Member, options: VerifyOptions) -> Verified {
    member.ledger.verify_with(options).await.expect("sound")
}

/// The first fault, which is one of integrity and tells what to do.
async fn fault(member: &Member, options: VerifyOptions) -> Error {
    let fault = member.ledger.verify_with(options).await.expect_err("damaged");
    assert_eq!(fault.kind(), ErrorKind::Integrity, "{fault}");
    assert!(fault.hint().is_some(), "{fault}");
    fault
}

fn names(fault: &Error, cid: &Cid) -> bool {
    fault.detail().contains(&cid.to_string())
}

#[tokio::test(start_paused = true)]
async fn what_was_checked_is_not_read_again() {
    let (kept, member) = Kept::written(1, MANY).await;
    kept.store.reads();
    let first = verified(&member, VerifyOptions::default()).await;
    assert_eq!((first.entries, first.checked), (MANY as u64, MANY as u64));
    assert!(kept.store.reads() >= 2 * MANY);
    let second = verified(&member, VerifyOptions::default()).await;
    assert_eq!((second.entries, second.checked), (MANY as u64, 0));
    let pages = kept.store.notes("checked").await.len();
    assert!(pages >= 3, "{pages}");
    assert_eq!(kept.store.reads(), pages, "one for each page");
    // Nor after a restart; but all of it when that is asked.
    member.node.close().await.expect("closes");
    let member = kept.open().await;
    assert_eq!(verified(&member, VerifyOptions::default()).await.checked, 0);
    assert_eq!(verified(&member, ALL).await.checked, MANY as u64);
}

#[tokio::test(start_paused = true)]
async fn it_tells_how_far_it_is() {
    let (_kept, member) = Kept::written(2, MANY).await;
    let verify = member.ledger.verify_with(VerifyOptions::default());
    let mut progress = verify.progress();
    // A task of its own: beside the check in one task it would share its budget, and miss pages where that is used up.
    let watching = tokio::spawn(async move {
        let mut seen = vec![];
        while progress.changed().await.is_ok() {
            let now = *progress.borrow();
            seen.push((now.entries, now.of));
        }
        seen
    });
    let verified = verify.await;
    let seen = watching.await.expect("ends");
    assert_eq!(verified.expect("sound").entries, MANY as u64);
    assert!(seen.len() > 2 && seen.is_sorted(), "{seen:?}");
    assert_eq!(seen.last(), Some(&(MANY as u64, MANY as u64)));
}

#[tokio::test(start_paused = true)]
async fn new_and_late_entries_have_their_pages_checked_and_no_others() {
    let (kept, member) = Kept::written(3, MANY).await;
    verified(&member, VerifyOptions::default()).await;
    let pages = kept.store.notes("checked").await;
    member.append("new").await;
    let checked = verified(&member, VerifyOptions::default()).await.checked;
    assert!((1..=1_024).contains(&checked), "{checked}");

    let other = Member::open(&kept.wire).await;
    let late = other.append("at the same time as the first").await;
    other.meet(&member).await;
    member.until(MANY + 2).await;
    assert!(member.log().await[..2].contains(&late));
    let with_late = verified(&member, VerifyOptions::default()).await;
    assert_eq!(with_late.entries, MANY as u64 + 2);
    assert!((checked + 1..=2 * 1_024).contains(&with_late.checked), "{with_late:?}");
    // Of pages that are gone nothing is remembered.
    member.node.close().await.expect("closes");
    let member = kept.open().await;
    verified(&member, VerifyOptions::default()).await;
    kept.store.reads();
    assert_eq!(verified(&member, VerifyOptions::default()).await.checked, 0);
    let now = kept.store.notes("checked").await;
    assert_eq!(kept.store.reads(), now.len(), "one for each page there is");
    assert!(pages.iter().any(|page| !now.contains(page)));
}

/// Several writers, whose entries follow those of others across pages.
#[tokio::test(start_paused = true)]
async fn heads_are_checked_across_pages_that_were_checked_before() {
    let kept = Kept::new(4);
    let (one, other) = (kept.open().await, Member::open(&kept.wire).await);
    for n in 0..1_500 {
        one.append(&format!("one {n}")).await;
        other.append(&format!("other {n}")).await;
    }
    one.meet(&other).await;
    agree(&[&one, &other], MANY).await;
    one.node.close().await.expect("closes");
    let one = kept.open().await;
    assert_eq!(one.ledger.heads().expect("open").len(), 2);
    verified(&one, VerifyOptions::default()).await;
    assert_eq!(verified(&one, VerifyOptions::default()).await.checked, 0);
    one.append("joins both").await;
    assert_eq!(one.ledger.heads().expect("open").len(), 1);
    assert!(verified(&one, VerifyOptions::default()).await.checked < MANY as u64);

    // A head that is forgotten.
    one.node.close().await.expect("closes");
    let [(head, clock)] = kept.store.notes("head").await.try_into().expect("one");
    kept.store.set_meta(&[(head.clone(), None)]).await.expect("writes");
    let one = kept.open().await;
    let last = one.log().await[MANY];
    let missing = fault(&one, VerifyOptions::default()).await;
    assert!(names(&missing, &last) && missing.detail().contains("not among the heads"), "{missing}");
    one.node.close().await.expect("closes");
    // One that is none.
    let (first, _) = kept.store.notes("entry").await.remove(0);
    let first = first.replace("/entry/", "/head/");
    kept.store.set_meta(&[(head, Some(clock.clone())), (first, Some(clock))]).await.expect("writes");
    let one = kept.open().await;
    let odd = fault(&one, VerifyOptions::default()).await;
    assert!(odd.detail().contains("is among the heads"), "{odd}");
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_is_found_and_fetched_again() {
    let (kept, member) = Kept::written(5, 1_500).await;
    // As large as a payload is that travels apart.
    member.append(&"large".repeat(50_000)).await;
    let log = member.log().await;
    let other = Member::open(&kept.wire).await;
    other.meet(&member).await;
    agree(&[&member, &other], 1_501).await;
    member.node.disconnect(&other.node.peer_id().into()).await.expect("ends");

    let payload = cid_of(RAW, "large".repeat(50_000).as_bytes());
    for lost in [log[123], log[1_400], payload] {
        assert!(kept.store.delete(&lost).await.expect("deletes"));
    }
    let missing = fault(&member, ALL).await;
    assert!(names(&missing, &log[123]), "the first is told: {missing}");
    assert!(missing.hint().is_some_and(|hint| hint.contains("ledger verify test --mend")), "{missing:?}");
    let alone = fault(&member, MEND).await;
    assert!(alone.hint().is_some_and(|hint| hint.contains("connect to a node that has it")), "{alone:?}");

    member.meet(&other).await;
    assert_eq!(verified(&member, VerifyOptions { all: true, mend: true }).await.mended, 3);
    assert_eq!(member.log().await, log);
    assert_eq!(verified(&member, VerifyOptions { all: true, mend: true }).await.mended, 0);
}

#[tokio::test(start_paused = true)]
async fn damage_to_what_was_checked_is_found_by_a_check_of_everything() {
    let (kept, member) = Kept::written(7, MANY).await;
    let log = member.log().await;
    verified(&member, VerifyOptions::default()).await;
    kept.store.delete(&log[42]).await.expect("deletes");
    assert_eq!(verified(&member, VerifyOptions::default()).await.checked, 0, "nothing was read");
    let missing = fault(&member, ALL).await;
    assert!(names(&missing, &log[42]), "{missing}");
    // From then on it is known.
    let again = fault(&member, VerifyOptions::default()).await;
    assert!(names(&again, &log[42]), "{again}");
    assert!(member.ledger.verify_all().await.is_err());
}

/// What the ledger notes of an entry decides what is made of it at the next start.
#[tokio::test(start_paused = true)]
async fn a_record_that_tells_something_else_is_found() {
    let (kept, member) = Kept::written(8, 10).await;
    let log = member.log().await;
    let records = kept.store.notes("entry").await;
    let at = |record: &Bytes| record[..8].try_into().map(u64::from_be_bytes).expect("a clock");
    let (key, record) = records.iter().find(|(_, record)| at(record) == 7).expect("the seventh");
    let higher = [&9_u64.to_be_bytes(), &record[8..]].concat();
    kept.store.set_meta(&[(key.clone(), Some(higher.into()))]).await.expect("writes");
    let odd = fault(&member, VerifyOptions::default()).await;
    assert!(names(&odd, &log[6]), "{odd}");
    kept.store.set_meta(&[(key.clone(), None)]).await.expect("writes");
    let missing = fault(&member, VerifyOptions::default()).await;
    assert!(names(&missing, &log[6]), "{missing}");
}

#[tokio::test(start_paused = true)]
async fn a_page_that_is_lost_is_found_and_made_anew_at_the_next_start() {
    let (kept, member) = Kept::written(9, MANY).await;
    let pages: Vec<Pin> =
        kept.store.pins(Some(&Owner::new("ledger/test"))).try_collect().await.expect("reads");
    assert!(pages.len() > 3);
    for page in pages {
        kept.store.delete(&page.cid).await.expect("deletes");
    }
    let lost = fault(&member, VerifyOptions::default()).await;
    assert!(lost.hint().is_some_and(|hint| hint.contains("start the node again")), "{lost:?}");
    member.node.close().await.expect("closes");
    let member = kept.open().await;
    assert_eq!(verified(&member, VerifyOptions::default()).await.checked, MANY as u64);
}

/// A check goes on while entries come, and answers for those that were there when it began, or more.
#[tokio::test(start_paused = true)]
async fn it_goes_on_while_the_log_grows() {
    let (_kept, member) = Kept::written(10, MANY).await;
    let growing = async {
        for n in 0..200 {
            member.append(&format!("meanwhile {n}")).await;
        }
    };
    let checking = async {
        for _ in 0..20 {
            let verified = verified(&member, ALL).await.entries as usize;
            assert!((MANY..=MANY + 200).contains(&verified));
        }
    };
    tokio::join!(growing, checking);
    assert_eq!(verified(&member, VerifyOptions::default()).await.entries as usize, MANY + 200);
}

/// A page that is there no more because the order changed while it was to be read is no damage.
#[tokio::test(start_paused = true)]
async fn pages_that_change_while_they_are_read_are_no_fault() {
    let (kept, member) = Kept::written(11, MANY).await;
    let pages: Vec<Pin> =
        kept.store.pins(Some(&Owner::new("ledger/test"))).try_collect().await.expect("reads");
    // Read once, so that whoever appends has them in memory.
    let log = member.log().await;
    let other = Member::open(&kept.wire).await;
    member.join(&other).await;
    other.until(MANY).await;
    let mut saves = kept.store.saves.subscribe();
    let mut gone = 0;
    for page in pages {
        let permits = Arc::new(Semaphore::new(0));
        *kept.store.held.lock().expect("lock") = Some((page.cid, Arc::clone(&permits)));
        let changing = async {
            // What is saved stays until the next save.
            for n in 0..2 {
                saves.mark_unchanged();
                member.append(&format!("{n}")).await;
                timeout(PATIENCE, saves.changed()).await.expect("in time").expect("open");
            }
            gone += usize::from(!kept.store.store.has(&page.cid).await.expect("reads"));
            permits.add_permits(1_000);
        };
        let (verified, ()) = tokio::join!(verified(&member, ALL), changing);
        assert!(verified.entries as usize >= log.len());
    }
    assert!(gone > 0);
}

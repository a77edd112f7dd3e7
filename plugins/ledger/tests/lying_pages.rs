//! Pages that mislead: whoever reads them has in the end what there is, and whoever told them is doubted, not banned.

mod hooked;
mod liar;
mod member;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use carrick_core::{
    Block, Bytes, Cid, DAG_CBOR, Error, ErrorKind, Keypair, MemoryStore, RAW, Result, Store, Topic,
    async_trait, cid_of,
};
use carrick_transport_memory::MemoryNetwork;
use futures::TryStreamExt as _;

use liar::page::{self, Listed};
use tokio::time::{sleep, timeout};

use hooked::{Asked, Hook, Hooked};
use liar::{Liar, Told, standing, within};
use member::{Member, agree, forged};

/// Entries of the honest ledger.
const ENTRIES: usize = 40;
/// Longer than what is told takes to be fetched, and so long that nobody is asked who misled.
const SOME_TIME: Duration = Duration::from_secs(20);
const A_MINUTE: Duration = Duration::from_secs(60);

/// An honest node with a log, and a liar that has all of it and tells other pages than there are.
struct Misled {
    first: Member,
    late: Member,
    liar: Liar,
    /// The log, with the clock of each entry.
    log: Vec<(u64, Cid)>,
    told: Told,
}

impl Misled {
    async fn begin(seed: u64) -> Self {
        Self::by(seed, Arc::new(MemoryStore::default())).await
    }

    /// By a liar that serves from a store of its own making.
    async fn by(seed: u64, store: Arc<dyn Store>) -> Self {
        let told = Told::listen();
        let wire = MemoryNetwork::new(seed);
        let first = Member::open(&wire).await;
        for n in 0..ENTRIES {
            first.append(&format!("{n}")).await;
        }
        let liar = Liar::with(&wire, Keypair::generate_ed25519(), store).await;
        let mut log = Vec::new();
        let mut entries = first.ledger.entries(None);
        while let Some(entry) = entries.try_next().await.expect("reads") {
            log.push((entry.clock(), *entry.cid()));
            liar.has([entry.message().to_block()]).await;
        }
        let late = Member::open(&wire).await;
        liar.meet(&late).await;
        Self { first, late, liar, log, told }
    }

    fn listed(&self, page: &Block, at: usize) -> Listed {
        let (clock, first) = self.log[at];
        Listed { page: *page.cid(), entries: 10, clock, first }
    }

    /// Has the liar tell the head that there is, by these pages, of which the first stands for all.
    async fn tell(&self, pages: &[Block]) {
        self.liar.has(pages.iter().cloned()).await;
        let (_, head) = self.log[ENTRIES - 1];
        self.liar.tells(&[head], 1_000_000, Some(*pages[0].cid())).await;
    }

    /// Whether the liar is asked for one more entry, which is good.
    async fn asks_the_liar(&self) -> bool {
        let (_, head) = self.log[ENTRIES - 1];
        let next = self.liar.entry("good for once").after([head]);
        self.liar.has([next.block()]).await;
        self.liar.tells(&[next.cid()], ENTRIES as u64 + 1, None).await;
        sleep(SOME_TIME).await;
        self.late.ledger.entry(&next.cid()).await.expect("reads").is_some()
    }

    /// In the end the liar is asked, and all has come that is anywhere.
    async fn all_is_there(&self) {
        let Self { first, late, liar, .. } = self;
        assert!(self.asks_the_liar().await);
        assert_eq!(standing(late, &liar.peer()).await, Some(0.0), "it is doubted, not banned");
        first.join(late).await;
        late.until(ENTRIES + 1).await;
        late.append("it goes on").await;
        agree(&[first, late], ENTRIES + 2).await;
        assert_eq!(standing(late, &first.node.peer_id()).await, Some(0.0));
    }

    /// They are pages that can be read, whatever they list.
    async fn lead_somewhere(&self) {
        self.late.until(1).await;
        self.all_is_there().await;
        assert!(!self.told.lines().contains("could not catch up"), "{}", self.told.lines());
    }

    /// They led nowhere, for this reason.
    async fn lead_nowhere(&self, why: &str) {
        self.lead_nowhere_after(0).await;
        let lines = self.told.lines();
        let line = lines.lines().find(|line| line.contains("could not catch up")).expect("it was told");
        assert!(line.contains(why), "{line}");
    }

    /// So many entries came before that was found out. Whoever told them is not asked for a minute.
    async fn lead_nowhere_after(&self, came: usize) {
        sleep(SOME_TIME).await;
        assert_eq!(self.late.ledger.count().expect("open"), came);
        assert!(!self.asks_the_liar().await);
        sleep(A_MINUTE).await;
        self.all_is_there().await;
    }
}

#[tokio::test(start_paused = true)]
async fn good_pages_are_read_as_they_are() {
    let misled = Misled::begin(1).await;
    misled.tell(&[page::entries(&misled.log)]).await;
    misled.lead_somewhere().await;
}

#[tokio::test(start_paused = true)]
async fn pages_that_are_nowhere() {
    let misled = Misled::begin(2).await;
    let nowhere =
        Listed { page: cid_of(DAG_CBOR, b"nobody has it"), ..misled.listed(&page::of_tomorrow(), 0) };
    misled.tell(&[page::pages(1, &[nowhere])]).await;
    misled.lead_nowhere(&nowhere.page.to_string()).await;
}

#[tokio::test(start_paused = true)]
async fn pages_that_list_what_nobody_has() {
    let misled = Misled::begin(3).await;
    let nowhere = (100, cid_of(DAG_CBOR, b"nobody has it"));
    misled.tell(&[page::entries(&[&misled.log[..], &[nowhere]].concat())]).await;
    misled.lead_nowhere_after(ENTRIES).await;
}

#[tokio::test(start_paused = true)]
async fn pages_that_list_what_is_no_message() {
    let misled = Misled::begin(4).await;
    let stranger = Block::new(DAG_CBOR, Bytes::from_static(b"\xa0"));
    misled.liar.has([stranger.clone()]).await;
    misled.tell(&[page::entries(&[&[(0, *stranger.cid())], &misled.log[..]].concat())]).await;
    misled.lead_nowhere_after(ENTRIES).await;
}

#[tokio::test(start_paused = true)]
async fn pages_that_list_entries_of_another_ledger() {
    let misled = Misled::begin(5).await;
    let other = forged(&Topic::new("ledger/other").expect("a topic"), misled.liar.key(), "elsewhere");
    misled.liar.has([other.block()]).await;
    misled.tell(&[page::entries(&[&misled.log[..], &[(100, other.cid())]].concat())]).await;
    misled.lead_nowhere_after(ENTRIES).await;
    assert!(!misled.late.node.store().has(&other.cid()).await.expect("reads"));
}

/// It cannot be taken without its payload, whatever else it is.
#[tokio::test(start_paused = true)]
async fn pages_that_list_an_entry_whose_payload_nobody_has() {
    let misled = Misled::begin(19).await;
    let payload = cid_of(RAW, b"nobody has it");
    let entry = misled.liar.entry("").linking(payload);
    misled.liar.has([entry.block()]).await;
    misled.tell(&[page::entries(&[&misled.log[..], &[(100, entry.cid())]].concat())]).await;
    misled.lead_nowhere_after(ENTRIES).await;
}

/// Has a store be too busy for some blocks.
#[derive(Debug, Default)]
struct Busy(Mutex<BTreeSet<Cid>>);

#[async_trait]
impl Hook for Busy {
    async fn before(&self, asked: Asked<'_>) -> Result<()> {
        match asked {
            Asked::Get(cid) if self.0.lock().expect("lock").contains(cid) => {
                Err(Error::new(ErrorKind::Busy, "store", "ask again"))
            }
            _ => Ok(()),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn pages_for_which_whoever_told_them_is_too_busy() {
    let store = Arc::new(Hooked::<Busy>::default());
    let misled = Misled::by(20, Arc::clone(&store) as _).await;
    let page = page::entries(&misled.log);
    store.0.lock().expect("lock").insert(*page.cid());
    misled.tell(&[page]).await;
    misled.lead_nowhere("busy").await;
}

/// Each entry comes once, however often it is listed.
#[tokio::test(start_paused = true)]
async fn pages_that_repeat_entries() {
    let misled = Misled::begin(6).await;
    let all = page::entries(&misled.log);
    let some = page::entries(&misled.log[10..20]);
    let listed = [misled.listed(&all, 0), misled.listed(&some, 10), misled.listed(&all, 20)];
    misled.tell(&[page::pages(1, &listed), all, some]).await;
    misled.lead_somewhere().await;
}

#[tokio::test(start_paused = true)]
async fn pages_that_list_an_entry_twice_in_one() {
    let misled = Misled::begin(7).await;
    misled.tell(&[page::entries(&[&misled.log[..1], &misled.log[..]].concat())]).await;
    misled.lead_nowhere("it is not in order").await;
}

/// What others follow is missing: it comes by the head.
#[tokio::test(start_paused = true)]
async fn pages_that_omit_entries_before_others() {
    let misled = Misled::begin(8).await;
    let kept: Vec<_> = misled.log.iter().copied().step_by(2).collect();
    misled.tell(&[page::entries(&kept)]).await;
    misled.lead_nowhere_after(1).await;
}

#[tokio::test(start_paused = true)]
async fn pages_that_omit_the_last_entries() {
    let misled = Misled::begin(9).await;
    misled.tell(&[page::entries(&misled.log[..10])]).await;
    misled.lead_somewhere().await;
}

#[tokio::test(start_paused = true)]
async fn pages_that_are_empty() {
    let misled = Misled::begin(10).await;
    misled.tell(&[page::entries(&[])]).await;
    misled.lead_somewhere().await;
}

#[tokio::test(start_paused = true)]
async fn pages_of_a_wrong_level() {
    for (above, found) in [(2, 2), (2, 3), (3, 1)] {
        let misled = Misled::begin(11).await;
        let all = page::entries(&misled.log);
        let below = page::pages(found, &[misled.listed(&all, 0)]);
        let root = page::pages(above, &[misled.listed(&below, 0)]);
        misled.tell(&[root, below.clone(), all]).await;
        misled.lead_nowhere(&format!("the page {} stands on another level", below.cid())).await;
    }
}

#[tokio::test(start_paused = true)]
async fn pages_that_are_too_deep_or_not_deep_at_all() {
    for level in [0, 9, 255] {
        let misled = Misled::begin(12).await;
        let all = page::entries(&misled.log);
        misled.tell(&[page::pages(level, &[misled.listed(&all, 0)]), all]).await;
        misled.lead_nowhere("the pages in it do not fit").await;
    }
}

#[tokio::test(start_paused = true)]
async fn pages_of_a_later_version() {
    let misled = Misled::begin(13).await;
    misled.tell(&[page::of_tomorrow()]).await;
    misled.lead_nowhere("of version 2").await;
}

/// An operator wants to know why somebody is not asked.
#[tokio::test(start_paused = true)]
async fn why_pages_led_nowhere_is_told_although_some_entries_came() {
    let misled = Misled::begin(16).await;
    let nowhere = (100, cid_of(DAG_CBOR, b"nobody has it"));
    misled.tell(&[page::entries(&[&misled.log[..], &[nowhere]].concat())]).await;
    misled.lead_nowhere_after(ENTRIES).await;
    assert!(misled.told.says(&nowhere.1, "a page lists"), "{}", misled.told.lines());
}

/// A page may be listed without end, and be read each time.
#[tokio::test(start_paused = true)]
async fn pages_without_end() {
    let misled = Misled::begin(14).await;
    let mut pages = vec![page::entries(&misled.log)];
    for level in 1..=8 {
        let below = *pages[0].cid();
        let listed = |at: u64| Listed { clock: at, page: below, ..misled.listed(&pages[0], 0) };
        let above = page::pages(level, &(0..512).map(listed).collect::<Vec<_>>());
        pages.insert(0, above);
    }
    misled.tell(&pages).await;
    misled.lead_nowhere_after(ENTRIES).await;
}

/// The clocks on a page are nothing that anybody believes.
#[tokio::test(start_paused = true)]
async fn pages_whose_clocks_are_wrong() {
    let misled = Misled::begin(15).await;
    let wrong: Vec<_> =
        (0..).map(|n| u64::MAX - 100 + n).zip(misled.log.iter().map(|(_, cid)| *cid)).collect();
    misled.tell(&[page::entries(&wrong)]).await;
    misled.lead_somewhere().await;
}

/// Has a store take for some blocks almost as long as is borne.
#[derive(Debug, Default)]
struct Slow(Mutex<BTreeSet<Cid>>);

#[async_trait]
impl Hook for Slow {
    async fn before(&self, asked: Asked<'_>) -> Result<()> {
        let is_slow = matches!(asked, Asked::Get(cid) if self.0.lock().expect("lock").contains(cid));
        if is_slow {
            sleep(Duration::from_secs(9)).await;
        }
        Ok(())
    }
}

/// Entries that are too many to come without pages.
const MANY: usize = 1_100;

/// Blocks that are larger than any entry, each of which comes in time.
#[tokio::test(start_paused = true)]
async fn pages_that_list_what_is_too_large_hold_up_nobody() {
    let wire = MemoryNetwork::new(21);
    let (first, late) = (Member::open(&wire).await, Member::open(&wire).await);
    for n in 0..MANY {
        first.append(&format!("{n}")).await;
    }
    let large: Vec<Block> = (0..64).map(|n| Block::new(DAG_CBOR, vec![n; 1 << 20])).collect();
    let mut listed: Vec<(u64, Cid)> = large.iter().map(|block| (1_000_000, *block.cid())).collect();
    listed.sort_unstable_by_key(|(_, cid)| cid.to_bytes());
    let page = page::entries(&listed);
    let store = Arc::new(Hooked::<Slow>::default());
    let liar = Liar::with(&wire, Keypair::generate_ed25519(), Arc::clone(&store) as _).await;
    liar.meet(&late).await;
    liar.has(large.iter().chain([&page]).cloned()).await;
    store.0.lock().expect("lock").extend(large.iter().map(|block| *block.cid()));
    liar.tells(&[cid_of(DAG_CBOR, b"nobody has it")], 1_000_000, Some(*page.cid())).await;
    is_heard(&late).await;

    late.meet(&first).await;
    let there = timeout(SOME_TIME + A_MINUTE, late.until(MANY)).await;
    assert!(there.is_ok(), "{} of {MANY} came", late.ledger.count().expect("open"));
    agree(&[&first, &late], MANY).await;
}

/// A liar said how many it has.
async fn is_heard(late: &Member) {
    let heard = async {
        while late.ledger.expected().expect("open") < 1_000_000 {
            sleep(Duration::from_millis(1)).await;
        }
    };
    within(heard).await;
}

/// Somebody who is late reads the pages of two liars, one after the other, each of which comes in time and lists another entry,
/// while an honest node tells that it has many, and waits for its turn longer than anything may take.
async fn slow_pages_hold_up_nobody(seed: u64, listed: impl Fn(u64, Cid) -> (u64, Cid)) {
    let wire = MemoryNetwork::new(seed);
    let (first, late) = (Member::open(&wire).await, Member::open(&wire).await);
    for n in 0..MANY {
        first.append(&format!("{n}")).await;
    }
    let own = late.append("of the one that is late").await;
    let pages: Vec<Block> = (0..400).map(|n| page::entries(&[listed(n, own)])).collect();
    let list =
        |(n, page): (usize, &Block)| Listed { page: *page.cid(), entries: 1, clock: n as u64, first: own };
    let root = page::pages(1, &pages.iter().enumerate().map(list).collect::<Vec<_>>());
    let mut liars = Vec::new();
    for n in 0..2 {
        let store = Arc::new(Hooked::<Slow>::default());
        let liar = Liar::with(&wire, Keypair::generate_ed25519(), Arc::clone(&store) as _).await;
        liar.meet(&late).await;
        liar.has(pages.iter().chain([&root]).cloned()).await;
        store.0.lock().expect("lock").extend(pages.iter().map(|page| *page.cid()));
        liar.tells(&[cid_of(DAG_CBOR, &[n])], 1_000_000, Some(*root.cid())).await;
        liars.push(liar);
    }
    is_heard(&late).await;

    late.meet(&first).await;
    let there = timeout(SOME_TIME + 2 * A_MINUTE, late.until(MANY + 1)).await;
    assert!(there.is_ok(), "{} of {MANY} came", late.ledger.count().expect("open"));
    agree(&[&first, &late], MANY + 1).await;
    for liar in liars {
        assert_eq!(standing(&late, &liar.peer()).await, Some(0.0), "it is doubted, not banned");
    }
}

#[tokio::test(start_paused = true)]
async fn pages_that_come_slowly_and_list_what_nobody_has_hold_up_nobody() {
    slow_pages_hold_up_nobody(17, |n, _| (n, cid_of(DAG_CBOR, &n.to_be_bytes()))).await;
}

/// By their clocks, they cannot be here.
#[tokio::test(start_paused = true)]
async fn pages_that_come_slowly_and_list_what_is_here_hold_up_nobody() {
    slow_pages_hold_up_nobody(18, |n, own| (u64::MAX - n, own)).await;
}

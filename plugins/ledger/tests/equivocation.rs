//! Authors that give one number to two entries: it is found whenever the second one comes, both stay, and what follows both is
//! refused where the ledger says so, on every node alike.

mod hooked;
mod member;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use carrick_core::{
    Bytes, Cid, Event, Events, Keypair, Limits, MemoryStore, Result, Site, Store as _, Topic, Verdict,
    async_trait,
};
use carrick_plugin_ledger::{Equivocation, Ledger, LedgerConfig, OnEquivocation, StopAuthor};
use carrick_plugin_store_fjall::{FjallConfig, FjallStore};
use carrick_transport_memory::MemoryNetwork;
use data_encoding::HEXLOWER;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use ipld_core::ipld::Ipld;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::Notify;
use tokio::time::timeout;

use hooked::{Asked, Hook, Hooked};
use member::{Member, NOW, PATIENCE, agree};

/// An entry that no ledger would make.
#[derive(Clone, Debug)]
struct Forged {
    bytes: Bytes,
    cid: Cid,
}

fn forged(key: &Keypair, number: u64, payload: &str, parents: &[&Forged]) -> Forged {
    let topic = Topic::new("ledger/test").expect("a topic");
    let entry = member::forged(&topic, key, payload).after(parents.iter().map(|parent| parent.cid));
    let block = entry.with(|entry| entry.number = number).block();
    Forged { cid: *block.cid(), bytes: block.into_bytes() }
}

fn key() -> Keypair {
    Keypair::generate_ed25519()
}

async fn strict(wire: &MemoryNetwork) -> Member {
    Member::ruled(wire, vec![Arc::new(StopAuthor)]).await
}

/// Hands it an entry as catch-up does.
async fn admit(member: &Member, entry: &Forged) -> Verdict {
    member.node.admit(member.ledger.topic(), entry.bytes.clone(), None).await
}

async fn takes(member: &Member, entries: &[&Forged]) {
    for entry in entries {
        assert_eq!(admit(member, entry).await, Verdict::Accept);
    }
}

async fn refuses(member: &Member, entry: &Forged) {
    let verdict = admit(member, entry).await;
    assert!(matches!(&verdict, Verdict::Reject(why) if why.contains("follows both")), "{verdict:?}");
    assert!(!member.node.store().has(&entry.cid).await.expect("reads"));
}

async fn equivocations(member: &Member) -> Vec<Equivocation> {
    member.ledger.equivocations().try_collect().await.expect("reads")
}

/// That the only one known is this.
async fn knows(member: &Member, author: &Keypair, number: u64, mut entries: [Cid; 2]) {
    let rank = async |cid: &Cid| member.ledger.rank(cid).await.expect("reads").expect("an entry");
    if rank(&entries[0]).await > rank(&entries[1]).await {
        entries.reverse();
    }
    let known = equivocations(member).await;
    let [known] = &known[..] else { panic!("{known:?}") };
    assert_eq!((known.author, known.number), (author.public().to_peer_id(), number));
    assert_eq!(known.entries, entries);
    for cid in entries {
        assert!(member.ledger.entry(&cid).await.expect("reads").is_some(), "both stay");
    }
}

/// The equivocations that were told until now. Heads have numbers too, of their own topic.
fn told(events: &mut Events) -> Vec<(Cid, Cid)> {
    let mut told = Vec::new();
    while let Some(event) = events.next().now_or_never() {
        if let Event::Equivocation { first, second } = event.expect("open")
            && second.topic().as_str() == "ledger/test"
        {
            told.push((*first.id().cid(), *second.id().cid()));
        }
    }
    told
}

/// A node that may stand on two wires, with a clock that stands still.
async fn on(wires: &[&MemoryNetwork], key: Keypair) -> Member {
    let ledger = Ledger::new("test", vec![]).expect("a name");
    let mut node = Member::builder().identity(key).store(Arc::new(MemoryStore::default()));
    for (wire, name) in wires.iter().zip(["one", "two"]) {
        node = node.mount(name, wire.transport());
    }
    Member { node: ledger.mount(node).open().await.expect("opens"), ledger }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_writes_on_two_nodes_is_found_out_as_it_writes() {
    let [here, there] = [1, 2].map(MemoryNetwork::new);
    let twice = key();
    let (left, right) = (on(&[&here], twice.clone()).await, on(&[&there], twice.clone()).await);
    let (one, other) = (on(&[&here], key()).await, on(&[&there, &here], key()).await);
    left.join(&one).await;
    right.join(&other).await;
    let mut events = one.node.events();
    let (first, second) = (left.append("left").await, right.append("right").await);
    one.until(1).await;
    assert_eq!(equivocations(&one).await, []);
    let here = other.node.listen_addrs().pop().expect("two wires");
    one.node.connect(&here.into()).await.expect("connects");
    agree(&[&one, &other], 2).await;
    for member in [&one, &other] {
        knows(member, &twice, NOW, [first, second]).await;
    }
    assert_eq!(told(&mut events), [(first, second)]);
}

#[tokio::test(start_paused = true)]
async fn it_is_told_once_whether_the_second_comes_at_once_or_long_after() {
    let wire = MemoryNetwork::new(3);
    let member = Member::open(&wire).await;
    let mut events = member.node.events();
    let author = key();
    let [a, b, c] = ["a", "b", "c"].map(|payload| forged(&author, 7, payload, &[]));
    takes(&member, &[&a, &b]).await;
    assert_eq!(told(&mut events), [(a.cid, b.cid)]);
    // More than the node remembers.
    for n in 0..1_100 {
        member.append(&format!("{n}")).await;
    }
    takes(&member, &[&c]).await;
    let later = told(&mut events);
    assert!(matches!(&later[..], [(_, second)] if *second == c.cid), "{later:?}");
    // All that came, whatever came first: the first in the order with each other one.
    let mut entries = [&a, &b, &c].map(|entry| entry.cid);
    entries.sort_unstable_by_key(Cid::to_bytes);
    let known: Vec<_> = equivocations(&member).await.iter().map(|known| known.entries).collect();
    assert_eq!(known, [[entries[0], entries[1]], [entries[0], entries[2]]]);
    assert_eq!(member.node.counter("equivocation"), 2);
}

#[tokio::test]
async fn it_is_found_after_a_restart_and_is_known_after_one() {
    let wire = MemoryNetwork::new(4);
    let (own, author) = (key(), key());
    let folder = tempfile::tempdir().expect("a folder");
    let open = async || {
        let site = Site::new("store", folder.path(), Limits::default());
        let store = FjallStore::open(FjallConfig::default(), site).await.expect("opens");
        Member::with(&wire, own.clone(), Arc::new(store), vec![Arc::new(StopAuthor)]).await
    };
    let [a, b] = ["a", "b"].map(|payload| forged(&author, 7, payload, &[]));
    let other = forged(&author, 8, "another number", &[&a]);
    let first = open().await;
    takes(&first, &[&a, &other]).await;
    first.node.close().await.expect("closes");
    drop(first);
    let second = open().await;
    let mut events = second.node.events();
    takes(&second, &[&forged(&author, 3, "a lower number", &[]), &b]).await;
    knows(&second, &author, 7, [a.cid, b.cid]).await;
    assert_eq!(told(&mut events), [(a.cid, b.cid)]);
    second.node.close().await.expect("closes");
    drop(second);
    let third = open().await;
    knows(&third, &author, 7, [a.cid, b.cid]).await;
    refuses(&third, &forged(&author, 9, "both", &[&b, &other])).await;
    takes(&third, &[&forged(&author, 9, "one", &[&other])]).await;
    third.node.close().await.expect("closes");
}

#[tokio::test(start_paused = true)]
async fn who_catches_up_knows_what_all_know() {
    let wire = MemoryNetwork::new(5);
    let [one, other, late] =
        [Member::open(&wire).await, Member::open(&wire).await, Member::open(&wire).await];
    let author = key();
    let [a, b] = ["a", "b"].map(|payload| forged(&author, 7, payload, &[]));
    takes(&one, &[&a]).await;
    takes(&other, &[&b]).await;
    for n in 0..40 {
        one.append(&format!("one {n}")).await;
        other.append(&format!("other {n}")).await;
    }
    one.join(&other).await;
    agree(&[&one, &other], 82).await;
    late.meet(&one).await;
    agree(&[&one, &other, &late], 82).await;
    for member in [&one, &other, &late] {
        knows(member, &author, 7, [a.cid, b.cid]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn where_it_is_kept_all_entries_stand() {
    let wire = MemoryNetwork::new(6);
    let [one, other, third] =
        [Member::open(&wire).await, Member::open(&wire).await, Member::open(&wire).await];
    let author = key();
    let [a, b] = ["a", "b"].map(|payload| forged(&author, 7, payload, &[]));
    takes(&one, &[&a, &b, &forged(&author, 8, "both", &[&a, &b])]).await;
    one.join(&other).await;
    other.join(&third).await;
    third.append("honest").await;
    agree(&[&one, &other, &third], 4).await;
}

#[tokio::test(start_paused = true)]
async fn a_stopped_author_says_nothing_more_and_nobody_else_is_harmed() {
    let wire = MemoryNetwork::new(7);
    let [one, other, third] = [strict(&wire).await, strict(&wire).await, strict(&wire).await];
    let author = key();
    let [a, b] = ["a", "b"].map(|payload| forged(&author, 7, payload, &[]));
    // One has the one, one the other, and the third none.
    takes(&one, &[&a]).await;
    takes(&other, &[&b]).await;
    let on_one = forged(&author, 8, "follows one alone", &[&a]);
    takes(&one, &[&on_one]).await;
    one.join(&other).await;
    other.join(&third).await;
    let members = [&one, &other, &third];
    agree(&members, 3).await;
    // Honest ones follow both, and each other.
    for (n, member) in members.iter().enumerate() {
        member.append(&format!("honest {n}")).await;
        agree(&members, 4 + n).await;
    }
    let honest = Forged { bytes: Bytes::new(), cid: one.ledger.heads().expect("open")[0] };
    let both = forged(&author, 9, "follows both", &[&a, &b]);
    let through_others = forged(&author, 9, "follows both through others", &[&honest]);
    let later = forged(&author, 10, "follows one and what follows the other", &[&on_one, &b]);
    let concurrent = forged(&author, 11, "still follows one alone", &[&on_one]);
    for member in members {
        for refused in [&both, &through_others, &later] {
            refuses(member, refused).await;
        }
        knows(member, &author, 7, [a.cid, b.cid]).await;
    }
    takes(&third, &[&concurrent]).await;
    for (n, member) in members.iter().enumerate() {
        member.append(&format!("honest again {n}")).await;
    }
    let log = agree(&members, 10).await;
    let late = strict(&wire).await;
    late.meet(&one).await;
    assert_eq!(agree(&[&one, &late], 10).await, log);
    refuses(&late, &through_others).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_own_key_writes_elsewhere_too_is_told_why_it_cannot_append() {
    let wire = MemoryNetwork::new(8);
    let own = key();
    let member =
        Member::with(&wire, own.clone(), Arc::new(MemoryStore::default()), vec![Arc::new(StopAuthor)]).await;
    let first = member.append("here").await;
    let number = member.ledger.entry(&first).await.expect("reads").expect("an entry").number();
    takes(&member, &[&forged(&own, number, "elsewhere", &[])]).await;
    let refused = member.ledger.append("goes on").await.expect_err("refused");
    assert!(refused.to_string().contains("follows both"), "{refused}");
}

/// An entry of a random log, with what is before it.
struct Drawn {
    entry: Forged,
    author: usize,
    number: u64,
    parents: Vec<usize>,
    /// What it follows, all of it.
    past: BTreeSet<usize>,
    /// By the words of the rule.
    valid: bool,
}

/// Few numbers, so that many are given twice.
fn draw(random: &mut StdRng, keys: &[Keypair], entries: usize) -> Vec<Drawn> {
    let mut log: Vec<Drawn> = Vec::new();
    for at in 0..entries {
        let (author, number) = (random.random_range(0..keys.len()), random.random_range(0..12));
        let some = random.random_range(0..3);
        let recent: Vec<usize> = (at.saturating_sub(12)..at).collect();
        let parents: Vec<usize> = recent.choose_multiple(random, some).copied().collect();
        let mut past: BTreeSet<usize> = parents.iter().copied().collect();
        past.extend(parents.iter().flat_map(|parent| log[*parent].past.clone()));
        let of_author: Vec<u64> = past
            .iter()
            .filter(|before| log[**before].author == author)
            .map(|before| log[*before].number)
            .collect();
        let once = of_author.iter().collect::<BTreeSet<_>>().len() == of_author.len();
        let valid = once && parents.iter().all(|parent| log[*parent].valid);
        let of: Vec<&Forged> = parents.iter().map(|parent| &log[*parent].entry).collect();
        let entry = forged(&keys[author], number, &format!("{at}"), &of);
        log.push(Drawn { entry, author, number, parents, past, valid });
    }
    log
}

#[tokio::test(start_paused = true)]
async fn whatever_came_first_all_nodes_judge_by_what_an_entry_follows_alone() {
    let wire = MemoryNetwork::new(9);
    let keys = [key(), key(), key()];
    let (mut accepted, mut refused) = (0, 0);
    for seed in 0..12 {
        let mut random = StdRng::seed_from_u64(seed);
        let log = draw(&mut random, &keys, 120);
        let members = [strict(&wire).await, strict(&wire).await];
        for member in &members {
            let mut left: Vec<usize> = (0..log.len()).collect();
            left.shuffle(&mut random);
            let mut judged = BTreeSet::new();
            while !left.is_empty() {
                let mut later = Vec::new();
                for at in left {
                    let drawn = &log[at];
                    if !drawn.parents.iter().all(|parent| judged.contains(parent)) {
                        later.push(at);
                        continue;
                    }
                    let verdict = admit(member, &drawn.entry).await;
                    assert_eq!(verdict.is_accept(), drawn.valid, "{at} of seed {seed}: {verdict:?}");
                    judged.insert(at);
                }
                left = later;
            }
        }
        accepted += log.iter().filter(|drawn| drawn.valid).count();
        refused += log.iter().filter(|drawn| !drawn.valid).count();
        let [one, other] = &members;
        assert_eq!(one.log().await, other.log().await, "seed {seed}");
        let known = equivocations(one).await;
        assert_eq!(known, equivocations(other).await, "seed {seed}");
        let mut numbers: BTreeMap<(usize, u64), usize> = BTreeMap::new();
        for drawn in log.iter().filter(|drawn| drawn.valid) {
            *numbers.entry((drawn.author, drawn.number)).or_default() += 1;
        }
        assert_eq!(known.len(), numbers.values().map(|entries| entries - 1).sum::<usize>(), "seed {seed}");
    }
    assert!(accepted > 200 && refused > 200, "{accepted} accepted, {refused} refused");
}

/// Has a store take its time for records, once it is slow.
#[derive(Debug, Default)]
struct Slow {
    slow: AtomicBool,
    records: AtomicU64,
}

#[async_trait]
impl Hook for Slow {
    async fn before(&self, asked: Asked<'_>) -> Result<()> {
        let is_record = matches!(asked, Asked::Meta(key) if key.contains("/entry/"));
        if self.slow.load(Ordering::Relaxed) && (is_record || matches!(asked, Asked::SetMeta)) {
            self.records.fetch_add(u64::from(is_record), Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

/// An author that forked long ago has a long way back: what does not fit into the time for one entry is gone on with when it
/// comes again, and is not gone a second time for the next one.
#[tokio::test(start_paused = true)]
async fn a_long_way_back_is_gone_in_parts_and_once() {
    let wire = MemoryNetwork::new(10);
    let store = Arc::new(Hooked::<Slow>::default());
    let member = Member::with(&wire, key(), Arc::clone(&store) as _, vec![Arc::new(StopAuthor)]).await;
    let (author, honest) = (key(), key());
    let [a, b] = ["a", "b"].map(|payload| forged(&author, 7, payload, &[]));
    takes(&member, &[&a]).await;
    let mut last = a;
    for n in 0..500 {
        last = forged(&honest, n, "honest", &[&last]);
        takes(&member, &[&last]).await;
    }
    takes(&member, &[&b]).await;
    store.slow.store(true, Ordering::Relaxed);
    let next = forged(&author, 8, "long after", &[&last]);
    let mut ignored = 0;
    while admit(&member, &next).await != Verdict::Accept {
        ignored += 1;
        assert!(ignored < 10, "it comes to no end");
    }
    assert!(ignored > 0, "it took no time");
    assert!(store.records.swap(0, Ordering::Relaxed) < 600, "it begins anew each time");
    takes(&member, &[&forged(&author, 9, "and one more", &[&next])]).await;
    assert!(store.records.load(Ordering::Relaxed) < 20, "the way is gone again");
    refuses(&member, &forged(&author, 10, "both", &[&next, &b])).await;
}

/// What follows an entry is judged while that is on its way to the disk, and so are equivocations found.
#[tokio::test(start_paused = true)]
async fn those_that_come_at_once_are_judged_as_if_one_came_after_the_other() {
    let wire = MemoryNetwork::new(12);
    let store = Arc::new(Hooked::<Slow>::default());
    let member = Member::with(&wire, key(), Arc::clone(&store) as _, vec![Arc::new(StopAuthor)]).await;
    store.slow.store(true, Ordering::Relaxed);
    let (author, honest) = (key(), key());
    for number in 1..20 {
        let mut events = member.node.events();
        let [a, b] = ["a", "b"].map(|payload| forged(&author, number, &format!("{payload} {number}"), &[]));
        let joins = forged(&honest, number, "follows both", &[&a, &b]);
        let through = forged(&author, number + 100, "through another", &[&joins]);
        let all = [&a, &b, &joins, &through].map(|entry| admit(&member, entry));
        let [first, second, joined, through] = &futures::future::join_all(all).await[..] else {
            panic!("four")
        };
        assert!([first, second, joined].iter().all(|verdict| verdict.is_accept()), "{joined:?}");
        assert!(matches!(through, Verdict::Reject(_)), "{through:?}");
        assert_eq!(equivocations(&member).await.len(), number as usize);
        assert_eq!(told(&mut events).len(), 1);
    }
}

/// Has the next write of a block wait until it may go on.
#[derive(Debug, Default)]
struct Held {
    next: AtomicBool,
    waits: Notify,
    goes_on: Notify,
    wrote: Notify,
}

#[async_trait]
impl Hook for Held {
    async fn before(&self, asked: Asked<'_>) -> Result<()> {
        if matches!(asked, Asked::Put) && self.next.swap(false, Ordering::Relaxed) {
            self.waits.notify_one();
            self.goes_on.notified().await;
        }
        Ok(())
    }

    fn wrote(&self, _: &[(String, Option<Bytes>)]) {
        self.wrote.notify_one();
    }

    fn outlives_its_node(&self) -> bool {
        true
    }
}

/// A node whose store holds the next entry back, and two entries with one number.
struct Forked {
    store: Arc<Hooked<Held>>,
    member: Member,
    author: Keypair,
    pair: [Forged; 2],
    events: Events,
}

impl Forked {
    async fn held(seed: u64) -> Self {
        let (store, author) = (Arc::new(Hooked::<Held>::default()), key());
        let member = Member::with(&MemoryNetwork::new(seed), key(), Arc::clone(&store) as _, vec![]).await;
        let pair = ["a", "b"].map(|payload| forged(&author, 7, payload, &[]));
        store.next.store(true, Ordering::Relaxed);
        Self { events: member.node.events(), store, member, author, pair }
    }
}

/// So many entries of somebody honest.
async fn takes_others(member: &Member, entries: u64) {
    let honest = key();
    for number in 0..entries {
        takes(member, &[&forged(&honest, number, "honest", &[])]).await;
    }
}

/// The key of an entry's record.
fn record(entry: &Forged) -> String {
    format!("ledger/test/entry/{}", HEXLOWER.encode(entry.cid.hash().digest()))
}

/// More than are remembered of those that could not be stored.
#[tokio::test(start_paused = true)]
async fn it_is_found_although_very_many_were_judged_before_the_first_was_stored() {
    let Forked { store, member, author, pair: [a, b], mut events } = Forked::held(13).await;
    let first = admit(&member, &a);
    let meanwhile = async {
        store.waits.notified().await;
        takes_others(&member, 5_000).await;
        // The first goes on once it is stored.
        let stored = async {
            while store.meta(&record(&b)).await.expect("reads").is_none() {
                store.wrote.notified().await;
            }
            store.goes_on.notify_one();
        };
        tokio::join!(admit(&member, &b), stored).0
    };
    let verdicts = timeout(PATIENCE, async { tokio::join!(first, meanwhile) }).await.expect("in time");
    assert_eq!(verdicts, (Verdict::Accept, Verdict::Accept));
    knows(&member, &author, 7, [a.cid, b.cid]).await;
    assert_eq!(told(&mut events).len(), 1);
}

/// Nothing has the entries of one author wait for each other: the second may be there before the first is stored.
#[tokio::test(start_paused = true)]
async fn it_is_told_although_the_one_that_was_judged_later_is_stored_first() {
    let Forked { store, member, author, pair: [a, b], mut events } = Forked::held(15).await;
    let meanwhile = async {
        store.waits.notified().await;
        takes(&member, &[&b]).await;
        // More than the node remembers: it would tell, too.
        takes_others(&member, 1_100).await;
        assert_eq!(told(&mut events), []);
        store.goes_on.notify_one();
    };
    let both = async { tokio::join!(admit(&member, &a), meanwhile).0 };
    assert_eq!(timeout(PATIENCE, both).await.expect("in time"), Verdict::Accept);
    knows(&member, &author, 7, [a.cid, b.cid]).await;
    assert_eq!(told(&mut events), [(b.cid, a.cid)]);
}

/// Its record is gone, as that of an entry is whose parents a crash cut off; the key of its number still names it.
#[tokio::test(start_paused = true)]
async fn one_that_comes_again_is_told_as_it_was_the_first_time() {
    let wire = MemoryNetwork::new(14);
    let (own, author, store) = (key(), key(), Arc::new(Hooked::<Held>::default()));
    let open = async || Member::with(&wire, own.clone(), Arc::clone(&store) as _, vec![]).await;
    let [a, b] = ["a", "b"].map(|payload| forged(&author, 7, payload, &[]));
    let first = open().await;
    takes(&first, &[&a, &b]).await;
    drop(first);
    store
        .set_meta(&[(record(&b), None), (record(&b).replace("entry", "fresh"), None)])
        .await
        .expect("writes");
    let again = open().await;
    assert_eq!(equivocations(&again).await, []);
    let mut events = again.node.events();
    takes(&again, &[&b]).await;
    knows(&again, &author, 7, [a.cid, b.cid]).await;
    assert_eq!(told(&mut events), [(a.cid, b.cid)]);
}

#[tokio::test(start_paused = true)]
async fn nodes_agree_while_an_equivocator_writes_and_they_are_parted() {
    let wire = MemoryNetwork::new(11);
    let [one, other, third] = [strict(&wire).await, strict(&wire).await, strict(&wire).await];
    let members = [&one, &other, &third];
    one.join(&other).await;
    other.join(&third).await;
    let peers = members.map(|member| member.node.peer_id());
    wire.partition(&[&peers[..1], &peers[1..]]);
    let author = key();
    let mut branches = [forged(&author, 1, "one", &[]), forged(&author, 1, "other", &[])];
    for n in 2..12 {
        for (branch, member) in branches.iter_mut().zip([&one, &other]) {
            takes(member, &[&*branch]).await;
            let honest = Forged { bytes: Bytes::new(), cid: member.append(&format!("{n}")).await };
            *branch = forged(&author, n, &format!("{n} on {}", member.node.peer_id()), &[&honest]);
        }
    }
    wire.heal();
    one.meet(&other).await;
    agree(&members, 40).await;
    for member in members {
        assert_eq!(equivocations(member).await.len(), 10);
    }
    let joined = Forged { bytes: Bytes::new(), cid: third.append("joins them").await };
    timeout(PATIENCE, one.until(41)).await.expect("in time");
    for member in members {
        member.until(41).await;
        refuses(member, &forged(&author, 100, "joined", &[&joined])).await;
    }
}

#[test]
fn the_policy_is_read_from_the_configuration() {
    let read = |policy: &str| {
        let table = Ipld::Map([("equivocation".to_owned(), Ipld::String(policy.into()))].into());
        ipld_core::serde::from_ipld::<LedgerConfig>(table)
    };
    assert_eq!(read("keep").expect("reads").equivocation, OnEquivocation::Keep);
    assert_eq!(read("stop-author").expect("reads").equivocation, OnEquivocation::StopAuthor);
    assert_eq!(LedgerConfig::default().equivocation, OnEquivocation::Keep);
    read("stop").expect_err("unknown");
}

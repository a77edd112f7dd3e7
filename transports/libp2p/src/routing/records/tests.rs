use bytes::Bytes;
use carrick_core::{Keypair, Time};
use libp2p::core::multihash::Multihash;

use super::*;
use crate::address::Scope;

const HOUR: Duration = Duration::from_secs(3600);

fn peer(n: u64) -> PeerId {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    PeerId::from_multihash(Multihash::wrap(0, &bytes).expect("fits")).expect("a peer id")
}

fn me() -> PeerId {
    Keypair::ed25519_from_bytes([7; 32]).expect("32 bytes are a key").public().to_peer_id()
}

fn key(n: u64) -> RecordKey {
    let mut bytes = [0x12; 34];
    bytes[2..10].copy_from_slice(&n.to_be_bytes());
    RecordKey::new(&bytes)
}

fn addr(text: &str) -> Multiaddr {
    text.parse().expect("a multiaddr")
}

fn record(key: RecordKey, provider: PeerId) -> ProviderRecord {
    ProviderRecord::new(key, provider, vec![addr("/ip4/10.0.0.7/tcp/1")])
}

fn records(bounds: Bounds) -> Records {
    Records::new(me(), Rule::new(Scope::Private), bounds)
}

fn say(records: &mut Records, key: RecordKey, provider: PeerId) {
    records.add_provider(record(key, provider)).expect("never an error");
}

fn named(records: &Records, key: &RecordKey) -> Vec<PeerId> {
    let mut named: Vec<_> = records.providers(key).into_iter().map(|record| record.provider).collect();
    named.sort();
    named
}

#[tokio::test(start_paused = true)]
async fn a_million_records_of_one_stranger_take_bounded_room_and_push_out_its_own_alone() {
    let mut all = records(Bounds::default());
    (0..1_000).for_each(|n| say(&mut all, key(n), peer(1)));
    (0..1_000_000).for_each(|n| say(&mut all, key(10_000 + n), peer(666)));
    (0..1_000).for_each(|n| say(&mut all, key(n), peer(2)));
    let (held, bytes) = all.held();
    assert_eq!(held, 2_000 + 32_768);
    assert!(bytes < 32 << 20, "{bytes}");
    for n in 0..1_000 {
        assert_eq!(named(&all, &key(n)), [peer(1), peer(2)]);
    }
    let refused = all.tick(Instant::now());
    assert_eq!(refused.flooders, [(peer(666), 1_000_000 - 32_768)].into(), "and it is known who it was");
}

#[tokio::test(start_paused = true)]
async fn a_million_records_of_many_strangers_take_bounded_room_and_leave_those_who_hold_less_alone() {
    let mut all = records(Bounds::default());
    (0..500).for_each(|n| say(&mut all, key(n), peer(1)));
    (0..1_000_000).for_each(|n| say(&mut all, key(10_000 + n), peer(1_000 + n % 200)));
    (500..1_000).for_each(|n| say(&mut all, key(n), peer(2)));
    let (held, bytes) = all.held();
    assert!(held <= 131_072 && bytes <= 64 << 20, "{held} records, {bytes} bytes");
    for n in 0..500 {
        assert_eq!(named(&all, &key(n)), [peer(1)]);
        assert_eq!(named(&all, &key(500 + n)), [peer(2)]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_identities_replaces_each_other() {
    let bounds = Bounds { providers: 1_000, ..Bounds::default() };
    let mut all = records(bounds);
    (0..10).for_each(|n| say(&mut all, key(n), peer(n)));
    (0..100_000).for_each(|n| say(&mut all, key(10_000 + n), peer(1_000 + n)));
    say(&mut all, key(10), peer(10));
    assert_eq!((all.held().0, all.providers.len()), (1_000, 1_000));
    for n in 0..=10 {
        assert_eq!(named(&all, &key(n)), [peer(n)], "said before the flood, or after it");
    }
}

#[tokio::test(start_paused = true)]
async fn who_holds_few_stays_and_gets_in_however_many_come() {
    let mut all = records(Bounds::default());
    let flood = |all: &mut Records, from: u64| {
        (from..from + 2_048).for_each(|id| (0..64).for_each(|n| say(all, key(64 * id + n), peer(id))));
    };
    (0..16).for_each(|n| say(&mut all, key(n), peer(1)));
    flood(&mut all, 1_000);
    (16..32).for_each(|n| say(&mut all, key(n), peer(2)));
    flood(&mut all, 4_000);
    let (held, bytes) = all.held();
    assert!(held <= 131_072 && bytes <= 64 << 20, "{held} records, {bytes} bytes");
    assert!((0..16).all(|n| named(&all, &key(n)) == [peer(1)]), "said before the flood");
    assert!((16..32).all(|n| named(&all, &key(n)) == [peer(2)]), "said in the middle of it");
    assert_eq!(all.tick(Instant::now()).refused, 0);
}

#[tokio::test(start_paused = true)]
async fn a_key_has_so_many_providers_and_a_new_one_gets_the_place_of_one_that_was_not_renewed() {
    let mut all = records(Bounds::default());
    (0..30).for_each(|n| say(&mut all, key(1), peer(n)));
    assert_eq!(named(&all, &key(1)), (0..20).map(peer).collect::<Vec<_>>());
    tokio::time::advance(23 * HOUR).await;
    assert_eq!(all.tick(Instant::now()).refused, 10);
    (1..20).for_each(|n| say(&mut all, key(1), peer(n)));
    tokio::time::advance(2 * HOUR).await;
    all.tick(Instant::now());
    (30..32).for_each(|n| say(&mut all, key(1), peer(n)));
    assert_eq!(named(&all, &key(1)), (1..=19).chain([30]).map(peer).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_record_lives_for_two_days_unless_it_is_renewed() {
    let mut all = records(Bounds::default());
    say(&mut all, key(1), peer(1));
    say(&mut all, key(1), peer(2));
    tokio::time::advance(47 * HOUR).await;
    all.tick(Instant::now());
    say(&mut all, key(1), peer(1));
    assert_eq!((named(&all, &key(1)), all.held().0), (vec![peer(1), peer(2)], 2));
    tokio::time::advance(HOUR).await;
    all.tick(Instant::now());
    assert_eq!((named(&all, &key(1)), all.held().0), (vec![peer(1)], 1));
    tokio::time::advance(47 * HOUR).await;
    all.tick(Instant::now());
    assert!(all.providers(&key(1)).is_empty());
    assert_eq!(all.held(), (0, 0), "everything is freed");
    assert!(all.keys.is_empty() && all.providers.is_empty() && all.by_size.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_this_node_provides_has_no_bound_and_no_stranger_can_say_it() {
    let mut all = records(Bounds::default());
    (0..10_000).for_each(|n| all.own(key(n)));
    (0..10_000).for_each(|n| say(&mut all, key(n), me()));
    say(&mut all, key(10_001), me());
    assert!((0..10_000).all(|n| named(&all, &key(n)) == [me()]));
    assert!(named(&all, &key(10_001)).is_empty());
    assert_eq!(all.provided().count(), 10_000);
    all.disown(&key(3));
    assert!(named(&all, &key(3)).is_empty());
    assert_eq!((all.held().0, all.tick(Instant::now()).refused), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn addresses_that_are_of_no_use_are_dropped_and_a_record_with_no_other_is_refused() {
    let mut all = records(Bounds::default());
    let poison = ["/ip4/127.0.0.1/tcp/22", "/ip4/192.0.2.1/tcp/1", "/ip4/0.0.0.0/tcp/1"].map(addr);
    let mixed = [poison.to_vec(), vec![addr("/ip4/10.0.0.7/tcp/1")]].concat();
    all.add_provider(ProviderRecord::new(key(1), peer(1), mixed)).expect("never an error");
    all.add_provider(ProviderRecord::new(key(1), peer(2), poison.to_vec())).expect("never an error");
    let found = all.providers(&key(1));
    assert_eq!((found.len(), found[0].provider), (1, peer(1)));
    assert_eq!(found[0].addresses, [addr("/ip4/10.0.0.7/tcp/1")]);
    assert_eq!(all.tick(Instant::now()).poisoned, 1);

    let mut world = Records::new(me(), Rule::new(Scope::World), Bounds::default());
    let addrs = vec![addr("/ip4/10.0.0.7/tcp/1"), addr("/ip4/8.8.8.8/tcp/1")];
    world.add_provider(ProviderRecord::new(key(1), peer(1), addrs)).expect("never an error");
    assert_eq!(world.providers(&key(1))[0].addresses, [addr("/ip4/8.8.8.8/tcp/1")]);
}

#[tokio::test(start_paused = true)]
async fn values_and_keys_of_no_hash_are_refused() {
    let mut all = records(Bounds::default());
    all.put(Record::new(key(1), b"value".to_vec())).expect_err("no values are kept");
    assert!(all.get(&key(1)).is_none() && all.records().next().is_none());
    say(&mut all, RecordKey::new(&[]), peer(1));
    say(&mut all, RecordKey::new(&[1; 81]), peer(1));
    say(&mut all, RecordKey::new(&[1; 80]), peer(1));
    assert_eq!((all.held().0, all.tick(Instant::now()).refused), (1, 3));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_forgotten_leaves_nothing() {
    let mut all = records(Bounds::default());
    (0..100).for_each(|n| say(&mut all, key(n), peer(1)));
    say(&mut all, key(1), peer(2));
    all.forget(&peer(1));
    assert_eq!((named(&all, &key(1)), all.held().0), (vec![peer(2)], 1));
}

/// Everything of a table that is on the disk after so many rounds of saving.
fn save(records: &mut Records, disk: &mut BTreeMap<String, Bytes>, now: Time) {
    loop {
        let pages = records.unsaved(now, 2);
        if pages.is_empty() {
            return;
        }
        for (name, page) in pages {
            match page {
                Some(page) => {
                    assert!(page.len() <= 4_096, "{} bytes", page.len());
                    disk.insert(name, page);
                }
                None => assert!(disk.remove(&name).is_some(), "there was no {name}"),
            }
        }
    }
}

fn restored(disk: &BTreeMap<String, Bytes>, now: Time) -> Records {
    let mut saved = Restored::default();
    disk.iter().for_each(|(name, page)| assert!(saved.take(name, page), "{name}"));
    let mut records = records(Bounds::default());
    records.restore(saved, now, |peer_| *peer_ != peer(13));
    records
}

#[tokio::test(start_paused = true)]
async fn records_survive_a_restart_and_grow_old_meanwhile() {
    let start = Time(1_700_000_000_000);
    let later = |hours: u64| Time(start.as_millis() + hours * 3_600_000);
    let (mut all, mut disk) = (records(Bounds::default()), BTreeMap::new());
    (0..500).for_each(|n| say(&mut all, key(n), peer(1)));
    say(&mut all, key(7), peer(13));
    save(&mut all, &mut disk, start);
    tokio::time::advance(20 * HOUR).await;
    all.tick(Instant::now());
    say(&mut all, key(7), peer(2));
    save(&mut all, &mut disk, later(20));

    let mut back = restored(&disk, later(30));
    assert_eq!(back.held().0, 501, "and nothing of whom is not admitted any more");
    assert_eq!(named(&back, &key(7)), [peer(1), peer(2)]);
    assert_eq!(back.providers(&key(7))[0].addresses, [addr("/ip4/10.0.0.7/tcp/1")]);
    save(&mut back, &mut disk, later(30));
    assert!(!disk.keys().any(|name| name.starts_with(&peer(13).to_string())));
    assert_eq!(
        restored(&disk, later(30)).held(),
        back.held(),
        "nothing is there twice, and nothing too much"
    );
    tokio::time::advance(19 * HOUR).await;
    back.tick(Instant::now());
    assert_eq!(named(&back, &key(7)), [peer(2)], "the others' 48 hours are over");
    save(&mut back, &mut disk, later(49));
    assert_eq!(disk.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_page_costs_its_records_alone_and_is_written_over() {
    let now = Time(1_700_000_000_000);
    let (mut all, mut disk) = (records(Bounds::default()), BTreeMap::new());
    (0..200).for_each(|n| say(&mut all, key(n), peer(1)));
    say(&mut all, key(1), peer(2));
    save(&mut all, &mut disk, now);
    let hurt = format!("{}/1", peer(1));
    let mut saved = Restored::default();
    for (name, page) in &disk {
        let whole = *name != hurt;
        assert_eq!(saved.take(name, if whole { page } else { b"damaged" }), whole);
    }
    assert!(!saved.take("no name", b""));
    let mut back = records(Bounds::default());
    back.restore(saved, now, |_| true);
    let held = back.held().0;
    assert!((50..200).contains(&held), "{held}");
    save(&mut back, &mut disk, now);
    assert_eq!(restored(&disk, now).held().0, held);
}

#[tokio::test(start_paused = true)]
async fn strangers_who_come_and_go_leave_nothing_to_be_saved() {
    let mut all = records(Bounds { providers: 10, ..Bounds::default() });
    (0..1_000).for_each(|n| say(&mut all, key(n), peer(n)));
    assert_eq!(all.unsaved(Time(0), usize::MAX).len(), 10);
    assert_eq!(all.unsaved(Time(0), usize::MAX), []);
}

#[tokio::test(start_paused = true)]
async fn pages_of_two_saves_name_nobody_twice() {
    let now = Time(1_700_000_000_000);
    let (mut all, mut old, mut new) = (records(Bounds::default()), BTreeMap::new(), BTreeMap::new());
    (0..150).for_each(|n| say(&mut all, key(n), peer(1)));
    save(&mut all, &mut old, now);
    // Renewed, they are on other pages; the crash came after the first of them.
    (0..100).for_each(|n| say(&mut all, key(n), peer(1)));
    save(&mut all, &mut new, now);
    let first = format!("{}/0", peer(1));
    old.insert(first.clone(), new.remove(&first).expect("a first page"));
    let mut back = restored(&old, now);
    (0..150).for_each(|n| assert!(named(&back, &key(n)).len() <= 1));
    (0..150).for_each(|n| say(&mut back, key(n), peer(2)));
    back.forget(&peer(1));
    assert_eq!(back.held().0, 150);
}

#[tokio::test(start_paused = true)]
async fn whoever_renews_in_a_flood_keeps_its_place() {
    let mut all = records(Bounds { providers: 100, ..Bounds::default() });
    (0..50).for_each(|n| say(&mut all, key(n), peer(n)));
    for n in 0..1_000 {
        say(&mut all, key(1_000 + n), peer(1_000 + n));
        say(&mut all, key(n % 50), peer(n % 50));
    }
    (0..50).for_each(|n| assert_eq!(named(&all, &key(n)), [peer(n)], "{n}"));
}

#[tokio::test(start_paused = true)]
async fn whoever_changed_first_is_saved_first() {
    let mut all = records(Bounds::default());
    let order = [9, 3, 7, 1];
    order.iter().for_each(|n| say(&mut all, key(*n), peer(*n)));
    let saved: Vec<_> = order.iter().map(|_| all.unsaved(Time(0), 1).remove(0).0).collect();
    assert_eq!(saved, order.map(|n| format!("{}/0", peer(n))));
}

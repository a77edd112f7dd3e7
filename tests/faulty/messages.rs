//! Messages: lost, late, twice, broken, stalled, parted.

use std::time::Duration;

use carrick::conformance::faulty::Faulty;
use carrick::{ErrorKind, Event, Limits, Remote, Skip};
use futures::StreamExt as _;
use tokio::time::Instant;

use crate::nodes::{Wire, addr, counted, link, next, on_both, on_memory, publish, reads, topic};

#[test]
fn what_is_lost_never_arrives_and_is_counted() {
    on_both(async |wire| {
        let faulty = Faulty::new(1);
        let [a, b] = wire.pair(&faulty).await;
        let mut at_b = reads(&b, &[&a]).await;
        faulty.change(|faults| faults.loss = 1.0).expect("in range");
        publish(&a, ["one", "two", "three"]).await;
        counted(&b, "faulty_lost", 3).await;
        faulty.clear();
        publish(&a, ["four"]).await;
        assert_eq!(next(&mut at_b).await, "four");
    });
}

#[test]
fn a_delay_is_kept_and_keeps_the_order() {
    on_both(async |wire| {
        let faulty = Faulty::new(1);
        let [a, b] = wire.pair(&faulty).await;
        let mut at_b = reads(&b, &[&a]).await;
        faulty.change(|faults| faults.delay = Duration::from_millis(40)).expect("in range");
        let began = Instant::now();
        let payloads = ["one", "two", "three"];
        publish(&a, payloads).await;
        for payload in payloads {
            assert_eq!(next(&mut at_b).await, payload);
        }
        let took = began.elapsed().as_millis();
        assert!(took >= 40 && (took == 40 || matches!(wire, Wire::Quic)), "{took} ms");
    });
}

#[test]
fn what_comes_twice_is_handed_out_once() {
    on_both(async |wire| {
        let faulty = Faulty::new(1);
        let [a, b] = wire.pair(&faulty).await;
        let mut at_b = reads(&b, &[&a]).await;
        faulty.change(|faults| faults.duplicate = 1.0).expect("in range");
        publish(&a, ["one", "two", "three"]).await;
        for payload in ["one", "two", "three"] {
            assert_eq!(next(&mut at_b).await, payload);
        }
        counted(&b, "faulty_duplicated", 3).await;
        faulty.clear();
        publish(&a, ["four"]).await;
        assert_eq!(next(&mut at_b).await, "four");
        assert_eq!(b.counter("accepted"), 4);
    });
}

/// Two nodes know of each other by the one between; it alone has faults round it.
#[test]
fn what_is_late_or_comes_twice_is_relayed_all_the_same() {
    on_both(async |wire| {
        let faulty = Faulty::new(1);
        let (a, b, c) = (wire.plain(1).await, wire.faulty(2, &faulty).await, wire.plain(3).await);
        link(&a, &b).await;
        link(&b, &c).await;
        let mut at_c = reads(&c, &[&b]).await;
        let _at_b = reads(&b, &[&a, &c]).await;
        for (delay, duplicate) in [(0, 1.0), (30, 0.0), (30, 1.0)] {
            let change = faulty.change(|faults| {
                (faults.delay, faults.duplicate) = (Duration::from_millis(delay), duplicate);
            });
            change.expect("in range");
            publish(&a, ["on"]).await;
            assert_eq!(next(&mut at_c).await, "on");
        }
    });
}

#[test]
fn what_is_broken_is_not_handed_out_and_the_link_pays() {
    on_both(async |wire| {
        let faulty = Faulty::new(1);
        let [a, b] = wire.pair(&faulty).await;
        let mut at_b = reads(&b, &[&a]).await;
        faulty.change(|faults| faults.corrupt = 1.0).expect("in range");
        publish(&a, ["one"]).await;
        counted(&b, "faulty_corrupted", 1).await;
        faulty.clear();
        publish(&a, ["two"]).await;
        assert_eq!(next(&mut at_b).await, "two");
        let peers = b.peers().await.expect("peers");
        assert!(peers[0].reputation < -5.0, "{peers:?}");
    });
}

#[test]
fn what_is_stalled_comes_later_and_holds_up_nobody_else() {
    on_both(async |wire| {
        let faulty = Faulty::new(1);
        let [a, b] = wire.pair(&faulty).await;
        let c = wire.plain(3).await;
        link(&c, &b).await;
        let mut at_b = reads(&b, &[&a, &c]).await;
        faulty.change_from(a.peer_id(), |faults| faults.stall = true).expect("in range");
        publish(&a, ["one", "two"]).await;
        publish(&c, ["beside"]).await;
        assert_eq!(next(&mut at_b).await, "beside");
        assert_eq!(b.peers().await.expect("peers").len(), 2, "the link stays");
        faulty.change_from(a.peer_id(), |faults| faults.stall = false).expect("in range");
        assert_eq!((next(&mut at_b).await, next(&mut at_b).await), ("one".into(), "two".into()));
    });
}

#[test]
fn nothing_crosses_a_partition_until_it_heals_and_links_stay() {
    on_both(async |wire| {
        let faulty = Faulty::new(1);
        let [a, b] = wire.pair(&faulty).await;
        let c = wire.plain(3).await;
        link(&c, &b).await;
        let mut at_b = reads(&b, &[&a, &c]).await;
        faulty.partition(&[&[b.peer_id()]]);
        // Faults are round a, and it knows that nobody was reached; round c are none.
        let published = a.publish(&topic(), "one").await.expect("publishes");
        assert_eq!((published.queued, published.skipped), (true, vec![(Skip::Banned, 1)]));
        publish(&c, ["two"]).await;
        counted(&b, "faulty_parted", 1).await;
        let dialled = b.connect(&addr(&a)).await.expect_err("it is parted");
        assert_eq!(dialled.kind(), ErrorKind::Unreachable);
        assert_eq!(b.peers().await.expect("peers").len(), 2, "links stay");
        faulty.heal();
        publish(&a, ["three"]).await;
        publish(&c, ["four"]).await;
        let mut heard = [next(&mut at_b).await, next(&mut at_b).await, next(&mut at_b).await];
        heard.sort();
        assert_eq!(heard, ["four", "one", "three"], "what was kept goes first");
    });
}

#[test]
fn jitter_keeps_the_order_unless_it_is_not_to_be() {
    on_memory(async |wire| {
        let faulty = Faulty::new(1);
        let a = wire.plain(1).await;
        // Nothing waits for what is late, or the order would be mended.
        let mut limits = Limits::default();
        limits.reorder = Duration::ZERO;
        let b = faulty.round(wire.builder(2).limits(limits)).open().await.expect("opens");
        link(&a, &b).await;
        let mut at_b = reads(&b, &[&a]).await;
        for (reorder, kept) in [(0.0, true), (0.5, false)] {
            let jitter = Duration::from_millis(500);
            faulty.change(|faults| (faults.jitter, faults.reorder) = (jitter, reorder)).expect("in range");
            let payloads: Vec<String> = (0..50).map(|n| n.to_string()).collect();
            publish(&a, payloads.iter().map(String::as_str)).await;
            let mut heard = Vec::new();
            for _ in &payloads {
                heard.push(next(&mut at_b).await);
            }
            assert_eq!(heard == payloads, kept, "{heard:?}");
        }
    });
}

#[test]
fn no_more_is_on_its_way_than_there_is_room_for() {
    on_memory(async |wire| {
        let faulty = Faulty::new(1);
        let [a, b] = wire.pair(&faulty).await;
        let mut at_b = reads(&b, &[&a]).await;
        faulty.change(|faults| faults.stall = true).expect("in range");
        // Of 60 KiB each, 68 are 4 MiB.
        for _ in 0..100 {
            a.publish(&topic(), vec![0; 60 << 10]).await.expect("publishes");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        counted(&b, "dropped", 100 - 68).await;
        faulty.clear();
        let held = b.counter("faulty_delayed");
        assert!((60..69).contains(&held), "{held}");
        for _ in 0..held {
            next(&mut at_b).await;
        }
        publish(&a, ["last"]).await;
        while next(&mut at_b).await != "last" {}
        assert_eq!(b.counter("accepted") + b.counter("dropped"), 101);
    });
}

#[test]
fn what_is_on_its_way_ends_with_its_link() {
    on_both(async |wire| {
        let faulty = Faulty::new(1);
        let [a, b] = wire.pair(&faulty).await;
        let mut at_b = reads(&b, &[&a]).await;
        faulty.change(|faults| faults.delay = Duration::from_secs(3_600)).expect("in range");
        publish(&a, ["one"]).await;
        counted(&b, "faulty_delayed", 1).await;
        let mut events = a.events();
        b.disconnect(&Remote::Peer(a.peer_id())).await.expect("disconnects");
        counted(&b, "faulty_lost", 1).await;
        while !matches!(events.next().await, Some(Event::Down { .. })) {}
        faulty.clear();
        link(&a, &b).await;
        a.ready(&topic(), 1).await.expect("they are linked");
        publish(&a, ["three"]).await;
        assert_eq!(next(&mut at_b).await, "three");
    });
}

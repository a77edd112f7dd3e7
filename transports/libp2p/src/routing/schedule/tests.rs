use std::collections::BTreeMap;

use super::*;

const HOUR: u64 = 3_600_000;
const DAY: Duration = Duration::from_secs(22 * 3600);
const NOW: Time = Time(1_700_000_000_000);

/// A root whose hash looks like one.
fn root(n: u64) -> Bytes {
    let cid = carrick_core::Block::new(carrick_core::RAW, n.to_be_bytes().to_vec()).cid().hash().to_bytes();
    cid.into()
}

fn plus(time: Time, millis: u64) -> Time {
    Time(time.as_millis() + millis)
}

/// Announces all that is due until `end`; when each was announced.
fn run(schedule: &mut Schedule, mut now: Time, end: Time) -> Vec<(Time, Bytes)> {
    let mut told = Vec::new();
    loop {
        while let Some(root) = schedule.next(now) {
            schedule.done(&root, Outcome::Told, now);
            told.push((now, root));
        }
        match schedule.wakes().filter(|wakes| *wakes <= end) {
            Some(wakes) => now = wakes.max(now),
            None => return told,
        }
    }
}

#[test]
fn ten_thousand_roots_go_out_evenly_and_none_later_than_the_interval() {
    let mut schedule = Schedule::new(Some(DAY), 8);
    for n in 0..10_000 {
        schedule.restore(root(n), None);
    }
    let first = run(&mut schedule, NOW, NOW);
    assert_eq!(first.len(), 10_000, "what was never announced is announced at once");
    let mut last: BTreeMap<Bytes, Time> = first.into_iter().map(|(at, root)| (root, at)).collect();
    let mut hours = [0_usize; 66];
    let later = run(&mut schedule, NOW, plus(NOW, 66 * HOUR - 1));
    assert_eq!(later.len(), 30_000, "three intervals");
    for (at, root) in later {
        hours[((at.as_millis() - NOW.as_millis()) / HOUR) as usize] += 1;
        let before = last.insert(root, at).expect("announced before");
        assert!(at.abs_diff(before) <= DAY, "late");
    }
    let (least, most) = (hours.iter().min().expect("hours"), hours.iter().max().expect("hours"));
    assert!(*least > 350 && *most < 560, "about 455 an hour, not {least} to {most}");
}

#[test]
fn a_restart_goes_on_where_the_earlier_life_stopped() {
    let (mut schedule, mut saved) = (Schedule::new(Some(DAY), 8), BTreeMap::new());
    (0..1_000).for_each(|n| schedule.restore(root(n), None));
    let half = plus(NOW, 11 * HOUR);
    for (at, root) in run(&mut schedule, NOW, half) {
        saved.insert(root, at);
    }
    let rest = run(&mut schedule, half, plus(NOW, 22 * HOUR - 1));

    let mut again = Schedule::new(Some(DAY), 8);
    saved.into_iter().for_each(|(root, told)| again.restore(root, Some(told)));
    assert_eq!(again.next(half), None, "nothing is due because of the restart");
    assert_eq!(run(&mut again, half, plus(NOW, 22 * HOUR - 1)), rest);
}

#[test]
fn what_became_due_while_the_node_was_away_goes_out_at_once_the_oldest_first_a_few_at_a_time() {
    let mut schedule = Schedule::new(Some(DAY), 8);
    schedule.restore(root(0), None);
    (1..100).for_each(|n| schedule.restore(root(n), Some(Time(NOW.as_millis() - n * 100 * HOUR))));
    let mut running: Vec<_> = std::iter::from_fn(|| schedule.next(NOW)).collect();
    assert_eq!(running.len(), 8, "no more at once");
    assert_eq!(running[..3], [root(0), root(99), root(98)]);
    schedule.done(&running.remove(0), Outcome::Told, NOW);
    assert_eq!(schedule.next(NOW), Some(root(92)), "one ended, one begins");
    assert_eq!(schedule.next(NOW), None);
}

#[test]
fn with_nobody_to_tell_one_root_looks_out_less_and_less_often_until_peers_come() {
    let mut schedule = Schedule::new(Some(DAY), 8);
    (0..100).for_each(|n| schedule.restore(root(n), None));
    let mut now = NOW;
    while let Some(first) = schedule.next(now) {
        schedule.done(&first, Outcome::NoPeers, now);
    }
    let mut waits = Vec::new();
    for _ in 0..12 {
        let wakes = schedule.wakes().expect("waits");
        waits.push(wakes.abs_diff(now).as_secs());
        now = wakes;
        let one = schedule.next(now).expect("one looks");
        assert_eq!(schedule.next(now), None, "and no other");
        schedule.done(&one, Outcome::NoPeers, now);
    }
    assert_eq!(waits[..4], [1, 2, 4, 8]);
    assert_eq!(waits[11], 300);
    assert_eq!(schedule.next(now), None);
    schedule.peers_came();
    assert_eq!(std::iter::from_fn(|| schedule.next(now)).count(), 8);
}

#[test]
fn a_root_that_cannot_be_announced_holds_no_other_up() {
    let mut schedule = Schedule::new(Some(DAY), 1);
    (0..2).for_each(|n| schedule.restore(root(n), None));
    let bad = schedule.next(NOW).expect("due");
    schedule.done(&bad, Outcome::Timeout, NOW);
    let good = schedule.next(NOW).expect("the other is due");
    assert_ne!(good, bad);
    schedule.done(&good, Outcome::Told, NOW);
    let mut now = NOW;
    let mut waits = Vec::new();
    for _ in 0..8 {
        let wakes = schedule.wakes().expect("waits");
        waits.push(wakes.abs_diff(now).as_secs());
        now = wakes;
        assert_eq!(schedule.next(now), Some(bad.clone()));
        schedule.done(&bad, Outcome::Timeout, now);
    }
    assert_eq!(waits, [60, 120, 240, 480, 960, 1920, 3600, 3600]);
}

#[test]
fn a_root_asked_for_is_under_way_once_and_one_that_is_withdrawn_is_gone() {
    let mut schedule = Schedule::new(Some(DAY), 1);
    assert!(schedule.begin(&root(1)));
    assert!(!schedule.begin(&root(1)), "it is under way");
    assert_eq!((schedule.len(), schedule.wakes()), (1, None));
    assert!(schedule.remove(&root(1)) && !schedule.remove(&root(1)));
    schedule.done(&root(1), Outcome::Told, NOW);
    assert_eq!((schedule.len(), schedule.running), (0, 0));
    schedule.restore(root(2), None);
    assert_eq!(schedule.next(NOW), Some(root(2)), "its place is free again");
}

#[test]
fn without_an_interval_each_is_announced_once() {
    let mut schedule = Schedule::new(None, 4);
    schedule.restore(root(1), None);
    schedule.restore(root(2), Some(NOW));
    assert_eq!(run(&mut schedule, NOW, plus(NOW, 1_000 * HOUR)), [(NOW, root(1))]);
    assert_eq!(schedule.len(), 2, "both stay provided");
}

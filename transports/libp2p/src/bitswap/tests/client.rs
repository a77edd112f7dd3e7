//! What we want of others: whom it asks, and what it does about what comes.

use std::collections::VecDeque;

use carrick_core::links::{Miss, Tally};
use carrick_core::{Block, Cid, Misdeed, PeerId};

use super::super::client::{Action, Client, RequestId, SessionId, Time};
use super::super::limits;
use super::super::message::Ask;
use super::{ms, peer, raw};

fn client(peers: impl IntoIterator<Item = u8>) -> Client {
    let mut client = Client::new(ms(10_000));
    peers.into_iter().for_each(|n| client.connected(peer(n), Time::ZERO));
    client
}

fn session(client: &mut Client) -> SessionId {
    client.begin(&[], &[], 0)
}

fn asks(client: &mut Client, n: u8) -> Vec<Ask> {
    client.take(&peer(n)).1
}

/// Who is told what, among the first `n` peers.
fn told(client: &mut Client, n: u8) -> Vec<(u8, &'static str)> {
    let mut told = vec![];
    for number in 1..=n {
        for ask in asks(client, number) {
            told.push((
                number,
                if ask.cancel {
                    "cancel"
                } else if ask.have {
                    "have"
                } else {
                    "block"
                },
            ));
        }
    }
    told
}

fn blames(client: &mut Client) -> Vec<(PeerId, Misdeed)> {
    let blame = |action| match action {
        Action::Report(peer, misdeed) => Some((peer, misdeed)),
        _ => None,
    };
    client.actions().into_iter().filter_map(blame).collect()
}

fn failed(client: &mut Client) -> Vec<(RequestId, Tally)> {
    let failed = |action| match action {
        Action::Failed(request, _, tally) => Some((request, tally)),
        _ => None,
    };
    client.actions().into_iter().filter_map(failed).collect()
}

fn tally(misses: &[Miss]) -> Tally {
    let mut tally = Tally::default();
    misses.iter().for_each(|miss| tally.note(*miss));
    tally
}

/// Wakes it at every time that it asks for, up to `until`.
fn pass(client: &mut Client, until: Time) {
    while let Some(due) = client.next_due().filter(|due| *due <= until) {
        client.wake(due);
    }
}

/// The peers of a session that had the root.
fn with_root(client: &mut Client, having: &[u8]) -> SessionId {
    let (session, root) = (session(client), raw("root"));
    for n in having {
        client.request(session, *root.cid(), ms(0)).expect("room");
        client.block(&peer(*n), root.cid(), root.size(), ms(1));
    }
    (1..=9).for_each(|n| drop(asks(client, n)));
    session
}

#[test]
fn one_is_asked_for_the_block_and_others_whether_they_have_it() {
    let mut client = client(1..=4);
    let session = session(&mut client);
    client.request(session, *raw("x").cid(), ms(0)).expect("room");
    let mut told: Vec<_> = told(&mut client, 4).into_iter().map(|(_, what)| what).collect();
    told.sort_unstable();
    assert_eq!(told, ["block", "have", "have", "have"]);
}

#[test]
fn who_had_the_root_is_asked_for_the_rest() {
    let mut client = client(1..=9);
    let session = with_root(&mut client, &[3]);
    for n in 0..20_u8 {
        client.request(session, *raw([n]).cid(), ms(2)).expect("room");
    }
    assert_eq!(told(&mut client, 9), [(3, "block"); 20]);
}

#[test]
fn those_who_have_it_share_the_work() {
    let mut client = client(1..=9);
    let session = with_root(&mut client, &[3, 4]);
    for n in 0..100_u8 {
        client.request(session, *raw([n]).cid(), ms(2)).expect("room");
    }
    let told = told(&mut client, 9);
    let of = |n| told.iter().filter(|told| **told == (n, "block")).count();
    assert_eq!(of(3) + of(4), 100);
    assert!(of(3) >= 30 && of(4) >= 30, "{} and {}", of(3), of(4));
}

#[test]
fn a_block_that_came_is_cancelled_elsewhere_and_not_where_it_came_from() {
    let mut client = client(1..=3);
    let (session, block) = (session(&mut client), raw("x"));
    let request = client.request(session, *block.cid(), ms(0)).expect("room");
    told(&mut client, 3);
    assert_eq!(client.block(&peer(2), block.cid(), 1, ms(5)), [request]);
    assert_eq!(told(&mut client, 3), [(1, "cancel"), (3, "cancel")]);
    // A second copy that was under way is counted, and nobody's fault.
    client.actions();
    assert!(client.block(&peer(1), block.cid(), 1, ms(6)).is_empty());
    let actions = client.actions();
    assert!(actions.contains(&Action::Count("bitswap_duplicates", 1)), "{actions:?}");
    assert!(!actions.iter().any(|action| matches!(action, Action::Report(..))));
    client.end(session);
    assert!(client.is_idle());
}

#[test]
fn the_last_of_many_is_asked_too() {
    for many in [limits::BROADCAST as u8 + 1, limits::STANDS as u8 + 60] {
        // Who is asked last is the greatest of them.
        let last = (1..=many).max_by_key(|n| peer(*n)).expect("many");
        let mut client = client(1..=many);
        let (session, block) = (session(&mut client), raw("x"));
        let request = client.request(session, *block.cid(), ms(0)).expect("room");
        let find = loop {
            let told = told(&mut client, many);
            let asked: Vec<_> = told.iter().filter(|(_, what)| *what != "cancel").collect();
            assert!((1..=limits::BROADCAST).contains(&asked.len()), "{} at once", asked.len());
            for (n, _) in &asked {
                client.presence(&peer(*n), block.cid(), *n == last, ms(1));
            }
            if asked.iter().any(|(n, _)| *n == last) {
                break client.actions();
            }
        };
        assert!(!find.iter().any(|action| matches!(action, Action::Find(..) | Action::Failed(..))));
        assert_eq!(client.block(&peer(last), block.cid(), 1, ms(2)), [request]);
        client.end(session);
        assert!(client.is_idle());
    }
}

#[test]
fn nobody_of_many_has_it_only_when_all_have_said_so() {
    let many = limits::STANDS as u8 + 60;
    let mut client = client(1..=many);
    let (session, block) = (session(&mut client), raw("x"));
    let request = client.request(session, *block.cid(), ms(0)).expect("room");
    let mut asked = std::collections::BTreeSet::new();
    loop {
        let told = told(&mut client, many);
        let round: Vec<_> = told.iter().filter(|(_, what)| *what != "cancel").map(|(n, _)| *n).collect();
        if round.is_empty() {
            break;
        }
        for n in round {
            assert!(asked.insert(n), "{n} is asked again");
            client.presence(&peer(n), block.cid(), false, ms(1));
        }
    }
    assert_eq!(asked.len(), usize::from(many));
    let Some(Action::Find(find, _)) =
        client.actions().into_iter().find(|action| matches!(action, Action::Find(..)))
    else {
        panic!("no search")
    };
    client.find_ended(find, ms(2));
    assert_eq!(failed(&mut client), [(request, tally(&[Miss::Absent]))]);
    client.end(session);
    assert!(client.is_idle());
}

#[test]
fn a_caller_that_goes_cancels() {
    let mut client = client(1..=2);
    let (session, block) = (session(&mut client), raw("x"));
    let [first, second] = [0, 1].map(|_| client.request(session, *block.cid(), ms(0)).expect("room"));
    told(&mut client, 2);
    client.drop_request(first, ms(1));
    assert_eq!(told(&mut client, 2), [], "another one waits still");
    client.drop_request(second, ms(1));
    assert_eq!(told(&mut client, 2), [(1, "cancel"), (2, "cancel")]);
    // Nobody hears of what was never asked for.
    let third = client.request(session, *raw("y").cid(), ms(2)).expect("room");
    client.drop_request(third, ms(2));
    assert_eq!(told(&mut client, 2), []);
    client.end(session);
    assert!(client.is_idle());
}

#[test]
fn who_has_it_not_is_passed_over_at_once() {
    let mut client = client(1..=9);
    let session = with_root(&mut client, &[3, 4]);
    let block = raw("x");
    client.request(session, *block.cid(), ms(2)).expect("room");
    let (first, _) = told(&mut client, 9)[0];
    client.presence(&peer(first), block.cid(), false, ms(3));
    assert_eq!(told(&mut client, 9), [(if first == 3 { 4 } else { 3 }, "block")]);
}

#[test]
fn who_is_silent_is_passed_over_in_time_and_blamed() {
    let mut client = client(1..=9);
    let session = with_root(&mut client, &[3, 4]);
    let block = raw("x");
    client.request(session, *block.cid(), ms(2)).expect("room");
    let (first, _) = told(&mut client, 9)[0];
    let other = if first == 3 { 4 } else { 3 };
    // It said once what it has, so it knows how to.
    client.presence(&peer(first), raw("unrelated").cid(), false, ms(1));
    client.actions();
    pass(&mut client, limits::LATE + ms(2));
    assert_eq!(told(&mut client, 9), [(other, "block")]);
    assert_eq!(client.block(&peer(other), block.cid(), 1, ms(5_100)).len(), 1);
    assert_eq!(told(&mut client, 9), [(first, "cancel")]);
    assert_eq!(blames(&mut client), []);
    pass(&mut client, ms(11_000));
    assert_eq!(blames(&mut client), [(peer(first), Misdeed::Stalled)]);
    client.end(session);
    assert!(client.is_idle());
}

#[test]
fn who_says_have_and_does_not_send_breaks_a_promise() {
    let mut client = client([1, 2]);
    let (session, block) = (session(&mut client), raw("x"));
    client.request(session, *block.cid(), ms(0)).expect("room");
    told(&mut client, 2);
    // One of them was asked for the block and has it not; the other says it has.
    client.presence(&peer(1), block.cid(), false, ms(1));
    client.presence(&peer(2), block.cid(), false, ms(1));
    client.presence(&peer(2), block.cid(), true, ms(2));
    assert_eq!(told(&mut client, 2), [(2, "block")]);
    pass(&mut client, ms(10_100));
    assert_eq!(blames(&mut client), [(peer(2), Misdeed::BrokenPromise)]);
}

#[test]
fn a_peer_that_sends_others_has_more_time() {
    let mut client = client([1]);
    let session = with_root(&mut client, &[1]);
    let blocks: Vec<_> = (0..100_u8).map(|n| raw([n])).collect();
    for block in &blocks {
        client.request(session, *block.cid(), ms(1)).expect("room");
    }
    told(&mut client, 1);
    for (n, block) in (1..).zip(&blocks[..7]) {
        pass(&mut client, ms(n * 2_000));
        assert_eq!(client.block(&peer(1), block.cid(), 1, ms(n * 2_000)).len(), 1);
    }
    assert!(!client.actions().contains(&Action::Count("bitswap_late", 1)));
}

/// Wants so many blocks that a peer says it has.
fn promised(client: &mut Client, session: SessionId, blocks: &[Block], at: Time) {
    for block in blocks {
        client.request(session, *block.cid(), at).expect("room");
        client.presence(&peer(1), block.cid(), false, at);
        client.presence(&peer(1), block.cid(), true, at);
    }
}

/// A peer sends what it was asked for, in that order and nothing else, one block a second but in `pause`; answers how many came.
fn sends_slowly(client: &mut Client, from: u64, pause: std::ops::Range<u64>) -> usize {
    let mut line: VecDeque<Cid> = VecDeque::new();
    let mut came = 0;
    for second in from..from + 400 {
        let now = ms(second * 1_000);
        pass(client, now);
        line.extend(asks(client, 1).into_iter().filter(|ask| !ask.cancel && !ask.have).map(|ask| ask.cid));
        if pause.contains(&second) {
            // A large block is on its way.
            client.progress(&peer(1), now);
        } else if let Some(cid) = line.pop_front() {
            came += client.block(&peer(1), &cid, 1, now).len();
        }
    }
    came
}

#[test]
fn a_peer_that_sends_slowly_what_it_promised_is_no_liar_and_sends_all() {
    let mut client = client([1]);
    let session = with_root(&mut client, &[1]);
    let blocks: Vec<_> = (0..240_u8).map(|n| raw([n])).collect();
    promised(&mut client, session, &blocks[..100], ms(1));
    assert_eq!(sends_slowly(&mut client, 1, 0..0), 100);
    // Of these it is asked for some, as many as it sends in time, and all of them are late at once.
    for block in &blocks[100..] {
        client.request(session, *block.cid(), ms(400_500)).expect("room");
    }
    assert_eq!(sends_slowly(&mut client, 401, 402..430), 140);
    assert_eq!(blames(&mut client), []);
    client.end(session);
    assert!(client.is_idle());
}

#[test]
fn a_slow_peer_is_asked_for_no_more_than_it_sends_in_time() {
    let mut client = client([1]);
    let session = with_root(&mut client, &[1]);
    for n in 0..40_u8 {
        client.request(session, *raw([n]).cid(), ms(1)).expect("room");
    }
    for (n, ask) in (1..).zip(asks(&mut client, 1)) {
        client.block(&peer(1), &ask.cid, 1, ms(n * 1_000));
    }
    for n in 40..140_u8 {
        client.request(session, *raw([n]).cid(), ms(40_000)).expect("room");
    }
    let ahead = asks(&mut client, 1).len();
    assert!((9..=11).contains(&ahead), "{ahead} seconds' work");
}

#[test]
fn who_sends_only_what_it_was_asked_for_later_breaks_its_promise() {
    let mut client = client([1]);
    let session = with_root(&mut client, &[1]);
    let kept_back = raw("kept back");
    promised(&mut client, session, &[kept_back], ms(1));
    for n in 1..=25_u8 {
        let (now, block) = (ms(u64::from(n) * 1_000), raw([n]));
        promised(&mut client, session, std::slice::from_ref(&block), now);
        asks(&mut client, 1);
        pass(&mut client, now);
        client.block(&peer(1), block.cid(), 1, now);
    }
    assert_eq!(blames(&mut client), [(peer(1), Misdeed::BrokenPromise)]);
}

#[test]
fn a_peer_that_goes_is_replaced() {
    let mut client = client(1..=9);
    let session = with_root(&mut client, &[3, 4]);
    for n in 0..50_u8 {
        client.request(session, *raw([n]).cid(), ms(2)).expect("room");
    }
    let before = told(&mut client, 9).iter().filter(|(n, _)| *n == 3).count();
    client.disconnected(&peer(3), ms(3));
    assert_eq!(told(&mut client, 9), vec![(4, "block"); before]);
}

#[test]
fn what_waits_for_room_at_a_peer_that_goes_or_falls_silent_waits_no_longer() {
    let goes: [fn(&mut Client, &PeerId, Time); 2] =
        [Client::disconnected, |client, peer, now| client.mute(peer, None, now)];
    for goes in goes {
        let mut client = client([1]);
        let session = with_root(&mut client, &[1]);
        let wanted = limits::WINDOW + 200;
        for n in 0..wanted {
            client.request(session, *raw(n.to_be_bytes()).cid(), ms(2)).expect("room");
        }
        client.actions();
        goes(&mut client, &peer(1), ms(3));
        let mut ended = 0;
        loop {
            let actions = client.actions();
            if actions.is_empty() {
                break;
            }
            for action in actions {
                match action {
                    Action::Find(id, _) => client.find_ended(id, ms(4)),
                    Action::Failed(..) => ended += 1,
                    _ => {}
                }
            }
        }
        assert_eq!(ended, wanted);
        client.end(session);
        assert!(client.is_idle());
    }
}

#[test]
fn whoever_speaks_again_is_asked_for_what_nobody_has() {
    let mut client = client([1]);
    client.mute(&peer(1), Some(ms(60_000)), ms(0));
    let (session, block) = (session(&mut client), raw("x"));
    client.request(session, *block.cid(), ms(1)).expect("room");
    client.rested(&peer(1), ms(59_999));
    assert_eq!(told(&mut client, 1), []);
    client.rested(&peer(1), ms(60_000));
    assert_eq!(told(&mut client, 1), [(1, "have")]);
    // One that speaks no bitswap at all is asked when it opens a stream itself, and not before.
    client.mute(&peer(1), None, ms(60_001));
    client.rested(&peer(1), ms(200_000));
    assert_eq!(told(&mut client, 1), []);
    client.unmute(&peer(1), ms(200_001));
    assert_eq!(told(&mut client, 1), [(1, "have")]);
}

#[test]
fn nobody_and_nobody_who_has_it_differ() {
    let mut client = client([]);
    let (session, block) = (session(&mut client), raw("x"));
    let request = client.request(session, *block.cid(), ms(0)).expect("room");
    let Some(Action::Find(find, _)) = client.actions().pop() else { panic!("no search") };
    client.find_ended(find, ms(1));
    assert_eq!(failed(&mut client), [(request, Tally::default())]);

    client.connected(peer(1), ms(2));
    let request = client.request(session, *block.cid(), ms(2)).expect("room");
    client.presence(&peer(1), block.cid(), false, ms(3));
    let Some(find) = client.actions().into_iter().find_map(|action| match action {
        Action::Find(id, _) => Some(id),
        _ => None,
    }) else {
        panic!("no search")
    };
    client.find_ended(find, ms(4));
    assert_eq!(failed(&mut client), [(request, tally(&[Miss::Absent]))]);
    client.end(session);
    assert!(client.is_idle());
}

#[test]
fn the_finder_is_asked_after_a_while_and_stopped_when_it_is_here() {
    let mut client = client([1]);
    let (session, block) = (session(&mut client), raw("x"));
    client.request(session, *block.cid(), ms(0)).expect("room");
    pass(&mut client, ms(999));
    assert!(!client.actions().iter().any(|action| matches!(action, Action::Find(..))));
    pass(&mut client, ms(1_000));
    let find = client.actions().into_iter().find_map(|action| match action {
        Action::Find(id, _) => Some(id),
        _ => None,
    });
    client.block(&peer(1), block.cid(), 1, ms(1_500));
    assert!(client.actions().contains(&Action::StopFind(find.expect("a search"))));
    client.end(session);
    assert!(client.is_idle());
}

#[test]
fn who_is_found_or_connects_is_asked() {
    let mut client = client([]);
    let (session, block) = (session(&mut client), raw("x"));
    client.request(session, *block.cid(), ms(0)).expect("room");
    let Some(Action::Find(find, _)) = client.actions().pop() else { panic!("no search") };
    client.connected(peer(1), ms(10));
    assert_eq!(told(&mut client, 2), [(1, "have")]);
    client.connected(peer(2), ms(20));
    client.presence(&peer(2), block.cid(), false, ms(25));
    client.connected(peer(3), ms(28));
    told(&mut client, 3);
    client.found(find, peer(4), ms(30));
    client.connected(peer(4), ms(31));
    assert_eq!(told(&mut client, 4), [(4, "block")]);
}

#[test]
fn hints_are_asked_first_and_who_is_avoided_not_at_all() {
    let mut client = client(1..=4);
    let session = client.begin(&[peer(3)], &[peer(2)], 0);
    let block = raw("x");
    client.request(session, *block.cid(), ms(0)).expect("room");
    assert_eq!(told(&mut client, 4), [(3, "block")]);
    client.presence(&peer(3), block.cid(), false, ms(1));
    assert!(told(&mut client, 4).iter().all(|(n, _)| [1, 4].contains(n)));
    assert!(client.block(&peer(2), block.cid(), 1, ms(2)).is_empty(), "nothing is taken of it");
    assert_eq!(client.block(&peer(4), block.cid(), 1, ms(2)).len(), 1);
}

#[test]
fn a_hinted_peer_that_hangs_is_asked_for_nothing_more_while_another_one_delivers() {
    let mut client = client([1, 2]);
    let session = client.begin(&[peer(1)], &[], 0);
    let blocks: Vec<Block> = (0..9).map(|n: u8| raw([n])).collect();
    client.request(session, *blocks[0].cid(), ms(0)).expect("room");
    assert_eq!(told(&mut client, 2), [(1, "block")]);
    pass(&mut client, ms(5_000));
    assert!(told(&mut client, 2).contains(&(2, "block")));
    client.block(&peer(2), blocks[0].cid(), 1, ms(5_001));
    told(&mut client, 2);
    for block in &blocks[1..] {
        client.request(session, *block.cid(), ms(5_002)).expect("room");
    }
    assert_eq!(told(&mut client, 2), [(2, "block"); 8]);
}

#[test]
fn what_nobody_asked_for_is_dropped_and_blamed() {
    let mut client = client([1]);
    assert!(!client.expects(&peer(1)));
    assert!(client.block(&peer(1), raw("x").cid(), 1, ms(0)).is_empty());
    assert_eq!(blames(&mut client), [(peer(1), Misdeed::Needless)]);
    for n in 0..160_u8 {
        client.presence(&peer(1), raw([n]).cid(), true, ms(0));
    }
    assert_eq!(blames(&mut client).len(), 10);
}

#[test]
fn a_window_is_kept_full() {
    let mut client = client([1]);
    let session = with_root(&mut client, &[1]);
    let blocks: Vec<Block> = (0..2_000_u32).map(|n| raw(n.to_be_bytes())).collect();
    for block in &blocks {
        client.request(session, *block.cid(), ms(2)).expect("room");
    }
    let first: Vec<_> =
        std::iter::from_fn(|| Some(asks(&mut client, 1)).filter(|asks| !asks.is_empty())).flatten().collect();
    assert!((200..=limits::WINDOW).contains(&first.len()), "{}", first.len());
    let mut asked = first.len();
    for block in &blocks {
        assert_eq!(client.block(&peer(1), block.cid(), 4, ms(3)).len(), 1);
        asked += asks(&mut client, 1).len();
    }
    assert_eq!(asked, 2_000);
    client.end(session);
    assert!(client.is_idle());
}

#[test]
fn a_new_stream_says_all_again() {
    let mut client = client([1]);
    let session = with_root(&mut client, &[1]);
    for n in 0..600_u32 {
        client.request(session, *raw(n.to_be_bytes()).cid(), ms(2)).expect("room");
    }
    let before = asks(&mut client, 1);
    client.reopened(&peer(1), ms(3));
    let (full, again) = client.take(&peer(1));
    assert!(full && again.len() >= before.len(), "{} and {}", again.len(), before.len());
    assert_eq!(client.take(&peer(1)).1, []);
}

#[test]
fn a_second_copy_of_what_was_asked_for_again_is_nobodys_fault() {
    let mut client = client([1]);
    let session = with_root(&mut client, &[1]);
    let blocks: Vec<Block> = (0..100_u8).map(|n| raw([n])).collect();
    for block in &blocks {
        client.request(session, *block.cid(), ms(2)).expect("room");
    }
    asks(&mut client, 1);
    client.ask_again(&peer(1), ms(3));
    assert_eq!(client.take(&peer(1)).1.len(), blocks.len());
    for copy in 0..2 {
        for block in &blocks {
            assert_eq!(client.block(&peer(1), block.cid(), 1, ms(4)).len(), 1 - copy);
        }
    }
    assert_eq!(blames(&mut client), []);
    // A third one was not asked for.
    client.block(&peer(1), blocks[0].cid(), 1, ms(5));
    assert_eq!(blames(&mut client), [(peer(1), Misdeed::Needless)]);
}

#[test]
fn who_speaks_no_presences_is_asked_for_blocks() {
    let mut client = client([1, 2]);
    client.speaks(&peer(1), false, ms(0));
    client.speaks(&peer(2), false, ms(0));
    let session = session(&mut client);
    client.request(session, *raw("x").cid(), ms(0)).expect("room");
    let (first, what) = told(&mut client, 2)[0];
    assert_eq!(what, "block");
    pass(&mut client, limits::LATE);
    assert_eq!(told(&mut client, 2), [(3 - first, "block")]);
    assert_eq!(blames(&mut client), [], "it cannot say that it has it not");
}

#[test]
fn wants_are_bounded() {
    let mut client = client([1]);
    let session = session(&mut client);
    let taken = (0..limits::WANTS as u32 + 10)
        .filter(|n| client.request(session, *raw(n.to_be_bytes()).cid(), ms(0)).is_some());
    assert_eq!(taken.count(), limits::WANTS);
    assert!(!client.has_room());
    let asked: usize = std::iter::from_fn(|| Some(asks(&mut client, 1).len()).filter(|n| *n > 0)).sum();
    assert!(asked <= limits::WINDOW + limits::QUESTIONS, "{asked}");
}

#[test]
fn asking_and_cancelling_without_end_holds_nothing() {
    let mut client = client([1]);
    let session = session(&mut client);
    for n in 0..50_000_u32 {
        let request = client.request(session, *raw(n.to_be_bytes()).cid(), ms(0)).expect("room");
        client.drop_request(request, ms(0));
    }
    assert!(client.told(&peer(1)) <= 8 * limits::WINDOW + 1);
    assert!(asks(&mut client, 1).is_empty());
    client.end(session);
    assert!(client.is_idle());
}

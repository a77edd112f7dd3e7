//! What others want of us: wantlists, answers, turns.

use carrick_core::{Block, Bytes, Misdeed, PeerId};

use super::super::client::Time;
use super::super::limits;
use super::super::message::Ask;
use super::super::server::{Answer, Effect, Server, Taken};
use super::{cancel, ms, peer, question, raw, want};

fn server(peers: u8) -> Server<Bytes> {
    let mut server = Server::default();
    (1..=peers).for_each(|n| server.connected(peer(n)));
    server
}

fn ask(server: &mut Server<Bytes>, peer: &PeerId, ask: Ask) {
    assert_eq!(server.asked(peer, ask), Taken::Yes);
}

/// Answers all turns from a store with these blocks; answers whose turns they were.
fn serve(server: &mut Server<Bytes>, store: &[Block]) -> Vec<PeerId> {
    let mut turns = vec![];
    while let Some(turn) = server.next() {
        turns.push(turn.peer);
        let mut asks = turn.asks.into_iter().peekable();
        while let Some(ask) = asks.next_if(|ask| server.takes(&turn.peer, ask)) {
            server.answer(&turn.peer, &ask, look_up(store, &ask), Time::ZERO);
        }
        server.finish(&turn.peer, asks.collect());
    }
    turns
}

fn look_up(store: &[Block], ask: &Ask) -> Answer<Bytes> {
    match store.iter().find(|block| block.cid() == &ask.cid) {
        None => Answer::Absent,
        Some(block) if ask.have && block.size() > limits::SMALL_BLOCK => Answer::Have,
        Some(block) => Answer::Block(block.bytes().clone()),
    }
}

/// Takes one message of a peer, and has it arrive.
fn message(server: &mut Server<Bytes>, peer: &PeerId) -> (Vec<usize>, Vec<bool>) {
    let (blocks, presences, _) = server.take(peer);
    let sizes: Vec<_> = blocks.iter().map(|(_, bytes)| bytes.len()).collect();
    server.sent(peer, sizes.iter().sum(), true);
    (sizes, presences.into_iter().map(|(_, has)| has).collect())
}

#[test]
fn answers_are_block_have_and_dont_have() {
    let (small, large, absent) = (raw(vec![1; 1_024]), raw(vec![2; 1_025]), raw("absent"));
    let (mut server, store, asker) = (server(1), [small.clone(), large.clone()], peer(1));
    let mut answer = |ask: Ask| {
        server.asked(&asker, ask);
        serve(&mut server, &store);
        message(&mut server, &asker)
    };
    assert_eq!(answer(want(&large)), (vec![1_025], vec![]));
    assert_eq!(answer(question(&large)), (vec![], vec![true]));
    assert_eq!(answer(question(&small)), (vec![1_024], vec![]), "a small block instead of HAVE");
    assert_eq!(answer(question(&absent)), (vec![], vec![false]));
    assert_eq!(answer(want(&absent)), (vec![], vec![false]));
    let quiet = raw("absent, and nobody asks to be told");
    assert_eq!(answer(Ask { dont_have: false, ..want(&quiet) }), (vec![], vec![]));
}

#[test]
fn what_was_served_is_served_again() {
    let (block, asker) = (raw("again"), peer(1));
    let mut server = server(1);
    for _ in 0..3 {
        server.asked(&asker, want(&block));
        serve(&mut server, std::slice::from_ref(&block));
        assert_eq!(message(&mut server, &asker).0, [5]);
        assert_eq!(server.wantlist(&asker), 0);
    }
}

#[test]
fn answers_are_split() {
    let blocks: Vec<_> = (0..40_u8).map(|n| raw(vec![n; 256 << 10])).collect();
    let (mut server, asker) = (server(1), peer(1));
    blocks.iter().for_each(|block| ask(&mut server, &asker, want(block)));
    let (mut came, mut messages) = (0, 0);
    while came < blocks.len() {
        serve(&mut server, &blocks);
        assert!(server.outstanding() <= limits::OUTSTANDING + (256 << 10), "{}", server.outstanding());
        let (sizes, _) = message(&mut server, &asker);
        assert!(sizes.iter().sum::<usize>() <= limits::ANSWER && !sizes.is_empty());
        came += sizes.len();
        messages += 1;
    }
    assert!((40..=40).contains(&messages), "{messages} messages");
}

#[test]
fn a_peer_that_takes_nothing_holds_one_block() {
    let blocks: Vec<_> = (0..40_u8).map(|n| raw(vec![n; 1 << 20])).collect();
    let (mut server, asker) = (server(1), peer(1));
    blocks.iter().for_each(|block| ask(&mut server, &asker, want(block)));
    serve(&mut server, &blocks);
    assert_eq!(server.outstanding(), 1 << 20);
    let _taken = server.take(&asker);
    serve(&mut server, &blocks);
    assert_eq!(server.outstanding(), 1 << 20, "what is being written counts");
}

#[test]
fn a_wantlist_is_bounded_also_when_it_is_whole() {
    let (mut server, asker) = (server(1), peer(1));
    for whole in [false, true] {
        if whole {
            server.clear(&asker);
            assert_eq!(server.wantlist(&asker), 0);
        }
        let taken = (0..5_000_u32)
            .filter(|n| server.asked(&asker, want(&raw(n.to_be_bytes()))) == Taken::Yes)
            .count();
        assert_eq!((taken, server.wantlist(&asker)), (limits::WANTLIST, limits::WANTLIST));
    }
    server.disconnected(&asker);
    assert!(server.is_empty());
}

#[test]
fn what_is_absent_makes_room_for_what_may_not_be() {
    let (mut server, asker, block) = (server(1), peer(1), raw("here"));
    for n in 0..100_000_u32 {
        assert_eq!(server.asked(&asker, want(&raw(n.to_be_bytes()))), Taken::Yes);
        if n % 512 == 0 {
            serve(&mut server, &[]);
            while server.has_answers(&asker) {
                message(&mut server, &asker);
                serve(&mut server, &[]);
            }
        }
        assert!(server.wantlist(&asker) <= limits::WANTLIST && server.waiting() <= limits::WANTLIST);
    }
    server.asked(&asker, want(&block));
    serve(&mut server, &[block]);
    let mut came = vec![];
    while server.has_answers(&asker) {
        came.extend(message(&mut server, &asker).0);
    }
    assert_eq!(came, [4], "it is served all the same");
    let blames = server.effects().iter().filter(|e| **e == Effect::Report(asker, Misdeed::Needless)).count();
    assert!(blames > 5_000, "{blames} blames for 100,000 absent blocks");
}

#[test]
fn all_wantlists_together_are_bounded() {
    let mut server: Server<Bytes> = Server::default();
    for n in 1..=40 {
        server.connected(peer(n));
        for want_of in 0..1_000_u32 {
            server.asked(
                &peer(n),
                Ask { dont_have: false, ..want(&raw([&[n][..], &want_of.to_be_bytes()].concat())) },
            );
        }
        serve(&mut server, &[]);
    }
    assert!(server.waiting() <= limits::WAITING);
    assert!(server.effects().contains(&Effect::Count("bitswap_wants_dropped", 1)));
    // Whoever wants little still finds room, and nobody loses more than what is above an even share.
    let (late, block) = (peer(41), raw("comes later"));
    server.connected(late);
    ask(&mut server, &late, want(&block));
    serve(&mut server, &[]);
    let shares = (1..=40).map(|n| server.wantlist(&peer(n)));
    assert!(shares.clone().min() >= Some(limits::WAITING / 41), "{:?}", shares.collect::<Vec<_>>());
    message(&mut server, &late);
    server.arrived(block.cid());
    serve(&mut server, std::slice::from_ref(&block));
    assert_eq!(message(&mut server, &late).0, [block.size()]);
    server.disconnected(&late);
    (1..=40).for_each(|n| server.disconnected(&peer(n)));
    assert!(server.is_empty());
}

#[test]
fn what_comes_while_it_is_looked_up_in_vain_is_looked_up_again() {
    let (mut server, asker, block) = (server(1), peer(1), raw("just in time"));
    ask(&mut server, &asker, want(&block));
    let turn = server.next().expect("its turn");
    server.arrived(block.cid());
    server.answer(&asker, &turn.asks[0], Answer::Absent, Time::ZERO);
    server.finish(&asker, vec![]);
    serve(&mut server, std::slice::from_ref(&block));
    assert_eq!(message(&mut server, &asker), (vec![block.size()], vec![]));
    server.disconnected(&asker);
    assert!(server.is_empty());
}

#[test]
fn what_is_asked_for_anew_is_sent_once() {
    let (block, absent) = (raw(vec![1; 2_000]), raw("absent"));
    let (mut server, asker) = (server(1), peer(1));
    for _ in 0..3 {
        server.clear(&asker);
        assert_eq!(server.outstanding(), 0);
        server.asked(&asker, want(&block));
        server.asked(&asker, question(&absent));
        serve(&mut server, std::slice::from_ref(&block));
    }
    assert_eq!(message(&mut server, &asker), (vec![2_000], vec![false]));
    assert!(!server.has_answers(&asker));
}

#[test]
fn peers_have_turns() {
    let blocks: Vec<_> = (0..64_u8).map(|n| raw(vec![n; 8])).collect();
    let mut server = server(3);
    // The first asked for much before the others came.
    blocks.iter().for_each(|block| ask(&mut server, &peer(1), Ask { dont_have: false, ..want(block) }));
    for n in [2, 3] {
        blocks[..4].iter().for_each(|block| ask(&mut server, &peer(n), want(block)));
    }
    // Nobody has them, so that room in outboxes does not matter.
    let turns = serve(&mut server, &[]);
    assert_eq!(turns, [1, 2, 3, 1, 1, 1].map(peer));
}

#[test]
fn the_bound_of_all_outboxes_holds() {
    let blocks: Vec<_> = (0..64_u8).map(|n| raw(vec![n; 1 << 20])).collect();
    let mut server: Server<Bytes> = Server::default();
    for n in 1..=64 {
        server.connected(peer(n));
        blocks.iter().for_each(|block| ask(&mut server, &peer(n), want(block)));
    }
    serve(&mut server, &blocks);
    assert_eq!(server.outstanding(), limits::OUTSTANDING_ALL);
    (1..=63).for_each(|n| server.disconnected(&peer(n)));
    // The last had no turn while the others held all.
    serve(&mut server, &blocks);
    assert_eq!(message(&mut server, &peer(64)).0.len(), 1);
    server.disconnected(&peer(64));
    assert!(server.is_empty());
}

#[test]
fn cancelling_takes_it_out() {
    let (block, asker) = (raw(vec![1; 2_000]), peer(1));
    let mut server = server(1);
    server.asked(&asker, want(&block));
    server.asked(&asker, cancel(&block));
    assert_eq!(serve(&mut server, std::slice::from_ref(&block)), []);
    // Also while it is looked up.
    server.asked(&asker, want(&block));
    let turn = server.next().expect("a turn");
    server.asked(&asker, cancel(&block));
    server.answer(&asker, &turn.asks[0], Answer::Block(block.bytes().clone()), Time::ZERO);
    server.finish(&asker, vec![]);
    assert_eq!((server.has_answers(&asker), server.outstanding(), server.wantlist(&asker)), (false, 0, 0));
    // And when we have it not.
    server.asked(&asker, want(&block));
    serve(&mut server, &[]);
    server.asked(&asker, cancel(&block));
    assert_eq!(server.waiting(), 0);
}

#[test]
fn asking_and_cancelling_without_end_holds_nothing() {
    let (mut server, asker) = (server(1), peer(1));
    for n in 0..200_000_u32 {
        let block = raw((n % 7).to_be_bytes());
        server.asked(&asker, want(&block));
        server.asked(&asker, cancel(&block));
        assert!(server.places(&asker) <= 5 * limits::WANTLIST);
    }
}

#[test]
fn a_question_becomes_a_want() {
    let (block, asker) = (raw(vec![1; 2_000]), peer(1));
    let mut server = server(1);
    server.asked(&asker, question(&block));
    server.asked(&asker, want(&block));
    server.asked(&asker, question(&block));
    serve(&mut server, &[block]);
    assert_eq!(message(&mut server, &asker), (vec![2_000], vec![]));
}

#[test]
fn what_comes_later_goes_to_those_who_wait() {
    let block = raw(vec![1; 2_000]);
    let mut server = server(3);
    server.asked(&peer(1), want(&block));
    server.asked(&peer(2), question(&block));
    serve(&mut server, &[]);
    for n in 1..=2 {
        assert_eq!(message(&mut server, &peer(n)), (vec![], vec![false]));
    }
    server.arrived(block.cid());
    serve(&mut server, &[block]);
    assert_eq!(message(&mut server, &peer(1)), (vec![2_000], vec![]));
    assert_eq!(message(&mut server, &peer(2)), (vec![], vec![true]));
    assert!(!server.has_answers(&peer(3)));
    assert_eq!(server.waiting(), 0);
}

#[test]
fn a_busy_host_is_asked_again_later() {
    let (block, asker) = (raw("x"), peer(1));
    let mut server = server(1);
    server.asked(&asker, want(&block));
    let turn = server.next().expect("a turn");
    server.answer(&asker, &turn.asks[0], Answer::Busy, ms(0));
    assert!(!server.takes(&asker, &turn.asks[0]));
    server.finish(&asker, vec![]);
    assert!(server.next().is_none());
    let due = server.next_due().expect("later");
    server.wake(due);
    serve(&mut server, &[block]);
    assert_eq!(message(&mut server, &asker).0, [1]);
}

#[test]
fn everything_is_freed_on_disconnect() {
    let blocks: Vec<_> = (0..40_u8).map(|n| raw(vec![n; 1 << 20])).collect();
    let mut server = server(2);
    for n in 1..=2 {
        blocks.iter().for_each(|block| ask(&mut server, &peer(n), want(block)));
        server.asked(&peer(n), want(&raw("absent")));
    }
    serve(&mut server, &blocks);
    let turn = {
        server.sent(&peer(1), 0, true);
        let _ = server.take(&peer(1));
        server.sent(&peer(1), 1 << 20, true);
        server.next().expect("a turn")
    };
    server.disconnected(&peer(1));
    server.disconnected(&peer(2));
    // What was looked up for them meanwhile goes nowhere.
    server.answer(&turn.peer, &turn.asks[0], Answer::Block(blocks[0].bytes().clone()), ms(0));
    assert!(!server.takes(&turn.peer, &turn.asks[0]));
    server.finish(&turn.peer, turn.asks);
    server.sent(&peer(1), 1 << 20, true);
    assert!(server.is_empty());
}

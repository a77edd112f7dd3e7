use std::collections::HashMap;

use super::*;
use crate::Keypair;

fn peer() -> PeerId {
    Keypair::generate_ed25519().public().to_peer_id()
}

/// Two peers, the lower first.
fn pair() -> (PeerId, PeerId) {
    let (a, b) = (peer(), peer());
    if a < b { (a, b) } else { (b, a) }
}

fn topic(name: &str) -> Topic {
    Topic::new(name).expect("a topic")
}

fn topics(names: &[&str]) -> BTreeSet<Topic> {
    names.iter().map(|name| topic(name)).collect()
}

/// The links of a test, by number.
struct Numbered(Vec<Arc<usize>>);

impl Numbered {
    fn new() -> Self {
        Self((0..32).map(Arc::new).collect())
    }
}

impl std::ops::Index<usize> for Numbered {
    type Output = Arc<usize>;

    fn index(&self, number: usize) -> &Arc<usize> {
        &self.0[number]
    }
}

fn arrival(link: &Arc<usize>, peer: PeerId, dialled: bool) -> Arrival<usize> {
    Arrival { link: link.clone(), peer, dialled, session: 1, addrs: vec![], theirs: topics(&[]), ours: None }
}

fn table(me: PeerId, connections: usize, topics_per_peer: usize) -> Table<usize> {
    Table::new(me, &Limits { connections, topics_per_peer, ..Limits::default() })
}

fn state(me: PeerId) -> Table<usize> {
    table(me, 8, 4)
}

/// Actions in short words.
fn words(actions: &[Action<usize>]) -> Vec<String> {
    let word = |action: &Action<usize>| match action {
        Action::Notice(Notice::Up(..)) => "up".into(),
        Action::Notice(Notice::Down(_)) => "down".into(),
        Action::Notice(Notice::Joined(_, topic)) => format!("joined {topic}"),
        Action::Notice(Notice::Left(_, topic)) => format!("left {topic}"),
        Action::Notice(other) => panic!("{other:?}"),
        Action::Announce { link, topic, joined } => {
            format!("{} {topic} on {link}", if *joined { "join" } else { "leave" })
        }
        Action::Retire(link) => format!("retire {link}"),
        Action::Close(link, reason) => format!("close {link}: {}", reason.text()),
    };
    actions.iter().map(word).collect()
}

#[test]
fn a_link_is_told_once_and_its_topics_with_it() {
    let links = Numbered::new();
    let (me, other) = pair();
    let mut state = state(me);
    let actions =
        state.up(Arrival { theirs: topics(&["a", "b"]), ..arrival(&links[1], other, true) }).expect("taken");
    assert_eq!(words(&actions), ["up", "joined a", "joined b"]);
    assert_eq!(words(&state.down(&other, &links[1])), ["left a", "left b", "down"]);
    assert!(state.down(&other, &links[1]).is_empty(), "only once");
}

#[test]
fn of_two_dials_the_one_of_the_lower_id_stays_at_both_ends_in_any_order() {
    let links = Numbered::new();
    let (low, high) = pair();
    // Link 1 was dialled by the lower id, link 2 by the higher.
    for (me, other) in [(low, high), (high, low)] {
        let one = || arrival(&links[1], other, me == low);
        let two = || arrival(&links[2], other, me == high);
        let mut first_one = state(me);
        first_one.up(one()).expect("taken");
        assert_eq!(first_one.up(two()).expect_err("the other stays"), Reason::Duplicate);
        assert_eq!(first_one.link(&other), Some(&links[1]));
        let mut first_two = state(me);
        first_two.up(two()).expect("taken");
        assert_eq!(words(&first_two.up(one()).expect("taken")), ["retire 2"]);
        assert_eq!(first_two.link(&other), Some(&links[1]));
        assert!(first_two.down(&other, &links[2]).is_empty(), "the end of the retired one is no news");
    }
}

#[test]
fn a_second_dial_of_one_side_replaces_its_first() {
    let links = Numbered::new();
    let (me, other) = pair();
    let mut state = state(me);
    state.up(Arrival { theirs: topics(&["a", "b"]), ..arrival(&links[1], other, false) }).expect("taken");
    state.up(arrival(&links[2], other, true)).expect("ours is the lower id");
    let again = Arrival { theirs: topics(&["b", "c"]), ..arrival(&links[3], other, true) };
    assert_eq!(words(&state.up(again).expect("taken")), ["retire 2", "joined b", "joined c"]);
}

#[test]
fn a_peer_that_was_started_again_comes_up_anew() {
    let links = Numbered::new();
    let (me, other) = pair();
    let mut state = state(me);
    state.up(Arrival { theirs: topics(&["a"]), ..arrival(&links[1], other, true) }).expect("taken");
    let again = Arrival { session: 2, ..arrival(&links[2], other, false) };
    assert_eq!(words(&state.up(again).expect("taken")), ["left a", "down", "retire 1", "up"]);
}

#[test]
fn what_changed_between_our_hello_and_theirs_is_announced() {
    let links = Numbered::new();
    let (me, other) = pair();
    let mut state = state(me);
    state.join(&topic("kept")).expect("room");
    state.join(&topic("new")).expect("room");
    let ours = Some(topics(&["gone", "kept"]));
    let actions = state.up(Arrival { ours, ..arrival(&links[1], other, true) }).expect("taken");
    assert_eq!(words(&actions), ["up", "join new on 1", "leave gone on 1"]);
}

#[test]
fn links_and_topics_are_bounded() {
    let links = Numbered::new();
    let me = peer();
    let mut state = table(me, 1, 2);
    let first = peer();
    state.up(arrival(&links[1], first, true)).expect("taken");
    assert_eq!(state.up(arrival(&links[2], peer(), true)).expect_err("full"), Reason::Busy);
    let many = Arrival { theirs: topics(&["a", "b", "c"]), ..arrival(&links[3], first, true) };
    assert_eq!(state.up(many).expect_err("more than it may"), Reason::Malformed);
    for name in ["a", "b"] {
        state.join(&topic(name)).expect("room");
        state.heard(&first, &links[1], topic(name), true).expect("room");
    }
    assert_eq!(state.join(&topic("c")).expect_err("full").kind(), ErrorKind::TooLarge);
    assert!(state.join(&topic("a")).expect("joined already").is_empty());
    assert_eq!(state.heard(&first, &links[1], topic("c"), true).expect_err("full"), Reason::Malformed);
    assert_eq!(words(&state.heard(&first, &links[1], topic("a"), false).expect("left")), ["left a"]);
    assert!(state.heard(&first, &links[1], topic("a"), false).expect("left already").is_empty());
    assert!(state.heard(&first, &links[9], topic("x"), true).expect("an old link").is_empty());
}

#[test]
fn joining_and_leaving_is_announced_once() {
    let links = Numbered::new();
    let (me, other) = pair();
    let mut state = state(me);
    state.up(arrival(&links[1], other, true)).expect("taken");
    assert_eq!(words(&state.join(&topic("a")).expect("room")), ["join a on 1"]);
    assert!(state.join(&topic("a")).expect("room").is_empty());
    assert_eq!(words(&state.leave(&topic("a"))), ["leave a on 1"]);
    assert!(state.leave(&topic("a")).is_empty());
}

#[test]
fn a_message_goes_to_its_topic_but_not_back() {
    let links = Numbered::new();
    let me = peer();
    let mut state = state(me);
    let (a, b, c) = (peer(), peer(), peer());
    for (link, peer) in [(1, a), (2, b), (3, c)] {
        let theirs = topics(if peer == c { &["other"] } else { &["readings"] });
        state.up(Arrival { theirs, ..arrival(&links[link], peer, true) }).expect("taken");
    }
    let (readings, id) = (topic("readings"), MessageId::of(b"message"));
    let to = |state: &Table<usize>, lane| -> BTreeSet<usize> {
        state.targets(&readings, &id, lane).map(|link| **link).collect()
    };
    assert_eq!(state.arrived(a, &readings, id), Arrived::Unasked);
    state.join(&readings).expect("room");
    assert_eq!(state.arrived(a, &readings, id), Arrived::Wanted);
    assert_eq!(to(&state, Lane::Relay), BTreeSet::from([2]));
    // A second copy: now everybody has it.
    assert_eq!(state.arrived(b, &readings, id), Arrived::Wanted);
    assert!(to(&state, Lane::Relay).is_empty());
    assert_eq!(to(&state, Lane::Own), BTreeSet::from([1, 2]), "our own goes to all");
    state.leave(&readings);
    assert_eq!(state.arrived(a, &readings, id), Arrived::Late);
}

#[test]
fn what_is_remembered_of_messages_is_bounded() {
    let me = peer();
    let mut state = state(me);
    let readings = topic("readings");
    state.join(&readings).expect("room");
    let from = peer();
    for n in 0..REMEMBERED.get() + 10 {
        assert_eq!(state.arrived(from, &readings, MessageId::of(&n.to_be_bytes())), Arrived::Wanted);
    }
    assert_eq!(state.holders.len(), REMEMBERED.get());
    let id = MessageId::of(b"one");
    for _ in 0..HOLDERS + 10 {
        state.arrived(peer(), &readings, id);
    }
    assert_eq!(state.holders.peek(&id).map(Vec::len), Some(HOLDERS));
}

#[test]
fn peers_stay_apart_until_one_dials() {
    let links = Numbered::new();
    let (me, other) = pair();
    let mut state = state(me);
    state.up(arrival(&links[1], other, true)).expect("taken");
    let action = state.part(other).expect("linked");
    assert_eq!(words(&[action]), ["close 1: the link was ended by its user"]);
    state.down(&other, &links[1]);
    assert!(state.is_apart(&other));
    assert!(state.part(other).is_none(), "not linked any more");
    state.rejoin(&other);
    assert!(!state.is_apart(&other));
    state.part(other);
    state.up(arrival(&links[2], other, false)).expect("it dialled");
    assert!(!state.is_apart(&other));
    for _ in 0..APART + 10 {
        state.part(peer());
    }
    assert_eq!(state.apart.len(), APART);
    let there = *state.apart.last().expect("some");
    state.part(there);
    assert_eq!(state.apart.len(), APART, "whoever was apart already takes no place");
}

/// Many machines and no network: every message reaches everybody over any connected graph, nobody hears it
/// twice from one neighbour, and it ends.
#[test]
fn a_flood_reaches_everybody_and_ends() {
    let links = Numbered::new();
    const NODES: usize = 20;
    let ids: Vec<_> = (0..NODES).map(|_| peer()).collect();
    let readings = topic("readings");
    let mut machines: Vec<_> = ids.iter().map(|id| table(*id, NODES, 4)).collect();
    // A line with chords: far from complete, some ways lead in circles.
    let linked =
        |a: usize, b: usize| a.abs_diff(b) == 1 || (a.abs_diff(b) == 5 && a.min(b).is_multiple_of(3));
    for (a, machine) in machines.iter_mut().enumerate() {
        machine.join(&readings).expect("room");
        for b in (0..NODES).filter(|b| linked(a, *b)) {
            let theirs = topics(&["readings"]);
            machine.up(Arrival { theirs, ..arrival(&links[b], ids[b], a < b) }).expect("taken");
        }
    }
    let id = MessageId::of(b"flood");
    let mut copies: HashMap<(usize, usize), u32> = HashMap::new();
    let mut accepted = BTreeSet::from([0]);
    let first = machines[0].targets(&readings, &id, Lane::Own);
    let mut wire: Vec<_> = first.map(|to| (0, **to)).collect();
    while let Some((from, to)) = wire.pop() {
        *copies.entry((from, to)).or_default() += 1;
        assert_eq!(machines[to].arrived(ids[from], &readings, id), Arrived::Wanted);
        if accepted.insert(to) {
            let next = machines[to].targets(&readings, &id, Lane::Relay);
            wire.extend(next.map(|next| (to, **next)));
        }
    }
    assert_eq!(accepted.len(), NODES);
    assert!(copies.values().all(|n| *n == 1), "{copies:?}");
}

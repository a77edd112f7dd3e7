//! A network of state machines in virtual time: links with delay and bandwidth that break and come again, honest nodes, and
//! such as answer whatever suits them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};

use carrick_core::links::Tally;
use carrick_core::{Block, Bytes, Cid, Misdeed, PeerId};

use super::super::address;
use super::super::client::{Action, Client, RequestId, SessionId, Time, WantId};
use super::super::frame::{Outgoing, Version};
use super::super::limits;
use super::super::message::{MAX_MESSAGE, Message};
use super::super::server::{Answer, Effect, Server, Taken};
use super::ms;

/// Numbers from a seed.
#[derive(Clone, Debug)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    pub(super) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// How somebody who breaks the rules does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Foe {
    /// Says that it has everything, and sends nothing.
    Promises,
    /// Says nothing.
    Silent,
    /// Sends blocks that nobody asked for, and wrong ones for those that somebody did.
    Junk,
    /// Wants a great many blocks that nobody has.
    Wants,
    /// Says that it has nothing, then that it has everything.
    Fickle,
}

/// How a request ended, and when.
#[derive(Clone, Debug)]
pub(super) enum Ended {
    Here(Block),
    Failed(Tally),
    Dropped,
}

pub(super) struct Honest {
    pub(super) client: Client,
    pub(super) server: Server<Bytes>,
    pub(super) store: HashMap<Cid, Block>,
    /// Requests under way, with their session and block.
    asked: BTreeMap<RequestId, (SessionId, Cid)>,
    /// How many requests of a session are under way.
    sessions: BTreeMap<SessionId, usize>,
    pub(super) ended: Vec<(Cid, Time, Ended)>,
    pub(super) blames: Vec<(PeerId, Misdeed)>,
    pub(super) counts: BTreeMap<&'static str, u64>,
    /// The want that was dropped last.
    pub(super) last: String,
}

impl Honest {
    /// One request less; the last one ends the session.
    fn leave(&mut self, session: SessionId) {
        let left = self.sessions.get_mut(&session).expect("a session");
        *left -= 1;
        if *left == 0 {
            self.sessions.remove(&session);
            self.client.end(session);
        }
    }
}

enum Node {
    Honest(Box<Honest>),
    Foe(Foe),
}

enum Event {
    Deliver(usize, usize, u64, Bytes),
    /// A part of a message came.
    Progress(usize, usize, u64),
    /// The link takes the next message.
    Sent(usize, usize, u64, usize),
    Tick(usize),
    Connect(usize, usize),
    Disconnect(usize, usize),
    Request(usize, Vec<Cid>),
    Drop(usize, RequestId),
    Arrive(usize, Block),
    FindEnds(usize, WantId, Cid),
    Flood(usize, usize, u64, u32),
}

/// The whole of it.
pub(super) struct Network {
    pub(super) dice: Dice,
    pub(super) now: Time,
    nodes: Vec<Node>,
    ids: Vec<PeerId>,
    events: BinaryHeap<Reverse<(Time, u64)>>,
    waiting: HashMap<u64, Event>,
    next: u64,
    /// Links that are up, and how often they came up.
    links: BTreeMap<(usize, usize), u64>,
    busy: BTreeSet<(usize, usize)>,
    /// Delay in milliseconds and bytes a millisecond, of each link.
    speeds: HashMap<(usize, usize), (u64, u64)>,
    /// The least and the most of the latter.
    pub(super) lines: [u64; 2],
    /// One of so many requests is given up.
    pub(super) fickle: u64,
    /// What happened, in one number.
    pub(super) trace: u64,
}

impl Network {
    pub(super) fn new(seed: u64, honest: usize, foes: &[Foe]) -> Self {
        let mut nodes: Vec<_> = (0..honest)
            .map(|_| {
                Node::Honest(Box::new(Honest {
                    client: Client::new(ms(10_000)),
                    server: Server::default(),
                    store: HashMap::new(),
                    asked: BTreeMap::new(),
                    sessions: BTreeMap::new(),
                    ended: vec![],
                    blames: vec![],
                    counts: BTreeMap::new(),
                    last: String::new(),
                }))
            })
            .collect();
        nodes.extend(foes.iter().map(|foe| Node::Foe(*foe)));
        let ids = (0..nodes.len()).map(|n| super::peer(n as u8 + 1)).collect();
        Self {
            dice: Dice(seed),
            now: Time::ZERO,
            nodes,
            ids,
            events: BinaryHeap::new(),
            waiting: HashMap::new(),
            next: 0,
            links: BTreeMap::new(),
            busy: BTreeSet::new(),
            speeds: HashMap::new(),
            lines: [200, 20_200],
            fickle: 20,
            trace: 0,
        }
    }

    pub(super) fn id(&self, node: usize) -> PeerId {
        self.ids[node]
    }

    pub(super) fn honest(&mut self, node: usize) -> &mut Honest {
        match &mut self.nodes[node] {
            Node::Honest(honest) => honest,
            Node::Foe(foe) => panic!("{node} is {foe:?}"),
        }
    }

    pub(super) fn connect_at(&mut self, at: Time, a: usize, b: usize) {
        self.at(at, Event::Connect(a, b));
    }

    pub(super) fn disconnect_at(&mut self, at: Time, a: usize, b: usize) {
        self.at(at, Event::Disconnect(a, b));
    }

    /// Requests of one session.
    pub(super) fn request_at(&mut self, at: Time, node: usize, cids: Vec<Cid>) {
        self.at(at, Event::Request(node, cids));
    }

    pub(super) fn arrive_at(&mut self, at: Time, node: usize, block: Block) {
        self.at(at, Event::Arrive(node, block));
    }

    /// Runs until nothing is left to happen before `until`.
    pub(super) fn run(&mut self, until: Time) {
        while let Some(Reverse((at, number))) =
            self.events.peek().copied().filter(|Reverse((at, _))| *at <= until)
        {
            self.events.pop();
            self.now = at;
            if let Some(event) = self.waiting.remove(&number) {
                self.happen(event);
            }
        }
        self.now = until;
    }

    /// Ends all links and requests.
    pub(super) fn end(&mut self) {
        let links: Vec<_> = self.links.keys().copied().filter(|(a, b)| a < b).collect();
        for node in 0..self.nodes.len() {
            if let Node::Honest(_) = self.nodes[node] {
                let asked: Vec<_> = self.honest(node).asked.keys().copied().collect();
                asked.into_iter().for_each(|request| self.drop_request(node, request));
            }
        }
        links.into_iter().for_each(|(a, b)| self.disconnect(a, b));
    }

    fn at(&mut self, at: Time, event: Event) {
        self.next += 1;
        self.waiting.insert(self.next, event);
        self.events.push(Reverse((at, self.next)));
    }

    fn after(&mut self, millis: u64, event: Event) {
        self.at(self.now + ms(millis), event);
    }

    fn note(&mut self, what: u64) {
        self.trace =
            (self.trace ^ what).wrapping_mul(0x0100_0000_01b3).rotate_left(5) ^ self.now.as_micros() as u64;
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Deliver(from, to, epoch, bytes) => {
                if self.links.get(&(from, to)) == Some(&epoch) {
                    self.note((from * 100 + to) as u64 + 1_000 * bytes.len() as u64);
                    self.deliver(from, to, bytes);
                }
            }
            Event::Progress(from, to, epoch) => {
                let (peer, now) = (self.ids[from], self.now);
                if self.links.get(&(from, to)) == Some(&epoch)
                    && let Node::Honest(honest) = &mut self.nodes[to]
                {
                    honest.client.progress(&peer, now);
                }
            }
            Event::Sent(from, to, epoch, bytes) => {
                if self.links.get(&(from, to)) == Some(&epoch) {
                    let peer = self.ids[to];
                    self.busy.remove(&(from, to));
                    self.honest(from).server.sent(&peer, bytes, true);
                    self.settle(from);
                    self.write(from, to);
                }
            }
            Event::Tick(node) => {
                let now = self.now;
                let honest = self.honest(node);
                honest.client.wake(now);
                honest.server.wake(now);
                self.settle(node);
            }
            Event::Connect(a, b) => self.connect(a, b),
            Event::Disconnect(a, b) => self.disconnect(a, b),
            Event::Request(node, cids) => self.request(node, &cids),
            Event::Drop(node, request) => self.drop_request(node, request),
            Event::Arrive(node, block) => {
                let honest = self.honest(node);
                let cid = *block.cid();
                honest.store.insert(cid, block);
                honest.server.arrived(&cid);
                self.settle(node);
            }
            Event::FindEnds(node, want, cid) => self.find_ends(node, want, cid),
            Event::Flood(from, to, epoch, n) => self.flood(from, to, epoch, n),
        }
    }

    fn connect(&mut self, a: usize, b: usize) {
        if self.links.contains_key(&(a, b)) {
            return;
        }
        self.next += 1;
        let (epoch, now) = (self.next, self.now);
        let [least, most] = self.lines;
        let speed = (1 + self.dice.below(60), least + self.dice.below(most - least));
        for (from, to) in [(a, b), (b, a)] {
            self.links.insert((from, to), epoch);
            self.speeds.insert((from, to), speed);
        }
        for (from, to) in [(a, b), (b, a)] {
            let peer = self.ids[to];
            match &mut self.nodes[from] {
                Node::Honest(honest) => {
                    honest.server.connected(peer);
                    honest.client.connected(peer, now);
                    self.settle(from);
                }
                Node::Foe(Foe::Wants | Foe::Junk) => self.after(10, Event::Flood(from, to, epoch, 0)),
                Node::Foe(_) => {}
            }
        }
    }

    fn disconnect(&mut self, a: usize, b: usize) {
        let now = self.now;
        for (from, to) in [(a, b), (b, a)] {
            if self.links.remove(&(from, to)).is_none() {
                continue;
            }
            self.busy.remove(&(from, to));
            let peer = self.ids[to];
            if let Node::Honest(honest) = &mut self.nodes[from] {
                honest.server.disconnected(&peer);
                honest.client.disconnected(&peer, now);
                self.settle(from);
            }
        }
    }

    fn request(&mut self, node: usize, cids: &[Cid]) {
        let now = self.now;
        let honest = self.honest(node);
        let session = honest.client.begin(&[], &[], 0);
        honest.sessions.insert(session, cids.len());
        for cid in cids {
            let honest = self.honest(node);
            let request = honest.client.request(session, *cid, now).expect("room");
            honest.asked.insert(request, (session, *cid));
            if self.dice.one_in(self.fickle) {
                let after = self.dice.below(3_000);
                self.after(after, Event::Drop(node, request));
            }
        }
        self.settle(node);
    }

    fn drop_request(&mut self, node: usize, request: RequestId) {
        let now = self.now;
        let honest = self.honest(node);
        if let Some((session, cid)) = honest.asked.remove(&request) {
            honest.last = honest.client.describe(&cid);
            honest.client.drop_request(request, now);
            honest.leave(session);
            honest.ended.push((cid, now, Ended::Dropped));
            self.settle(node);
        }
    }

    /// The finder knows every honest node that has it, and connects to it.
    fn find_ends(&mut self, node: usize, want: WantId, cid: Cid) {
        let has = |other: &usize| match &self.nodes[*other] {
            Node::Honest(honest) => honest.store.contains_key(&cid),
            Node::Foe(_) => false,
        };
        let having: Vec<_> = (0..self.nodes.len()).filter(|other| *other != node).filter(has).collect();
        for other in having {
            self.connect(node, other);
            let (peer, now) = (self.ids[other], self.now);
            self.honest(node).client.found(want, peer, now);
        }
        let now = self.now;
        self.honest(node).client.find_ended(want, now);
        self.settle(node);
    }

    /// Does what the machines of a node want done.
    fn settle(&mut self, node: usize) {
        self.look_up(node);
        let honest = self.honest(node);
        let (actions, effects) = (honest.client.actions(), honest.server.effects());
        let mut wakes = vec![];
        for action in actions {
            match action {
                Action::Wake(peer) => wakes.push(peer),
                Action::Failed(request, cid, tally) => {
                    self.end_request(node, request, cid, Ended::Failed(tally))
                }
                Action::Find(want, cid) => self.after(300, Event::FindEnds(node, want, cid)),
                Action::StopFind(_) | Action::Probed(..) => {}
                Action::Report(peer, misdeed) => self.honest(node).blames.push((peer, misdeed)),
                Action::Count(what, n) => *self.honest(node).counts.entry(what).or_default() += n,
            }
        }
        for effect in effects {
            match effect {
                Effect::Wake(peer) => wakes.push(peer),
                Effect::Report(peer, misdeed) => self.honest(node).blames.push((peer, misdeed)),
                Effect::Count(what, n) => *self.honest(node).counts.entry(what).or_default() += n,
            }
        }
        for peer in wakes {
            if let Some(to) = self.ids.iter().position(|id| *id == peer) {
                self.write(node, to);
            }
        }
        let honest = self.honest(node);
        if let Some(due) = honest.client.next_due().into_iter().chain(honest.server.next_due()).min() {
            self.at(due.max(self.now), Event::Tick(node));
        }
    }

    fn end_request(&mut self, node: usize, request: RequestId, cid: Cid, how: Ended) {
        let now = self.now;
        let honest = self.honest(node);
        let (session, asked) = honest.asked.remove(&request).expect("a request that is under way");
        assert_eq!(asked, cid);
        honest.leave(session);
        honest.ended.push((cid, now, how));
        self.note(7);
    }

    /// Answers whose turn it is, from the store.
    fn look_up(&mut self, node: usize) {
        let now = self.now;
        while let Some(turn) = self.honest(node).server.next() {
            let mut asks = turn.asks.into_iter().peekable();
            while let Some(ask) = asks.next_if(|ask| self.honest(node).server.takes(&turn.peer, ask)) {
                let busy = self.dice.one_in(200);
                let honest = self.honest(node);
                let answer = match honest.store.get(&ask.cid) {
                    _ if busy => Answer::Busy,
                    None => Answer::Absent,
                    Some(block) if ask.have && block.size() > limits::SMALL_BLOCK => Answer::Have,
                    Some(block) => Answer::Block(block.bytes().clone()),
                };
                honest.server.answer(&turn.peer, &ask, answer, now);
            }
            self.honest(node).server.finish(&turn.peer, asks.collect());
        }
    }

    /// Begins to send the next message, unless one is on its way.
    fn write(&mut self, from: usize, to: usize) {
        let Some(epoch) = self.links.get(&(from, to)).copied() else { return };
        if self.busy.contains(&(from, to)) {
            return;
        }
        let peer = self.ids[to];
        let honest = self.honest(from);
        let (full, asks) = honest.client.take(&peer);
        let (blocks, presences, pending_bytes) = honest.server.take(&peer);
        let held = blocks.iter().map(|(_, bytes)| bytes.len()).sum();
        let out = Outgoing { full, asks, blocks, presences, pending_bytes };
        if !out.is_empty() {
            self.busy.insert((from, to));
            let arrives = self.send(from, to, epoch, out);
            self.at(arrives, Event::Sent(from, to, epoch, held));
        }
    }

    /// Sends a message; answers when the link is free again.
    fn send(&mut self, from: usize, to: usize, epoch: u64, out: Outgoing<Bytes>) -> Time {
        let bytes: Vec<u8> =
            out.encode(Version::V1_2).iter().flat_map(|part| part.as_ref().to_vec()).collect();
        assert!(bytes.len() <= MAX_MESSAGE);
        let (delay, speed) = self.speeds[&(from, to)];
        let free = self.now + ms(bytes.len() as u64 / speed);
        let body = unsigned_varint::decode::usize(&bytes).expect("a length").1;
        let body = Bytes::copy_from_slice(body);
        let mut at = self.now + ms(delay + 1_000);
        while at < free + ms(delay) {
            self.at(at, Event::Progress(from, to, epoch));
            at += ms(1_000);
        }
        self.at(free + ms(delay), Event::Deliver(from, to, epoch, body));
        free
    }

    fn deliver(&mut self, from: usize, to: usize, bytes: Bytes) {
        let message = Message::decode(bytes).expect("a message");
        match self.nodes[to] {
            Node::Honest(_) => self.take_in(from, to, message),
            Node::Foe(foe) => self.foe_answers(foe, to, from, &message),
        }
    }

    fn take_in(&mut self, from: usize, to: usize, mut message: Message) {
        let (peer, now) = (self.ids[from], self.now);
        for block in message.take_blocks() {
            let (prefix, bytes) = block.expect("a prefix");
            let honest = self.honest(to);
            let Some(claim) = address::claim(prefix, bytes) else {
                honest.client.unrequested(&peer);
                continue;
            };
            let cid = *claim.cid();
            for request in honest.client.block(&peer, &cid, claim.size(), now) {
                let block = claim.clone().check().expect("its bytes");
                self.honest(to).store.insert(cid, block.clone());
                self.honest(to).server.arrived(&cid);
                self.end_request(to, request, cid, Ended::Here(block));
            }
        }
        let honest = self.honest(to);
        for presence in message.presences() {
            let (cid, has) = presence.expect("a CID").expect("a known one");
            honest.client.presence(&peer, &cid, has, now);
        }
        if message.is_full() {
            honest.server.clear(&peer);
        }
        for ask in message.asks() {
            if honest.server.asked(&peer, ask.expect("a CID").expect("a known one")) == Taken::Full {
                *honest.counts.entry("full").or_default() += 1;
            }
        }
        assert!(honest.server.wantlist(&peer) <= limits::WANTLIST);
        assert!(honest.server.outstanding() <= limits::OUTSTANDING_ALL + (2 << 20));
        self.settle(to);
    }

    fn foe_answers(&mut self, foe: Foe, me: usize, to: usize, message: &Message) {
        let Some(epoch) = self.links.get(&(me, to)).copied() else { return };
        let asks: Vec<_> =
            message.asks().map(|ask| ask.expect("a CID").expect("known")).filter(|ask| !ask.cancel).collect();
        let mut out = Outgoing::default();
        match foe {
            Foe::Silent | Foe::Wants => return,
            Foe::Promises => out.presences.extend(asks.iter().map(|ask| (ask.cid, true))),
            Foe::Fickle => {
                out.presences.extend(asks.iter().map(|ask| (ask.cid, false)));
                out.presences.extend(asks.iter().map(|ask| (ask.cid, true)));
            }
            Foe::Junk => {
                // Other bytes under the prefix of what was asked for.
                let wrong = |ask: &super::super::message::Ask| (ask.cid, Bytes::from_static(b"other bytes"));
                out.blocks.extend(asks.iter().map(wrong));
            }
        }
        if !out.is_empty() {
            self.send(me, to, epoch, out);
        }
    }

    /// What a foe sends without being asked.
    fn flood(&mut self, from: usize, to: usize, epoch: u64, n: u32) {
        if self.links.get(&(from, to)) != Some(&epoch) || n > 3 {
            return;
        }
        let mut out = Outgoing::default();
        for number in 0..1_500_u32 {
            let block = super::raw([&n.to_be_bytes()[..], &number.to_be_bytes(), b"nobody has it"].concat());
            if matches!(self.nodes[from], Node::Foe(Foe::Junk)) && number < 100 {
                out.blocks.push((*block.cid(), block.bytes().clone()));
            } else {
                out.asks.push(super::want(&block));
            }
        }
        out.full = n % 5 == 4;
        self.send(from, to, epoch, out);
        self.after(700, Event::Flood(from, to, epoch, n + 1));
    }
}

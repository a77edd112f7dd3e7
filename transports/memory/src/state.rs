//! Who is on the network, who is linked with whom, who takes part in what.
//!
//! All of it is behind one lock, so a link is up for both ends or for none. Nodes are told under the lock: so each
//! hears of changes in the order in which they happened.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use carrick_core::{
    Bytes, Direction, Error, ErrorKind, Host, Lane, Misdeed, Multiaddr, Notice, PeerId, PeerInfo, PeerRecord,
    Receipt, Remote, Result, Skip, Time, Topic,
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::conditions::Weather;
use crate::config::address;
use crate::flight::Pipe;
use crate::queue::{Message, Queue};

/// Records of others that are told to a new neighbour.
const RECORDS: usize = 64;

/// The nodes by their number, which is their address.
#[derive(Debug, Default)]
pub(crate) struct State {
    places: BTreeMap<u64, Place>,
    pub(crate) weather: Weather,
}

/// A node on the network.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) host: Host,
    pub(crate) topics: BTreeSet<Topic>,
    pub(crate) links: BTreeMap<PeerId, Link>,
    /// Peers whose link a user ended, here or there; nothing restores it but a dial.
    parted: BTreeSet<PeerId>,
    /// The number of the last message that began here.
    sent: u64,
}

/// One end of a link.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    /// Where the far end is.
    pub(crate) far: u64,
    /// What goes there.
    pub(crate) queue: Arc<Queue>,
    /// What crosses in that direction.
    pub(crate) pipe: Arc<Pipe>,
    /// Cancelled when the link ends; both ends share it.
    pub(crate) ended: CancellationToken,
    /// Requests to the far end at once.
    pub(crate) streams: Arc<Semaphore>,
    direction: Direction,
    since: Time,
}

/// A new link, as the reader at one end needs it.
pub(crate) struct Reading {
    pub(crate) at: u64,
    pub(crate) host: Host,
    pub(crate) from: PeerId,
    pub(crate) queue: Arc<Queue>,
    pub(crate) pipe: Arc<Pipe>,
    pub(crate) ended: CancellationToken,
}

impl State {
    /// How many nodes are on the network.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Adds a node at an address, or at a free one for 0. `None` when it is taken.
    pub(crate) fn enter(&mut self, wanted: u64, host: Host, sent: u64) -> Option<u64> {
        let free = || (1..=u64::MAX).find(|number| !self.places.contains_key(number));
        let at = if wanted == 0 { free()? } else { wanted };
        let Entry::Vacant(entry) = self.places.entry(at) else { return None };
        let (topics, links, parted) = Default::default();
        entry.insert(Place { host, topics, links, parted, sent });
        Some(at)
    }

    /// Takes a node off the network; its links end. The caller drops it when the lock is open again.
    pub(crate) fn exit(&mut self, at: u64) -> Option<Place> {
        let peers: Vec<PeerId> = self.places.get(&at)?.links.keys().copied().collect();
        for peer in peers {
            self.unlink(at, &peer);
        }
        self.places.remove(&at)
    }

    /// A node that is on the network.
    pub(crate) fn place(&self, at: u64) -> Option<&Place> {
        self.places.get(&at)
    }

    /// Links two places, if both admit each other; then both are told. `None` when they were linked already.
    pub(crate) fn link(
        &mut self,
        at: u64,
        to: u64,
        expected: Option<PeerId>,
    ) -> Result<(PeerId, Option<[Reading; 2]>)> {
        let closed = || dial_error(ErrorKind::Closed, "the transport is closed");
        let near = self.places.get(&at).ok_or_else(closed)?;
        let far = self.places.get(&to).ok_or_else(|| {
            dial_error(ErrorKind::Unreachable, format!("nobody listens on {}", address(to)))
        })?;
        let (me, peer) = (near.host.me(), far.host.me());
        if !self.weather.joins(&me, &peer) {
            return Err(dial_error(ErrorKind::Unreachable, format!("{} does not answer", address(to))));
        }
        check_admission(near, far, expected)?;
        if near.links.contains_key(&peer) {
            return Ok((peer, None));
        }
        let ended = CancellationToken::new();
        let outward = near.link_to(to, far, &ended, Direction::Outbound);
        let inward = far.link_to(at, near, &ended, Direction::Inbound);
        for (from, link) in [(near, &outward), (far, &inward)] {
            link.queue.push_record(from.host.record());
            from.host.records(RECORDS).into_iter().for_each(|record| link.queue.push_record(record));
        }
        let reading = |at, place: &Place, from, link: &Link| Reading {
            at,
            host: place.host.clone(),
            from,
            queue: link.queue.clone(),
            pipe: link.pipe.clone(),
            ended: ended.clone(),
        };
        let readings = [reading(at, near, peer, &inward), reading(to, far, me, &outward)];
        tell_up(near, far, to);
        tell_up(far, near, at);
        for (place, peer, link) in [(at, peer, outward), (to, me, inward)] {
            if let Some(place) = self.places.get_mut(&place) {
                place.parted.remove(&peer);
                place.links.insert(peer, link);
            }
        }
        Ok((peer, Some(readings)))
    }

    /// Ends a link because the user of this end wants it; neither end restores it by itself.
    pub(crate) fn part(&mut self, at: u64, peer: &PeerId) -> Option<()> {
        let place = self.places.get_mut(&at)?;
        let (me, far) = (place.host.me(), place.links.get(peer).map(|link| link.far));
        // Whoever is not admitted is kept out by that, and for as long as that lasts.
        if place.host.admits(peer) {
            place.keep_apart(*peer);
            if let Some(far) = far.and_then(|far| self.places.get_mut(&far)) {
                far.keep_apart(me);
            }
        }
        self.unlink(at, peer);
        Some(())
    }

    /// Whether a bootstrap peer should be dialled now.
    pub(crate) fn misses(&self, at: u64, to: impl Iterator<Item = u64>, peer: Option<PeerId>) -> bool {
        let Some(place) = self.places.get(&at) else { return false };
        let there = to.filter_map(|to| self.places.get(&to)).map(|far| far.host.me());
        let known = |peer: &PeerId| place.links.contains_key(peer) || place.parted.contains(peer);
        !peer.into_iter().chain(there).any(|peer| known(&peer))
    }

    /// Ends the links between the sides of a partition.
    pub(crate) fn partition(&mut self, sides: &[&[PeerId]]) {
        self.weather.part(sides);
        let weather = &self.weather;
        let parted = |(at, place): (&u64, &Place)| {
            let (at, me) = (*at, place.host.me());
            let far = place.links.keys().filter(|peer| !weather.joins(&me, peer));
            far.map(|peer| (at, *peer)).collect::<Vec<_>>()
        };
        let parted: Vec<_> = self.places.iter().flat_map(parted).collect();
        for (at, peer) in parted {
            self.unlink(at, &peer);
        }
    }

    fn unlink(&mut self, at: u64, peer: &PeerId) {
        let Some(place) = self.places.get_mut(&at) else { return };
        let Some(link) = place.links.remove(peer) else { return };
        let me = place.host.me();
        link.ended.cancel();
        place.host.notice(Notice::Down(Remote::Peer(*peer)));
        if let Some(far) = self.places.get_mut(&link.far) {
            far.links.remove(&me);
            far.host.notice(Notice::Down(Remote::Peer(me)));
        }
    }

    /// Takes part in a topic, and tells the neighbours. `false` at the limit.
    pub(crate) fn join(&mut self, at: u64, topic: &Topic) -> Option<bool> {
        let place = self.places.get_mut(&at)?;
        if place.topics.contains(topic) {
            return Some(true);
        }
        if place.topics.len() >= place.host.limits().topics_per_peer {
            return Some(false);
        }
        place.topics.insert(topic.clone());
        let topics = place.topics.len();
        let strict: Vec<PeerId> =
            self.neighbours(at).filter(|far| !takes(far, topics)).map(|far| far.host.me()).collect();
        for far in strict {
            self.cut_off(at, &far);
        }
        self.tell_neighbours(at, |me| Notice::Joined(me, topic.clone()));
        Some(true)
    }

    /// Takes no part any more, and tells the neighbours.
    pub(crate) fn leave(&mut self, at: u64, topic: &Topic) -> Option<()> {
        if self.places.get_mut(&at)?.topics.remove(topic) {
            self.tell_neighbours(at, |me| Notice::Left(me, topic.clone()));
        }
        Some(())
    }

    fn neighbours(&self, at: u64) -> impl Iterator<Item = &Place> {
        let links = self.places.get(&at).into_iter().flat_map(|place| place.links.values());
        links.filter_map(|link| self.places.get(&link.far))
    }

    fn tell_neighbours(&self, at: u64, notice: impl Fn(Remote) -> Notice) {
        let Some(place) = self.places.get(&at) else { return };
        let me = Remote::Peer(place.host.me());
        for far in self.neighbours(at) {
            far.host.notice(notice(me.clone()));
            far.host.report(&me, Misdeed::Needless);
        }
    }

    /// Ends a link over which more topics were named than its far end takes.
    fn cut_off(&mut self, at: u64, far: &PeerId) {
        let Some(place) = self.places.get(&at) else { return };
        let me = Remote::Peer(place.host.me());
        if let Some(far) = place.links.get(far).and_then(|link| self.places.get(&link.far)) {
            far.host.report(&me, Misdeed::Malformed);
        }
        self.unlink(at, far);
    }

    /// The neighbours that take part in a topic, sorted.
    pub(crate) fn topic_peers<'a>(
        &'a self,
        place: &'a Place,
        topic: &'a Topic,
    ) -> impl Iterator<Item = (&'a PeerId, &'a Link, &'a Place)> {
        let far = |link: &Link| self.places.get(&link.far).filter(|far| far.topics.contains(topic));
        place.links.iter().filter_map(move |(peer, link)| Some((peer, link, far(link)?)))
    }

    /// A message that begins here.
    pub(crate) fn begin(&mut self, at: u64, topic: &Topic, bytes: &Bytes) -> Option<Message> {
        let place = self.places.get_mut(&at)?;
        place.sent = place.sent.wrapping_add(1);
        let (source, number) = (place.host.me(), place.sent);
        Some(Message { topic: topic.clone(), bytes: bytes.clone(), source, number })
    }

    /// Queues a message for every neighbour on its topic but `except`.
    pub(crate) fn send(
        &self,
        at: u64,
        message: &Message,
        lane: Lane,
        except: Option<&PeerId>,
    ) -> Option<Receipt> {
        let place = self.places.get(&at)?;
        let (mut sent, mut skipped) = (0, BTreeMap::new());
        for (peer, link, far) in self.topic_peers(place, &message.topic) {
            if Some(peer) == except {
                continue;
            }
            match place.send_one(peer, link, far, message, lane) {
                None => sent += 1,
                Some(skip) => *skipped.entry(skip).or_default() += 1,
            }
        }
        Some(Receipt::counted(sent, skipped.into_iter().collect()))
    }

    /// Passes a record on that was news here.
    pub(crate) fn spread(&self, at: u64, record: &PeerRecord, from: &PeerId) {
        let Some(place) = self.places.get(&at) else { return };
        for (_, link) in place.links.iter().filter(|(peer, _)| *peer != from && *peer != record.peer()) {
            link.queue.push_record(record.clone());
        }
    }
}

impl Place {
    /// Remembers that a link was ended by its user.
    fn keep_apart(&mut self, peer: PeerId) {
        if self.parted.len() >= self.host.limits().known_peers {
            self.parted.pop_first();
        }
        self.parted.insert(peer);
    }

    /// The end here of a new link to another place.
    fn link_to(&self, far: u64, other: &Self, ended: &CancellationToken, direction: Direction) -> Link {
        Link {
            far,
            queue: Arc::new(Queue::new(self.host.limits().send_queue_bytes)),
            pipe: Arc::default(),
            ended: ended.clone(),
            streams: Arc::new(Semaphore::new(other.host.limits().streams_per_peer)),
            direction,
            since: self.host.now(),
        }
    }

    /// Queues a message for one neighbour; or says why not.
    fn send_one(
        &self,
        peer: &PeerId,
        link: &Link,
        far: &Self,
        message: &Message,
        lane: Lane,
    ) -> Option<Skip> {
        let remote = Remote::Peer(*peer);
        if !self.host.relays_to(&remote) {
            return Some(Skip::Banned);
        }
        // The far end said in the handshake, as it were, what it takes.
        if message.bytes.len() > far.host.limits().envelope_bytes() {
            return Some(Skip::TooLarge);
        }
        let pushed = link.queue.push(lane, message);
        self.host.peak("send_queue_bytes", link.queue.bytes(), self.host.limits().send_queue_bytes);
        if pushed.dropped > 0 {
            self.host.notice(Notice::Dropped { remote, count: pushed.dropped });
        }
        (!pushed.taken).then_some(Skip::QueueFull)
    }

    /// The connected peers, sorted.
    pub(crate) fn peers(&self) -> Vec<PeerInfo> {
        let info = |(peer, link): (&PeerId, &Link)| {
            let mut info = PeerInfo::new(Remote::Peer(*peer));
            info.addrs = vec![address(link.far)];
            info.direction = Some(link.direction);
            info.since = Some(link.since);
            info
        };
        self.links.iter().map(info).collect()
    }
}

/// The handshake: who may talk to whom.
fn check_admission(near: &Place, far: &Place, expected: Option<PeerId>) -> Result<()> {
    let (me, peer) = (near.host.me(), far.host.me());
    if let Some(expected) = expected.filter(|expected| *expected != peer) {
        return Err(refused(format!("{peer} answered, not {expected}")));
    }
    if peer == me {
        return Err(dial_error(ErrorKind::Config, "that is this node itself"));
    }
    if near.host.network() != far.host.network() {
        return Err(refused(format!("{peer} is on another network than {:?}", near.host.network().as_str())));
    }
    if !near.host.admits(&peer) {
        return Err(refused(format!("{peer} is not admitted here")));
    }
    if !far.host.admits(&me) {
        return Err(refused(format!("{peer} does not admit this node")));
    }
    if near.links.contains_key(&peer) != far.links.contains_key(&me) {
        return Err(refused(format!("{peer} is connected with another node of the same key")));
    }
    if !takes(near, far.topics.len()) || !takes(far, near.topics.len()) {
        return Err(refused("one end takes part in more topics than the other end takes".to_owned()));
    }
    let full = |place: &Place| place.links.len() >= place.host.limits().connections;
    if !near.links.contains_key(&peer) && (full(near) || full(far)) {
        let whose = if full(near) { "this node" } else { "the far end" };
        return Err(dial_error(ErrorKind::Busy, format!("{whose} has as many connections as it may")));
    }
    Ok(())
}

/// Whether a node takes a neighbour with so many topics.
fn takes(place: &Place, topics: usize) -> bool {
    topics <= place.host.limits().topics_per_peer
}

fn tell_up(place: &Place, far: &Place, addr: u64) {
    let remote = Remote::Peer(far.host.me());
    let addrs: Vec<Multiaddr> = vec![address(addr)];
    place.host.notice(Notice::Up(remote.clone(), addrs));
    for topic in &far.topics {
        place.host.notice(Notice::Joined(remote.clone(), topic.clone()));
    }
}

fn dial_error(kind: ErrorKind, detail: impl Into<String>) -> Error {
    Error::new(kind, "dial", detail)
}

fn refused(detail: String) -> Error {
    dial_error(ErrorKind::Unauthorized, detail)
}

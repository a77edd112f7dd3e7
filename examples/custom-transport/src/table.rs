//! Who is linked, who takes part in what. The node is told under its lock: so it hears of changes in their order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use carrick_core::{Host, Lane, Notice, PeerId, Receipt, Topic};

use crate::link::Link;
use crate::wire::{End, Frame};

/// Records of others that are told to a new neighbour.
const RECORDS: usize = 64;

/// The links of one transport, and the topics at both ends.
#[derive(Debug)]
pub(crate) struct Table {
    host: Host,
    /// What we take part in.
    pub(crate) topics: BTreeSet<Topic>,
    peers: BTreeMap<PeerId, Peer>,
    /// Peers whose link a user ended, here or there: nothing restores it but a dial.
    apart: BTreeSet<PeerId>,
}

#[derive(Debug)]
struct Peer {
    link: Arc<Link>,
    topics: BTreeSet<Topic>,
}

impl Table {
    pub(crate) fn new(host: Host) -> Self {
        let (topics, peers, apart) = Default::default();
        Self { host, topics, peers, apart }
    }

    pub(crate) fn link(&self, peer: &PeerId) -> Option<&Arc<Link>> {
        self.peers.get(peer).map(|peer| &peer.link)
    }

    /// All links, sorted by peer.
    pub(crate) fn links(&self) -> impl Iterator<Item = &Arc<Link>> {
        self.peers.values().map(|peer| &peer.link)
    }

    /// The links to the peers on a topic, sorted by peer.
    pub(crate) fn on(&self, topic: &Topic) -> impl Iterator<Item = &Arc<Link>> {
        self.peers.values().filter(|peer| peer.topics.contains(topic)).map(|peer| &peer.link)
    }

    /// Takes a link whose far end proved itself. Where two dial each other at once, the dial of the lower id stays.
    pub(crate) fn enter(&mut self, link: &Arc<Link>) -> Result<(), End> {
        let stays = |link: &Link| link.dialled == (self.host.me() < link.peer);
        let full = self.peers.len() >= self.host.limits().connections;
        match self.peers.get_mut(&link.peer) {
            Some(old) if stays(&old.link) || !stays(link) => return Err(End::Duplicate),
            Some(old) => std::mem::replace(&mut old.link, link.clone()).end(End::Duplicate),
            None if full => return Err(End::Full),
            None => {
                self.host.notice(Notice::Up(link.remote(), vec![link.addr.clone()]));
                self.peers.insert(link.peer, Peer { link: link.clone(), topics: BTreeSet::new() });
            }
        }
        self.apart.remove(&link.peer);
        if !link.dialled {
            link.tell(&Frame::Welcome);
        }
        self.topics.iter().for_each(|topic| link.tell(&Frame::Topic { name: topic.as_str(), joined: true }));
        link.tell(&Frame::Record(self.host.record().encoded()));
        self.host.records(RECORDS).iter().for_each(|record| link.tell(&Frame::Record(record.encoded())));
        Ok(())
    }

    /// Ends a link. Only the first reason counts.
    pub(crate) fn leave(&mut self, link: &Arc<Link>, why: End) {
        if self.link(&link.peer).is_some_and(|known| Arc::ptr_eq(known, link)) {
            self.peers.remove(&link.peer);
            self.host.notice(Notice::Down(link.remote()));
        }
        link.end(why);
    }

    /// A user at either end wants no link to a peer.
    pub(crate) fn part(&mut self, peer: PeerId) {
        if self.apart.len() >= self.host.limits().known_peers {
            self.apart.pop_first();
        }
        self.apart.insert(peer);
    }

    /// A user dials a peer.
    pub(crate) fn rejoin(&mut self, peer: &PeerId) {
        self.apart.remove(peer);
    }

    /// Whether there is nothing to be done to stay connected to a peer.
    pub(crate) fn is_settled(&self, peer: &PeerId) -> bool {
        self.peers.contains_key(peer) || self.apart.contains(peer)
    }

    /// We join a topic, or leave it; answers whether that is news.
    pub(crate) fn take_part(&mut self, topic: &Topic, joined: bool) -> bool {
        let news = if joined { self.topics.insert(topic.clone()) } else { self.topics.remove(topic) };
        if news {
            self.links().for_each(|link| link.tell(&Frame::Topic { name: topic.as_str(), joined }));
        }
        news
    }

    /// The far end of a link joins a topic, or leaves it.
    pub(crate) fn heard(&mut self, link: &Link, topic: Topic, joined: bool) -> Result<(), End> {
        let Some(peer) = self.peers.get_mut(&link.peer) else { return Ok(()) };
        if !joined {
            if peer.topics.remove(&topic) {
                self.host.notice(Notice::Left(link.remote(), topic));
            }
        } else if !peer.topics.contains(&topic) {
            if peer.topics.len() >= self.host.limits().topics_per_peer {
                return Err(End::Broken);
            }
            peer.topics.insert(topic.clone());
            self.host.notice(Notice::Joined(link.remote(), topic));
        }
        Ok(())
    }

    /// Queues a message for all on its topic but `except`, from whom it came.
    pub(crate) fn send(&self, topic: &Topic, bytes: &[u8], lane: Lane, except: Option<PeerId>) -> Receipt {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let message = Frame::Message { topic: topic.as_str(), bytes: length }.encode(bytes);
        let (mut sent, mut skipped) = (0, BTreeMap::new());
        for link in self.on(topic).filter(|link| Some(link.peer) != except) {
            match link.queue(lane, &message) {
                None => sent += 1,
                Some(skip) => *skipped.entry(skip).or_default() += 1,
            }
        }
        Receipt::counted(sent, skipped.into_iter().collect())
    }
}

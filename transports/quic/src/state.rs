//! The protocol as a state machine: events in, actions out; no socket, no clock, no random number.
//!
//! It knows who is linked, which topics each end takes part in and who has which message already. It decides
//! which of two links between the same peers stays, and to whom a message goes. What it decides is carried
//! out by `io`.
//!
//! Broadcast is flooding: a message that the gate accepted goes once to every linked peer of its topic, but
//! not to those it came from.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;

use carrick_core::{Lane, MessageId, Multiaddr, Notice, PeerId, Remote, Topic};
use lru::LruCache;

use crate::wire::Reason;

/// Messages of which we remember who has them. More than a full gate holds, so that every verdict finds its
/// message.
const REMEMBERED: usize = 4_096;
/// Holders remembered of one message: beyond it a peer may get a copy that it has.
const HOLDERS: usize = 16;
/// Peers remembered as disconnected on purpose.
const APART: usize = 1_024;
/// Topics remembered as left.
const LEFT: usize = 1_024;

/// Numbers the links of one transport.
pub(crate) type LinkId = u64;

/// What the transport is to do.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// Tell the node.
    Notice(Notice),
    /// Tell the far end of a link that we joined a topic, or left it.
    Announce {
        /// The link.
        link: LinkId,
        /// The topic.
        topic: Topic,
        /// Joined, or left.
        joined: bool,
    },
    /// A better link took its place: let what is queued go out, then close it.
    Retire(LinkId),
    /// Close a link now.
    Close(LinkId, Reason),
}

/// A link whose hello was read.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    /// Its number.
    pub(crate) link: LinkId,
    /// Who is at the other end.
    pub(crate) peer: PeerId,
    /// Whether we dialled it.
    pub(crate) dialled: bool,
    /// The running instance of the other end.
    pub(crate) session: u64,
    /// Where it is reached.
    pub(crate) addrs: Vec<Multiaddr>,
    /// The topics that its hello named.
    pub(crate) theirs: BTreeSet<Topic>,
    /// The topics that our hello named, if it was sent already.
    pub(crate) ours: Option<BTreeSet<Topic>>,
}

/// A linked peer.
#[derive(Debug)]
struct Peer {
    link: LinkId,
    dialled: bool,
    session: u64,
    topics: BTreeSet<Topic>,
}

/// Who is linked, what they want, who has what.
#[derive(Debug)]
pub(crate) struct State {
    me: PeerId,
    max_peers: usize,
    max_topics: usize,
    topics: BTreeSet<Topic>,
    peers: BTreeMap<PeerId, Peer>,
    holders: LruCache<MessageId, Vec<PeerId>>,
    apart: BTreeSet<PeerId>,
    /// Topics that we left: what peers sent before they learnt of it may still come.
    left: LruCache<Topic, ()>,
}

/// What becomes of a message as it arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrived {
    /// It goes to the gate.
    Wanted,
    /// We left its topic.
    Late,
    /// We never joined its topic, so nobody had reason to send it.
    Unasked,
}

impl State {
    /// Nobody linked, nothing joined.
    pub(crate) fn new(me: PeerId, max_peers: usize, max_topics: usize) -> Self {
        let remembered = NonZeroUsize::new(REMEMBERED).unwrap_or(NonZeroUsize::MIN);
        Self {
            me,
            max_peers,
            max_topics,
            topics: BTreeSet::new(),
            peers: BTreeMap::new(),
            holders: LruCache::new(remembered),
            apart: BTreeSet::new(),
            left: LruCache::new(NonZeroUsize::new(LEFT).unwrap_or(NonZeroUsize::MIN)),
        }
    }

    /// The topics we take part in.
    pub(crate) fn topics(&self) -> &BTreeSet<Topic> {
        &self.topics
    }

    /// The link to a peer.
    pub(crate) fn link(&self, peer: &PeerId) -> Option<LinkId> {
        self.peers.get(peer).map(|peer| peer.link)
    }

    /// All linked peers, sorted.
    pub(crate) fn peers(&self) -> impl Iterator<Item = (&PeerId, LinkId)> {
        self.peers.iter().map(|(id, peer)| (id, peer.link))
    }

    /// The linked peers of a topic, sorted.
    pub(crate) fn topic_peers(&self, topic: &Topic) -> Vec<PeerId> {
        self.peers.iter().filter(|(_, peer)| peer.topics.contains(topic)).map(|(id, _)| *id).collect()
    }

    /// A hello was read: takes the link, or says why not.
    ///
    /// Of two links between the same two peers the one that the lower id dialled stays; both ends decide
    /// alike, whatever the order in which they learn of the two. A peer that was started again replaces what
    /// is left of its former life, and a second dial of one side replaces its first.
    pub(crate) fn up(&mut self, new: Arrival) -> Result<Vec<Action>, Reason> {
        let mut actions = Vec::new();
        match self.peers.get(&new.peer) {
            None if self.peers.len() >= self.max_peers => return Err(Reason::Busy),
            None => {}
            Some(old) if old.session != new.session => {
                let gone = old.link;
                actions.extend(self.down(&new.peer, gone));
                actions.push(Action::Retire(gone));
            }
            Some(old) if old.dialled != new.dialled && new.dialled != (self.me < new.peer) => {
                return Err(Reason::Duplicate);
            }
            Some(old) => actions.push(Action::Retire(old.link)),
        }
        self.apart.remove(&new.peer);
        let remote = Remote::Peer(new.peer);
        let known = self.peers.remove(&new.peer).map(|old| old.topics);
        if known.is_none() {
            actions.push(Action::Notice(Notice::Up(remote.clone(), new.addrs)));
        }
        let before = known.unwrap_or_default();
        actions.extend(before.difference(&new.theirs).map(|topic| left(&remote, topic)));
        actions.extend(new.theirs.difference(&before).map(|topic| joined(&remote, topic)));
        if let Some(told) = new.ours {
            let announce =
                |topic: &Topic, joined| Action::Announce { link: new.link, topic: topic.clone(), joined };
            actions.extend(self.topics.difference(&told).map(|topic| announce(topic, true)));
            actions.extend(told.difference(&self.topics).map(|topic| announce(topic, false)));
        }
        let Arrival { link, peer, dialled, session, theirs: topics, .. } = new;
        self.peers.insert(peer, Peer { link, dialled, session, topics });
        Ok(actions)
    }

    /// A link ended. Nothing happens when another one took its place.
    pub(crate) fn down(&mut self, peer: &PeerId, link: LinkId) -> Vec<Action> {
        if self.link(peer) != Some(link) {
            return vec![];
        }
        let topics = self.peers.remove(peer).map(|peer| peer.topics).unwrap_or_default();
        let remote = Remote::Peer(*peer);
        let mut actions: Vec<_> = topics.iter().map(|topic| left(&remote, topic)).collect();
        actions.push(Action::Notice(Notice::Down(remote)));
        actions
    }

    /// We join a topic. `Err` at the limit.
    pub(crate) fn join(&mut self, topic: &Topic) -> Result<Vec<Action>, usize> {
        if self.topics.contains(topic) {
            return Ok(vec![]);
        }
        if self.topics.len() >= self.max_topics {
            return Err(self.max_topics);
        }
        self.topics.insert(topic.clone());
        Ok(self.announce(topic, true))
    }

    /// We leave a topic.
    pub(crate) fn leave(&mut self, topic: &Topic) -> Vec<Action> {
        if !self.topics.remove(topic) {
            return vec![];
        }
        self.left.put(topic.clone(), ());
        self.announce(topic, false)
    }

    fn announce(&self, topic: &Topic, joined: bool) -> Vec<Action> {
        let announce = |peer: &Peer| Action::Announce { link: peer.link, topic: topic.clone(), joined };
        self.peers.values().map(announce).collect()
    }

    /// A peer joined a topic or left it. `Err` when it has more topics than it may.
    pub(crate) fn heard(
        &mut self,
        peer: &PeerId,
        link: LinkId,
        topic: Topic,
        joins: bool,
    ) -> Result<Vec<Action>, Reason> {
        let max_topics = self.max_topics;
        let Some(state) = self.peers.get_mut(peer).filter(|peer| peer.link == link) else {
            return Ok(vec![]);
        };
        let remote = Remote::Peer(*peer);
        if !joins {
            let was = state.topics.remove(&topic);
            return Ok(was.then(|| left(&remote, &topic)).into_iter().collect());
        }
        if state.topics.contains(&topic) {
            return Ok(vec![]);
        }
        if state.topics.len() >= max_topics {
            return Err(Reason::Malformed);
        }
        let action = joined(&remote, &topic);
        state.topics.insert(topic);
        Ok(vec![action])
    }

    /// A message came. It goes to the gate only on a topic we joined.
    pub(crate) fn arrived(&mut self, from: PeerId, topic: &Topic, id: MessageId) -> Arrived {
        if !self.topics.contains(topic) {
            return if self.left.contains(topic) { Arrived::Late } else { Arrived::Unasked };
        }
        let holders = self.holders.get_or_insert_mut(id, Vec::new);
        if holders.len() < HOLDERS && !holders.contains(&from) {
            holders.push(from);
        }
        Arrived::Wanted
    }

    /// To whom a message goes: who takes part in the topic. What we pass on does not go back to those it came
    /// from; our own goes to all, whatever was sent before, because it is handed in again only when it may be
    /// lost.
    pub(crate) fn targets(&self, topic: &Topic, id: &MessageId, lane: Lane) -> Vec<(PeerId, LinkId)> {
        let have = match lane {
            Lane::Own => None,
            _ => self.holders.peek(id),
        };
        let wants = |id: &PeerId, peer: &Peer| {
            peer.topics.contains(topic) && !have.is_some_and(|holders| holders.contains(id))
        };
        self.peers.iter().filter(|(id, peer)| wants(id, peer)).map(|(id, peer)| (*id, peer.link)).collect()
    }

    /// A user at either end wants no link to a peer, until it is dialled again.
    pub(crate) fn part(&mut self, peer: PeerId) -> Option<Action> {
        if self.apart.len() >= APART {
            self.apart.pop_first();
        }
        self.apart.insert(peer);
        self.link(&peer).map(|link| Action::Close(link, Reason::Disconnected))
    }

    /// A peer is not admitted any more. Once it is again, it may be dialled by itself.
    pub(crate) fn expel(&self, peer: &PeerId) -> Option<Action> {
        self.link(peer).map(|link| Action::Close(link, Reason::NotAdmitted))
    }

    /// A user dials a peer: it may be dialled again by itself, too.
    pub(crate) fn rejoin(&mut self, peer: &PeerId) {
        self.apart.remove(peer);
    }

    /// Whether a peer is to be left alone.
    pub(crate) fn is_apart(&self, peer: &PeerId) -> bool {
        self.apart.contains(peer)
    }
}

fn joined(remote: &Remote, topic: &Topic) -> Action {
    Action::Notice(Notice::Joined(remote.clone(), topic.clone()))
}

fn left(remote: &Remote, topic: &Topic) -> Action {
    Action::Notice(Notice::Left(remote.clone(), topic.clone()))
}

#[cfg(test)]
mod tests;

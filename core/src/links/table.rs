//! Who is linked, who takes part in what, who has which message: events in, actions out; no socket, no clock, no random
//! number.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::Arc;

use libp2p_identity::PeerId;
use lru::LruCache;
use multiaddr::Multiaddr;

use super::Reason;
use crate::{Error, ErrorKind, Lane, Limits, MessageId, Notice, Remote, Result, Topic};

/// Messages of which we remember who has them. More than a full gate holds, so that every verdict finds its
/// message.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(4_096).unwrap();
/// Holders remembered of one message: beyond it a peer may get a copy that it has.
const HOLDERS: usize = 16;
/// Peers remembered as disconnected on purpose.
const APART: usize = 1_024;
/// Topics remembered as left.
const LEFT: NonZeroUsize = NonZeroUsize::new(1_024).unwrap();

/// What the transport is to do: in this order, and under the lock of the table, so that the node hears of changes in the
/// order in which they happened.
#[derive(Clone, Debug)]
pub enum Action<T> {
    /// Tell the node.
    Notice(Notice),
    /// Tell the far end of a link that we joined a topic, or left it.
    Announce {
        /// The link.
        link: Arc<T>,
        /// The topic.
        topic: Topic,
        /// Joined, or left.
        joined: bool,
    },
    /// A better link took its place: let what is queued go out, then close it.
    Retire(Arc<T>),
    /// Close a link now.
    Close(Arc<T>, Reason),
}

/// A link whose hello was read.
#[derive(Clone, Debug)]
pub struct Arrival<T> {
    /// The transport's own handle of it.
    pub link: Arc<T>,
    /// Who is at the other end.
    pub peer: PeerId,
    /// Whether we dialled it.
    pub dialled: bool,
    /// The running instance of the other end.
    pub session: u64,
    /// Where it is reached.
    pub addrs: Vec<Multiaddr>,
    /// The topics that its hello named.
    pub theirs: BTreeSet<Topic>,
    /// The topics that our hello named, if it was sent already.
    pub ours: Option<BTreeSet<Topic>>,
}

/// What becomes of a message as it arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrived {
    /// It goes to the gate.
    Wanted,
    /// We left its topic.
    Late,
    /// We never joined its topic, so nobody had reason to send it.
    Unasked,
}

/// A linked peer.
#[derive(Debug)]
struct Peer<T> {
    link: Arc<T>,
    dialled: bool,
    session: u64,
    topics: BTreeSet<Topic>,
}

/// Who is linked, what they want, who has what: the table of a wire of its own, generic over what that wire calls a link.
///
/// Broadcast is flooding: a message that the gate accepted goes once to every linked peer of its topic, but not to those
/// it came from. It neither locks nor waits: that is the transport's part.
#[derive(Debug)]
pub struct Table<T> {
    me: PeerId,
    max_peers: usize,
    max_topics: usize,
    topics: BTreeSet<Topic>,
    peers: BTreeMap<PeerId, Peer<T>>,
    holders: LruCache<MessageId, Vec<PeerId>>,
    apart: BTreeSet<PeerId>,
    /// Topics that we left: what peers sent before they learnt of it may still come.
    left: LruCache<Topic, ()>,
}

impl<T> Table<T> {
    /// Nobody linked, nothing joined. Takes at most [`Limits::connections`] links, and [`Limits::topics_per_peer`] topics
    /// at each end of one.
    pub fn new(me: PeerId, limits: &Limits) -> Self {
        Self {
            me,
            max_peers: limits.connections,
            max_topics: limits.topics_per_peer,
            topics: BTreeSet::new(),
            peers: BTreeMap::new(),
            holders: LruCache::new(REMEMBERED),
            apart: BTreeSet::new(),
            left: LruCache::new(LEFT),
        }
    }

    /// The topics we take part in.
    pub fn topics(&self) -> &BTreeSet<Topic> {
        &self.topics
    }

    /// The link to a peer.
    pub fn link(&self, peer: &PeerId) -> Option<&Arc<T>> {
        self.peers.get(peer).map(|peer| &peer.link)
    }

    /// All linked peers, sorted.
    pub fn links(&self) -> impl Iterator<Item = (&PeerId, &Arc<T>)> {
        self.peers.iter().map(|(id, peer)| (id, &peer.link))
    }

    /// The linked peers of a topic, sorted.
    pub fn topic_peers(&self, topic: &Topic) -> Vec<Remote> {
        let on = self.peers.iter().filter(|(_, peer)| peer.topics.contains(topic));
        on.map(|(id, _)| Remote::Peer(*id)).collect()
    }

    /// Whether a link to a peer can be taken: another one, or one that takes the place of the one there is.
    pub fn has_room(&self, peer: &PeerId) -> bool {
        self.peers.len() < self.max_peers || self.peers.contains_key(peer)
    }

    /// A hello was read: takes the link, or says why not.
    ///
    /// Of two links between the same two peers the one that the lower id dialled stays; both ends decide
    /// alike, whatever the order in which they learn of the two. A peer that was started again replaces what
    /// is left of its former life, and a second dial of one side replaces its first.
    pub fn up(&mut self, new: Arrival<T>) -> std::result::Result<Vec<Action<T>>, Reason> {
        let mut actions = Vec::new();
        match self.peers.get(&new.peer) {
            _ if new.theirs.len() > self.max_topics => return Err(Reason::Malformed),
            _ if !self.has_room(&new.peer) => return Err(Reason::Busy),
            None => {}
            Some(old) if old.session != new.session => {
                let gone = old.link.clone();
                actions.extend(self.down(&new.peer, &gone));
                actions.push(Action::Retire(gone));
            }
            Some(old) if old.dialled != new.dialled && new.dialled != (self.me < new.peer) => {
                return Err(Reason::Duplicate);
            }
            Some(old) => actions.push(Action::Retire(old.link.clone())),
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
            actions.extend(self.topics.difference(&told).map(|topic| announce(&new.link, topic, true)));
            actions.extend(told.difference(&self.topics).map(|topic| announce(&new.link, topic, false)));
        }
        let Arrival { link, peer, dialled, session, theirs: topics, .. } = new;
        self.peers.insert(peer, Peer { link, dialled, session, topics });
        Ok(actions)
    }

    /// A link ended. Nothing happens when another one took its place.
    pub fn down(&mut self, peer: &PeerId, link: &Arc<T>) -> Vec<Action<T>> {
        if !self.link(peer).is_some_and(|known| Arc::ptr_eq(known, link)) {
            return vec![];
        }
        let topics = self.peers.remove(peer).map(|peer| peer.topics).unwrap_or_default();
        let remote = Remote::Peer(*peer);
        let mut actions: Vec<_> = topics.iter().map(|topic| left(&remote, topic)).collect();
        actions.push(Action::Notice(Notice::Down(remote)));
        actions
    }

    /// We join a topic.
    ///
    /// # Errors
    /// `TooLarge` at the limit.
    pub fn join(&mut self, topic: &Topic) -> Result<Vec<Action<T>>> {
        if self.topics.contains(topic) {
            return Ok(vec![]);
        }
        if self.topics.len() >= self.max_topics {
            let detail = format!("{} topics are joined, which is the limit", self.max_topics);
            let error = Error::new(ErrorKind::TooLarge, "join", detail);
            return Err(
                error.mend("leave a topic, or raise `topics_per_peer` under [node.limits] on every node")
            );
        }
        self.topics.insert(topic.clone());
        Ok(self.announce_all(topic, true))
    }

    /// We leave a topic.
    pub fn leave(&mut self, topic: &Topic) -> Vec<Action<T>> {
        if !self.topics.remove(topic) {
            return vec![];
        }
        self.left.put(topic.clone(), ());
        self.announce_all(topic, false)
    }

    fn announce_all(&self, topic: &Topic, joined: bool) -> Vec<Action<T>> {
        self.peers.values().map(|peer| announce(&peer.link, topic, joined)).collect()
    }

    /// The far end of a link joined a topic, or left it.
    ///
    /// # Errors
    /// `Malformed` when it has more topics than it may.
    pub fn heard(
        &mut self,
        peer: &PeerId,
        link: &Arc<T>,
        topic: Topic,
        joins: bool,
    ) -> std::result::Result<Vec<Action<T>>, Reason> {
        let max_topics = self.max_topics;
        let Some(state) = self.peers.get_mut(peer).filter(|peer| Arc::ptr_eq(&peer.link, link)) else {
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
    pub fn arrived(&mut self, from: PeerId, topic: &Topic, id: MessageId) -> Arrived {
        if !self.topics.contains(topic) {
            return if self.left.contains(topic) { Arrived::Late } else { Arrived::Unasked };
        }
        let holders = self.holders.get_or_insert_mut(id, Vec::new);
        if holders.len() < HOLDERS && !holders.contains(&from) {
            holders.push(from);
        }
        Arrived::Wanted
    }

    /// The links that a message goes to: of those who take part in its topic. What we pass on does not go back to those it
    /// came from; our own goes to all, whatever was sent before, because it is handed in again only when it may be lost.
    pub fn targets(&self, topic: &Topic, id: &MessageId, lane: Lane) -> impl Iterator<Item = &Arc<T>> {
        let have = match lane {
            Lane::Own => None,
            _ => self.holders.peek(id),
        };
        let wants = move |(id, peer): &(&PeerId, &Peer<T>)| {
            peer.topics.contains(topic) && !have.is_some_and(|holders| holders.contains(id))
        };
        self.peers.iter().filter(wants).map(|(_, peer)| &peer.link)
    }

    /// Whom to ask for content: the hinted first, then the others from a place that is [drawn](crate::Host::random), so
    /// that not everybody asks the same; nobody who is to be avoided.
    pub fn providers(&self, hints: &[PeerId], avoid: &[Remote], drawn: u64) -> Vec<Arc<T>> {
        let wanted = self.peers.iter().filter(|(id, _)| !avoid.contains(&Remote::Peer(**id)));
        let mut providers: Vec<_> = wanted.map(|(id, peer)| (*id, peer.link.clone())).collect();
        let start = drawn % providers.len().max(1) as u64;
        providers.rotate_left(usize::try_from(start).unwrap_or(0));
        // Stable: among the others the drawn order stays.
        providers.sort_by_key(|(id, _)| hints.iter().position(|hint| hint == id).unwrap_or(usize::MAX));
        providers.into_iter().map(|(_, link)| link).collect()
    }

    /// A user at either end wants no link to a peer, until it is dialled again.
    pub fn part(&mut self, peer: PeerId) -> Option<Action<T>> {
        if self.apart.len() >= APART && !self.apart.contains(&peer) {
            self.apart.pop_first();
        }
        self.apart.insert(peer);
        self.link(&peer).map(|link| Action::Close(link.clone(), Reason::Disconnected))
    }

    /// A peer is not admitted any more. Once it is again, it may be dialled by itself.
    pub fn expel(&self, peer: &PeerId) -> Option<Action<T>> {
        self.link(peer).map(|link| Action::Close(link.clone(), Reason::NotAdmitted))
    }

    /// A user dials a peer: it may be dialled again by itself, too.
    pub fn rejoin(&mut self, peer: &PeerId) {
        self.apart.remove(peer);
    }

    /// Whether a peer is to be left alone.
    pub fn is_apart(&self, peer: &PeerId) -> bool {
        self.apart.contains(peer)
    }
}

fn announce<T>(link: &Arc<T>, topic: &Topic, joined: bool) -> Action<T> {
    Action::Announce { link: link.clone(), topic: topic.clone(), joined }
}

fn joined<T>(remote: &Remote, topic: &Topic) -> Action<T> {
    Action::Notice(Notice::Joined(remote.clone(), topic.clone()))
}

fn left<T>(remote: &Remote, topic: &Topic) -> Action<T> {
    Action::Notice(Notice::Left(remote.clone(), topic.clone()))
}

#[cfg(test)]
mod tests;

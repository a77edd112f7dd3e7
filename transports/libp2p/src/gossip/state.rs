//! Who takes part in what, and the way of a message through the node.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use carrick_core::{
    Bytes, ErrorKind, Host, Inbound, Misdeed, Notice, PeerId, Receipt, Relay, Remote, Result, Skip, Topic,
};
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{FuturesUnordered, StreamExt as _};
use libp2p::gossipsub::{
    Event, FailedMessages, IdentTopic, Message, MessageAcceptance, MessageId, PublishError, TopicHash,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

use super::{GRAYLIST, Guarded, MUTED, Names, PUBLISH, topic_score};
use crate::GossipsubConfig;
use crate::link::Links;

/// How often who is on gossipsub's grey list is blamed for it.
const FINES: Duration = Duration::from_secs(1);
/// Messages that wait for their verdict, beside those that have a slot in the gate: copies of those wait without one.
const COPIES: usize = 1_024;

/// A message whose verdict is there.
#[derive(Debug)]
pub(crate) struct Judged {
    id: MessageId,
    from: PeerId,
    topic: Topic,
    bytes: Bytes,
    relay: Relay,
    /// Whether who sent it had to judge it.
    had_to_judge: bool,
    /// When it is passed on, and its turn among those of that moment.
    due: Turn,
    _place: OwnedSemaphorePermit,
}

/// A moment, and a number that is higher for what came later.
type Turn = (Instant, u64);

/// What goes on over gossipsub. Lives in the swarm's task and waits for nothing.
pub(crate) struct Gossip {
    host: Host,
    links: Links,
    names: Names,
    joined: BTreeMap<Topic, TopicHash>,
    /// Who takes part in the topics of this network, linked or not yet.
    members: HashMap<Topic, BTreeSet<PeerId>>,
    /// Whose reputation is low.
    muted: HashSet<PeerId>,
    /// Whether own messages go to all members, else to so many.
    flood: bool,
    mesh_n: usize,
    /// How long a message waits that its author sends to others too, and from which size on.
    delay: (Duration, usize),
    /// When gossipsub's scores were last looked at.
    fined: Instant,
    waiting: Arc<Semaphore>,
    /// In one place, not each in a task of its own: those of one author come in the order in which the node gives them.
    verdicts: FuturesUnordered<BoxFuture<'static, Judged>>,
    /// What is accepted and not due.
    held: BTreeMap<Turn, Judged>,
    /// Until when the messages of an author wait.
    delayed: HashMap<PeerId, Instant>,
    /// Messages that came.
    came: u64,
}

impl Gossip {
    /// Nothing joined.
    pub(crate) fn new(host: Host, config: &GossipsubConfig, links: Links) -> Self {
        let waiting = host.limits().gate_total + COPIES;
        Self {
            names: Names::new(&host),
            joined: BTreeMap::new(),
            members: HashMap::new(),
            muted: HashSet::new(),
            flood: config.flood_publish,
            mesh_n: config.mesh_n,
            delay: (config.forward_delay.0, config.idontwant_message_size_threshold),
            fined: Instant::now(),
            waiting: Arc::new(Semaphore::new(waiting)),
            verdicts: FuturesUnordered::new(),
            held: BTreeMap::new(),
            delayed: HashMap::new(),
            came: 0,
            host,
            links,
        }
    }

    /// Takes part in a topic.
    ///
    /// # Errors
    /// `TooLarge` at the limit.
    pub(crate) fn join(&mut self, gossipsub: &mut Guarded, topic: &Topic) -> Result<()> {
        let limit = self.host.limits().topics_per_peer;
        if self.joined.contains_key(topic) {
            return Ok(());
        }
        if self.joined.len() >= limit {
            let detail = format!("{limit} topics are joined, which is the limit");
            let error = self.host.fail(ErrorKind::TooLarge, "join", detail);
            return Err(
                error.mend("leave a topic, or raise `topics_per_peer` under [node.limits] on every node")
            );
        }
        let named = IdentTopic::new(self.names.of(topic));
        gossipsub
            .inner
            .subscribe(&named)
            .map_err(|error| self.host.fail(ErrorKind::Unexpected, "join", error.to_string()))?;
        // Fails for parameters out of range, which these are not.
        let hash = named.hash();
        let _ = gossipsub.inner.set_topic_params(named, topic_score());
        self.joined.insert(topic.clone(), hash);
        gossipsub.joined(self.joined.values());
        Ok(())
    }

    /// Takes part no more: what comes from here on is not delivered.
    pub(crate) fn leave(&mut self, gossipsub: &mut Guarded, topic: &Topic) {
        if self.joined.remove(topic).is_some() {
            gossipsub.inner.unsubscribe(&IdentTopic::new(self.names.of(topic)));
            gossipsub.joined(self.joined.values());
        }
    }

    /// Publishes, and tells how far it went.
    ///
    /// # Errors
    /// `TooLarge`.
    pub(crate) fn publish(
        &mut self,
        gossipsub: &mut Guarded,
        topic: &Topic,
        bytes: &Bytes,
    ) -> Result<Receipt> {
        let (reached, banned) = self.reach(gossipsub, topic);
        let hash = TopicHash::from_raw(self.names.of(topic));
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let skipped = |why: Skip, peers: usize| (peers > 0).then_some((why, count(peers)));
        let banned = skipped(Skip::Banned, banned);
        match gossipsub.inner.publish(hash, bytes.to_vec()) {
            Ok(_) => Ok(Receipt::counted(count(reached), banned.into_iter().collect())),
            Err(PublishError::NoPeersSubscribedToTopic) => {
                Ok(Receipt::counted(0, banned.into_iter().collect()))
            }
            Err(PublishError::AllQueuesFull(peers)) => {
                let full = skipped(Skip::QueueFull, peers);
                Ok(Receipt::counted(0, full.into_iter().chain(banned).collect()))
            }
            Err(PublishError::MessageTooLarge) => {
                let detail =
                    format!("a message of {} bytes is more than gossipsub carries here", bytes.len());
                Err(self.host.fail(ErrorKind::TooLarge, "publish", detail))
            }
            Err(error) => Err(self.host.fail(ErrorKind::Unexpected, "publish", error.to_string())),
        }
    }

    /// How many members of a topic a message of ours goes to, and how many are left out for their reputation or score.
    fn reach(&self, gossipsub: &Guarded, topic: &Topic) -> (usize, usize) {
        let Some(members) = self.members.get(topic) else { return (0, 0) };
        let bad = |peer: &&PeerId| {
            self.muted.contains(peer) || gossipsub.inner.peer_score(peer).is_some_and(|score| score < PUBLISH)
        };
        let bad = members.iter().filter(bad).count();
        let good = members.len() - bad;
        // Without flooding it goes to the mesh, or to as many where the topic is not joined.
        let reached = match (self.flood, self.joined.get(topic)) {
            (true, _) => good,
            (false, Some(hash)) => good.min(gossipsub.inner.mesh_peers(hash).count().max(self.mesh_n)),
            (false, None) => good.min(self.mesh_n),
        };
        (reached, bad)
    }

    /// Something happened on the wire.
    pub(crate) fn on_event(&mut self, gossipsub: &mut Guarded, event: Event) {
        match event {
            Event::Message { propagation_source, message_id, message } => {
                if !self.deliver(propagation_source, &message_id, message) {
                    answer(gossipsub, &message_id, &propagation_source, MessageAcceptance::Ignore);
                }
            }
            Event::Subscribed { peer_id, topic } => {
                let Some(topic) = self.names.topic(topic.as_str()) else { return };
                self.members.entry(topic.clone()).or_default().insert(peer_id);
                self.links.heard(&peer_id, topic, true);
            }
            Event::Unsubscribed { peer_id, topic } => {
                let Some(topic) = self.names.topic(topic.as_str()) else { return };
                self.forget(&peer_id, &topic);
                self.links.heard(&peer_id, topic, false);
            }
            Event::SlowPeer { peer_id, failed_messages: FailedMessages { priority, non_priority } } => {
                let count = (priority + non_priority) as u64;
                self.host.notice(Notice::Dropped { remote: Remote::Peer(peer_id), count });
            }
            Event::GossipsubNotSupported { .. } => {}
        }
    }

    /// A link stands: what its peer takes part in is told now.
    pub(crate) fn linked(&mut self, peer: &PeerId) {
        let on = self.members.iter().filter(|(_, members)| members.contains(peer));
        on.for_each(|(topic, _)| self.links.heard(peer, topic.clone(), true));
    }

    /// The last connection to a peer ended.
    pub(crate) fn gone(&mut self, gossipsub: &mut Guarded, peer: &PeerId) {
        self.members.retain(|_, members| {
            members.remove(peer);
            !members.is_empty()
        });
        if self.muted.remove(peer) {
            // Gossipsub remembers whom it knows no good of, and this is looked at anew when the peer comes back.
            gossipsub.inner.set_application_score(peer, 0.0);
        }
    }

    fn forget(&mut self, peer: &PeerId, topic: &Topic) {
        if let Some(members) = self.members.get_mut(topic) {
            members.remove(peer);
            if members.is_empty() {
                self.members.remove(topic);
            }
        }
    }

    /// Hands a message to the gate; `false` where it goes no further.
    fn deliver(&mut self, from: PeerId, id: &MessageId, message: Message) -> bool {
        let topic = self.names.topic(message.topic.as_str()).filter(|topic| self.joined.contains_key(topic));
        let remote = Remote::Peer(from);
        let Some(topic) = topic else {
            self.host.count("unjoined", 1);
            return false;
        };
        let Ok(place) = Arc::clone(&self.waiting).try_acquire_owned() else {
            self.host.count("shed", 1);
            return false;
        };
        // What is not taken is counted there.
        let Some(slot) = self.host.try_slot(&remote) else { return false };
        // Kubo passes on what it does not understand, and is not to blame for it; for what it says itself it is.
        let is_authors = message.source == Some(from);
        let had_to_judge = self.links.judges(&from) || is_authors;
        let slot = if had_to_judge { slot } else { slot.unjudged() };
        let bytes = Bytes::from(message.data);
        let wire_id = Some(Bytes::copy_from_slice(&id.0));
        let verdict =
            slot.deliver(Inbound { from: remote, topic: topic.clone(), bytes: bytes.clone(), wire_id });
        let id = id.clone();
        let due = self.turn(message.source, from, bytes.len());
        let judged = verdict.map(move |relay| Judged {
            id,
            from,
            topic,
            bytes,
            relay,
            had_to_judge,
            due,
            _place: place,
        });
        self.verdicts.push(judged.boxed());
        true
    }

    /// When a message that comes now is passed on. What its author sends to others too waits a moment: most of them say meanwhile
    /// that they have it. No other message of that author overtakes it, or Kubo, which looks at their numbers, would drop it.
    fn turn(&mut self, author: Option<PeerId>, from: PeerId, bytes: usize) -> Turn {
        let (now, (delay, from_size)) = (Instant::now(), self.delay);
        self.came += 1;
        let due = match author {
            Some(author) if author == from && bytes >= from_size => {
                self.delayed.insert(author, now + delay);
                now + delay
            }
            Some(author) => self.delayed.get(&author).map_or(now, |until| now.max(*until)),
            None => now,
        };
        (due, self.came)
    }

    /// Waits for the next verdict; `None`: something is to be [passed on](Self::pass_on). Nothing is lost when it is dropped.
    pub(crate) async fn next(&mut self) -> Option<Judged> {
        let due = self.held.first_key_value().map(|((due, _), _)| *due);
        tokio::select! {
            biased;
            Some(judged) = self.verdicts.next() => Some(judged),
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => None,
            else => std::future::pending().await,
        }
    }

    /// A verdict is there.
    pub(crate) fn judged(&mut self, gossipsub: &mut Guarded, judged: Judged) {
        if judged.relay == Relay::Accept && judged.due.0 > Instant::now() {
            self.held.insert(judged.due, judged);
        } else {
            self.settle(gossipsub, judged);
        }
    }

    /// Passes on what is due.
    pub(crate) fn pass_on(&mut self, gossipsub: &mut Guarded) {
        while let Some(first) = self.held.first_entry().filter(|first| first.key().0 <= Instant::now()) {
            let judged = first.remove();
            self.settle(gossipsub, judged);
        }
    }

    /// The message goes on, or not. What gossipsub forgot meanwhile is published anew, but on a raw topic: it
    /// would be another message there.
    fn settle(&mut self, gossipsub: &mut Guarded, judged: Judged) {
        let Judged { id, from, topic, bytes, relay, had_to_judge, .. } = judged;
        match relay {
            Relay::Reject if !had_to_judge => gossipsub.refused(from),
            Relay::Reject => self.compare(gossipsub, &from),
            _ => gossipsub.brought_news(),
        }
        let raw = self.host.is_raw(&topic);
        let anew = relay == Relay::Accept && !raw && self.meshed_with_muted(gossipsub, &topic);
        let acceptance = match relay {
            Relay::Accept if !anew => MessageAcceptance::Accept,
            Relay::Reject if had_to_judge => MessageAcceptance::Reject,
            // A copy under another number: the first was passed on.
            _ => MessageAcceptance::Ignore,
        };
        let known = answer(gossipsub, &id, &from, acceptance);
        if (!known || anew) && relay == Relay::Accept && self.joined.contains_key(&topic) {
            if raw {
                return self.host.count("raw_late", 1);
            }
            self.host.count("relayed_anew", 1);
            if let Err(error) = self.publish(gossipsub, &topic, &bytes) {
                tracing::debug!(%error, "a message was not passed on");
            }
        }
    }

    /// Whether somebody whose reputation is low is in the mesh of a topic still: until the next heartbeat gossipsub would pass
    /// messages on to it, which a new publish does not.
    fn meshed_with_muted(&self, gossipsub: &Guarded, topic: &Topic) -> bool {
        let Some(hash) = self.joined.get(topic).filter(|_| !self.muted.is_empty()) else { return false };
        gossipsub.inner.mesh_peers(hash).any(|peer| self.muted.contains(peer))
    }

    /// Looks after scores: what the node thinks of a peer counts in gossipsub, and what gossipsub thinks of it in the node.
    pub(crate) fn compare_scores(&mut self, gossipsub: &mut Guarded) {
        // Also of those who never say hello.
        let peers: Vec<PeerId> = gossipsub.inner.all_peers().map(|(peer, _)| *peer).collect();
        let now = Instant::now();
        self.delayed.retain(|_, until| *until > now);
        let fines = self.fined.elapsed() >= FINES;
        if fines {
            self.fined = Instant::now();
        }
        for peer in peers {
            self.compare(gossipsub, &peer);
            if fines && gossipsub.inner.peer_score(&peer).is_some_and(|score| score < GRAYLIST) {
                // It floods with control messages, or asks and does not keep its word.
                self.host.report(&Remote::Peer(peer), Misdeed::Spam);
            }
        }
    }

    /// Whose reputation is low is sent nothing.
    fn compare(&mut self, gossipsub: &mut Guarded, peer: &PeerId) {
        let muted = !self.host.relays_to(&Remote::Peer(*peer));
        if muted == self.muted.contains(peer) {
            return;
        }
        gossipsub.inner.set_application_score(peer, if muted { MUTED } else { 0.0 });
        if muted {
            self.muted.insert(*peer)
        } else {
            self.muted.remove(peer)
        };
    }
}

fn answer(gossipsub: &mut Guarded, id: &MessageId, from: &PeerId, acceptance: MessageAcceptance) -> bool {
    gossipsub.inner.report_message_validation_result(id, from, acceptance)
}

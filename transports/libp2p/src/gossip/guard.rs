//! Gossipsub with a guard before it: what a peer sends that the library drops without a word is counted here, and blamed where
//! it is too much.
//!
//! The library scores invalid messages, early GRAFTs and promises that are not kept. It says nothing of what costs it work
//! alone: endless IWANTs and IHAVEs, copies, subscriptions above the limit. And it keeps messages of topics that nobody here
//! joined until the history goes on, whatever their size. So each peer has a [`Pace`], and what nobody joined is let go at once.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use carrick_core::{Host, Misdeed, Multiaddr, PeerId, Remote};
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::gossipsub::{
    Config, DataTransform, Event, MaxCountSubscriptionFilter, Message, MessageAcceptance, RawMessage,
    TopicHash, TopicSubscriptionFilter,
};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent,
    ToSwarm,
};
use tokio::time::Instant;

use super::{Gossipsub, Names};

/// Subscriptions that may come at once, of whatever network: a daemon has topics of others, too.
const SUBSCRIPTIONS: usize = 16_384;
/// What a peer may send at once beside what the others' messages allow: joining and leaving all topics takes a few for each.
const AT_ONCE: usize = 2_048;
const A_TOPIC: usize = 8;
/// And again in each heartbeat: who gossips tells of each topic, and looks after its mesh.
const A_HEARTBEAT: usize = 64;
/// And for each message that is news here: it may bring it, tell of it, ask for it, and not want it.
const A_MESSAGE: u64 = 4;
/// What a refused message counts for: it was checked first.
const A_REFUSED: f64 = 16.0;

/// Gossipsub, guarded.
pub(crate) struct Guarded {
    /// The library's.
    pub(crate) inner: Gossipsub,
    host: Host,
    config: Config,
    notes: Notes,
    paces: HashMap<PeerId, Pace>,
    /// Free at once, and again each second.
    free: (f64, f64),
    /// Messages that were news here and were not refused.
    news: u64,
}

impl Guarded {
    /// Before a behaviour that has the [`Filter`] and the [`Transform`] of the same notes.
    pub(super) fn new(inner: Gossipsub, host: &Host, config: Config, notes: Notes) -> Self {
        let topics = host.limits().topics_per_peer;
        let at_once = AT_ONCE.max(A_TOPIC * topics) as f64;
        let a_second = (A_HEARTBEAT + 2 * topics) as f64 / config.heartbeat_interval().as_secs_f64();
        let free = (at_once, a_second);
        Self { inner, host: host.clone(), config, notes, paces: HashMap::new(), free, news: 0 }
    }

    /// These topics are joined, and no others.
    pub(super) fn joined<'a>(&self, topics: impl Iterator<Item = &'a TopicHash>) {
        self.notes.lock().joined = topics.cloned().collect();
    }

    /// A peer sent something, and the library took it in.
    fn sent(&mut self, peer: PeerId) {
        let noted = std::mem::take(&mut self.notes.lock().noted);
        self.news += noted.published;
        let remote = Remote::Peer(peer);
        for message in &noted.unjoined {
            let id = self.config.message_id(message);
            self.inner.report_message_validation_result(&id, &peer, MessageAcceptance::Ignore);
            self.host.count("unjoined", 1);
            self.host.report(&remote, Misdeed::Needless);
        }
        // One may join all it may, and leave as many others.
        if noted.subscriptions > 2 * self.host.limits().topics_per_peer {
            self.host.count("subscriptions_refused", 1);
            self.host.report(&remote, Misdeed::Malformed);
        }
        self.spend(peer, 1.0);
    }

    /// A message was not refused: news, of which every peer may send copies, and tell.
    pub(super) fn brought_news(&mut self) {
        self.news += 1;
    }

    /// A message was refused that a peer passed on which judges nothing. It may know no better, but not without end.
    pub(super) fn refused(&mut self, peer: PeerId) {
        // It may be gone by the time of the verdict, and its pace with it.
        if self.paces.contains_key(&peer) {
            self.spend(peer, A_REFUSED);
        }
    }

    fn spend(&mut self, peer: PeerId, cost: f64) {
        let pace = self.paces.entry(peer).or_insert_with(|| Pace::new(self.free.0, self.news));
        if !pace.takes(cost, self.free, self.news) {
            self.host.count("gossip_excess", 1);
            self.host.report(&Remote::Peer(peer), Misdeed::Needless);
        }
    }
}

/// How much a peer may send that is of use to nobody.
#[derive(Debug)]
struct Pace {
    left: f64,
    at: Instant,
    news: u64,
}

impl Pace {
    fn new(left: f64, news: u64) -> Self {
        Self { left, at: Instant::now(), news }
    }

    fn takes(&mut self, cost: f64, (at_once, a_second): (f64, f64), news: u64) -> bool {
        let in_time = self.at.elapsed().as_secs_f64() * a_second;
        let for_news = (A_MESSAGE * (news - self.news)) as f64;
        self.left = (self.left + in_time).min(at_once).max(self.left) + for_news;
        // What others' messages allow may come late, but not for ever.
        self.left = self.left.min(8.0 * at_once);
        (self.at, self.news) = (Instant::now(), news);
        let takes = self.left >= cost;
        if takes {
            self.left -= cost;
        }
        takes
    }
}

/// What the library's callbacks noted, which are not told of whom it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    joined: HashSet<TopicHash>,
    noted: Noted,
}

/// Of one packet.
#[derive(Debug, Default)]
struct Noted {
    /// Messages of topics that nobody here joined, without their data.
    unjoined: Vec<Message>,
    /// Topics of this network that it joins or leaves.
    subscriptions: usize,
    published: u64,
}

impl Notes {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Changes nothing, and notes what is of a topic that nobody here joined.
#[derive(Clone, Debug)]
pub(crate) struct Transform(pub(super) Notes);

impl DataTransform for Transform {
    fn inbound_transform(&self, raw: RawMessage) -> Result<Message, std::io::Error> {
        let RawMessage { source, data, sequence_number, topic, .. } = raw;
        let mut kept = self.0.lock();
        if !kept.joined.contains(&topic) {
            kept.noted.unjoined.push(Message { source, data: vec![], sequence_number, topic: topic.clone() });
        }
        drop(kept);
        Ok(Message { source, data, sequence_number, topic })
    }

    fn outbound_transform(&self, _: &TopicHash, data: Vec<u8>) -> Result<Vec<u8>, std::io::Error> {
        self.0.lock().noted.published += 1;
        Ok(data)
    }
}

/// Of a peer's subscriptions those to topics of this network are taken note of. Of one that has more than it may, none that are
/// new.
pub(crate) type Filter = MaxCountSubscriptionFilter<Ours>;

pub(super) fn filter(host: &Host, notes: Notes) -> Filter {
    let most = host.limits().topics_per_peer;
    MaxCountSubscriptionFilter {
        filter: Ours { names: Names::new(host), notes },
        // One more, so that who has too many is seen to.
        max_subscribed_topics: most.saturating_add(1),
        max_subscriptions_per_request: SUBSCRIPTIONS,
    }
}

/// Topics of this network.
#[derive(Clone, Debug)]
pub(crate) struct Ours {
    names: Names,
    notes: Notes,
}

impl TopicSubscriptionFilter for Ours {
    fn can_subscribe(&mut self, topic: &TopicHash) -> bool {
        let ours = self.names.topic(topic.as_str()).is_some();
        self.notes.lock().noted.subscriptions += usize::from(ours);
        ours
    }
}

impl NetworkBehaviour for Guarded {
    type ConnectionHandler = <Gossipsub as NetworkBehaviour>::ConnectionHandler;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_inbound_connection(id, peer, local, remote)
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        addr: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_outbound_connection(id, peer, addr, role, port)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        if let FromSwarm::ConnectionClosed(closed) = &event
            && closed.remaining_established == 0
        {
            self.paces.remove(&closed.peer_id);
        }
        self.inner.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, id: ConnectionId, event: THandlerOutEvent<Self>) {
        self.inner.on_connection_handler_event(peer, id, event);
        self.sent(peer);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.inner.poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn news_allow_more_and_so_does_time() {
        let free = (10.0, 2.0);
        let mut pace = Pace::new(free.0, 0);
        let mut taken = |news| (0..100).filter(|_| pace.takes(1.0, free, news)).count();
        assert_eq!(taken(0), 10);
        assert_eq!(taken(5), 20, "four for each message");
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(taken(5), 4);
        tokio::time::advance(Duration::from_secs(3_600)).await;
        assert_eq!(taken(5), 10, "no more than at once");
        assert_eq!(taken(1_000_000), 80, "what was not used is not kept for ever");
    }
}

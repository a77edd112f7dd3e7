//! The swarm and its task: it is told what to do over a bounded channel, and waits for nothing but the network.

mod command;
mod events;
mod listening;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use carrick_core::links::Reason;
use carrick_core::{Multiaddr, PeerId, Protocol};
use futures::StreamExt as _;
use libp2p::Swarm;
use libp2p::core::transport::ListenerId;
use libp2p::swarm::ConnectionId;
use libp2p::swarm::dial_opts::DialOpts;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, timeout};

use command::{Command, Dialled};
pub(crate) use command::{Commands, End, Net};
pub(crate) use listening::{Events, listen};

use crate::error::refusal;
use crate::gossip::Gossip;
use crate::link;
use crate::net::Behaviour;
use crate::shared::Shared;

/// How often relays that were lost are asked again.
const RELAYS: Duration = Duration::from_secs(30);
/// Connections that a peer may keep: one by a relay stays beside a direct one, and one of a moment ago beside that which took its
/// place.
const KEPT: usize = 3;
/// How long connections may take to close.
const CLOSING: Duration = Duration::from_millis(300);

/// The swarm's task.
pub(crate) struct Task {
    shared: Arc<Shared>,
    swarm: Swarm<Behaviour>,
    gossip: Gossip,
    commands: mpsc::Receiver<Command>,
    dials: HashMap<ConnectionId, oneshot::Sender<Dialled>>,
    /// The connections to each peer, the newest last.
    ends: HashMap<PeerId, Vec<End>>,
    /// The running instance of each connected node.
    sessions: HashMap<PeerId, u64>,
    /// Relays that were asked for a place.
    relays: HashMap<ListenerId, Multiaddr>,
}

impl Task {
    pub(crate) fn new(shared: Arc<Shared>, swarm: Swarm<Behaviour>, commands: Commands) -> Self {
        let links = link::Links::new(Arc::clone(&shared.hub));
        let gossip = Gossip::new(shared.host.clone(), &shared.config.gossipsub, links);
        let (dials, ends, sessions, relays) = Default::default();
        Self { shared, swarm, gossip, commands: commands.0, dials, ends, sessions, relays }
    }

    /// Takes up what happened before it runs.
    pub(crate) fn begin(&mut self, events: Events) {
        events.into_iter().for_each(|event| self.on_event(event));
        self.listens();
    }

    /// Runs until it is to stop.
    pub(crate) async fn run(mut self) {
        // Said however this ends.
        let _stopped = self.shared.stopped.clone().drop_guard();
        // Gossipsub's own timer sleeps in a swarm where nothing else happens.
        let heartbeat = self.shared.config.gossipsub.heartbeat_interval.0;
        let mut heartbeat = interval(heartbeat);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut relays = interval(RELAYS);
        relays.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stopping = self.shared.stopping.clone();
        loop {
            tokio::select! {
                biased;
                () = stopping.cancelled() => break,
                judged = self.gossip.next() => {
                    let gossipsub = &mut self.swarm.behaviour_mut().gossipsub;
                    match judged {
                        Some(judged) => self.gossip.judged(gossipsub, judged),
                        None => self.gossip.pass_on(gossipsub),
                    }
                }
                Some(command) = self.commands.recv() => self.obey(command),
                // Before the swarm, which may have something to tell for ever.
                _ = heartbeat.tick() => self.look_after(),
                _ = relays.tick() => self.look_for_relays(),
                event = self.swarm.select_next_some() => self.on_event(event),
            }
        }
        self.close().await;
    }

    /// Ends all connections; what was said last goes out before.
    async fn close(mut self) {
        let peers: Vec<PeerId> = self.swarm.connected_peers().copied().collect();
        for peer in peers {
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let _ = timeout(CLOSING, async {
            while self.swarm.connected_peers().next().is_some() {
                self.swarm.select_next_some().await;
            }
        })
        .await;
    }

    fn obey(&mut self, command: Command) {
        let behaviour = self.swarm.behaviour_mut();
        match command {
            Command::Dial(opts, reply) => self.dial(opts, reply),
            Command::Disconnect(peer, connection) => {
                self.disconnect(&peer, |end| end.parted || end.connection <= connection);
            }
            Command::Part(peer) => {
                self.ends.get_mut(&peer).into_iter().flatten().for_each(|end| end.parted = true);
            }
            Command::Spare(connection) => drop(self.swarm.close_connection(connection)),
            Command::Session(peer, session, connection) => self.session(peer, session, connection),
            Command::Asked(peer, reply) => {
                if self.ends.contains_key(&peer) {
                    self.shared.bitswap.connected(peer);
                }
                let _ = reply.send(());
            }
            Command::Linked(peer, keep) => {
                behaviour.streams.keep(peer, keep);
                self.gossip.linked(&peer);
            }
            // Whoever asked may be gone.
            Command::Met(limit, reply) => drop(reply.send(behaviour.routing.known(limit))),
            Command::Join(topic, reply) => {
                let _ = reply.send(self.gossip.join(&mut behaviour.gossipsub, &topic));
            }
            Command::Leave(topic, reply) => {
                self.gossip.leave(&mut behaviour.gossipsub, &topic);
                let _ = reply.send(());
            }
            Command::Publish(topic, bytes, reply) => {
                let _ = reply.send(self.gossip.publish(&mut behaviour.gossipsub, &topic, &bytes));
            }
        }
    }

    fn dial(&mut self, opts: DialOpts, reply: oneshot::Sender<Dialled>) {
        let id = opts.connection_id();
        match self.swarm.dial(opts) {
            Ok(()) => drop(self.dials.insert(id, reply)),
            Err(error) => drop(reply.send(Err(refusal(error)))),
        }
    }

    fn disconnect(&mut self, peer: &PeerId, which: impl Fn(&End) -> bool) {
        for end in self.ends.get(peer).into_iter().flatten().filter(|end| which(end)) {
            self.swarm.close_connection(end.connection);
        }
    }

    /// A peer that was started again has connections of its former life.
    fn session(&mut self, peer: PeerId, session: u64, connection: ConnectionId) {
        // It may be gone already.
        if !self.ends.contains_key(&peer) {
            return;
        }
        let before = self.sessions.insert(peer, session);
        if before.is_some_and(|before| before != session) {
            self.disconnect(&peer, |end| end.connection < connection);
        }
    }

    /// What is due from time to time.
    fn look_after(&mut self) {
        self.gossip.compare_scores(&mut self.swarm.behaviour_mut().gossipsub);
        let expelled = |peer: &PeerId| !self.shared.host.admits(peer);
        let expelled: Vec<PeerId> = self.swarm.connected_peers().copied().filter(expelled).collect();
        for peer in expelled {
            self.swarm.behaviour_mut().routing.forget(&peer);
            match self.shared.hub.link(&peer) {
                Some(link) => self.shared.hub.end(&link, Reason::NotAdmitted),
                None => drop(self.swarm.disconnect_peer_id(peer)),
            }
        }
        self.close_silent();
        self.close_spare();
    }

    /// Ends connections above those that an honest peer keeps, the oldest first: else a few peers take all places.
    fn close_spare(&mut self) {
        let limit = self.shared.host.limits().handshake;
        let many = self.ends.values().filter_map(|ends| ends.split_last_chunk::<KEPT>());
        let old = many.flat_map(|(older, _)| older).filter(|end| end.since.elapsed() >= limit);
        let old: Vec<ConnectionId> = old.map(|end| end.connection).collect();
        for connection in old {
            self.swarm.close_connection(connection);
        }
    }

    /// Ends connections whose far end said neither hello nor by identify who it is, and takes up a place all the same.
    fn close_silent(&mut self) {
        let limit = self.shared.host.limits().handshake;
        let strangers = self.ends.iter().filter(|(peer, _)| self.shared.hub.link(peer).is_none());
        let silent = strangers.flat_map(|(_, ends)| ends).filter(|end| end.since.elapsed() >= limit);
        let silent: Vec<ConnectionId> = silent.map(|end| end.connection).collect();
        for connection in silent {
            if self.swarm.close_connection(connection) {
                self.shared.host.count("greetings_missed", 1);
            }
        }
    }
}

/// An address without the peer at its end.
fn bare(addr: &Multiaddr) -> Multiaddr {
    let mut addr = addr.clone();
    if let Some(Protocol::P2p(_)) = addr.iter().last() {
        addr.pop();
    }
    addr
}

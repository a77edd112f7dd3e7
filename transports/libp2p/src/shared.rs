//! What all tasks of one transport share.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use carrick_core::links::{Hub, Link, Reason};
use carrick_core::{Host, Multiaddr, PeerId};
use libp2p::StreamProtocol;
use libp2p::swarm::ConnectionId;
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

use crate::Libp2pConfig;
use crate::bitswap::Bitswap;
use crate::dag::Dag;
use crate::link::{self, Line};
use crate::routed::Routed;
use crate::routing::Finder;
use crate::streams::Streams;
use crate::swarm::Net;

/// Of the links that a node may have, strangers get those up to this share. Where we dialled one, its connection is not kept
/// above it while nothing is sent.
const OF_STRANGERS: (usize, usize) = (3, 4);

/// What all tasks of one transport share.
pub(crate) struct Shared {
    pub(crate) host: Host,
    pub(crate) hub: Arc<Hub<Line>>,
    pub(crate) net: Net,
    pub(crate) streams: Streams,
    pub(crate) config: Libp2pConfig,
    pub(crate) bitswap: Arc<Bitswap>,
    pub(crate) dag: Arc<Dag>,
    pub(crate) finder: Finder,
    pub(crate) link_protocol: Arc<[StreamProtocol]>,
    /// Cancelled when the swarm is to stop: after the links said goodbye.
    pub(crate) stopping: CancellationToken,
    /// Cancelled when it has stopped.
    pub(crate) stopped: CancellationToken,
    /// Where others can dial this node.
    listening: Mutex<Vec<Multiaddr>>,
    /// How long the way to a peer and back took last.
    rtt: Mutex<HashMap<PeerId, Duration>>,
    /// Nodes that do not answer `/carrick/dag/1.0.0`.
    without_dag: Mutex<HashSet<PeerId>>,
    /// The connection on which each link stands.
    connections: Mutex<HashMap<PeerId, ConnectionId>>,
    /// Who is being dialled: a second dial waits for the first.
    dialling: Mutex<HashMap<PeerId, Weak<tokio::sync::Mutex<()>>>>,
}

impl Shared {
    pub(crate) fn new(
        host: Host,
        hub: Arc<Hub<Line>>,
        net: Net,
        streams: Streams,
        config: Libp2pConfig,
        finder: Finder,
    ) -> Arc<Self> {
        let link_protocol = Arc::new([link::PROTOCOL]);
        let (stopping, stopped, listening, rtt) = Default::default();
        let (without_dag, connections, dialling) = Default::default();
        let routed = Arc::new(Routed::default());
        let bitswap = Bitswap::new(host.clone(), streams.clone(), Arc::clone(&routed) as _);
        let links = Arc::clone(&hub);
        let dag = Dag::new(host.clone(), streams.clone(), move |peer| {
            if let Some(link) = links.link(&peer) {
                links.end(&link, Reason::Malformed);
            }
        });
        let shared = Arc::new(Self {
            host,
            hub,
            net,
            streams,
            config,
            bitswap,
            dag,
            finder,
            link_protocol,
            stopping,
            stopped,
            listening,
            rtt,
            without_dag,
            connections,
            dialling,
        });
        routed.begin(&shared);
        shared
    }

    /// Where others can dial this node.
    pub(crate) fn listening(&self) -> MutexGuard<'_, Vec<Multiaddr>> {
        self.listening.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long the way to peers and back took last.
    pub(crate) fn rtt(&self) -> MutexGuard<'_, HashMap<PeerId, Duration>> {
        self.rtt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nodes that do not answer `/carrick/dag/1.0.0`.
    pub(crate) fn without_dag(&self) -> MutexGuard<'_, HashSet<PeerId>> {
        self.without_dag.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a peer is a node of this network, and said so.
    pub(crate) fn is_node(&self, peer: &PeerId) -> bool {
        self.hub.link(peer).is_some_and(|link| link.wire == Line::Node)
    }

    /// Ends everything at once.
    pub(crate) fn shut_down(&self) {
        self.hub.shut_down();
        self.stopping.cancel();
    }

    /// A link stands, on this connection.
    pub(crate) fn linked(&self, link: &Link<Line>, connection: ConnectionId) {
        if self.hub.link(&link.peer()).is_some_and(|stands| std::ptr::eq(&*stands, link)) {
            self.connections().insert(link.peer(), connection);
        }
        // This link is among them.
        let room = self.hub.peers().len() <= self.places_of_strangers();
        self.net.linked(link.peer(), link.wire == Line::Node || room);
    }

    /// Whether a stranger may take one more place.
    pub(crate) fn has_room_for_strangers(&self) -> bool {
        self.hub.peers().len() < self.places_of_strangers()
    }

    fn places_of_strangers(&self) -> usize {
        let (share, all) = OF_STRANGERS;
        self.host.limits().connections.saturating_mul(share) / all
    }

    /// A link is over: its connection ends, and so do those to its peer that are older. Where another link took its place, that
    /// one's connection stays.
    pub(crate) fn unlinked(&self, link: &Link<Line>, connection: ConnectionId) {
        let peer = link.peer();
        if self.hub.link(&peer).is_none() {
            self.connections().remove(&peer);
            self.net.disconnect(peer, connection);
        } else if self.connections().get(&peer).is_some_and(|stands| *stands != connection) {
            self.net.spare(connection);
        }
    }

    fn connections(&self) -> MutexGuard<'_, HashMap<PeerId, ConnectionId>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place of a dial to a peer: whoever else dials it waits until it is dropped.
    pub(crate) async fn dial_place(&self, peer: PeerId) -> OwnedMutexGuard<()> {
        let place = {
            let mut dialling = self.dialling.lock().unwrap_or_else(PoisonError::into_inner);
            dialling.retain(|_, place| place.strong_count() > 0);
            let known = dialling.get(&peer).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let place = Arc::default();
                dialling.insert(peer, Arc::downgrade(&place));
                place
            })
        };
        place.lock_owned().await
    }
}

//! A node of a case, and what is asked of it.

use std::ops::Deref;
use std::sync::Arc;

use crate::{
    Broadcast, BroadcastCaps, Capabilities, Fetch, Identity, Node, PeerAddr, PeerId, RelayGate, Remote,
    Transport,
};

/// A node, and its transport as the node has it. Is the node, for everything a node can do.
#[derive(Clone, Debug)]
pub struct Member {
    pub(super) node: Node,
    /// The transport that is tried.
    pub transport: Arc<dyn Transport>,
}

impl Deref for Member {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.node
    }
}

/// The parts that are promised and not there, or the other way round.
pub(super) fn absent_parts(transport: &dyn Transport) -> Vec<&'static str> {
    let caps = transport.capabilities();
    let parts = [
        (
            caps.broadcast.is_some() == transport.broadcast().is_some(),
            "broadcast is promised if and only if it is there",
        ),
        (caps.fetch.is_some() == transport.fetch().is_some(), "fetch is promised if and only if it is there"),
    ];
    parts.into_iter().filter(|(holds, _)| !holds).map(|(_, rule)| rule).collect()
}

impl Member {
    /// Where it can be dialled.
    pub fn addr(&self) -> PeerAddr {
        PeerAddr::new(self.peer_id(), self.transport.listen_addrs())
    }

    /// What its transport says it can do.
    pub fn caps(&self) -> Capabilities {
        self.transport.capabilities()
    }

    /// The part of its transport that carries messages.
    pub(super) fn broadcast(&self) -> &dyn Broadcast {
        self.transport.broadcast().expect("it carries broadcast")
    }

    /// What that part says it can do.
    pub(super) fn broadcast_caps(&self) -> BroadcastCaps {
        self.caps().broadcast.expect("it carries broadcast")
    }

    /// Whether every reader must hear the author itself.
    pub(super) fn never_relays(&self) -> bool {
        self.caps().broadcast.is_some_and(|caps| caps.relay == RelayGate::Never)
    }

    /// What it thinks of all that it is linked with, in no order.
    pub(super) async fn scores(&self) -> Vec<i64> {
        let peers = self.node.peers().await.expect("peers");
        peers.iter().map(|info| info.reputation.round() as i64).collect()
    }

    /// The part of its transport that fetches.
    ///
    /// # Panics
    /// When there is none.
    pub fn fetch(&self) -> &dyn Fetch {
        self.transport.fetch().expect("what the capabilities promise is there")
    }

    /// What it thinks of a peer that it has a link to: 0 is the best.
    pub async fn opinion_of(&self, peer: &PeerId) -> f64 {
        let peers = self.peers().await.expect("peers");
        let of_peer = peers.iter().find(|known| known.remote == Remote::Peer(*peer));
        of_peer.expect("they are linked").reputation
    }

    /// Asserts that of those linked with it nobody is blamed but one, as far as links prove who that is.
    pub(super) async fn blames_alone(&self, to_blame: Option<&Self>) {
        let peers = self.node.peers().await.expect("peers");
        let blamed: Vec<_> =
            peers.into_iter().filter(|info| info.reputation < 0.0).map(|info| info.remote).collect();
        assert_eq!(blamed.len(), usize::from(to_blame.is_some()), "blamed are {blamed:?}");
        if let (Some(to_blame), Identity::Peer) = (to_blame, self.caps().identity) {
            assert_eq!(blamed, [Remote::Peer(to_blame.peer_id())]);
        }
    }

    /// Whether it has a link to a peer.
    pub async fn is_linked(&self, peer: &PeerId) -> bool {
        let peers = self.transport.peers().await.expect("peers");
        peers.iter().any(|info| info.remote == Remote::Peer(*peer))
    }
}

//! A node with a ledger, in one process with others.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::sync::Arc;
use std::time::Duration;

use carrick_core::conformance::forged::Forged;
use carrick_core::{
    Bytes, Cid, Clock, Keypair, MemoryStore, NetworkId, Node, NodeBuilder, PeerAddr, Store, Time, Topic,
};
use carrick_plugin_ledger::{Ledger, Rule};
use carrick_transport_memory::MemoryNetwork;
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::time::timeout;

/// Longer than anything takes, in virtual time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);

/// What every clock shows.
pub(crate) const NOW: u64 = 1_700_000_000_000;

#[derive(Debug)]
struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Time {
        Time(NOW)
    }
}

pub(crate) struct Member {
    pub(crate) node: Node,
    pub(crate) ledger: Ledger,
}

impl Member {
    pub(crate) async fn open(wire: &MemoryNetwork) -> Self {
        Self::with(wire, Keypair::generate_ed25519(), Arc::new(MemoryStore::default()), vec![]).await
    }

    /// With rules of its own.
    pub(crate) async fn ruled(wire: &MemoryNetwork, rules: Vec<Arc<dyn Rule>>) -> Self {
        Self::with(wire, Keypair::generate_ed25519(), Arc::new(MemoryStore::default()), rules).await
    }

    pub(crate) async fn with(
        wire: &MemoryNetwork,
        key: Keypair,
        store: Arc<dyn Store>,
        rules: Vec<Arc<dyn Rule>>,
    ) -> Self {
        Self::made(wire, rules, |node, _| node.identity(key).store(store)).await
    }

    /// With rules of its own, and its node made otherwise.
    pub(crate) async fn made(
        wire: &MemoryNetwork,
        rules: Vec<Arc<dyn Rule>>,
        change: impl FnOnce(NodeBuilder, &Ledger) -> NodeBuilder,
    ) -> Self {
        let ledger = Ledger::new("test", rules).expect("a name");
        let node = change(Self::builder(), &ledger).mount("memory", wire.transport());
        Self { node: ledger.mount(node).open().await.expect("opens"), ledger }
    }

    /// A node that takes part in the network and has no ledger: a stranger, or a liar.
    pub(crate) async fn without_a_ledger(wire: &MemoryNetwork) -> Node {
        Self::stranger(wire, |node| node).await
    }

    /// The same, made otherwise.
    pub(crate) async fn stranger(
        wire: &MemoryNetwork,
        change: impl FnOnce(NodeBuilder) -> NodeBuilder,
    ) -> Node {
        change(Self::builder()).mount("memory", wire.transport()).open().await.expect("opens")
    }

    pub(crate) fn builder() -> NodeBuilder {
        Node::builder().network(network()).clock(Stopped)
    }

    pub(crate) async fn meet(&self, other: &Self) {
        self.meet_node(&other.node).await;
    }

    pub(crate) async fn meet_node(&self, other: &Node) {
        self.node.connect(&PeerAddr::from(other.listen_addrs().remove(0))).await.expect("connects");
    }

    /// Connects, and waits until both take part.
    pub(crate) async fn join(&self, other: &Self) {
        self.meet(other).await;
        for member in [self, other] {
            member.node.ready(member.ledger.topic(), 1).await.expect("ready");
        }
    }

    pub(crate) async fn append(&self, payload: impl AsRef<[u8]>) -> Cid {
        let payload = Bytes::copy_from_slice(payload.as_ref());
        let appended = timeout(PATIENCE, self.ledger.append(payload)).await.expect("it hangs");
        appended.expect("appends").cid
    }

    /// Waits until it has so many entries.
    pub(crate) async fn until(&self, entries: usize) {
        let mut changes = self.ledger.watch();
        let grown = async {
            while self.ledger.count().expect("open") < entries {
                changes.next().await.expect("open");
            }
        };
        let grown = timeout(PATIENCE, grown).await;
        let count = self.ledger.count().expect("open");
        assert!(grown.is_ok(), "{count} of {entries} entries came to {}", self.node.peer_id());
    }

    pub(crate) async fn log(&self) -> Vec<Cid> {
        let entries = self.ledger.entries(None).map_ok(|entry| *entry.cid());
        entries.try_collect().await.expect("reads")
    }
}

fn network() -> NetworkId {
    NetworkId::new("test").expect("a network")
}

/// An entry that every ledger on its topic takes, unless it is changed.
pub(crate) fn forged(topic: &Topic, author: &Keypair, payload: &str) -> Forged {
    Forged::good(&network(), topic, author, Time(NOW), payload)
}

/// Waits until all have so many entries, and compares them.
pub(crate) async fn agree(members: &[&Member], entries: usize) -> Vec<Cid> {
    for member in members {
        member.until(entries).await;
    }
    let log = members[0].log().await;
    assert_eq!(log.len(), entries);
    for member in members {
        assert_eq!(member.log().await, log);
        assert_eq!(member.ledger.heads().expect("open"), members[0].ledger.heads().expect("open"));
        assert_eq!(member.ledger.verify().await.expect("sound"), entries as u64);
    }
    log
}

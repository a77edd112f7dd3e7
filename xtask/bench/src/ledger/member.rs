//! Nodes with a ledger, over QUIC on the loopback.

use std::path::Path;
use std::sync::Arc;

use carrick_core::{Limits, NetworkId, Node, NodeBuilder, PeerAddr, Site, Store};
use carrick_plugin_ledger::Ledger;
use carrick_plugin_store_fjall::{FjallConfig, FjallStore};
use carrick_transport_quic::{Quic, QuicConfig};

use super::NAME;
use super::requests::{Counted, Requests};
use crate::Result;

/// A node and its ledger.
pub(super) struct Member {
    pub(super) node: Node,
    pub(super) ledger: Ledger,
}

impl Member {
    /// Opens one with a store on disk.
    pub(super) async fn on_disk(folder: &Path, quic: QuicConfig) -> Result<Self> {
        let ledger = Ledger::new(NAME, vec![])?;
        let builder = stored_in(folder)?.mount("quic", |host| Quic::open(quic, host));
        Self::open(builder, ledger).await
    }

    /// The same, whose requests are counted.
    pub(super) async fn counting(folder: &Path, requests: &Arc<Requests>) -> Result<Self> {
        let (quic, requests) = (quic()?, Arc::clone(requests));
        let mount = async move |host| Ok(Counted::new(Quic::open(quic, host).await?, requests));
        Self::open(stored_in(folder)?.mount("quic", mount), Ledger::new(NAME, vec![])?).await
    }

    /// Opens one from a builder that has a store and a transport.
    pub(super) async fn open(builder: NodeBuilder, ledger: Ledger) -> Result<Self> {
        let node = ledger.mount(builder).open().await?;
        Ok(Self { node, ledger })
    }

    /// Where others dial it.
    pub(super) fn addr(&self) -> Result<PeerAddr> {
        let addr = self.node.listen_addrs().into_iter().next().ok_or("the node does not listen")?;
        Ok(addr.into())
    }
}

/// A node with the default store in a folder.
fn stored_in(folder: &Path) -> Result<NodeBuilder> {
    let store = async |site| {
        let store: Arc<dyn Store> = Arc::new(FjallStore::open(FjallConfig::default(), site).await?);
        Ok(store)
    };
    Ok(Node::builder().network(NetworkId::new(NAME)?).data_dir(folder).store_at(store))
}

/// The default store in a folder, without a node.
pub(super) async fn store_in(folder: &Path) -> Result<FjallStore> {
    Ok(FjallStore::open(FjallConfig::default(), Site::new("store", folder, Limits::default())).await?)
}

/// A free port, and nobody to look for but who is named.
pub(super) fn quic() -> Result<QuicConfig> {
    let mut config = QuicConfig::default();
    config.listen = vec!["/ip4/127.0.0.1/udp/0/quic-v1".parse()?];
    config.neighbours = 0;
    Ok(config)
}

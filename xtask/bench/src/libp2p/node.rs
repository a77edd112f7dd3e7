//! Carrick nodes over libp2p.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use carrick_core::dag::Layout;
use carrick_core::{Block, Cid, DAG_CBOR, GetOptions, NetworkId, Node, NodeBuilder, PeerAddr, Store};
use carrick_plugin_store_fjall::{FjallConfig, FjallStore};
use carrick_transport_libp2p::{Libp2p, Libp2pConfig, Routing};
use serde::Serialize;
use tempfile::TempDir;

use super::{NETWORK, Served, tell};
use crate::process::{Fetched, Usage, answer_usage, reset_peak};
use crate::{Result, content};

/// Longer than any transfer takes that does not hang.
const DEADLINE: Duration = Duration::from_secs(600);

/// Links of a chain.
#[derive(Serialize)]
struct Chained {
    n: u64,
    next: Option<Cid>,
}

/// A free port of TCP, and nobody to look for but who is named.
pub(super) fn config() -> Result<Libp2pConfig> {
    let mut config = Libp2pConfig::default();
    config.listen = Some(vec!["/ip4/127.0.0.1/tcp/0".parse()?]);
    config.neighbours = 0;
    config.routing = Routing::None;
    Ok(config)
}

pub(super) async fn open(builder: NodeBuilder, config: Libp2pConfig) -> Result<Node> {
    let builder = builder.network(NetworkId::new(NETWORK)?);
    Ok(builder.mount("libp2p", |host| Libp2p::open(config, host)).open().await?)
}

/// Where others dial it.
pub(super) fn addr(node: &Node) -> Result<String> {
    Ok(node.listen_addrs().first().ok_or("the node does not listen")?.to_string())
}

/// With the store that a node has unless told otherwise.
fn on_disk(folder: &Path) -> NodeBuilder {
    let store = async |site| {
        let store: Arc<dyn Store> = Arc::new(FjallStore::open(FjallConfig::default(), site).await?);
        Ok(store)
    };
    Node::builder().data_dir(folder).store_at(store)
}

/// Has a file, and tells what it used when it is asked.
pub(super) async fn serve_file(size_mib: u64) -> Result<()> {
    let folder = TempDir::new()?;
    let node = open(on_disk(folder.path()), config()?).await?;
    let first: u64 = rand::random();
    let bytes: Vec<u8> = (0..size_mib).flat_map(|n| content::block(n.wrapping_add(first))).collect();
    let root = node.put(&bytes[..], Layout::default()).await?.cid;
    drop(bytes);
    serve(node, &root).await
}

/// Has a chain, of which each block names the next one.
pub(super) async fn serve_chain(blocks: u64) -> Result<()> {
    let node = open(Node::builder(), config()?).await?;
    let mut next = None;
    for n in 0..blocks {
        let block = Block::new(DAG_CBOR, serde_ipld_dagcbor::to_vec(&Chained { n, next })?);
        next = Some(*block.cid());
        node.put_blocks(&[block]).await?;
    }
    serve(node, &next.ok_or("a chain of nothing")?).await
}

async fn serve(node: Node, root: &Cid) -> Result<()> {
    reset_peak("self")?;
    tell(&Served { addr: addr(&node)?, root: root.to_string() })?;
    answer_usage().await?;
    Ok(node.close().await?)
}

/// Gets a DAG from whoever is there.
pub(super) async fn get(from: &str, root: &str, dag: bool) -> Result<()> {
    let folder = TempDir::new()?;
    let mut config = config()?;
    config.dag = dag;
    let node = open(on_disk(folder.path()), config).await?;
    node.connect(&from.parse::<PeerAddr>()?).await?;
    let options = GetOptions { deadline: Some(DEADLINE), ..GetOptions::default() };
    let before = Usage::now()?;
    let got = node.get(&root.parse()?, options).await?;
    let usage = Usage::now()?.since(&before);
    tell(&Fetched { bytes: got.bytes, seconds: got.time.as_secs_f64(), usage })?;
    Ok(node.close().await?)
}

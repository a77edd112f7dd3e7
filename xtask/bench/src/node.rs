//! The same fetch between two Carrick nodes: every block checked, handed to the caller, dropped.

use std::time::{Duration, Instant};

use carrick_core::{Block, Cid, DAG_CBOR, NetworkId, Node, PeerAddr, RAW, WantDag};
use carrick_transport_quic::{Quic, QuicConfig};
use futures::StreamExt;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::content;
use crate::process::{Fetched, Usage, answer_usage};

/// Where a server is and what it has.
#[derive(Serialize, Deserialize)]
struct Server {
    addr: PeerAddr,
    root: String,
}

#[derive(Serialize)]
struct Root {
    links: Vec<Cid>,
}

async fn open() -> Result<Node> {
    let mut config = QuicConfig::default();
    config.listen = vec!["/ip4/127.0.0.1/udp/0/quic-v1".parse()?];
    let builder = Node::builder().network(NetworkId::new("bench")?);
    Ok(builder.mount("quic", |host| Quic::open(config, host)).open().await?)
}

/// A node that has the content in memory.
pub(crate) async fn serve(size_mib: u64) -> Result<()> {
    let node = open().await?;
    let mut links = Vec::new();
    for n in 0..size_mib {
        let block = Block::new(RAW, content::block(n));
        links.push(*block.cid());
        node.put_blocks(&[block]).await?;
    }
    let root = Block::new(DAG_CBOR, serde_ipld_dagcbor::to_vec(&Root { links })?);
    node.put_blocks(std::slice::from_ref(&root)).await?;
    let addr = node.listen_addrs().into_iter().next().ok_or("the node does not listen")?;
    let server = Server { addr: addr.into(), root: root.cid().to_string() };
    println!("{}", serde_json::to_string(&serde_json::to_string(&server)?)?);
    answer_usage().await?;
    Ok(node.close().await?)
}

/// Fetches the content, keeps nothing.
pub(crate) async fn fetch(server: &str) -> Result<()> {
    let server: Server = serde_json::from_str(server)?;
    let root: Cid = server.root.parse()?;
    let node = open().await?;
    node.connect(&server.addr).await?;
    let (before, start) = (Usage::now()?, Instant::now());
    let mut blocks = node.fetch_dag(WantDag::new(root, Duration::from_secs(10))).await?;
    let mut bytes = 0;
    while let Some(received) = blocks.next().await {
        let block = received?.block;
        if *block.cid() != root {
            bytes += block.size() as u64;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let fetched = Fetched { bytes, seconds, usage: Usage::now()?.since(&before) };
    println!("{}", serde_json::to_string(&fetched)?);
    Ok(node.close().await?)
}

//! Requests and answers over streams in memory, between two nodes that keep the rules, and with peers that break them.
#![cfg(feature = "conformance")]

mod asking;
mod serving;
mod walking;

use std::future::Future;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use carrick_core::conformance::host;
use carrick_core::links::Miss;
use carrick_core::links::exchange::{
    AskBlock, AskDag, ByteReply, Kind, Provider, ask_block, ask_has, ask_has_frame, block_head, fetch_dag,
    serve,
};
use carrick_core::links::frames::{Broken, HEAD_BYTES, Heard, Hears, frame};
use carrick_core::{
    Block, Bytes, Cid, Claims, DAG_CBOR, Error, ErrorKind, Fetched, Host, Keypair, Limits, NetworkId, Node,
    RAW, Remote, Want, WantDag,
};
use futures::StreamExt as _;
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// What one direction of a stream holds.
const WINDOW: usize = 64 << 10;

/// Fails a test that waits for what never comes.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(600), what).await.expect("it never happened")
}

async fn node(limits: Limits) -> (Node, Host) {
    let network = NetworkId::new("exchange").expect("a network");
    host::alone(Node::builder().network(network).limits(limits), "nothing").await
}

/// A peer of the asker, whose streams end up in the test's hand.
struct Far {
    remote: Remote,
    streams: mpsc::UnboundedSender<DuplexStream>,
    broke: Mutex<Vec<Broken>>,
    /// Whether it shows that it is there, again and again.
    alive: bool,
    signs: AtomicU64,
    walks: AtomicUsize,
}

impl Far {
    fn new() -> (Arc<Self>, mpsc::UnboundedReceiver<DuplexStream>) {
        Self::with(true)
    }

    fn with(alive: bool) -> (Arc<Self>, mpsc::UnboundedReceiver<DuplexStream>) {
        let (streams, opened) = mpsc::unbounded_channel();
        let remote = Remote::Peer(Keypair::generate_ed25519().public().to_peer_id());
        let (broke, signs, walks) = Default::default();
        (Arc::new(Self { remote, streams, broke, alive, signs, walks }), opened)
    }

    /// One that serves what a node has, as long as the test runs.
    fn serving(host: &Host) -> Arc<Self> {
        let (far, mut opened) = Self::new();
        let (host, asker) = (host.clone(), stranger());
        tokio::spawn(async move {
            while let Some(stream) = opened.recv().await {
                let (host, asker) = (host.clone(), asker.clone());
                tokio::spawn(async move {
                    let (request, reply) = ByteReply::split(stream);
                    serve(&host, &asker, request, reply).await.expect("a good request");
                });
            }
        });
        far
    }

    fn broke(&self) -> Vec<Broken> {
        self.broke.lock().expect("no panic").clone()
    }
}

impl Hears for Far {
    fn heard(&self) -> Heard {
        Heard { answers: 0, signs: self.signs.fetch_add(u64::from(self.alive), Ordering::Relaxed) }
    }
}

impl Provider for Far {
    type Answer = DuplexStream;

    fn remote(&self) -> &Remote {
        &self.remote
    }

    async fn open(&self, request: Bytes) -> Result<DuplexStream, Miss> {
        let (mut near, far) = tokio::io::duplex(WINDOW);
        self.streams.send(far).map_err(|_| Miss::Lost)?;
        near.write_all(&request).await.map_err(|_| Miss::Lost)?;
        Ok(near)
    }

    fn broke(&self, broken: &Broken) {
        self.broke.lock().expect("no panic").push(*broken);
    }

    fn walks(&self, begins: bool) {
        if begins {
            self.walks.fetch_add(1, Ordering::Relaxed)
        } else {
            self.walks.fetch_sub(1, Ordering::Relaxed)
        };
    }
}

fn stranger() -> Remote {
    Remote::Peer(Keypair::generate_ed25519().public().to_peer_id())
}

fn short() -> Limits {
    let mut limits = Limits::default();
    limits.fetch_idle = Duration::from_secs(4);
    limits
}

fn linking(links: &[Block]) -> Block {
    #[derive(Serialize)]
    struct Body {
        links: Vec<Cid>,
    }
    let body = Body { links: links.iter().map(|block| *block.cid()).collect() };
    Block::new(DAG_CBOR, serde_ipld_dagcbor::to_vec(&body).expect("encodes"))
}

/// A root and so many leaves of so many bytes.
fn tree(leaves: u8, bytes: usize) -> Vec<Block> {
    let leaves: Vec<_> = (0..leaves).map(|n| Block::new(RAW, vec![n; bytes])).collect();
    [vec![linking(&leaves)], leaves].concat()
}

fn want(block: &Block) -> Want {
    Want::new(*block.cid(), Duration::from_secs(60))
}

fn block_frame(block: &Block) -> Vec<u8> {
    [&block_head(block.cid(), block.size())[..], block.bytes()].concat()
}

fn cids(blocks: &[Block]) -> Vec<Cid> {
    blocks.iter().map(|block| *block.cid()).collect()
}

/// Asks one provider for a DAG.
fn dag(host: &Host, root: &Block, providers: Vec<Arc<Far>>) -> Claims {
    let want = WantDag::new(*root.cid(), Duration::from_secs(60));
    fetch_dag(host, &want, providers, |far| async { Some(far) }).expect("begins")
}

async fn all(claims: Claims) -> (Vec<Cid>, Option<Error>) {
    let (mut came, mut failed) = (vec![], None);
    for step in soon(claims.collect::<Vec<_>>()).await {
        match step {
            Ok(Fetched { claim, .. }) => came.push(*claim.check().expect("its bytes").cid()),
            Err(error) => failed = Some(error),
        }
    }
    (came, failed)
}

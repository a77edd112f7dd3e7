//! Two swarms of nothing but our streams, over memory with Noise and Yamux.

use carrick_core::conformance::host;
use carrick_core::dag::Layout;
use carrick_core::links::exchange::{Kind, ask_has_frame};
use carrick_core::links::frames::frame;
use carrick_core::{Block, Limits, Multiaddr, NetworkId, Node, RAW, cid_of};
use futures::StreamExt as _;
use libp2p::core::transport::MemoryTransport;
use libp2p::core::upgrade::Version;
use libp2p::swarm::{self, SwarmEvent};
use libp2p::{Swarm, Transport as _, noise, yamux};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;

use super::*;
use crate::streams::{Behaviour, Event};

/// Fails a test that waits for what never comes.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), what).await.expect("it never happened")
}

/// A node, its swarm in a task, and who broke the format there.
struct Peer {
    node: Node,
    id: PeerId,
    dag: Arc<Dag>,
    broke: mpsc::UnboundedReceiver<PeerId>,
    /// Streams that were opened here, where the test answers them.
    inbound: mpsc::UnboundedReceiver<Inbound>,
}

async fn node() -> (Node, Host) {
    let mut limits = Limits::default();
    limits.fetch_idle = Duration::from_secs(1);
    let network = NetworkId::new("dag").expect("a network");
    host::alone(Node::builder().network(network).limits(limits), "nothing").await
}

impl Peer {
    /// Answers requests, unless the test does.
    async fn new(dialled: Option<Multiaddr>, answers: bool) -> (Self, Multiaddr) {
        let (node, host) = node().await;
        let (streams, requests) = Streams::channel();
        let noise = noise::Config::new(host.keypair()).expect("an ed25519 key");
        let transport = MemoryTransport::new().upgrade(Version::V1).authenticate(noise);
        let transport = transport.multiplex(yamux::Config::default()).boxed();
        let behaviour = Behaviour::new(vec![PROTOCOL], 8, requests);
        let config =
            swarm::Config::with_tokio_executor().with_idle_connection_timeout(Duration::from_secs(60));
        let mut swarm = Swarm::new(transport, behaviour, host.me(), config);
        swarm.listen_on("/memory/0".parse().expect("an address")).expect("listens");
        let (tell, broke) = mpsc::unbounded_channel();
        let (id, dag) = (
            host.me(),
            Dag::new(host, streams, move |peer| {
                let _ = tell.send(peer);
            }),
        );
        let (opened, inbound) = mpsc::unbounded_channel();
        let (up, mut ready) = mpsc::unbounded_channel();
        if let Some(addr) = dialled.clone() {
            swarm.dial(addr).expect("dials");
        }
        let serving = dag.clone();
        tokio::spawn(async move {
            loop {
                match swarm.select_next_some().await {
                    SwarmEvent::NewListenAddr { address, .. } => drop(up.send(Some(address))),
                    SwarmEvent::ConnectionEstablished { .. } => drop(up.send(None)),
                    SwarmEvent::Behaviour(Event::Inbound(inbound)) if answers => serving.serve(inbound),
                    SwarmEvent::Behaviour(Event::Inbound(inbound)) => drop(opened.send(inbound)),
                    _ => {}
                }
            }
        });
        let mut addr = None;
        let mut missing = 1 + usize::from(dialled.is_some());
        while missing > 0 {
            addr = soon(ready.recv()).await.expect("runs").or(addr);
            missing -= 1;
        }
        (Self { node, id, dag, broke, inbound }, addr.expect("it listens"))
    }

    fn forgot(&self) -> bool {
        self.dag.lives().is_empty()
    }
}

/// Two that are connected; whether the first answers by itself.
async fn two(answers: bool) -> (Peer, Peer) {
    let (provider, addr) = Peer::new(None, answers).await;
    let (asker, _) = Peer::new(Some(addr), true).await;
    (provider, asker)
}

fn want(block: &Block) -> Want {
    Want::new(*block.cid(), Duration::from_secs(10))
}

const IDLE: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn what_a_peer_has_is_found_fetched_and_walked() {
    let (provider, asker) = two(true).await;
    let content: Vec<u8> = (0..1_250_000_u32).flat_map(u32::to_be_bytes).collect();
    let root = provider.node.put(&content[..], Layout::default()).await.expect("stores").cid;
    assert_eq!(soon(asker.dag.has(provider.id, &root)).await, Ok(true));
    assert_eq!(soon(asker.dag.has(provider.id, &cid_of(RAW, b"absent"))).await, Ok(false));
    let leaf = Block::new(RAW, vec![7; 2_000_000]);
    provider.node.put_blocks(std::slice::from_ref(&leaf)).await.expect("stores");
    let bytes = soon(asker.dag.block(provider.id, &want(&leaf), IDLE)).await;
    assert_eq!(bytes, Ok(leaf.bytes().clone()));
    let whole = WantDag::new(root, Duration::from_secs(10));
    let claims = asker.dag.dag(&whole, vec![provider.id]).expect("begins");
    let checked = claims.map(|came| came.expect("comes").claim.check().expect("its bytes"));
    let came: Vec<Block> = soon(checked.collect()).await;
    assert_eq!(*came[0].cid(), root);
    assert!(came.iter().map(Block::size).sum::<usize>() > content.len(), "all of it");
    soon(async {
        while !asker.forgot() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_connected_is_lost() {
    let (provider, asker) = two(true).await;
    drop(provider);
    let stranger = carrick_core::Keypair::generate_ed25519().public().to_peer_id();
    assert_eq!(soon(asker.dag.has(stranger, &cid_of(RAW, b""))).await, Err(Miss::Lost));
    assert!(asker.forgot());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_request_is_told_of_the_asker() {
    let (mut provider, asker) = two(true).await;
    let (_, held) = asker.dag.streams.open(provider.id, &asker.dag.protocols).await.expect("opens");
    let mut stream = Io::new(held, None);
    stream.write_all(&frame(Kind::Present, &[])).await.expect("writes");
    stream.flush().await.expect("writes");
    assert_eq!(soon(provider.broke.recv()).await, Some(asker.id));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_answer_is_told_of_the_provider() {
    let (mut provider, mut asker) = two(false).await;
    let cid = cid_of(RAW, b"");
    let answering = async {
        let mut stream = Io::new(provider.inbound.recv().await.expect("asked").stream, None);
        stream.write_all(&frame(Kind::End, &[])).await.expect("writes");
        stream.flush().await.expect("writes");
        stream
    };
    let (answer, _stream) = soon(async { tokio::join!(asker.dag.has(provider.id, &cid), answering) }).await;
    assert_eq!((answer, soon(asker.broke.recv()).await), (Err(Miss::Malformed), Some(provider.id)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_notices_that_its_asker_went() {
    let (mut provider, asker) = two(false).await;
    let cid = cid_of(RAW, b"");
    let request = ask_has_frame(&cid);
    let mut stream = soon(async {
        tokio::select! {
            _ = asker.dag.has(provider.id, &cid) => panic!("nobody answered"),
            inbound = provider.inbound.recv() => Io::new(inbound.expect("asked").stream, None),
        }
    })
    .await;
    // The request may have been on its way; then the stream ends, or is reset.
    let mut came = vec![];
    let _ = soon(stream.read_to_end(&mut came)).await;
    assert!(request.starts_with(&came));
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_is_blamed_on_who_is_known_to_be_there() {
    let (mut provider, asker) = two(false).await;
    let cid = cid_of(RAW, b"");
    for (lives, blamed) in [(false, 0), (true, 1)] {
        let silent = async {
            let _stream = provider.inbound.recv().await.expect("asked");
            let mut pings = tokio::time::interval(IDLE / 20);
            loop {
                pings.tick().await;
                if lives {
                    asker.dag.alive(&provider.id);
                }
            }
        };
        let block = Want::new(cid, Duration::from_secs(10));
        let answer = soon(async {
            tokio::select! {
                answer = asker.dag.block(provider.id, &block, IDLE) => answer,
                () = silent => unreachable!("it is silent for ever"),
            }
        })
        .await;
        assert_eq!((answer, asker.node.counter("misdeed_stalled")), (Err(Miss::Stalled), blamed));
    }
}

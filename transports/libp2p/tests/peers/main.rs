//! What a node does together with peers that share no code with it: Kubo of today, Helia, and a Kubo of 2023.

mod content;
mod dht;
mod links;
mod private;
mod pubsub;
mod restarts;
mod trouble;

use std::time::{Duration, Instant};

use carrick_core::{
    Cid, Event, Events, GetOptions, NetworkId, Node, NodeBuilder, PeerAddr, PeerId, Remote, Topic,
    TopicRules, dag::Layout,
};
use carrick_interop::Daemon;
use carrick_transport_libp2p::{Libp2p, Libp2pConfig, Routing};
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::time::{sleep, timeout};

/// Longer than anything takes that works, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at another program, which tells nobody that something changed.
const BETWEEN: Duration = Duration::from_millis(20);
/// Daemons that do not look for each other.
const APART: [&str; 2] = ["--set", "Routing.Type=\"none\""];

async fn soon<T>(what: &str, happens: impl Future<Output = T>) -> T {
    timeout(PATIENCE, happens).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// Does what blocks a thread, such as asking another program.
fn aside<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

/// Looks at another program until it is so.
async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let looking = async {
        while !aside(&mut so) {
            sleep(BETWEEN).await;
        }
    };
    soon(what, looking).await;
}

/// A node that listens on loopback, dials whom it is told to, and asks those whom it is connected to.
fn config() -> Libp2pConfig {
    let mut config = Libp2pConfig::default();
    let listen = ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"];
    config.listen = Some(listen.map(|addr| addr.parse().expect("an address")).into());
    config.neighbours = 0;
    config.routing = Routing::None;
    config
}

/// The same with the tables that Kubo has in a local network.
fn lan() -> Libp2pConfig {
    let mut config = config();
    config.routing = Routing::Lan;
    config
}

fn builder(config: Libp2pConfig) -> NodeBuilder {
    Node::builder()
        .network(NetworkId::new("peers").expect("a network"))
        .topic(raw(), TopicRules::raw())
        .mount("libp2p", move |host| Libp2p::open(config, host))
}

async fn open(config: Libp2pConfig) -> Node {
    builder(config).open().await.expect("opens")
}

/// A topic of envelopes.
fn topic() -> Topic {
    Topic::new("readings").expect("a topic")
}

/// A topic of bare payloads.
fn raw() -> Topic {
    Topic::new("raw").expect("a topic")
}

/// What a topic is called on the wire.
fn wire(topic: &Topic) -> String {
    format!("carrick/peers/{topic}")
}

/// Where a node is dialled: `/tcp/` or `/quic-v1`.
fn ours(node: &Node, way: &str) -> String {
    let addrs = node.listen_addrs();
    addrs.iter().map(ToString::to_string).find(|addr| addr.contains(way)).expect("it listens there")
}

/// Where a daemon is dialled: `/tcp/` or `/quic-v1`.
fn theirs<'a>(daemon: &'a Daemon, way: &str) -> &'a str {
    daemon.addrs.iter().find(|addr| addr.contains(way)).expect("it listens there")
}

/// Connects a node to where `addr` leads.
async fn connect(node: &Node, addr: &str) -> Remote {
    let addr: PeerAddr = addr.parse().expect("an address");
    soon("a link", node.connect(&addr)).await.expect("connects")
}

/// A peer, as a node calls it.
fn remote(id: &str) -> Remote {
    Remote::Peer(peer(id))
}

fn peer(id: &str) -> PeerId {
    id.parse().expect("a peer id")
}

/// Waits until a node tells that a peer is there.
async fn up(events: &mut Events, who: &Remote) {
    let told = async {
        loop {
            match events.next().await.expect("the node is open") {
                Event::Up { remote, .. } if remote == *who => return,
                _ => {}
            }
        }
    };
    soon("that a peer is there", told).await;
}

/// So many bytes, no two blocks of them alike.
fn content(bytes: u32) -> Vec<u8> {
    (0..bytes / 4).flat_map(u32::to_be_bytes).collect()
}

async fn put(node: &Node, content: &[u8], layout: Layout) -> Cid {
    soon("a put", node.put(content, layout)).await.expect("puts").cid
}

/// Fetches a file and reads it.
async fn got(node: &Node, cid: &str) -> Vec<u8> {
    let cid = cid.parse().expect("a CID");
    let _held = soon("a get", node.get(&cid, GetOptions::default())).await.expect("gets");
    let read = node.read(&cid, ..).try_fold(Vec::new(), |mut all, bytes| async move {
        all.extend_from_slice(&bytes);
        Ok(all)
    });
    soon("reading", read).await.expect("reads")
}

/// What a program printed, without the line's end.
fn line(printed: Vec<u8>) -> String {
    String::from_utf8(printed).expect("text").trim().to_owned()
}

/// Says how long something took, to whoever runs it with `--nocapture`.
#[allow(clippy::print_stdout, reason = "figures for whoever runs it with --nocapture")]
fn timed(what: &str, bytes: usize, began: Instant) {
    let took = began.elapsed();
    println!("{what}: {took:.2?}, {:.1} MiB/s", bytes as f64 / 1_048_576.0 / took.as_secs_f64());
}

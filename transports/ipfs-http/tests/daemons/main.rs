//! What a real daemon does: put, get, publish, subscribe, die and come back.

mod blame;
mod clock;
mod deaths;
mod keeps;
mod many;
mod neighbours;
#[path = "../common/node.rs"]
mod node;
mod private;
mod probes;
mod renewed;

use std::sync::Arc;
use std::time::Duration;

use carrick_core::dag::Layout;
use carrick_core::{
    Block, Delivery, ErrorKind, Event, GetOptions, NetworkId, Node, NodeBuilder, PeerAddr, RAW, Result,
    Subscription, Topic, TopicRules, Transport, Want,
};
use carrick_interop::{Daemon, Kubo};
use carrick_transport_ipfs_http::{Auth, IpfsHttpConfig, Scheme, Seconds};
use futures::StreamExt as _;
use futures::future::join_all;
use tokio::time::{sleep, timeout};

/// Longer than anything takes that works, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

async fn soon<T>(what: &str, happens: impl Future<Output = T>) -> T {
    timeout(PATIENCE, happens).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

fn config(daemon: &Daemon) -> IpfsHttpConfig {
    let mut config = IpfsHttpConfig::default();
    config.api = daemon.api.parse().expect("an address");
    config.poll = Seconds(Duration::from_millis(200));
    config
}

fn builder() -> NodeBuilder {
    let mut rules = TopicRules::default();
    rules.raw = true;
    Node::builder().network(NetworkId::new("daemons").expect("a network")).topic(raw(), rules)
}

async fn open(config: IpfsHttpConfig) -> Result<(Node, Arc<dyn Transport>)> {
    node::over(builder(), config).await
}

fn topic() -> Topic {
    Topic::new("readings").expect("a topic")
}

/// A topic of bare payloads.
fn raw() -> Topic {
    Topic::new("raw").expect("a topic")
}

/// Where a daemon is dialled.
fn addr(daemon: &Daemon) -> PeerAddr {
    daemon.addrs[0].parse().expect("an address")
}

async fn counted(node: &Node, what: &str) -> u64 {
    let counters = node.status().await.expect("status").counters;
    counters["ipfs-http"].get(what).copied().unwrap_or_default()
}

/// Two nodes with a daemon each, connected.
async fn pair(kubo: &Kubo) -> [Node; 2] {
    let (one, _) = open(config(&kubo.daemons()[0])).await.expect("opens");
    let (other, transport) = open(config(&kubo.daemons()[1])).await.expect("opens");
    let addr = PeerAddr::new(other.peer_id(), transport.listen_addrs());
    soon("a dial", one.connect(&addr)).await.expect("connects");
    [one, other]
}

async fn text(subscription: &mut Subscription) -> String {
    let next = async {
        loop {
            if let Delivery::Message(message) = subscription.next().await.expect("the node is open") {
                return String::from_utf8_lossy(message.payload()).into_owned();
            }
        }
    };
    soon("a message", next).await
}

/// Publishes until something is heard, since a daemon may lose a message: what that is.
async fn heard(from: &Node, topic: &Topic, payload: &str, by: &mut Subscription) -> String {
    loop {
        from.publish(topic, payload.to_owned()).await.expect("publishes");
        if let Ok(heard) = timeout(Duration::from_millis(500), text(by)).await {
            return heard;
        }
    }
}

/// Publishes until just that is heard.
async fn hears(from: &Node, payload: &str, by: &mut Subscription) {
    while soon("a message", heard(from, &topic(), payload, by)).await != payload {}
}

/// So many bytes, no two blocks of them alike.
fn content(bytes: u32) -> Vec<u8> {
    (0..bytes / 4).flat_map(u32::to_be_bytes).collect()
}

/// What one puts is an ordinary file for everybody, and what anybody adds is content for us.
#[tokio::test]
async fn content_is_the_same_for_any_other_program() {
    let kubo = Kubo::run(3, &["--connect"]).expect("daemons");
    let [one, other] = pair(&kubo).await;
    let content: Vec<u8> = (0..700_000_u32).flat_map(u32::to_be_bytes).collect();
    let put = soon("a put", one.put(&content[..], Layout::default())).await.expect("puts");
    let seen = kubo.daemons()[2].post(&format!("cat?arg={}&timeout=60s", put.cid), None).expect("cat");
    assert!(seen == content, "another daemon reads other bytes");
    let added =
        kubo.daemons()[2].post("add?cid-version=1&quieter=true", Some(b"from elsewhere")).expect("adds");
    let added = String::from_utf8_lossy(&added);
    let cid = added.split('"').find(|word| word.starts_with("bafk")).expect("a CID").parse().expect("a CID");
    let block = soon("a block", other.block(&cid, vec![])).await.expect("it comes");
    assert_eq!(&block.bytes()[..], b"from elsewhere");
    // The garbage collection of the daemon leaves what the node keeps.
    kubo.daemons()[0].post("repo/gc", None).expect("collects");
    let got = soon("a get", other.get(&put.cid, GetOptions::default())).await.expect("gets");
    assert!(got.bytes >= content.len() as u64);
}

/// Nobody ever says that there is no such block: the deadline does.
#[tokio::test]
async fn what_nobody_has_ends_with_the_time() {
    let kubo = Kubo::run(2, &["--connect"]).expect("daemons");
    let (_node, transport) = open(config(&kubo.daemons()[0])).await.expect("opens");
    transport.peers().await.expect("peers");
    let absent = Block::new(RAW, &b"nobody has this"[..]);
    let want = Want::new(*absent.cid(), Duration::from_millis(300));
    let ended =
        soon("an end", transport.fetch().expect("it fetches").block(&want)).await.expect_err("absent");
    assert_eq!(ended.kind(), ErrorKind::Timeout, "{ended}");
}

#[tokio::test]
async fn a_killed_daemon_comes_back_and_messages_flow_again() {
    let mut kubo = Kubo::run(2, &["--connect"]).expect("daemons");
    let [one, other] = pair(&kubo).await;
    let mut subscription = other.subscribe(&topic()).await.expect("subscribes");
    let _also = one.subscribe(&topic()).await.expect("subscribes");
    soon("a reader", one.ready(&topic(), 1)).await.expect("ready");
    hears(&one, "before", &mut subscription).await;
    let mut events = other.events();
    kubo.kill(1).expect("dies");
    let down = async { while !matches!(events.next().await, Some(Event::Down { .. })) {} };
    soon("that it is noticed", down).await;
    let refused = other.publish(&topic(), "nowhere").await.expect_err("there is no daemon");
    assert_eq!(refused.kind(), ErrorKind::Unreachable, "{refused}");
    kubo.start(1).expect("starts");
    let gap = async { while !matches!(events.next().await, Some(Event::Gap { .. })) {} };
    soon("that the gap is told", gap).await;
    kubo.connect(0, 1).expect("connects");
    hears(&one, "after", &mut subscription).await;
}

#[tokio::test]
async fn a_daemon_behind_a_token_and_one_on_a_socket_are_reached() {
    let kubo = Kubo::run(1, &["--bearer", "s3cret", "--unix"]).expect("a daemon");
    let daemon = &kubo.daemons()[0];
    let mut named = config(daemon);
    let refused = open(named.clone()).await.expect_err("without a token");
    assert_eq!(refused.kind(), ErrorKind::Unauthorized, "{refused}");
    assert!(refused.hint().is_some_and(|hint| hint.contains("`auth`")));
    let file = tempfile::NamedTempFile::new().expect("a file");
    named.auth = Some(Auth { scheme: Scheme::Bearer, file: Some(file.path().into()), env: None });
    std::fs::write(file.path(), "another").expect("written");
    let refused = open(named.clone()).await.expect_err("with another token");
    assert_eq!(refused.kind(), ErrorKind::Unauthorized, "{refused}");
    assert!(!format!("{refused:?}").contains("another"), "{refused:?}");
    std::fs::write(file.path(), "s3cret").expect("written");
    let (_node, transport) = open(named.clone()).await.expect("with it");
    assert!(transport.peers().await.expect("peers").is_empty());
    let socket = daemon.api_unix.as_ref().expect("a socket");
    named.api = format!("/unix{socket}").parse().expect("an address");
    open(named).await.expect("over the socket");
}

#[tokio::test]
async fn a_daemon_without_pubsub_only_fetches() {
    let kubo = Kubo::run(1, &["--no-pubsub"]).expect("a daemon");
    let mut config = config(&kubo.daemons()[0]);
    let refused = open(config.clone()).await.expect_err("pubsub is off");
    assert_eq!(refused.kind(), ErrorKind::Config, "{refused}");
    assert!(refused.hint().is_some_and(|hint| hint.contains("Pubsub.Enabled true")));
    config.pubsub = false;
    let (_node, transport) = open(config).await.expect("opens");
    assert!(transport.broadcast().is_none() && transport.capabilities().broadcast.is_none());
}

/// A daemon drops what another one is too slow to take, and tells nobody. The node does: the author's next message shows it.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_daemon_drops_is_told() {
    const MORE_THAN_IS_QUEUED: usize = 100;
    let mut kubo = Kubo::run(2, &["--connect"]).expect("daemons");
    let mut quick = config(&kubo.daemons()[0]);
    quick.publish_rate = 10_000;
    let (one, _) = open(quick).await.expect("opens");
    let (other, _) = open(config(&kubo.daemons()[1])).await.expect("opens");
    let mut subscription = other.subscribe(&topic()).await.expect("subscribes");
    soon("a reader", one.ready(&topic(), 1)).await.expect("ready");
    heard(&one, &topic(), "before", &mut subscription).await;
    tokio::task::block_in_place(|| kubo.freeze(1)).expect("it stops");
    for _ in 0..MORE_THAN_IS_QUEUED {
        one.publish(&topic(), vec![b'x'; 100_000]).await.expect("publishes");
    }
    tokio::task::block_in_place(|| kubo.thaw(1)).expect("it goes on");
    let speaking = async {
        loop {
            one.publish(&topic(), "after").await.expect("publishes");
            sleep(Duration::from_millis(100)).await;
        }
    };
    let gap = async {
        let mut came = 0;
        loop {
            match subscription.next().await.expect("the node is open") {
                Delivery::Message(message) => came += usize::from(message.payload().len() == 100_000),
                Delivery::Gap(gap) => break (gap, came),
                Delivery::Lagged(count) => panic!("the reader lost {count}"),
                delivery => panic!("{delivery:?}"),
            }
        }
    };
    let (gap, came) = soon("that it is told", async {
        tokio::select! {
            () = speaking => unreachable!("it goes on for ever"),
            told = gap => told,
        }
    })
    .await;
    assert_eq!((gap.topic, gap.author), (Some(topic()), Some(one.peer_id())));
    assert!(came < MORE_THAN_IS_QUEUED, "all came");
}

/// As many connections as the pool has, not one a request.
#[tokio::test]
async fn a_thousand_gets_take_few_connections() {
    let kubo = Kubo::run(2, &["--connect"]).expect("daemons");
    let (node, transport) = open(config(&kubo.daemons()[0])).await.expect("opens");
    let block = Block::new(RAW, &b"asked for often"[..]);
    node.put_blocks(std::slice::from_ref(&block)).await.expect("puts");
    let fetch = transport.fetch().expect("it fetches");
    let want = Want::new(*block.cid(), PATIENCE);
    for _ in 0..10 {
        for fetched in join_all((0..100).map(|_| fetch.block(&want))).await {
            fetched.expect("it comes").claim.check().expect("a block");
        }
    }
    let opened = node.status().await.expect("status").counters["ipfs-http"]["connections_opened"];
    assert!(opened <= 32, "{opened} connections");
}

//! A private network by one swarm key, as Kubo knows it.

use std::io::Write as _;
use std::time::Duration;

use carrick_core::dag::Layout;
use carrick_core::{Delivery, ErrorKind, Event, Limits, PeerAddr};
use carrick_interop::Kubo;
use carrick_transport_libp2p::Libp2pConfig;
use futures::StreamExt as _;
use tempfile::NamedTempFile;

use super::{
    APART, PATIENCE, aside, builder, config, connect, content, got, line, open, ours, put, raw, remote, soon,
    theirs, up, wire,
};

const KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const OTHER: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";

/// The same as Kubo's `swarm.key`.
fn file(key: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a file");
    write!(file, "/key/swarm/psk/1.0.0/\n/base16/\n{key}\n").expect("written");
    file
}

fn with(key: &NamedTempFile) -> Libp2pConfig {
    let mut config = config();
    config.listen = Some(vec!["/ip4/127.0.0.1/tcp/0".parse().expect("an address")]);
    config.swarm_key = Some(key.path().to_owned());
    config
}

fn private() -> Kubo {
    let options = [&["--psk", KEY][..], &APART].concat();
    aside(|| Kubo::run(1, &options)).expect("a daemon")
}

#[tokio::test(flavor = "multi_thread")]
async fn content_and_messages_cross_between_holders_of_one_key() {
    let kubo = private();
    let daemon = &kubo.daemons()[0];
    let key = file(KEY);
    let node = open(with(&key)).await;
    let mut heard = node.subscribe(&raw()).await.expect("subscribes");
    let mut listener = aside(|| daemon.subscribe(&wire(&raw()))).expect("subscribes");
    let mut events = node.events();
    // Kubo dials us: the other way round is in all that follows.
    aside(|| daemon.ipfs(&["swarm", "connect", &ours(&node, "/tcp/")])).expect("connects");
    up(&mut events, &remote(&daemon.id)).await;

    let mine = content(8 << 20);
    let cid = put(&node, &mine, Layout::default()).await.to_string();
    assert!(aside(|| daemon.ipfs(&["cat", &cid])).expect("cat") == mine);
    let yours = line(aside(|| daemon.ipfs_with(&["add", "-Q"], &mine)).expect("adds"));
    assert!(got(&node, &yours).await == mine);

    let id = node.peer_id().to_string();
    aside(|| daemon.until_on_topic(&wire(&raw()), &id)).expect("known");
    soon("Kubo on the topic", node.ready(&raw(), 1)).await.expect("ready");
    node.publish(&raw(), "among ourselves").await.expect("publishes");
    let message = aside(|| listener.next(PATIENCE)).expect("hears").expect("a message");
    assert_eq!((&message.data[..], message.from), (&b"among ourselves"[..], id));
    aside(|| daemon.publish(&wire(&raw()), b"and back")).expect("publishes");
    let back = soon("a message", heard.next()).await.expect("the node is open");
    assert!(matches!(&back, Delivery::Message(message) if message.payload() == "and back"), "{back:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_key_or_none_is_refused_and_the_error_says_what_to_look_at() {
    let kubo = private();
    let (key, other) = (file(KEY), file(OTHER));
    let (wrong, without) = (with(&other), config());
    let mut limits = Limits::default();
    // Garbage may look like the beginning of something long.
    limits.handshake = Duration::from_secs(1);
    let inside = builder(with(&key)).limits(limits.clone()).open().await.expect("opens");
    connect(&inside, theirs(&kubo.daemons()[0], "/tcp/")).await;
    let mut events = inside.events();
    for config in [wrong, without] {
        let says = config.swarm_key.is_some();
        let outside = builder(config).limits(limits.clone()).open().await.expect("opens");
        for addr in [theirs(&kubo.daemons()[0], "/tcp/"), &ours(&inside, "/tcp/")] {
            let addr: PeerAddr = addr.parse().expect("an address");
            let refused = soon("an answer", outside.connect(&addr)).await.expect_err("it has not the key");
            assert_eq!(refused.kind(), ErrorKind::Unreachable, "{refused}");
            let told = format!("{refused} {:?}", refused.hint());
            assert!(told.contains("swarm_key"), "with a key: {says}: {told}");
        }
        assert!(outside.peers().await.expect("peers").is_empty());
        // Nor the other way round.
        let addr: PeerAddr = ours(&outside, "/tcp/").parse().expect("an address");
        soon("an answer", inside.connect(&addr)).await.expect_err("it has not the key");
    }
    let strangers = aside(|| Kubo::run(1, &APART)).expect("a daemon");
    let dialled = aside(|| strangers.ipfs(0, &["swarm", "connect", &ours(&inside, "/tcp/")]));
    assert!(dialled.is_err(), "Kubo without the key: {dialled:?}");
    inside.publish(&raw(), "nobody new").await.expect("publishes");
    inside.close().await.expect("closes");
    while let Some(event) = events.next().await {
        assert!(!matches!(event, Event::Up { .. }), "{event:?}");
    }
}

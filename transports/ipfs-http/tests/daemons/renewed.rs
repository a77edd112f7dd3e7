//! A daemon that comes back as another one: its repository or its key was replaced.

use carrick_core::{Event, Node, PeerInfo, Subscription};
use carrick_interop::Kubo;
use futures::StreamExt as _;

use super::node::until;
use super::{addr, config, counted, heard, open, pair, raw, soon};

#[tokio::test]
async fn a_daemon_that_comes_back_as_another_one_is_the_nodes_own() {
    let mut kubo = Kubo::run(2, &["--connect"]).expect("daemons");
    let [one, other] = pair(&kubo).await;
    let (mut here, mut there) = (
        one.subscribe(&raw()).await.expect("subscribes"),
        other.subscribe(&raw()).await.expect("subscribes"),
    );
    soon("a reader", one.ready(&raw(), 1)).await.expect("ready");
    until_heard(&one, "one: before", &mut there).await;
    echoed(&one, "one: echo").await;
    let mut events = one.events();
    kubo.kill(0).expect("dies");
    kubo.renew(0).expect("is another one");
    kubo.start(0).expect("starts");
    let now = kubo.daemons()[0].id.clone();
    let listens_as_another = async {
        loop {
            if let Some(Event::Listening { addrs, .. }) = events.next().await {
                assert!(addrs.iter().all(|addr| addr.to_string().ends_with(&now)), "{addrs:?}");
                return;
            }
        }
    };
    soon("its new addresses", listens_as_another).await;
    let error = one.connect(&addr(&kubo.daemons()[0])).await.expect_err("it is our own");
    assert!(error.to_string().contains("this node's own daemon"), "{error}");
    kubo.connect(0, 1).expect("connects");
    soon("a reader", one.ready(&raw(), 1)).await.expect("ready");
    soon("a reader", other.ready(&raw(), 1)).await.expect("ready");
    // Bare payloads have no author: only the transport can tell its own from another's.
    until_heard(&one, "one: as another", &mut there).await;
    until_heard(&other, "other: heard", &mut here).await;
    echoed(&one, "one: echo").await;
    until_heard(&other, "other: last", &mut here).await;
    assert_eq!(counted(&one, "daemon_changed").await, 1);
    assert_eq!(counted(&other, "daemon_changed").await, 0);
}

/// Publishes until it is heard, and nothing of anybody else is.
async fn until_heard(from: &Node, said: &str, by: &mut Subscription) {
    let speaker = |text: &str| text.split(':').next().map(str::to_owned);
    loop {
        let text = soon("a message", heard(from, &raw(), said, by)).await;
        assert_eq!(speaker(&text), speaker(said), "an echo was delivered");
        if text == said {
            return;
        }
    }
}

/// Publishes what comes back and is recognised.
async fn echoed(node: &Node, said: &str) {
    let before = counted(node, "echoes").await;
    node.publish(&raw(), said.to_owned()).await.expect("publishes");
    soon("an echo", until(async || counted(node, "echoes").await > before)).await;
}

/// Whoever was our own daemon may be met again as another's.
#[tokio::test]
async fn a_daemon_that_is_named_under_bootstrap_is_dialled_once_it_is_not_our_own() {
    let mut kubo = Kubo::run(2, &[]).expect("daemons");
    let mut config = config(&kubo.daemons()[0]);
    config.bootstrap = kubo.daemons().iter().map(addr).collect();
    let (node, transport) = open(config).await.expect("opens");
    let named =
        |peers: Vec<PeerInfo>, id: &str| peers.iter().any(|peer| peer.remote.to_string().contains(id));
    let linked = async |id: &str| {
        until(async || transport.peers().await.is_ok_and(|peers| named(peers, id))).await;
    };
    let other = kubo.daemons()[1].id.clone();
    soon("a link", linked(&other)).await;
    kubo.kill(0).expect("dies");
    kubo.renew(0).expect("is another one");
    kubo.start(0).expect("starts");
    soon("a link", linked(&other)).await;
    assert_eq!(counted(&node, "daemon_changed").await, 1);
}

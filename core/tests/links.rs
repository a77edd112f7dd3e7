//! The hub of links, over a wire that a test answers for.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use carrick_core::links::{Asks, Greeted, Hub, Link, Miss, Reason, Refusal, Wire};
use carrick_core::{
    Broadcast, BroadcastCaps, Bytes, Capabilities, Cid, Discovery, ErrorKind, Fetch, FetchCaps, Host,
    Identity, Keypair, Lane, Limits, MessageId, Multiaddr, NetworkId, Node, Outgoing, PeerAddr, PeerId,
    PeerInfo, PeerRecord, RAW, Remote, Result, Serving, Topic, Transport, Want, async_trait, cid_of,
};
use futures::FutureExt as _;
use tokio::time::{Instant, sleep};

/// How a far end answers who asks it for a block.
#[derive(Clone, Copy, Debug)]
enum Far {
    Has(&'static [u8]),
    HasNot,
    /// Says nothing for as long as it is given.
    Silent,
    Breaks,
}

#[async_trait]
impl Asks for Far {
    async fn ask(&self, _: &Cid, most: usize, idle: Duration) -> std::result::Result<Bytes, Miss> {
        match *self {
            Self::Has(bytes) if bytes.len() > most => Err(Miss::TooLarge),
            Self::Has(bytes) => Ok(Bytes::from_static(bytes)),
            Self::HasNot => Err(Miss::Absent),
            Self::Silent => {
                sleep(idle).await;
                Err(Miss::Stalled)
            }
            Self::Breaks => Err(Miss::Malformed),
        }
    }
}

impl Wire for Far {
    fn topic(topic: &Topic, joined: bool) -> Bytes {
        format!("{joined} {topic}").into()
    }

    fn record(_: &PeerRecord) -> Bytes {
        Bytes::from_static(b"record")
    }

    fn head(topic: &Topic, bytes: usize) -> Bytes {
        format!("{topic} {bytes}").into()
    }
}

/// Nothing but the hub.
#[derive(Debug)]
struct Hand(Arc<Hub<Far>>);

#[async_trait]
impl Transport for Hand {
    fn capabilities(&self) -> Capabilities {
        let fetch = FetchCaps::new(1 << 20, Serving::FromHost, Discovery::Neighbours);
        Capabilities::new(Some(BroadcastCaps::new(1 << 20)), Some(fetch), Identity::Peer)
    }

    fn listen_addrs(&self) -> Vec<Multiaddr> {
        vec![]
    }

    async fn dial(&self, _: &PeerAddr) -> Result<Remote> {
        Err(self.0.host().fail(ErrorKind::Unsupported, "dial", "a test links"))
    }

    async fn disconnect(&self, peer: &Remote) -> Result<()> {
        self.0.disconnect(peer)
    }

    async fn peers(&self) -> Result<Vec<PeerInfo>> {
        Ok(self.0.peers())
    }

    fn broadcast(&self) -> Option<&dyn Broadcast> {
        Some(&*self.0)
    }

    fn fetch(&self) -> Option<&dyn Fetch> {
        Some(&*self.0)
    }

    async fn close(&self) -> Result<()> {
        self.0.close(Duration::ZERO).await;
        Ok(())
    }
}

async fn open(limits: Limits) -> (Node, Arc<Hub<Far>>) {
    let (send, hub) = tokio::sync::oneshot::channel();
    let mount = |host: Host| async move {
        let hub = Hub::new(host);
        send.send(hub.clone()).expect("it is waited for");
        Ok(Hand(hub))
    };
    let builder = Node::builder().network(NetworkId::new("links").expect("a network"));
    let node = builder.limits(limits).mount("hand", mount).open().await.expect("opens");
    (node, hub.await.expect("mounted"))
}

fn link(hub: &Hub<Far>, far: Far) -> Arc<Link<Far>> {
    enter(hub, far, stranger(), None).expect("taken")
}

fn enter(
    hub: &Hub<Far>,
    far: Far,
    peer: PeerId,
    ours: Option<BTreeSet<Topic>>,
) -> std::result::Result<Arc<Link<Far>>, Reason> {
    hub.enter(far, greeted(peer, ours), |_| None)
}

fn greeted(peer: PeerId, ours: Option<BTreeSet<Topic>>) -> Greeted {
    let addr = "/ip4/192.0.2.1/tcp/1".parse().expect("an address");
    Greeted { peer, addr, session: 1, theirs: BTreeSet::new(), ours }
}

fn stranger() -> PeerId {
    Keypair::generate_ed25519().public().to_peer_id()
}

fn topic() -> Topic {
    Topic::new("tides").expect("a topic")
}

fn want(content: &[u8], timeout: u64, hints: &[&Arc<Link<Far>>]) -> Want {
    let mut want = Want::new(cid_of(RAW, content), Duration::from_secs(timeout));
    want.hints = hints.iter().map(|link| link.peer()).collect();
    want
}

#[tokio::test(start_paused = true)]
async fn who_is_silent_for_as_long_as_is_allowed_is_blamed() {
    let (node, hub) = open(Limits::default()).await;
    link(&hub, Far::Silent);
    let began = Instant::now();
    let error = hub.block(&want(b"a", 60, &[])).await.expect_err("it says nothing");
    assert_eq!((error.kind(), began.elapsed().as_secs()), (ErrorKind::Timeout, 10));
    assert_eq!(node.counter("misdeed_stalled"), 1);
}

#[tokio::test(start_paused = true)]
async fn who_got_only_a_share_of_the_time_is_not_to_blame() {
    let (node, hub) = open(Limits::default()).await;
    let silent = [link(&hub, Far::Silent), link(&hub, Far::Silent)];
    let has = link(&hub, Far::Has(b"a"));
    let found = hub.block(&want(b"a", 9, &[&silent[0], &silent[1]])).await.expect("the last has it");
    assert_eq!(found.from.as_ref(), Some(has.remote()));
    assert_eq!(node.counter("misdeed_stalled"), 0);
}

#[tokio::test(start_paused = true)]
async fn the_hinted_are_asked_first_and_nobody_who_is_avoided() {
    let (_node, hub) = open(Limits::default()).await;
    let links: Vec<_> = (0..8).map(|_| link(&hub, Far::Has(b"a"))).collect();
    for hinted in &links {
        let mut want = want(b"a", 9, &[hinted]);
        assert_eq!(hub.block(&want).await.expect("it has it").from.as_ref(), Some(hinted.remote()));
        want.avoid.push(hinted.remote().clone());
        assert_ne!(hub.block(&want).await.expect("others have it").from.as_ref(), Some(hinted.remote()));
        want.avoid = links.iter().map(|link| link.remote().clone()).collect();
        assert_eq!(hub.block(&want).await.expect_err("nobody").kind(), ErrorKind::NoPeers);
    }
}

#[tokio::test(start_paused = true)]
async fn what_could_still_come_goes_before_not_there() {
    let (node, hub) = open(Limits::default()).await;
    link(&hub, Far::HasNot);
    assert_eq!(hub.block(&want(b"a", 9, &[])).await.expect_err("no").kind(), ErrorKind::NotFound);
    let broken = link(&hub, Far::Breaks);
    assert_eq!(hub.block(&want(b"a", 9, &[])).await.expect_err("no").kind(), ErrorKind::Unreachable);
    assert!(broken.ended().is_cancelled(), "who breaks the format is cut off");
    assert_eq!((broken.why(), node.counter("misdeed_malformed")), (Reason::Malformed, 1));
    assert_eq!(hub.peers().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn providers_are_found_without_a_byte() {
    let (_node, hub) = open(Limits::default()).await;
    let having = [link(&hub, Far::Has(b"a")), link(&hub, Far::Has(b""))];
    let _others = [link(&hub, Far::HasNot), link(&hub, Far::Silent)];
    let found = hub.providers(&cid_of(RAW, b"a"), 9).await.expect("in time");
    let found: BTreeSet<_> = found.iter().filter_map(|found| found.peer).collect();
    assert_eq!(found, having.iter().map(|link| link.peer()).collect());
}

#[tokio::test(start_paused = true)]
async fn what_is_queued_goes_out_before_a_goodbye_and_never_after_a_quarrel() {
    for (why, goes_out) in [(Reason::Goodbye, 2), (Reason::Disconnected, 0)] {
        let (_node, hub) = open(Limits::default()).await;
        let link = link(&hub, Far::HasNot);
        hub.heard(&link, topic(), true).expect("room");
        for text in ["one", "two"] {
            let bytes = Bytes::from(text);
            let id = MessageId::of(&bytes);
            let message = Outgoing { id, topic: topic(), bytes, lane: Lane::Own };
            assert_eq!(hub.publish(&message).await.expect("publishes").sent_to, Some(1));
        }
        hub.end(&link, why);
        let mut left = 0;
        while link.messages.pop().await.is_some() {
            left += 1;
        }
        assert_eq!(left, goes_out, "{why:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_reads_no_frames_is_let_go() {
    let (_node, hub) = open(Limits::default()).await;
    let link = link(&hub, Far::HasNot);
    while link.offer(Bytes::from_static(b"may be lost")) {}
    assert!(!link.ended().is_cancelled(), "half of the queue is left");
    for _ in 0..512 {
        link.tell(Bytes::from_static(b"must not be lost"));
    }
    assert!(!link.ended().is_cancelled());
    link.tell(Bytes::from_static(b"one too many"));
    assert_eq!((link.ended().is_cancelled(), link.why()), (true, Reason::Stalled));
}

#[tokio::test(start_paused = true)]
async fn a_full_node_wants_nobody_but_whom_it_has() {
    let mut limits = Limits::default();
    limits.connections = 1;
    let (_node, hub) = open(limits).await;
    let only = link(&hub, Far::HasNot);
    let other = stranger();
    assert_eq!(hub.wants(other, None), Err(Refusal::Full));
    assert_eq!(hub.wants(only.peer(), None), Ok(()));
    assert_eq!(enter(&hub, Far::HasNot, other, None).expect_err("full"), Reason::Busy);
}

#[tokio::test(start_paused = true)]
async fn a_hello_with_more_topics_than_allowed_is_refused_and_blamed() {
    let mut limits = Limits::default();
    limits.topics_per_peer = 1;
    let (node, hub) = open(limits).await;
    let theirs = ["a", "b"].map(|name| Topic::new(name).expect("a topic")).into();
    let refused = hub.enter(Far::HasNot, Greeted { theirs, ..greeted(stranger(), None) }, |_| None);
    assert_eq!(refused.expect_err("one too many"), Reason::Malformed);
    assert_eq!((node.counter("misdeed_malformed"), hub.peers().len()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn records_without_end_are_blamed_and_nobody_is_told_as_many() {
    let (node, hub) = open(Limits::default()).await;
    let network = NetworkId::new("links").expect("a network");
    let bring = |link: &Arc<Link<Far>>| {
        let key = Keypair::generate_ed25519();
        let record = PeerRecord::sign(&key, &network, 1, vec![], vec![]).expect("signs");
        hub.learn(link, record.encoded().clone()).expect("a record");
    };
    let (flooding, listener) = (link(&hub, Far::HasNot), link(&hub, Far::HasNot));
    let told = || std::iter::from_fn(|| listener.frame().now_or_never()).count();
    assert_eq!(told(), 1, "our own");
    (0..1_024).for_each(|_| bring(&flooding));
    assert_eq!((node.counter("needless"), node.counter("misdeed_spam")), (1_024, 0));
    assert_eq!(told(), 32, "no link alone decides what others are told");
    for _ in 0..9 {
        let another = link(&hub, Far::HasNot);
        (0..32).for_each(|_| bring(&another));
    }
    assert_eq!(told(), 128 - 32);
    assert_eq!(node.counter("misdeed_spam"), 0);
    bring(&flooding);
    assert_eq!(node.counter("misdeed_spam"), 1);
}

#[tokio::test(start_paused = true)]
async fn of_two_dials_at_once_both_are_read_and_one_stays() {
    let (node, hub) = open(Limits::default()).await;
    let me = node.peer_id();
    let mut keys = std::iter::repeat_with(stranger);
    let lower = keys.find(|peer| *peer < me).expect("half of them are");
    let stays = enter(&hub, Far::HasNot, lower, None).expect("taken");
    let ours = enter(&hub, Far::HasNot, lower, Some(BTreeSet::new())).expect("read for a while");
    assert!(Arc::ptr_eq(&hub.link(&lower).expect("linked"), &stays));
    assert!(ours.messages.pop().await.is_none() && !ours.ended().is_cancelled());
    let began = Instant::now();
    hub.until_over(&ours).await;
    assert_eq!(began.elapsed().as_secs(), 2);
    assert_eq!(ours.why(), Reason::Duplicate);
    assert!(ours.ended().is_cancelled(), "no table knows of it, so nobody else would end it");
}

#[tokio::test(start_paused = true)]
async fn after_the_end_no_link_begins() {
    let (_node, hub) = open(Limits::default()).await;
    let link = link(&hub, Far::HasNot);
    hub.shut_down();
    assert!(link.ended().is_cancelled());
    assert_eq!(enter(&hub, Far::HasNot, stranger(), None).expect_err("closed"), Reason::Goodbye);
    assert_eq!(hub.join(&topic()).await.expect_err("closed").kind(), ErrorKind::Closed);
}

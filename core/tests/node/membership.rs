//! Who may connect, publish and read, and what becomes of those who misbehave.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use carrick_core::{
    Block, Bytes, Context, ErrorKind, Event, Keypair, Membership, Message, Misdeed, Node, PeerId, PeerRecord,
    Relay, Remote, Result, Topic, TopicRules, Validator, Verdict, async_trait,
};

use crate::support::{
    Envelope, Judge, Wire, event, key, limits, on, on_wires, open, payloads, peer, raw, remote, settle,
    topic, within,
};

/// Members connect; writers publish.
#[derive(Debug, Default)]
struct Club {
    members: BTreeSet<PeerId>,
    writers: BTreeSet<PeerId>,
    asked: Mutex<Vec<Topic>>,
}

impl Club {
    fn new(members: &[u8], writers: &[u8]) -> Arc<Self> {
        let ids = |numbers: &[u8]| numbers.iter().map(|n| peer(*n)).collect();
        Arc::new(Self { members: ids(members), writers: ids(writers), asked: Mutex::default() })
    }
}

impl Membership for Club {
    fn admits(&self, peer: &PeerId) -> bool {
        self.members.contains(peer)
    }

    fn may_publish(&self, author: &PeerId, topic: &Topic) -> bool {
        self.asked.lock().expect("lock").push(topic.clone());
        self.writers.contains(author)
    }
}

#[tokio::test(start_paused = true)]
async fn an_author_who_may_not_publish_is_ignored_and_nobody_is_blamed() {
    let wire = Wire::new();
    let (node, mut subscription) = open(on(&wire).membership(Club::new(&[1, 2], &[1]))).await;
    let message = Envelope::by(2, 1, "no writer").encode();
    assert_eq!(wire.deliver(&remote(1), message.clone()).await, Relay::Ignore);
    assert_eq!(score(&node, &wire, remote(1)).await, 0.0);
    assert_eq!(wire.deliver(&remote(2), Envelope::by(1, 1, "writer").encode()).await, Relay::Accept);
    node.set_membership(Club::new(&[1, 2], &[1, 2])).await.expect("set");
    assert_eq!(wire.deliver(&remote(1), message).await, Relay::Accept, "an epoch later it may come again");
    assert_eq!(payloads(&mut subscription), ["writer", "no writer"]);
}

async fn score(node: &Node, wire: &Wire, who: Remote) -> f64 {
    wire.connect(&[who]);
    node.peers().await.expect("peers")[0].reputation
}

#[tokio::test(start_paused = true)]
async fn catch_up_is_judged_by_the_ledgers_own_rule() {
    let wire = Wire::new();
    let (node, _subscription) = open(on(&wire).membership(Club::new(&[1], &[]))).await;
    assert_eq!(node.admit(&topic(), Envelope::by(2, 1, "old").encode(), None).await, Verdict::Accept);
}

/// Takes what members wrote, whenever it comes, and blocks that a member serves.
#[derive(Debug, Default)]
struct OfMembers {
    noted: Mutex<Vec<bool>>,
    took: Mutex<Vec<bool>>,
}

impl OfMembers {
    fn judge(members: &dyn Membership, of: Option<&PeerId>) -> Verdict {
        match of.is_some_and(|peer| members.admits(peer)) {
            true => Verdict::Accept,
            false => Verdict::Ignore("it is of no member".into()),
        }
    }
}

#[async_trait]
impl Validator for OfMembers {
    async fn message(&self, cx: &Context<'_>, message: &Message) -> Verdict {
        Self::judge(cx.membership, message.author())
    }

    async fn block(&self, cx: &Context<'_>, _: &Block) -> Verdict {
        Self::judge(cx.membership, cx.from.and_then(Remote::peer))
    }

    async fn noted(&self, cx: &Context<'_>, message: &Message) -> Result<Vec<(String, Bytes)>> {
        let may = message.author().is_some_and(|author| cx.membership.may_publish(author, message.topic()));
        self.noted.lock().expect("lock").push(may);
        Ok(vec![])
    }

    async fn accepted(&self, cx: &Context<'_>, message: &Message) -> Result<()> {
        let may = message.author().is_some_and(|author| cx.membership.may_publish(author, message.topic()));
        self.took.lock().expect("lock").push(may);
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_validator_knows_who_is_a_member_at_that_moment() {
    let (wire, judge) = (Wire::new(), Arc::new(OfMembers::default()));
    let builder = on(&wire).topic(topic(), TopicRules::kept()).membership(Club::new(&[1], &[1]));
    let (node, _subscription) = open(builder.validator(judge.clone())).await;
    let admit = async |author| node.admit(&topic(), Envelope::by(author, 1, "old").encode(), None).await;
    assert!(admit(1).await.is_accept());
    assert!(matches!(admit(2).await, Verdict::Ignore(_)), "the node itself asks for no member there");
    node.set_membership(Club::new(&[1, 2], &[1])).await.expect("set");
    assert!(admit(2).await.is_accept());
    for told in [&judge.noted, &judge.took] {
        assert_eq!(*told.lock().expect("lock"), [true, false], "one is a writer, the other is none");
    }
}

#[tokio::test(start_paused = true)]
async fn a_validator_of_blocks_knows_who_is_a_member() {
    let (wire, block) = (Wire::new(), raw("served"));
    let builder = on(&wire).membership(Club::new(&[2], &[])).validator(Arc::new(OfMembers::default()));
    let node = builder.open().await.expect("opens");
    wire.serves(remote(1), [&block]);
    let refused = node.block(block.cid(), vec![peer(1)]).await.expect_err("of no member");
    assert_eq!(refused.kind(), ErrorKind::Rejected, "{refused}");
    node.set_membership(Club::new(&[1], &[])).await.expect("set");
    assert_eq!(node.block(block.cid(), vec![peer(1)]).await.expect("fetched"), block);
}

#[tokio::test(start_paused = true)]
async fn on_a_reserved_topic_whoever_is_admitted_may_write() {
    let (wire, club) = (Wire::new(), Club::new(&[1], &[2]));
    let node = on(&wire).membership(club.clone()).open().await.expect("opens");
    let reserved = Topic::reserved("carrick/peers").expect("a topic");
    let _subscription = node.subscribe(&reserved).await.expect("subscribes");
    for (author, answer) in [(1, Relay::Accept), (2, Relay::Ignore)] {
        let message = Envelope::by(author, 1, "x").on(&reserved).encode();
        assert_eq!(within(wire.hand(&remote(1), &reserved, message)).await, answer);
    }
    assert!(club.asked.lock().expect("lock").is_empty());
}

#[tokio::test(start_paused = true)]
async fn we_do_not_publish_what_we_may_not() {
    let wire = Wire::new();
    let node = on(&wire).membership(Club::new(&[0], &[1])).open().await.expect("opens");
    let error = node.publish(&topic(), "x").await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    assert!(error.hint().is_some_and(|hint| hint.contains(&peer(0).to_string())), "{error:?}");
    assert!(wire.published().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_new_membership_disconnects_who_is_no_longer_admitted_on_every_transport() {
    let (left, right) = (Wire::new(), Wire::new());
    let builder = on_wires(&[("left", &left), ("right", &right)]).membership(Club::new(&[1, 2], &[]));
    let node = builder.open().await.expect("opens");
    left.connect(&[remote(1), remote(2), Remote::Foreign("daemon".into())]);
    node.set_membership(Club::new(&[1], &[])).await.expect("set");
    for wire in [&left, &right] {
        assert_eq!(wire.disconnected(), [remote(2)]);
        assert!(wire.host().admits(&peer(1)) && !wire.host().admits(&peer(2)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_stranger_is_served_nothing() {
    let wire = Wire::new();
    let node = on(&wire).membership(Club::new(&[1], &[])).open().await.expect("opens");
    let block = raw("secret");
    node.put_blocks(std::slice::from_ref(&block)).await.expect("put");
    let host = wire.host();
    assert!(host.block(&remote(1), block.cid()).await.expect("serves").is_some());
    assert!(host.block(&remote(2), block.cid()).await.expect("serves").is_none());
    assert!(host.has(&remote(1), block.cid()).await.expect("has"));
    assert!(!host.has(&remote(2), block.cid()).await.expect("has"));
    assert_eq!(node.counter("serve_refused"), 2);
}

#[tokio::test(start_paused = true)]
async fn records_of_strangers_are_not_kept() {
    let wire = Wire::new();
    let _node = on(&wire).membership(Club::new(&[1], &[])).open().await.expect("opens");
    let host = wire.host();
    assert!(host.learn(&remote(3), record(&key(1), 1)));
    assert!(!host.learn(&remote(3), record(&key(1), 1)), "no news");
    assert!(!host.learn(&remote(3), record(&key(2), 1)));
    assert_eq!((host.addresses(&peer(1)).len(), host.addresses(&peer(2)).len()), (1, 0));
}

/// Where anybody is admitted a key costs nothing: one neighbour can make up any number of peers.
#[tokio::test(start_paused = true)]
async fn made_up_peers_do_not_push_honest_ones_out_of_the_book() {
    let wire = Wire::new();
    let _node = on(&wire).limits(limits(|l| l.known_peers = 8)).open().await.expect("opens");
    let host = wire.host();
    assert!(host.learn(&remote(1), record(&key(1), 1)), "it came itself");
    assert!(host.learn(&remote(1), record(&key(2), 1)), "an honest neighbour told of it");
    for n in 10..200 {
        host.learn(&remote(3), record(&key(n), 1));
    }
    assert_eq!((host.addresses(&peer(1)).len(), host.addresses(&peer(2)).len()), (1, 1));
    let records = host.records(99);
    assert_eq!((records.len(), records[0].peer()), (9, &peer(1)));
}

fn record(key: &Keypair, seq: u64) -> PeerRecord {
    PeerRecord::sign(
        key,
        &crate::support::network(),
        seq,
        vec!["/memory/7".parse().expect("an address")],
        vec![],
    )
    .expect("signs")
}

#[tokio::test(start_paused = true)]
async fn ten_rejected_messages_ban_who_sent_them() {
    let (left, right) = (Wire::new(), Wire::new());
    let judge = Judge::new().messages(|_, _| std::future::ready(Verdict::Reject("bad".into())));
    let builder = on_wires(&[("left", &left), ("right", &right)]).validator(judge.arc());
    let (node, _subscription) = open(builder).await;
    let mut events = node.events();
    let answers: Vec<_> =
        (0..10).map(|n| left.hand(&remote(1), &topic(), Envelope::by(2, n, "x").encode())).collect();
    assert_eq!(within(futures::future::join_all(answers)).await, [Relay::Reject; 10]);
    let banned =
        event(&mut events, |e| if let Event::Banned { remote } = e { Some(remote.clone()) } else { None });
    assert_eq!(banned.await, remote(1));
    settle().await;
    for wire in [&left, &right] {
        assert_eq!(wire.disconnected(), [remote(1)]);
        assert!(!wire.host().admits(&peer(1)) && !wire.host().relays_to(&remote(1)));
    }
    assert!(left.host().admits(&peer(2)), "the author is not the link");
    assert_eq!(node.counter("banned"), 1);
    node.forgive(&remote(1));
    assert!(left.host().admits(&peer(1)) && left.host().relays_to(&remote(1)));
}

/// One by one they make it quiet first, and then it cannot fall further by what nobody listens to.
#[tokio::test(start_paused = true)]
async fn a_sender_of_rejected_messages_is_unheard_after_five_and_banned_if_it_goes_on() {
    let wire = Wire::new();
    let judge = Judge::new().messages(|_, _| std::future::ready(Verdict::Reject("bad".into()))).arc();
    let (node, _subscription) = open(on(&wire).validator(judge.clone())).await;
    for n in 0..15 {
        let answer = wire.deliver(&remote(1), Envelope::by(2, n, "x").encode()).await;
        assert_eq!(answer, if n < 5 { Relay::Reject } else { Relay::Ignore });
    }
    settle().await;
    assert_eq!((node.counter("quiet"), judge.asked().len()), (10, 5));
    assert_eq!((node.counter("banned"), wire.disconnected()), (1, vec![remote(1)]));
}

#[tokio::test(start_paused = true)]
async fn a_remote_of_low_reputation_is_not_listened_to_until_time_heals() {
    let wire = Wire::new();
    let (node, mut subscription) = open(on(&wire)).await;
    for _ in 0..3 {
        wire.host().report(&remote(1), Misdeed::WrongBytes);
    }
    let message = Envelope::by(2, 1, "hello").encode();
    assert_eq!(wire.deliver(&remote(1), message.clone()).await, Relay::Ignore);
    assert_eq!(node.counter("quiet"), 1);
    assert!(wire.host().admits(&peer(1)), "it is not banned");
    assert_eq!(wire.deliver(&remote(2), message).await, Relay::Accept, "the same from another");
    tokio::time::advance(Duration::from_secs(600)).await;
    let next = Envelope::by(2, 2, "again").encode();
    assert_eq!(wire.deliver(&remote(1), next).await, Relay::Accept);
    assert_eq!(payloads(&mut subscription), ["hello", "again"]);
}

#[tokio::test(start_paused = true)]
async fn a_ban_by_hand_disconnects_and_ends_after_an_hour() {
    let wire = Wire::new();
    let (node, _subscription) = open(on(&wire)).await;
    let block = raw("x");
    node.put_blocks(std::slice::from_ref(&block)).await.expect("put");
    node.ban(&remote(1));
    settle().await;
    assert_eq!(wire.disconnected(), [remote(1)]);
    assert!(!wire.host().admits(&peer(1)));
    assert!(wire.host().block(&remote(1), block.cid()).await.expect("serves").is_none());
    tokio::time::advance(Duration::from_secs(3_601)).await;
    assert!(wire.host().admits(&peer(1)));
}

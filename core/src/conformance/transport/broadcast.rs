//! Messages reach who they should, as they were sent, once.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures::future::join_all;
use tokio::time::timeout;

use super::kit::{Overheard, other_topic, refusal, topic};
use super::{Kit, Member, Outcome};
use crate::{
    Block, ErrorKind, Identity, Lane, Limits, MessageId, Outgoing, Overload, RAW, Reach, Receipt, Remote,
    Subscription, Topic, TopicRules,
};

pub(super) async fn published_message_reaches_every_subscriber(kit: Kit) -> Outcome {
    let members = kit.line(3).await;
    let mut subscriptions = kit.subscribe(&members, &topic()).await;
    for batch in (0..30).collect::<Vec<_>>().chunks(batch(&members[0])) {
        for n in batch {
            members[0].publish(&topic(), n.to_string()).await.expect("publishes");
        }
        for subscription in &mut subscriptions[1..] {
            for n in batch {
                assert_eq!(kit.text(subscription).await, n.to_string());
            }
        }
    }
    Outcome::Kept
}

/// Whether the wire drops messages where nobody sees it.
fn loses(member: &Member) -> bool {
    member.broadcast_caps().overload == Overload::DropsUnseen
}

/// How many messages are sent before the first is waited for. A wire that loses does so where they follow each other.
fn batch(member: &Member) -> usize {
    if loses(member) { 1 } else { usize::MAX }
}

pub(super) async fn each_message_is_handed_out_once(kit: Kit) -> Outcome {
    let members = kit.mesh(4).await;
    for topic in topics_without_echo(&members) {
        let mut subscriptions = kit.subscribe(&members, &topic).await;
        for n in 0..5 {
            for (at, member) in members.iter().enumerate() {
                member.publish(&topic, format!("{n} of {at}")).await.expect("publishes");
            }
        }
        for (at, subscription) in subscriptions.iter_mut().enumerate() {
            let mut heard = BTreeSet::new();
            for _ in 0..15 {
                let text = kit.text(subscription).await;
                assert!(!text.ends_with(&at.to_string()), "its own came back: {text}");
                assert!(heard.insert(text.clone()), "handed out twice: {text}");
            }
        }
        join_all(subscriptions.iter_mut().map(|subscription| kit.silence(subscription))).await;
    }
    Outcome::Kept
}

pub(super) async fn own_message_is_not_processed_again(kit: Kit) -> Outcome {
    let (author, mut delivered) = kit.overheard().await;
    let reader = kit.node().await;
    kit.link(&author, &reader).await;
    let members = [author, reader];
    for topic in topics_without_echo(&members) {
        let [mut own, mut heard] = both(kit.subscribe(&members, &topic).await);
        for n in 0..5 {
            members[0].publish(&topic, n.to_string()).await.expect("publishes");
            assert_eq!(kit.text(&mut heard).await, n.to_string());
        }
        kit.silence(&mut own).await;
    }
    if !members[0].broadcast_caps().echoes_own {
        assert!(delivered.try_recv().is_err(), "the transport said that it echoes nothing, and did");
    }
    Outcome::Kept
}

pub(super) async fn one_authors_messages_come_in_order(kit: Kit) -> Outcome {
    let members = kit.mesh(2).await;
    let loses = loses(&members[0]);
    // A wire that loses is late with some, too: the reader waits longer for them.
    let mut limits = Limits::default();
    if loses {
        limits.reorder = kit.patience() / 30;
    }
    let reader = kit.node_with(|builder| builder.limits(limits)).await;
    for author in &members {
        kit.link(author, &reader).await;
    }
    let members = [&members[..], &[reader]].concat();
    let mut subscriptions = kit.subscribe(&members, &topic()).await;
    for n in 0..60 {
        for author in &members[..2] {
            author.publish(&topic(), n.to_string()).await.expect("publishes");
        }
    }
    let mut heard = [vec![], vec![]];
    for _ in 0..120 {
        // What a wire drops where nobody sees it does not come; what comes after it does.
        let next = kit.message(&mut subscriptions[2]);
        let message = match loses {
            true => timeout(4 * members[2].limits().reorder, next).await.ok(),
            false => Some(next.await),
        };
        let Some(message) = message else { break };
        let of_first = message.author() == Some(&members[0].peer_id());
        let number: u32 = String::from_utf8_lossy(message.payload()).parse().expect("a number");
        heard[usize::from(of_first)].push(number);
    }
    for of_one in heard {
        assert!(of_one.is_sorted_by(|one, next| one < next), "{of_one:?} is not in order");
        assert!(of_one.len() == 60 || loses && of_one.len() > 30, "{of_one:?} is not all");
    }
    Outcome::Kept
}

pub(super) async fn unjoined_topic_delivers_nothing(kit: Kit) -> Outcome {
    let ([author, _reader], mut delivered) = listening_pair(&kit).await;
    author.publish(&other_topic(), "unasked").await.expect("publishes");
    kit.nothing_delivered(&mut delivered).await;
    author.publish(&topic(), "asked").await.expect("publishes");
    assert_eq!(kit.delivery(&mut delivered).await.topic, topic());
    Outcome::Kept
}

pub(super) async fn left_topic_falls_silent(kit: Kit) -> Outcome {
    let ([author, reader], mut delivered) = listening_pair(&kit).await;
    author.publish(&topic(), "before").await.expect("publishes");
    kit.delivery(&mut delivered).await;
    let mut events = author.events();
    author.publish(&topic(), "on its way").await.expect("publishes");
    reader.broadcast().leave(&topic()).await.expect("leaves");
    // What came before it returned.
    while delivered.try_recv().is_ok() {}
    author.publish(&topic(), "after").await.expect("publishes");
    kit.left(&author, &mut events).await;
    author.publish(&topic(), "long after").await.expect("publishes");
    kit.nothing_delivered(&mut delivered).await;
    reader.broadcast().leave(&topic()).await.expect("leaving twice is leaving once");
    Outcome::Kept
}

pub(super) async fn late_joiner_gets_what_comes_after(kit: Kit) -> Outcome {
    let author = kit.node().await;
    let [early, late] = [kit.node().await, kit.node().await];
    kit.link(&author, &early).await;
    let members = [author.clone(), early];
    let [_own, mut heard] = both(kit.subscribe(&members, &topic()).await);
    author.publish(&topic(), "early").await.expect("publishes");
    assert_eq!(kit.text(&mut heard).await, "early");
    kit.link(&author, &late).await;
    let mut heard_late = late.subscribe(&topic()).await.expect("a topic is joined");
    kit.joined(&author, &topic(), 2).await;
    author.publish(&topic(), "late").await.expect("publishes");
    assert_eq!(kit.text(&mut heard).await, "late");
    // The early one may be on its way still.
    while kit.text(&mut heard_late).await != "late" {}
    Outcome::Kept
}

pub(super) async fn topic_on_the_wire_is_passed_on(kit: Kit) -> Outcome {
    let author = kit.node().await;
    let (reader, mut delivered) = kit.overheard().await;
    kit.link(&author, &reader).await;
    let members = [author, reader];
    let topics = [topic(), other_topic()];
    let mut heard = Vec::new();
    for topic in &topics {
        heard.extend(kit.subscribe(&members, topic).await.pop());
    }
    for topic in topics.iter().rev() {
        members[0].publish(topic, topic.as_str().to_owned()).await.expect("publishes");
        assert_eq!(kit.delivery(&mut delivered).await.topic, *topic);
    }
    for (topic, heard) in topics.iter().zip(&mut heard) {
        assert_eq!(kit.text(heard).await, topic.as_str());
    }
    Outcome::Kept
}

pub(super) async fn message_of_another_topic_is_refused(kit: Kit) -> Outcome {
    let members = kit.pair().await;
    let mut heard = Vec::new();
    for topic in [topic(), other_topic()] {
        heard.extend(kit.subscribe(&members, &topic).await);
    }
    let mut message = kit.envelope(&topic(), "for another topic");
    message.topic = other_topic();
    members[0].broadcast().publish(&message).await.expect("a transport does not judge");
    members[0].publish(&other_topic(), "good").await.expect("publishes");
    assert_eq!(kit.text(&mut heard[3]).await, "good");
    join_all(heard.iter_mut().map(|subscription| kit.silence(subscription))).await;
    Outcome::Kept
}

pub(super) async fn many_topics_do_not_mix(kit: Kit) -> Outcome {
    let members = kit.pair().await;
    let topics: Vec<Topic> = (0..20).map(numbered).collect();
    let mut heard = Vec::new();
    for topic in &topics {
        heard.extend(kit.subscribe(&members, topic).await.pop());
    }
    let all: Vec<usize> = (0..topics.len()).collect();
    for n in 0..3 {
        for batch in all.chunks(batch(&members[0])) {
            let publish = |at: &usize| members[0].publish(&topics[*at], format!("{n} on {}", topics[*at]));
            for published in join_all(batch.iter().map(publish)).await {
                published.expect("publishes");
            }
            for at in batch {
                assert_eq!(kit.text(&mut heard[*at]).await, format!("{n} on {}", topics[*at]));
            }
        }
    }
    join_all(heard.iter_mut().map(|heard| kit.silence(heard))).await;
    Outcome::Kept
}

pub(super) async fn topic_limit_is_kept(kit: Kit) -> Outcome {
    let limits = Limits { topics_per_peer: 4, ..Limits::default() };
    let member = kit.node_with(|builder| builder.limits(limits)).await;
    for n in [0, 1, 2, 3, 3] {
        member.broadcast().join(&numbered(n)).await.expect("joining twice is joining once");
    }
    let one_more = member.broadcast().join(&numbered(4)).await;
    assert_eq!(refusal(one_more), ErrorKind::TooLarge);
    member.broadcast().leave(&numbered(0)).await.expect("leaves");
    member.broadcast().join(&numbered(4)).await.expect("there is room again");
    Outcome::Kept
}

pub(super) async fn topic_peers_are_those_who_take_part(kit: Kit) -> Outcome {
    let asker = kit.node().await;
    let mut others = [kit.node().await, kit.node().await];
    others.sort_by_key(|member| member.peer_id());
    let [one, two] = &others;
    for other in [two, one] {
        kit.link(&asker, other).await;
    }
    assert_eq!(topic_peers(&asker).await, []);
    let mut events = asker.events();
    let _own = asker.subscribe(&topic()).await.expect("a topic is joined");
    let _of_two = two.subscribe(&topic()).await.expect("a topic is joined");
    kit.joined(&asker, &topic(), 1).await;
    assert_are(&topic_peers(&asker).await, &[two]);
    let of_one = one.subscribe(&topic()).await.expect("a topic is joined");
    kit.joined(&asker, &topic(), 2).await;
    assert_are(&topic_peers(&asker).await, &[one, two]);
    drop(of_one);
    kit.left(&asker, &mut events).await;
    assert_are(&topic_peers(&asker).await, &[two]);
    Outcome::Kept
}

pub(super) async fn bytes_arrive_unchanged(kit: Kit) -> Outcome {
    let members = kit.pair().await;
    let every_byte: Vec<u8> = (0..=255).collect();
    let backwards: Vec<u8> = (0..=255).rev().collect();
    let payloads = [every_byte, backwards, vec![0; 100], vec![255; 100], b"\r\n \0 \r\n".to_vec()];
    for topic in topics_of_each_kind(&members) {
        let [_own, mut heard] = both(kit.subscribe(&members, &topic).await);
        for payload in &payloads {
            members[0].publish(&topic, payload.clone()).await.expect("publishes");
            assert_eq!(kit.message(&mut heard).await.payload(), payload);
        }
    }
    Outcome::Kept
}

pub(super) async fn empty_payload_is_a_message(kit: Kit) -> Outcome {
    let members = kit.pair().await;
    for topic in topics_of_each_kind(&members) {
        let [_own, mut heard] = both(kit.subscribe(&members, &topic).await);
        for payload in ["", "after it"] {
            members[0].publish(&topic, payload).await.expect("publishes");
            assert_eq!(kit.text(&mut heard).await, payload);
        }
    }
    Outcome::Kept
}

pub(super) async fn payload_at_the_limit_travels_inline(kit: Kit) -> Outcome {
    let members = kit.pair().await;
    let [_own, mut heard] = both(kit.subscribe(&members, &topic()).await);
    let payload = vec![7; members[0].limits().payload_bytes];
    let published = members[0].publish(&topic(), payload.clone()).await;
    if members[0].broadcast_caps().max_message_bytes < payload.len() {
        assert_eq!(refusal(published), ErrorKind::TooLarge);
        return Outcome::Unsupported("messages of the inline limit");
    }
    let message = kit.message(&mut heard).await;
    assert_eq!((message.payload(), message.link()), (&Bytes::from(payload), None));
    Outcome::Kept
}

pub(super) async fn payload_above_the_limit_travels_as_a_link(kit: Kit) -> Outcome {
    let members = kit.pair().await;
    let limits = members[0].limits().clone();
    let above = members[0].publish(&topic(), vec![7; limits.block_bytes + 1]).await;
    assert_eq!(refusal(above), ErrorKind::TooLarge, "no block holds it");
    if members[0].caps().fetch.is_none() {
        assert!(members[0].transport.fetch().is_none(), "it says that it cannot fetch");
        return Outcome::Unsupported("fetch, so linked payloads");
    }
    let [_own, mut heard] = both(kit.subscribe(&members, &topic()).await);
    for size in [limits.payload_bytes + 1, limits.block_bytes] {
        let block = Block::new(RAW, vec![7; size]);
        members[0].publish(&topic(), block.bytes().clone()).await.expect("publishes");
        let message = kit.message(&mut heard).await;
        assert_eq!(message.link(), Some(block.cid()));
        assert_eq!(message.payload(), block.bytes(), "it is at hand when the message is");
    }
    Outcome::Kept
}

pub(super) async fn largest_message_is_carried(kit: Kit) -> Outcome {
    let ([sender, _reader], mut delivered) = listening_pair(&kit).await;
    let message = sized(sender.broadcast_caps().max_message_bytes);
    sender.broadcast().publish(&message).await.expect("it is within the limit");
    assert_eq!(kit.delivery(&mut delivered).await.bytes, message.bytes);
    Outcome::Kept
}

pub(super) async fn oversize_publish_is_refused_locally(kit: Kit) -> Outcome {
    let ([sender, _reader], mut delivered) = listening_pair(&kit).await;
    let above = sized(sender.broadcast_caps().max_message_bytes + 1);
    assert_eq!(refusal(sender.broadcast().publish(&above).await), ErrorKind::TooLarge);
    let good = kit.envelope(&topic(), "good");
    sender.broadcast().publish(&good).await.expect("what is within the limit still goes");
    assert_eq!(kit.delivery(&mut delivered).await.bytes, good.bytes);
    Outcome::Kept
}

pub(super) async fn same_message_can_be_sent_again(kit: Kit) -> Outcome {
    let sender = kit.node().await;
    let message = kit.envelope(&topic(), "again");
    sender.broadcast().publish(&message).await.expect("nobody is there");
    let (reader, mut delivered) = kit.overheard().await;
    kit.link(&sender, &reader).await;
    let members = [sender, reader];
    let [_own, mut heard] = both(kit.subscribe(&members, &topic()).await);
    for _ in 0..2 {
        members[0].broadcast().publish(&message).await.expect("it goes out again");
        let inbound = kit.delivery(&mut delivered).await;
        assert_eq!(inbound.bytes, message.bytes);
    }
    assert_eq!(kit.text(&mut heard).await, "again");
    kit.silence(&mut heard).await;
    Outcome::Kept
}

pub(super) async fn bare_payloads_travel_where_it_says_so(kit: Kit) -> Outcome {
    let members = kit.pair().await;
    for member in &members {
        member.set_rules(topic(), TopicRules::raw());
    }
    let [_own, mut heard] = both(kit.subscribe(&members, &topic()).await);
    if !members[0].broadcast_caps().raw_topics {
        assert_eq!(refusal(members[0].publish(&topic(), "bare").await), ErrorKind::Unsupported);
        return Outcome::Unsupported("raw topics");
    }
    // Twice the same bytes are two messages: the wire's own number tells them apart.
    for _ in 0..2 {
        members[0].publish(&topic(), "bare").await.expect("publishes");
        let message = kit.message(&mut heard).await;
        assert_eq!((&message.payload()[..], message.author()), (&b"bare"[..], None));
    }
    Outcome::Kept
}

pub(super) async fn receipt_tells_the_truth(kit: Kit) -> Outcome {
    let [author, one, two, outside] =
        [kit.node().await, kit.node().await, kit.node().await, kit.node().await];
    for reader in [&one, &two] {
        kit.link(&author, reader).await;
    }
    let mut events = author.events();
    let members = [author.clone(), one, two];
    let mut subscriptions = kit.subscribe(&members, &topic()).await;
    kit.link(&author, &outside).await;
    let receipt = async |text| author.broadcast().publish(&kit.envelope(&topic(), text)).await;
    assert_eq!(receipt("to two").await.expect("publishes"), reached(&author, 2));
    drop(subscriptions.pop());
    kit.left(&author, &mut events).await;
    assert_eq!(receipt("to one").await.expect("publishes"), reached(&author, 1));
    let published = author.publish(&topic(), "to one").await.expect("publishes");
    assert_eq!((published.sent_to, published.queued), (reached(&author, 1).sent_to, false));
    Outcome::Kept
}

pub(super) async fn nobody_there_is_not_an_error(kit: Kit) -> Outcome {
    let author = kit.node().await;
    // A wire that does not count whom it reaches may still know that there is nobody.
    let nobody = |sent_to| sent_to == Some(0) || sent_to == reached(&author, 0).sent_to;
    let message = kit.envelope(&topic(), "to nobody");
    let alone = author.broadcast().publish(&message).await.expect("nobody is no error");
    assert!(nobody(alone.sent_to) && alone.skipped.is_empty(), "{alone:?}");
    let bystander = kit.node().await;
    kit.link(&author, &bystander).await;
    let linked = author.broadcast().publish(&message).await.expect("nobody on the topic is no error");
    assert!(nobody(linked.sent_to) && linked.skipped.is_empty(), "{linked:?}");
    let published = author.publish(&topic(), "to nobody").await.expect("nobody is no error");
    assert!(nobody(published.sent_to), "{published:?}");
    Outcome::Kept
}

pub(super) async fn what_reached_nobody_goes_to_the_first_who_joins(kit: Kit) -> Outcome {
    let members = kit.pair().await;
    let counts = members[0].broadcast_caps().reach == Reach::Counted;
    let numbers = 0..batch(&members[0]).min(3);
    let mut kept = true;
    for n in numbers.clone() {
        let published = members[0].publish(&topic(), n.to_string()).await.expect("publishes");
        assert_eq!(
            published.queued,
            published.sent_to == Some(0),
            "it is kept where nobody is known to be there"
        );
        kept &= published.queued;
    }
    if !kept {
        assert!(!counts, "who counts knows that there is nobody");
        return Outcome::Unsupported("counted reach, so keeping what reached nobody");
    }
    let mut heard = members[1].subscribe(&topic()).await.expect("a topic is joined");
    for n in numbers {
        assert_eq!(kit.text(&mut heard).await, n.to_string());
    }
    Outcome::Kept
}

/// An ordinary topic, and where the transport carries bare payloads also one of those.
fn topics_of_each_kind(members: &[Member]) -> Vec<Topic> {
    if !members[0].broadcast_caps().raw_topics {
        return vec![topic()];
    }
    for member in members {
        member.set_rules(other_topic(), TopicRules::raw());
    }
    vec![topic(), other_topic()]
}

/// As [`topics_of_each_kind`], but those on which a node cannot know an echo of its own for what it is.
fn topics_without_echo(members: &[Member]) -> Vec<Topic> {
    if members[0].broadcast_caps().echoes_own { vec![topic()] } else { topics_of_each_kind(members) }
}

fn numbered(n: u32) -> Topic {
    Topic::new(format!("topic {n}")).expect("a topic")
}

fn both(subscriptions: Vec<Subscription>) -> [Subscription; 2] {
    subscriptions.try_into().expect("two are two")
}

/// Two nodes that take part in a topic, and what is delivered to the second.
async fn listening_pair(kit: &Kit) -> ([Member; 2], Overheard) {
    let sender = kit.node().await;
    let (reader, delivered) = kit.overheard().await;
    kit.link(&sender, &reader).await;
    reader.broadcast().join(&topic()).await.expect("a topic is joined");
    kit.joined(&sender, &topic(), 1).await;
    ([sender, reader], delivered)
}

/// So many bytes to be carried; what they say is no business of a transport.
fn sized(bytes: usize) -> Outgoing {
    let bytes = Bytes::from(vec![7; bytes]);
    Outgoing { id: MessageId::of(&bytes), topic: topic(), bytes, lane: Lane::Own }
}

/// The receipt of a message that went to so many.
fn reached(member: &Member, peers: u32) -> Receipt {
    match member.broadcast_caps().reach {
        Reach::Counted => Receipt::counted(peers, vec![]),
        Reach::Unknown => Receipt::unknown(),
    }
}

async fn topic_peers(member: &Member) -> Vec<Remote> {
    member.broadcast().topic_peers(&topic()).await.expect("it knows")
}

/// Asserts who remotes are, as far as their links prove it: a daemon may stand for many nodes, and is none of them.
fn assert_are(remotes: &[Remote], members: &[&Member]) {
    assert!(remotes.is_sorted(), "{remotes:?}");
    let expected: Vec<_> = members.iter().map(|member| Remote::Peer(member.peer_id())).collect();
    match members[0].caps().identity {
        Identity::Peer => assert_eq!(remotes, expected),
        Identity::Daemon => assert!(remotes.iter().all(|remote| remote.peer().is_none()), "{remotes:?}"),
        Identity::Mixed => {}
    }
}

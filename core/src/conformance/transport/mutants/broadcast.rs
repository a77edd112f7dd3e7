//! Flaws of carrying messages.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use cid::Cid;
use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::{Mutant, Wrapper, lock};
use crate::conformance::transport::kit::other_topic;
use crate::{
    Broadcast, Error, ErrorKind, Host, Inbound, Message, MessageId, Notice, Outgoing, Receipt, Relay, Remote,
    Result, Served, Slot, Tap, Topic,
};

/// The flaws, each for its case.
pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "drops_every_tenth",
        flaw: "every tenth message that arrives is thrown away",
        case: "published_message_reaches_every_subscriber",
        make: || Arc::new(DropsEveryTenth::default()),
    },
    Mutant {
        name: "delivers_twice",
        flaw: "a message is delivered again under another number of the wire",
        case: "each_message_is_handed_out_once",
        make: || Arc::new(DeliversTwice),
    },
    Mutant {
        name: "echoes_own",
        flaw: "what a node publishes is delivered to itself, and no capability says so",
        case: "own_message_is_not_processed_again",
        make: || Arc::new(EchoesOwn::default()),
    },
    Mutant {
        name: "holds_one_back",
        flaw: "of fifty messages of an author one is delivered a second late",
        case: "one_authors_messages_come_in_order",
        make: || Arc::new(HoldsOneBack),
    },
    Mutant {
        name: "joins_unasked",
        flaw: "whoever joins a topic takes part in another one too",
        case: "unjoined_topic_delivers_nothing",
        make: || Arc::new(JoinsUnasked),
    },
    Mutant {
        name: "forgets_to_leave",
        flaw: "leaving a topic does nothing",
        case: "left_topic_falls_silent",
        make: || Arc::new(ForgetsToLeave),
    },
    Mutant {
        name: "overlooks_late_joiners",
        flaw: "nothing goes to peers that joined after the first message",
        case: "late_joiner_gets_what_comes_after",
        make: || Arc::new(OverlooksLateJoiners::default()),
    },
    Mutant {
        name: "knows_one_topic",
        flaw: "whatever arrives is delivered under the topic that was joined first",
        case: "topic_on_the_wire_is_passed_on",
        make: || Arc::new(KnowsOneTopic::default()),
    },
    Mutant {
        name: "rewrites_the_topic",
        flaw: "a message is delivered under the topic inside the envelope, not that of the wire",
        case: "message_of_another_topic_is_refused",
        make: || Arc::new(RewritesTheTopic),
    },
    Mutant {
        name: "joins_eight_topics",
        flaw: "the ninth topic and those after it are joined in words only",
        case: "many_topics_do_not_mix",
        make: || Arc::new(JoinsEightTopics::default()),
    },
    Mutant {
        name: "has_no_topic_limit",
        flaw: "beyond the limit joining answers Ok",
        case: "topic_limit_is_kept",
        make: || Arc::new(HasNoTopicLimit),
    },
    Mutant {
        name: "remembers_topic_peers",
        flaw: "who once took part in a topic is listed for ever",
        case: "topic_peers_are_those_who_take_part",
        make: || Arc::new(RemembersTopicPeers::default()),
    },
    Mutant {
        name: "trims_zeros",
        flaw: "zeros at the end of a message are cut off",
        case: "bytes_arrive_unchanged",
        make: || Arc::new(TrimsZeros),
    },
    Mutant {
        name: "drops_empty",
        flaw: "a message with an empty payload is thrown away",
        case: "empty_payload_is_a_message",
        make: || Arc::new(DropsEmpty),
    },
    Mutant {
        name: "forgets_the_overhead",
        flaw: "a message is thrown away that is larger than the inline limit with its envelope",
        case: "payload_at_the_limit_travels_inline",
        make: || Arc::new(ForgetsTheOverhead),
    },
    Mutant {
        name: "keeps_the_largest_block",
        flaw: "a block of exactly the largest size is not served",
        case: "payload_above_the_limit_travels_as_a_link",
        make: || Arc::new(KeepsTheLargestBlock),
    },
    Mutant {
        name: "drops_the_largest",
        flaw: "a message of exactly the largest size is thrown away",
        case: "largest_message_is_carried",
        make: || Arc::new(DropsTheLargest),
    },
    Mutant {
        name: "takes_oversize",
        flaw: "a message above the limit is answered with Ok",
        case: "oversize_publish_is_refused_locally",
        make: || Arc::new(TakesOversize),
    },
    Mutant {
        name: "names_by_content",
        flaw: "a message that was sent once does not go out again, as where its hash is its name on the wire",
        case: "same_message_can_be_sent_again",
        make: || Arc::new(NamesByContent::default()),
    },
    Mutant {
        name: "numbers_nothing",
        flaw: "messages are delivered without the number of the wire",
        case: "bare_payloads_travel_where_it_says_so",
        make: || Arc::new(NumbersNothing),
    },
    Mutant {
        name: "counts_itself",
        flaw: "a receipt counts one too many, where anybody was reached",
        case: "receipt_tells_the_truth",
        make: || Arc::new(CountsItself),
    },
    Mutant {
        name: "fails_alone",
        flaw: "publishing where nobody is there is an error",
        case: "nobody_there_is_not_an_error",
        make: || Arc::new(FailsAlone),
    },
    Mutant {
        name: "says_it_reached_somebody",
        flaw: "where nobody was reached the receipt says one",
        case: "what_reached_nobody_goes_to_the_first_who_joins",
        make: || Arc::new(SaysItReachedSomebody),
    },
];

#[derive(Debug, Default)]
struct DropsEveryTenth(AtomicU32);

impl Tap for DropsEveryTenth {
    fn deliver(&self, slot: Slot, inbound: Inbound) -> BoxFuture<'static, Relay> {
        if self.0.fetch_add(1, Ordering::Relaxed) % 10 == 9 {
            dropped()
        } else {
            slot.deliver(inbound).boxed()
        }
    }
}

impl Wrapper for DropsEveryTenth {}

#[derive(Debug)]
struct DeliversTwice;

impl Tap for DeliversTwice {
    fn deliver(&self, slot: Slot, inbound: Inbound) -> BoxFuture<'static, Relay> {
        let again = Inbound { wire_id: None, ..inbound.clone() };
        if let Some(another) = slot.host().try_slot(&inbound.from) {
            drop(another.deliver(again));
        }
        slot.deliver(inbound).boxed()
    }
}

impl Wrapper for DeliversTwice {}

#[derive(Debug, Default)]
struct EchoesOwn(OnceLock<Host>);

impl Tap for EchoesOwn {
    fn notice(&self, host: &Host, notice: Notice) {
        self.0.get_or_init(|| host.clone());
        host.notice(notice);
    }
}

#[async_trait]
impl Wrapper for EchoesOwn {
    async fn publish(&self, inner: &dyn Broadcast, message: &Outgoing) -> Result<Receipt> {
        if let Some(host) = self.0.get() {
            let from = Remote::Peer(host.me());
            let (topic, bytes) = (message.topic.clone(), message.bytes.clone());
            let slot = host.slot(&from).await;
            drop(slot.deliver(Inbound { from, topic, bytes, wire_id: Some("echo".into()) }));
        }
        inner.publish(message).await
    }
}

#[derive(Debug)]
struct HoldsOneBack;

impl Tap for HoldsOneBack {
    fn deliver(&self, slot: Slot, inbound: Inbound) -> BoxFuture<'static, Relay> {
        if read(&slot, &inbound).is_none_or(|message| message.seqno() % 50 != 49) {
            return slot.deliver(inbound).boxed();
        }
        async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            slot.deliver(inbound).await
        }
        .boxed()
    }
}

impl Wrapper for HoldsOneBack {}

#[derive(Debug)]
struct JoinsUnasked;

impl Tap for JoinsUnasked {}

#[async_trait]
impl Wrapper for JoinsUnasked {
    async fn join(&self, inner: &dyn Broadcast, topic: &Topic) -> Result<()> {
        inner.join(topic).await?;
        inner.join(&other_topic()).await
    }
}

#[derive(Debug)]
struct ForgetsToLeave;

impl Tap for ForgetsToLeave {}

#[async_trait]
impl Wrapper for ForgetsToLeave {
    async fn leave(&self, _: &dyn Broadcast, _: &Topic) -> Result<()> {
        Ok(())
    }
}

#[derive(Debug, Default)]
struct OverlooksLateJoiners {
    began: AtomicBool,
    late: Mutex<BTreeSet<Remote>>,
}

impl Tap for OverlooksLateJoiners {
    fn notice(&self, host: &Host, notice: Notice) {
        if let (Notice::Joined(remote, _), true) = (&notice, self.began.load(Ordering::Relaxed)) {
            lock(&self.late).insert(remote.clone());
        }
        host.notice(notice);
    }

    fn relays_to(&self, host: &Host, remote: &Remote) -> bool {
        host.relays_to(remote) && !lock(&self.late).contains(remote)
    }
}

#[async_trait]
impl Wrapper for OverlooksLateJoiners {
    async fn publish(&self, inner: &dyn Broadcast, message: &Outgoing) -> Result<Receipt> {
        self.began.store(true, Ordering::Relaxed);
        inner.publish(message).await
    }
}

#[derive(Debug, Default)]
struct KnowsOneTopic(OnceLock<Topic>);

impl Tap for KnowsOneTopic {
    fn deliver(&self, slot: Slot, inbound: Inbound) -> BoxFuture<'static, Relay> {
        let topic = self.0.get().unwrap_or(&inbound.topic).clone();
        slot.deliver(Inbound { topic, ..inbound }).boxed()
    }
}

#[async_trait]
impl Wrapper for KnowsOneTopic {
    async fn join(&self, inner: &dyn Broadcast, topic: &Topic) -> Result<()> {
        self.0.get_or_init(|| topic.clone());
        inner.join(topic).await
    }
}

#[derive(Debug)]
struct RewritesTheTopic;

impl Tap for RewritesTheTopic {
    fn deliver(&self, slot: Slot, inbound: Inbound) -> BoxFuture<'static, Relay> {
        let topic = read(&slot, &inbound).map_or(inbound.topic, |message| message.topic().clone());
        slot.deliver(Inbound { topic, ..inbound }).boxed()
    }
}

impl Wrapper for RewritesTheTopic {}

#[derive(Debug, Default)]
struct JoinsEightTopics(AtomicU32);

impl Tap for JoinsEightTopics {}

#[async_trait]
impl Wrapper for JoinsEightTopics {
    async fn join(&self, inner: &dyn Broadcast, topic: &Topic) -> Result<()> {
        if self.0.fetch_add(1, Ordering::Relaxed) < 8 { inner.join(topic).await } else { Ok(()) }
    }
}

#[derive(Debug)]
struct HasNoTopicLimit;

impl Tap for HasNoTopicLimit {}

#[async_trait]
impl Wrapper for HasNoTopicLimit {
    async fn join(&self, inner: &dyn Broadcast, topic: &Topic) -> Result<()> {
        match inner.join(topic).await {
            Err(error) if error.kind() == ErrorKind::TooLarge => Ok(()),
            joined => joined,
        }
    }
}

#[derive(Debug, Default)]
struct RemembersTopicPeers(Mutex<BTreeSet<Remote>>);

impl Tap for RemembersTopicPeers {}

#[async_trait]
impl Wrapper for RemembersTopicPeers {
    async fn topic_peers(&self, inner: &dyn Broadcast, topic: &Topic) -> Result<Vec<Remote>> {
        let now = inner.topic_peers(topic).await?;
        let mut ever = lock(&self.0);
        ever.extend(now);
        Ok(ever.iter().cloned().collect())
    }
}

#[derive(Debug)]
struct TrimsZeros;

impl Tap for TrimsZeros {
    fn deliver(&self, slot: Slot, inbound: Inbound) -> BoxFuture<'static, Relay> {
        let end = inbound.bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        slot.deliver(Inbound { bytes: inbound.bytes.slice(..end), ..inbound }).boxed()
    }
}

impl Wrapper for TrimsZeros {}

#[derive(Debug)]
struct DropsEmpty;

impl Tap for DropsEmpty {
    fn deliver(&self, slot: Slot, inbound: Inbound) -> BoxFuture<'static, Relay> {
        match read(&slot, &inbound) {
            Some(message) if message.payload().is_empty() && message.link().is_none() => dropped(),
            _ => slot.deliver(inbound).boxed(),
        }
    }
}

impl Wrapper for DropsEmpty {}

#[derive(Debug)]
struct ForgetsTheOverhead;

impl Tap for ForgetsTheOverhead {
    fn deliver(&self, slot: Slot, inbound: Inbound) -> BoxFuture<'static, Relay> {
        let too_large = inbound.bytes.len() > slot.host().limits().payload_bytes;
        if too_large { dropped() } else { slot.deliver(inbound).boxed() }
    }
}

impl Wrapper for ForgetsTheOverhead {}

#[derive(Debug)]
struct KeepsTheLargestBlock;

impl Tap for KeepsTheLargestBlock {
    fn block<'a>(
        &'a self,
        host: &'a Host,
        asker: &'a Remote,
        cid: &'a Cid,
    ) -> BoxFuture<'a, Result<Option<Served>>> {
        async {
            let served = host.block(asker, cid).await?;
            Ok(served.filter(|served| served.bytes().len() < host.limits().block_bytes))
        }
        .boxed()
    }
}

impl Wrapper for KeepsTheLargestBlock {}

#[derive(Debug)]
struct DropsTheLargest;

impl Tap for DropsTheLargest {
    fn deliver(&self, slot: Slot, inbound: Inbound) -> BoxFuture<'static, Relay> {
        let largest = inbound.bytes.len() == slot.host().limits().envelope_bytes();
        if largest { dropped() } else { slot.deliver(inbound).boxed() }
    }
}

impl Wrapper for DropsTheLargest {}

#[derive(Debug)]
struct TakesOversize;

impl Tap for TakesOversize {}

#[async_trait]
impl Wrapper for TakesOversize {
    async fn publish(&self, inner: &dyn Broadcast, message: &Outgoing) -> Result<Receipt> {
        match inner.publish(message).await {
            Err(error) if error.kind() == ErrorKind::TooLarge => Ok(Receipt::counted(1, vec![])),
            published => published,
        }
    }
}

#[derive(Debug, Default)]
struct NamesByContent(Mutex<BTreeSet<MessageId>>);

impl Tap for NamesByContent {}

#[async_trait]
impl Wrapper for NamesByContent {
    async fn publish(&self, inner: &dyn Broadcast, message: &Outgoing) -> Result<Receipt> {
        if !lock(&self.0).insert(message.id) {
            return Ok(Receipt::counted(1, vec![]));
        }
        inner.publish(message).await
    }
}

#[derive(Debug)]
struct NumbersNothing;

impl Tap for NumbersNothing {
    fn deliver(&self, slot: Slot, inbound: Inbound) -> BoxFuture<'static, Relay> {
        slot.deliver(Inbound { wire_id: None, ..inbound }).boxed()
    }
}

impl Wrapper for NumbersNothing {}

#[derive(Debug)]
struct CountsItself;

impl Tap for CountsItself {}

#[async_trait]
impl Wrapper for CountsItself {
    async fn publish(&self, inner: &dyn Broadcast, message: &Outgoing) -> Result<Receipt> {
        let mut receipt = inner.publish(message).await?;
        receipt.sent_to = receipt.sent_to.map(|peers| if peers > 0 { peers + 1 } else { 0 });
        Ok(receipt)
    }
}

#[derive(Debug)]
struct FailsAlone;

impl Tap for FailsAlone {}

#[async_trait]
impl Wrapper for FailsAlone {
    async fn publish(&self, inner: &dyn Broadcast, message: &Outgoing) -> Result<Receipt> {
        let receipt = inner.publish(message).await?;
        if receipt.sent_to == Some(0) && receipt.skipped.is_empty() {
            return Err(Error::new(ErrorKind::NoPeers, "publish", "nobody is there"));
        }
        Ok(receipt)
    }
}

#[derive(Debug)]
struct SaysItReachedSomebody;

impl Tap for SaysItReachedSomebody {}

#[async_trait]
impl Wrapper for SaysItReachedSomebody {
    async fn publish(&self, inner: &dyn Broadcast, message: &Outgoing) -> Result<Receipt> {
        let receipt = inner.publish(message).await?;
        Ok(if receipt.sent_to == Some(0) { Receipt::counted(1, vec![]) } else { receipt })
    }
}

/// The answer for a message that is thrown away.
fn dropped() -> BoxFuture<'static, Relay> {
    std::future::ready(Relay::Ignore).boxed()
}

/// What a transport has no business to read.
fn read(slot: &Slot, inbound: &Inbound) -> Option<Message> {
    let (id, host) = (MessageId::of(&inbound.bytes), slot.host());
    Message::decode(id, inbound.bytes.clone(), host.network(), inbound.bytes.len()).ok()
}

//! Flaws of judging.

use std::collections::BTreeSet;
use std::future::{pending, ready};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::RwLock;
use tokio::time::Instant;

use super::{Mutant, Wrapper};
use crate::{
    Broadcast, DAG_CBOR, Error, ErrorKind, Fetch, Fetched, Host, Inbound, Lane, MessageId, Misdeed, Outgoing,
    PeerId, Receipt, Relay, Remote, Result, Slot, Tap, Transport, Want,
};

/// The flaws, each for its case.
pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "stops_at_a_refusal",
        flaw: "nothing more is read from a link that brought what was refused",
        case: "refused_is_not_handed_out",
        make: || Arc::new(StopsAtARefusal::default()),
    },
    Mutant {
        name: "relays_rejected",
        flaw: "what is rejected is relayed all the same",
        case: "rejected_is_not_relayed",
        make: || Arc::new(Relays::what_is(Relay::Reject)),
    },
    Mutant {
        name: "relays_before_the_verdict",
        flaw: "a message is relayed when it arrives, whatever the node thinks of it",
        case: "relay_waits_for_the_verdict",
        make: || Arc::new(RelaysFirst::default()),
    },
    Mutant {
        name: "relays_ignored",
        flaw: "what is ignored is relayed all the same",
        case: "ignored_is_not_relayed_and_may_come_again",
        make: || Arc::new(Relays::what_is(Relay::Ignore)),
    },
    Mutant {
        name: "remembers_ignored",
        flaw: "a message that was ignored is not handed over when it comes again",
        case: "ignored_is_not_relayed_and_may_come_again",
        make: || Arc::new(RemembersIgnored::default()),
    },
    Mutant {
        name: "relays_second_copies",
        flaw: "a message is relayed again when it comes by another way",
        case: "accepted_is_relayed_once_on_each_transport",
        make: || Arc::new(Relays::what_is(Relay::Duplicate)),
    },
    Mutant {
        name: "ignores_second_copies",
        flaw: "a copy of what is being judged is thrown away",
        case: "second_copy_waits_for_the_same_verdict",
        make: || Arc::new(IgnoresCopies::default()),
    },
    Mutant {
        name: "drops_late_relays",
        flaw: "what the node hands in for relay after a late verdict is thrown away",
        case: "late_accept_is_delivered_and_relayed",
        make: || Arc::new(DropsLateRelays),
    },
    Mutant {
        name: "fetches_nothing_meanwhile",
        flaw: "no block is asked for while a message waits for its verdict",
        case: "deferral_fetches_a_block_and_then_delivers",
        make: || Arc::new(FetchesNothingMeanwhile::default()),
    },
    Mutant {
        name: "serves_no_messages",
        flaw: "only raw blocks are asked for",
        case: "deferral_fetches_a_message_and_then_delivers",
        make: || Arc::new(ServesNoMessages),
    },
    Mutant {
        name: "delivers_one_at_a_time",
        flaw: "the next message is not handed over before the last one has its verdict",
        case: "deferral_that_cannot_be_met_is_ignored",
        make: || Arc::new(DeliversOneAtATime::default()),
    },
    Mutant {
        name: "blames_for_slow_verdicts",
        flaw: "whoever brings what takes long to judge is reported",
        case: "failing_validator_is_ignored",
        make: || Arc::new(BlamesForSlowVerdicts),
    },
    Mutant {
        name: "blames_for_ignored",
        flaw: "whoever brings what is ignored is reported",
        case: "reputation_falls_for_reject_alone",
        make: || Arc::new(BlamesForIgnored),
    },
    Mutant {
        name: "names_the_first_link",
        flaw: "every message is said to come over the link that spoke first",
        case: "reputation_falls_for_reject_alone",
        make: || Arc::new(NamesTheFirst::default()),
    },
    Mutant {
        name: "sends_to_the_quiet",
        flaw: "messages go to a peer whose name is bad",
        case: "low_reputation_ends_the_relaying",
        make: || Arc::new(SendsToAll),
    },
    Mutant {
        name: "keeps_banned_links",
        flaw: "links stay when they are to be ended",
        case: "ban_closes_and_stays_closed",
        make: || Arc::new(KeepsLinks),
    },
    Mutant {
        name: "admits_old_friends",
        flaw: "whoever was admitted once is admitted for ever",
        case: "ban_closes_and_stays_closed",
        make: || Arc::new(AdmitsOldFriends::default()),
    },
];

/// Messages by their bytes.
#[derive(Clone, Debug, Default)]
struct Ids(Arc<Mutex<BTreeSet<MessageId>>>);

impl Ids {
    /// Whether it is new here.
    fn insert(&self, id: MessageId) -> bool {
        self.0.lock().expect("lock").insert(id)
    }

    fn contains(&self, id: &MessageId) -> bool {
        self.0.lock().expect("lock").contains(id)
    }

    fn remove(&self, id: &MessageId) {
        self.0.lock().expect("lock").remove(id);
    }
}

fn id(inbound: &Inbound) -> MessageId {
    MessageId::of(&inbound.bytes)
}

#[derive(Debug, Default)]
struct StopsAtARefusal(Arc<AtomicBool>);

impl Tap for StopsAtARefusal {
    fn deliver(&self, slot: Slot, inbound: Inbound) -> BoxFuture<'static, Relay> {
        let stopped = Arc::clone(&self.0);
        if stopped.load(Ordering::Relaxed) {
            return pending().boxed();
        }
        let note = move |answer: &Relay| {
            stopped.fetch_or(*answer == Relay::Reject, Ordering::Relaxed);
        };
        slot.deliver(inbound).inspect(note).boxed()
    }
}

#[async_trait]
impl Wrapper for StopsAtARefusal {}

/// Relays what has one answer, each message once: in a circle it would go round for ever.
#[derive(Debug)]
struct Relays {
    wrongly: Relay,
    done: Ids,
}

impl Relays {
    fn what_is(wrongly: Relay) -> Self {
        Self { wrongly, done: Ids::default() }
    }
}

impl Tap for Relays {
    fn deliver(&self, slot: Slot, inbound: Inbound) -> BoxFuture<'static, Relay> {
        let (wrongly, done, id) = (self.wrongly, self.done.clone(), id(&inbound));
        let answer = move |answer| if answer == wrongly && done.insert(id) { Relay::Accept } else { answer };
        slot.deliver(inbound).map(answer).boxed()
    }
}

#[async_trait]
impl Wrapper for Relays {}

#[derive(Debug, Default)]
struct RelaysFirst(Ids);

impl Tap for RelaysFirst {
    fn deliver(&self, slot: Slot, inbound: Inbound) -> BoxFuture<'static, Relay> {
        if !self.0.insert(id(&inbound)) {
            return slot.deliver(inbound).boxed();
        }
        tokio::spawn(slot.deliver(inbound));
        ready(Relay::Accept).boxed()
    }
}

#[async_trait]
impl Wrapper for RelaysFirst {}

#[derive(Debug, Default)]
struct RemembersIgnored(Ids);

impl Tap for RemembersIgnored {
    fn deliver(&self, slot: Slot, inbound: Inbound) -> BoxFuture<'static, Relay> {
        let (ids, id) = (self.0.clone(), id(&inbound));
        if ids.contains(&id) {
            return ready(Relay::Ignore).boxed();
        }
        let remember = move |answer: &Relay| {
            let _ = *answer == Relay::Ignore && ids.insert(id);
        };
        slot.deliver(inbound).inspect(remember).boxed()
    }
}

#[async_trait]
impl Wrapper for RemembersIgnored {}

#[derive(Debug, Default)]
struct IgnoresCopies(Ids);

impl Tap for IgnoresCopies {
    fn deliver(&self, slot: Slot, inbound: Inbound) -> BoxFuture<'static, Relay> {
        let (judged, id) = (self.0.clone(), id(&inbound));
        if !judged.insert(id) {
            return ready(Relay::Ignore).boxed();
        }
        slot.deliver(inbound).inspect(move |_| judged.remove(&id)).boxed()
    }
}

#[async_trait]
impl Wrapper for IgnoresCopies {}

#[derive(Debug)]
struct DropsLateRelays;

impl Tap for DropsLateRelays {}

#[async_trait]
impl Wrapper for DropsLateRelays {
    async fn publish(&self, inner: &dyn Broadcast, message: &Outgoing) -> Result<Receipt> {
        if message.lane == Lane::Relay {
            return Ok(Receipt::counted(0, vec![]));
        }
        inner.publish(message).await
    }
}

/// Those that are judged read, those that fetch write.
#[derive(Debug, Default)]
struct FetchesNothingMeanwhile(Arc<RwLock<()>>);

impl Tap for FetchesNothingMeanwhile {
    fn deliver(&self, slot: Slot, inbound: Inbound) -> BoxFuture<'static, Relay> {
        let (judged, answer) = (Arc::clone(&self.0).try_read_owned(), slot.deliver(inbound));
        answer.inspect(move |_| drop(judged)).boxed()
    }
}

#[async_trait]
impl Wrapper for FetchesNothingMeanwhile {
    async fn fetch_block(&self, inner: &dyn Fetch, want: &Want) -> Result<Fetched> {
        let _alone = self.0.write().await;
        inner.block(want).await
    }
}

#[derive(Debug)]
struct ServesNoMessages;

impl Tap for ServesNoMessages {}

#[async_trait]
impl Wrapper for ServesNoMessages {
    async fn fetch_block(&self, inner: &dyn Fetch, want: &Want) -> Result<Fetched> {
        if want.cid.codec() == DAG_CBOR {
            return Err(Error::new(ErrorKind::NotFound, "block", "a mutant says so"));
        }
        inner.block(want).await
    }
}

#[derive(Debug, Default)]
struct DeliversOneAtATime(Arc<tokio::sync::Mutex<()>>);

impl Tap for DeliversOneAtATime {
    fn deliver(&self, slot: Slot, inbound: Inbound) -> BoxFuture<'static, Relay> {
        let last = Arc::clone(&self.0);
        async move {
            let _turn = last.lock().await;
            slot.deliver(inbound).await
        }
        .boxed()
    }
}

#[async_trait]
impl Wrapper for DeliversOneAtATime {}

#[derive(Debug)]
struct BlamesForSlowVerdicts;

impl Tap for BlamesForSlowVerdicts {
    fn deliver(&self, slot: Slot, inbound: Inbound) -> BoxFuture<'static, Relay> {
        let (host, from, began) = (slot.host().clone(), inbound.from.clone(), Instant::now());
        let blame = move |_: &Relay| {
            if began.elapsed() >= Duration::from_millis(150) {
                host.report(&from, Misdeed::Stalled);
            }
        };
        slot.deliver(inbound).inspect(blame).boxed()
    }
}

#[async_trait]
impl Wrapper for BlamesForSlowVerdicts {}

#[derive(Debug)]
struct BlamesForIgnored;

impl Tap for BlamesForIgnored {
    fn deliver(&self, slot: Slot, inbound: Inbound) -> BoxFuture<'static, Relay> {
        let (host, from) = (slot.host().clone(), inbound.from.clone());
        let blame = move |answer: &Relay| {
            if *answer == Relay::Ignore {
                host.report(&from, Misdeed::Spam);
            }
        };
        slot.deliver(inbound).inspect(blame).boxed()
    }
}

#[async_trait]
impl Wrapper for BlamesForIgnored {}

#[derive(Debug, Default)]
struct NamesTheFirst(OnceLock<Remote>);

impl Tap for NamesTheFirst {
    fn deliver(&self, slot: Slot, mut inbound: Inbound) -> BoxFuture<'static, Relay> {
        inbound.from = self.0.get_or_init(|| inbound.from.clone()).clone();
        slot.deliver(inbound).boxed()
    }
}

#[async_trait]
impl Wrapper for NamesTheFirst {}

#[derive(Debug)]
struct SendsToAll;

impl Tap for SendsToAll {
    fn relays_to(&self, _: &Host, _: &Remote) -> bool {
        true
    }
}

#[async_trait]
impl Wrapper for SendsToAll {}

#[derive(Debug)]
struct KeepsLinks;

impl Tap for KeepsLinks {}

#[async_trait]
impl Wrapper for KeepsLinks {
    async fn disconnect(&self, _: &dyn Transport, _: &Remote) -> Result<()> {
        Ok(())
    }
}

#[derive(Debug, Default)]
struct AdmitsOldFriends(Mutex<BTreeSet<PeerId>>);

impl Tap for AdmitsOldFriends {
    fn admits(&self, host: &Host, peer: &PeerId) -> bool {
        let mut friends = self.0.lock().expect("lock");
        if host.admits(peer) {
            friends.insert(*peer);
        }
        friends.contains(peer)
    }
}

#[async_trait]
impl Wrapper for AdmitsOldFriends {}

//! Flaws that only a foe brings out.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use futures::FutureExt as _;
use futures::future::{self, BoxFuture};

use super::{Mutant, Wrapper, lock};
use crate::{
    Broadcast, Host, Inbound, MessageId, Misdeed, Notice, PeerId, Relay, Remote, Result, Slot, Tap, Topic,
};

/// The flaws, each for its case.
pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "forgives_broken_frames",
        flaw: "whose link was cut off because it broke the format is not blamed",
        case: "more_topics_than_allowed_end_in_a_ban",
        make: || Arc::new(Forgives(Misdeed::Malformed)),
    },
    Mutant {
        name: "bears_any_churn",
        flaw: "joining and leaving without end is nobody's fault",
        case: "flood_of_joins_ends_in_a_ban",
        make: || Arc::new(Forgives(Misdeed::Needless)),
    },
    Mutant {
        name: "shifts_the_blame",
        flaw: "each message is said to come from somebody else, so no link is blamed for what it brings",
        case: "bad_messages_end_in_a_ban",
        make: || Arc::new(ShiftsTheBlame::default()),
    },
    Mutant {
        name: "hides_repeats",
        flaw: "repeats are dropped before the node can see who brings them",
        case: "flood_of_replays_ends_in_a_ban",
        make: || Arc::new(HidesRepeats::default()),
    },
    Mutant {
        name: "joins_more_than_its_node",
        flaw: "takes part in a topic that its node did not join, and hands in what comes on it",
        case: "flood_on_other_topics_ends_in_a_ban",
        make: || Arc::new(JoinsMore),
    },
    Mutant {
        name: "forgives_silence",
        flaw: "who takes a request and sends nothing is not blamed",
        case: "content_announced_and_not_delivered_ends_in_a_ban",
        make: || Arc::new(Forgives(Misdeed::Stalled)),
    },
    Mutant {
        name: "waits_for_the_deaf",
        flaw: "once a queue is full nothing more is taken from anybody",
        case: "peer_that_never_reads_harms_nobody",
        make: || Arc::new(WaitsForTheDeaf::default()),
    },
    Mutant {
        name: "locks_its_door",
        flaw: "after twenty refusals nobody is admitted any more",
        case: "ten_strangers_for_each_friend_change_nothing",
        make: || Arc::new(LocksItsDoor::default()),
    },
];

/// Does not report one kind of misdeed.
#[derive(Debug)]
struct Forgives(Misdeed);

impl Tap for Forgives {
    fn report(&self, host: &Host, who: &Remote, misdeed: Misdeed) {
        if misdeed != self.0 {
            host.report(who, misdeed);
        }
    }
}

impl Wrapper for Forgives {}

#[derive(Debug, Default)]
struct ShiftsTheBlame(AtomicUsize);

impl Tap for ShiftsTheBlame {
    fn deliver(&self, slot: Slot, inbound: Inbound) -> BoxFuture<'static, Relay> {
        let somebody = self.0.fetch_add(1, Ordering::Relaxed).to_string();
        slot.deliver(Inbound { from: Remote::Foreign(somebody.into()), ..inbound }).boxed()
    }
}

impl Wrapper for ShiftsTheBlame {}

#[derive(Debug, Default)]
struct HidesRepeats(Mutex<BTreeSet<MessageId>>);

impl Tap for HidesRepeats {
    fn deliver(&self, slot: Slot, inbound: Inbound) -> BoxFuture<'static, Relay> {
        if lock(&self.0).insert(MessageId::of(&inbound.bytes)) {
            slot.deliver(inbound).boxed()
        } else {
            future::ready(Relay::Duplicate).boxed()
        }
    }
}

impl Wrapper for HidesRepeats {}

#[derive(Debug)]
struct JoinsMore;

impl Tap for JoinsMore {}

#[async_trait]
impl Wrapper for JoinsMore {
    async fn join(&self, inner: &dyn Broadcast, topic: &Topic) -> Result<()> {
        if topic.as_str() == "readings" {
            inner.join(&Topic::new("topic-0")?).await?;
        }
        inner.join(topic).await
    }
}

#[derive(Debug, Default)]
struct WaitsForTheDeaf(AtomicBool);

impl Tap for WaitsForTheDeaf {
    fn notice(&self, host: &Host, notice: Notice) {
        self.0.fetch_or(matches!(notice, Notice::Dropped { .. }), Ordering::Relaxed);
        host.notice(notice);
    }

    fn slot<'a>(&'a self, host: &'a Host, from: &'a Remote) -> BoxFuture<'a, Slot> {
        if self.0.load(Ordering::Relaxed) {
            return future::pending().boxed();
        }
        host.slot(from).boxed()
    }
}

impl Wrapper for WaitsForTheDeaf {}

#[derive(Debug, Default)]
struct LocksItsDoor(AtomicUsize);

impl Tap for LocksItsDoor {
    fn admits(&self, host: &Host, peer: &PeerId) -> bool {
        let admits = host.admits(peer);
        let refused = self.0.fetch_add(usize::from(!admits), Ordering::Relaxed);
        admits && refused < 20
    }
}

impl Wrapper for LocksItsDoor {}

//! Flaws of bounds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::{Mutex, RwLock};

use super::{Mutant, Wrapper};
use crate::{
    Broadcast, Claims, Fetch, Host, Inbound, Notice, Outgoing, Receipt, Relay, Remote, Result, Slot, Tap,
    WantDag,
};

/// The flaws, each for its case.
pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "takes_no_slot",
        flaw: "messages are delivered without room for them",
        case: "full_gate_waits_or_counts",
        make: || Arc::new(TakesNoSlot),
    },
    Mutant {
        name: "asks_in_made_up_names",
        flaw: "room for a message is asked for in a name of its own, so no link's share is ever full",
        case: "full_gate_waits_or_counts",
        make: || Arc::new(MadeUpNames::default()),
    },
    Mutant {
        name: "one_queue_for_all",
        flaw: "all links share one share of the gate",
        case: "one_noisy_peer_does_not_starve_another",
        make: || Arc::new(OneForAll),
    },
    Mutant {
        name: "reads_without_bound",
        flaw: "whatever comes is read at once, and waits in memory for its room",
        case: "flood_is_bounded_and_every_drop_is_counted",
        make: || Arc::new(ReadsWithoutBound::default()),
    },
    Mutant {
        name: "hides_drops",
        flaw: "the node is not told what a full queue dropped",
        case: "flood_is_bounded_and_every_drop_is_counted",
        make: || Arc::new(HidesDrops),
    },
    Mutant {
        name: "gives_up_after_a_drop",
        flaw: "after a queue dropped something the next message goes to nobody, and is said to have gone",
        case: "slow_peer_harms_no_other",
        make: || Arc::new(GivesUp::default()),
    },
    Mutant {
        name: "transfers_before_messages",
        flaw: "messages wait for the end of a transfer",
        case: "small_messages_pass_beside_a_big_transfer",
        make: || Arc::new(TransfersFirst::default()),
    },
];

/// Room that nobody gave.
fn forged(host: &Host) -> BoxFuture<'_, Slot> {
    std::future::ready(Slot::forged(host).expect("it takes no room")).boxed()
}

#[derive(Debug)]
struct TakesNoSlot;

impl Tap for TakesNoSlot {
    fn slot<'a>(&'a self, host: &'a Host, _: &'a Remote) -> BoxFuture<'a, Slot> {
        forged(host)
    }
}

impl Wrapper for TakesNoSlot {}

/// Takes room in the order of arrival, when the message is there already. Does not wait for verdicts where many are late.
#[derive(Debug, Default)]
struct ReadsWithoutBound(Arc<Mutex<()>>, Arc<AtomicU64>);

impl Tap for ReadsWithoutBound {
    fn slot<'a>(&'a self, host: &'a Host, _: &'a Remote) -> BoxFuture<'a, Slot> {
        forged(host)
    }

    fn deliver(&self, slot: Slot, inbound: Inbound) -> BoxFuture<'static, Relay> {
        let (before, late) = (Arc::clone(&self.0).lock_owned(), Arc::clone(&self.1));
        let many = late.fetch_add(1, Ordering::Relaxed) >= 4;
        let waiting = tokio::spawn(async move {
            let turn = before.await;
            let answer = slot.host().slot(&inbound.from).await.deliver(inbound);
            drop(turn);
            let answer = answer.await;
            late.fetch_sub(1, Ordering::Relaxed);
            answer
        });
        if many {
            return std::future::ready(Relay::Ignore).boxed();
        }
        waiting.map(|answer| answer.unwrap_or(Relay::Ignore)).boxed()
    }
}

impl Wrapper for ReadsWithoutBound {}

#[derive(Debug, Default)]
struct MadeUpNames(AtomicU64);

impl Tap for MadeUpNames {
    fn slot<'a>(&'a self, host: &'a Host, _: &'a Remote) -> BoxFuture<'a, Slot> {
        let name = self.0.fetch_add(1, Ordering::Relaxed).to_string();
        async move { host.slot(&Remote::Foreign(name.into())).await }.boxed()
    }
}

#[async_trait]
impl Wrapper for MadeUpNames {}

#[derive(Debug)]
struct OneForAll;

impl Tap for OneForAll {
    fn slot<'a>(&'a self, host: &'a Host, _: &'a Remote) -> BoxFuture<'a, Slot> {
        async move { host.slot(&Remote::Foreign("all".into())).await }.boxed()
    }
}

#[async_trait]
impl Wrapper for OneForAll {}

#[derive(Debug)]
struct HidesDrops;

impl Tap for HidesDrops {
    fn notice(&self, host: &Host, notice: Notice) {
        if !matches!(notice, Notice::Dropped { .. }) {
            host.notice(notice);
        }
    }
}

#[async_trait]
impl Wrapper for HidesDrops {}

#[derive(Debug, Default)]
struct GivesUp(AtomicBool);

impl Tap for GivesUp {
    fn notice(&self, host: &Host, notice: Notice) {
        self.0.fetch_or(matches!(notice, Notice::Dropped { .. }), Ordering::Relaxed);
        host.notice(notice);
    }
}

#[async_trait]
impl Wrapper for GivesUp {
    async fn publish(&self, inner: &dyn Broadcast, message: &Outgoing) -> Result<Receipt> {
        if self.0.swap(false, Ordering::Relaxed) {
            return Ok(Receipt::counted(1, vec![]));
        }
        inner.publish(message).await
    }
}

/// Messages read, transfers write.
#[derive(Debug, Default)]
struct TransfersFirst(Arc<RwLock<()>>);

impl Tap for TransfersFirst {
    fn deliver(&self, slot: Slot, inbound: Inbound) -> BoxFuture<'static, Relay> {
        let transfers = Arc::clone(&self.0);
        async move {
            drop(transfers.read().await);
            slot.deliver(inbound).await
        }
        .boxed()
    }
}

#[async_trait]
impl Wrapper for TransfersFirst {
    async fn fetch_dag(&self, inner: &dyn Fetch, want: &WantDag) -> Result<Claims> {
        let alone = Arc::clone(&self.0).write_owned().await;
        let claims = inner.dag(want).await?;
        Ok(claims.inspect(move |_| _ = &alone).boxed())
    }
}

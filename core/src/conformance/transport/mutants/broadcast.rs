//! Flaws of carrying messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::{Mutant, Wrapper};
use crate::{Inbound, Relay, Slot, Tap};

/// The flaws, each for its case.
pub(super) const MUTANTS: &[Mutant] = &[Mutant {
    name: "drops_every_tenth",
    flaw: "every tenth message that arrives is thrown away",
    case: "published_message_reaches_every_subscriber",
    make: || Arc::new(DropsEveryTenth::default()),
}];

#[derive(Debug, Default)]
struct DropsEveryTenth(AtomicU32);

impl Tap for DropsEveryTenth {
    fn deliver(&self, slot: Slot, inbound: Inbound) -> BoxFuture<'static, Relay> {
        if self.0.fetch_add(1, Ordering::Relaxed) % 10 == 9 {
            return std::future::ready(Relay::Ignore).boxed();
        }
        slot.deliver(inbound).boxed()
    }
}

#[async_trait]
impl Wrapper for DropsEveryTenth {}

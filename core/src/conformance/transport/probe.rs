//! Looking on at what a transport and its node say to each other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::watch;

use super::Wrapper;
use crate::{Capabilities, Inbound, MessageId, Relay, Remote, Slot, Tap, Transport};

/// Stands between a node and the transport that is tried, and keeps a [`Log`]. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub(super) struct Probe {
    log: Arc<watch::Sender<Log>>,
    hold: Option<Duration>,
}

/// What a transport handed over, and what it was told.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    /// How often each message was handed over, or other bytes.
    pub(super) handed: BTreeMap<MessageId, u32>,
    /// The answers, in their order.
    pub(super) answers: Vec<Relay>,
    /// Messages of each link that wait for an answer.
    waiting: BTreeMap<Remote, u32>,
    /// The most that ever waited, of all links together.
    pub(super) most: u32,
    /// The most that ever waited of one link.
    pub(super) most_of_one: u32,
}

impl Probe {
    /// One before whose transport messages are held no longer than this for their verdict.
    pub(super) fn holding(hold: Duration) -> Self {
        Self { hold: Some(hold), ..Self::default() }
    }

    /// What was seen until now.
    pub(super) fn log(&self) -> Log {
        self.log.borrow().clone()
    }

    /// Waits for something to be seen.
    pub(super) async fn until(&self, is: impl Fn(&Log) -> bool) -> Log {
        let mut log = self.log.subscribe();
        let seen = log.wait_for(|log| is(log)).await;
        seen.expect("the log is kept here").clone()
    }
}

impl Log {
    /// How many messages wait for an answer.
    pub(super) fn waiting(&self) -> u32 {
        self.waiting.values().sum()
    }

    fn note_handed(&mut self, from: &Remote, id: MessageId) {
        *self.handed.entry(id).or_default() += 1;
        let of_one = self.waiting.entry(from.clone()).or_default();
        *of_one += 1;
        self.most_of_one = self.most_of_one.max(*of_one);
        self.most = self.most.max(self.waiting());
    }

    fn note_answer(&mut self, from: &Remote, answer: Relay) {
        *self.waiting.entry(from.clone()).or_default() -= 1;
        self.answers.push(answer);
    }
}

impl Tap for Probe {
    fn deliver(&self, slot: Slot, inbound: Inbound) -> BoxFuture<'static, Relay> {
        let (log, from) = (self.log.clone(), inbound.from.clone());
        log.send_modify(|log| log.note_handed(&from, MessageId::of(&inbound.bytes)));
        let answer = slot.deliver(inbound);
        async move {
            let answer = answer.await;
            log.send_modify(|log| log.note_answer(&from, answer));
            answer
        }
        .boxed()
    }
}

#[async_trait]
impl Wrapper for Probe {
    fn capabilities(&self, inner: &dyn Transport) -> Capabilities {
        let mut caps = inner.capabilities();
        if let Some(broadcast) = &mut caps.broadcast {
            // Where the wire does not wait for the answers, the probe does.
            let wait = broadcast.hold_verdict.max(Duration::from_secs(30));
            broadcast.hold_verdict = self.hold.unwrap_or(wait);
        }
        caps
    }
}

//! The part of a transport that delivers messages to every peer on a topic.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use serde::Serialize;

use crate::{MessageId, Remote, Result, Topic};

/// Delivers messages to every peer that joined a topic.
///
/// Delivery is best effort: a message may come late, twice, out of order or never. What a backend promises beyond that,
/// it declares in [`BroadcastCaps`](crate::BroadcastCaps). What arrives goes to
/// [`Slot::deliver`](crate::Slot::deliver), and on to other peers only when that answers
/// [`Relay::Accept`](crate::Relay::Accept).
#[async_trait]
pub trait Broadcast: Send + Sync {
    /// Takes part in a topic: from now on its messages are delivered. Idempotent.
    ///
    /// `Ok` means that the local side knows; peers learn it soon after. Nothing is delivered for a topic that was not
    /// joined.
    ///
    /// # Errors
    /// `TooLarge` above [`Limits::topics_per_peer`](crate::Limits::topics_per_peer), `Unreachable`, `Closed`.
    ///
    /// # Cancel safety
    /// Dropping the future leaves it open whether the topic was joined.
    async fn join(&self, topic: &Topic) -> Result<()>;

    /// Stops taking part; nothing is delivered for it once this returns. Idempotent.
    ///
    /// # Errors
    /// `Unreachable`, `Closed`.
    ///
    /// # Cancel safety
    /// Dropping the future leaves it open whether the topic was left.
    async fn leave(&self, topic: &Topic) -> Result<()>;

    /// Hands a message to the wire and tells how far it went.
    ///
    /// `Ok` means that the local side took it, not that a peer received it. The same message may be handed in again
    /// (retry, bridge, late relay) and goes out again. Nobody being there is no error: the receipt says so.
    ///
    /// # Errors
    /// `TooLarge` above [`BroadcastCaps::max_message_bytes`](crate::BroadcastCaps::max_message_bytes), `Unreachable`
    /// where a daemon does not answer, `Closed`.
    ///
    /// # Cancel safety
    /// Dropping the future leaves it open whether the message was sent.
    async fn publish(&self, message: &Outgoing) -> Result<Receipt>;

    /// The remotes known to take part in a topic, sorted.
    ///
    /// Of a topic that the node has not joined a transport may have to ask. It then goes on to tell who joins and leaves, for
    /// [`Limits::outbox_time`](crate::Limits::outbox_time) at least.
    ///
    /// # Errors
    /// `Unreachable`, `Closed`.
    async fn topic_peers(&self, topic: &Topic) -> Result<Vec<Remote>>;
}

/// A message on its way out.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Its id, for the transport's own bookkeeping; the wire need not carry it.
    pub id: MessageId,
    /// The topic it goes out on.
    pub topic: Topic,
    /// The envelope, or on a raw topic the payload.
    pub bytes: Bytes,
    /// Which queue it waits in.
    pub lane: Lane,
}

/// Which queue a message waits in; a full wire drops from the last lane first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Lane {
    /// Our own, published here.
    Own,
    /// Somebody else's, passed on.
    Relay,
    /// An old one, sent again to mend a loss.
    Repair,
}

/// How far a message went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// Peers into whose send queue it went; `None` where the wire does not tell.
    pub sent_to: Option<u32>,
    /// Peers on the topic that it did not go to, and why.
    pub skipped: Vec<(Skip, u32)>,
}

impl Receipt {
    /// The receipt of a wire that counts.
    pub fn counted(sent_to: u32, skipped: Vec<(Skip, u32)>) -> Self {
        Self { sent_to: Some(sent_to), skipped }
    }

    /// The receipt of a wire that counts, of one answer for each peer on the topic: why it was left out, or `None`.
    pub fn tally(answers: impl IntoIterator<Item = Option<Skip>>) -> Self {
        let (mut sent, mut skipped) = (0, BTreeMap::new());
        for answer in answers {
            match answer {
                None => sent += 1,
                Some(skip) => *skipped.entry(skip).or_default() += 1,
            }
        }
        Self::counted(sent, skipped.into_iter().collect())
    }

    /// The receipt of a wire that does not tell.
    pub fn unknown() -> Self {
        Self::default()
    }
}

/// Why a peer on the topic was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Skip {
    /// Its send queue is full.
    QueueFull,
    /// It takes smaller messages only.
    TooLarge,
    /// Its reputation is below the threshold for relay.
    Banned,
}

//! What happens to a node, for services and operators.

use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use futures::Stream;
use libp2p_identity::PeerId;
use lru::LruCache;
use multiaddr::Multiaddr;

use super::feed::{Fed, Feed, Reader, feed};
use crate::{Message, MessageId, Remote, Topic};

/// Events one reader may lag behind.
const MAX_EVENTS: usize = 1_024;

/// Something that happened. `transport` is the name of the instance it happened on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A remote is connected and admitted.
    Up {
        /// Over which transport.
        transport: String,
        /// Who.
        remote: Remote,
    },
    /// It is not any more.
    Down {
        /// Over which transport.
        transport: String,
        /// Who.
        remote: Remote,
    },
    /// A remote takes part in a topic.
    Joined {
        /// Over which transport.
        transport: String,
        /// Who.
        remote: Remote,
        /// In what.
        topic: Topic,
    },
    /// It does not any more.
    Left {
        /// Over which transport.
        transport: String,
        /// Who.
        remote: Remote,
        /// In what.
        topic: Topic,
    },
    /// Messages are missing: the wire lost some, or one follows another that was never seen and, on a topic that keeps its
    /// messages, could not be had.
    Gap(Gap),
    /// One author signed two messages with one number: proof that it cannot be trusted. Told once of each second message.
    Equivocation {
        /// The one that came first and, on an ordinary topic, stands.
        first: Message,
        /// The other. Both carry the author's signature.
        second: Message,
    },
    /// A remote was disconnected and banned for what it did.
    Banned {
        /// Who.
        remote: Remote,
    },
    /// A message waited for somebody to send it to, and nobody came in time.
    Expired {
        /// Its topic.
        topic: Topic,
        /// Which.
        id: MessageId,
    },
    /// The addresses a transport listens on changed.
    Listening {
        /// Which transport.
        transport: String,
        /// Where it listens now.
        addrs: Vec<Multiaddr>,
    },
    /// A signed record of a peer was learnt.
    Learnt {
        /// Whose.
        peer: PeerId,
    },
    /// The reader of these events was too slow and missed so many.
    Lagged(u64),
}

/// Messages that are missing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap {
    /// Of which topic; `None` when the wire lost some of any.
    pub topic: Option<Topic>,
    /// Whose, where it shows.
    pub author: Option<PeerId>,
    /// The newest one missing, where it shows.
    pub last: Option<MessageId>,
    /// How many the wire lost, where it tells.
    pub missed: Option<u64>,
}

/// A stream of [`Event`]s, from the moment it was made. A slow reader gets [`Event::Lagged`].
#[derive(Debug)]
pub struct Events(Reader<Event>);

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.0.poll_next(cx).map(|fed| {
            fed.map(|fed| match fed {
                Fed::Item(event) => event,
                Fed::Lagged(n) => Event::Lagged(n),
            })
        })
    }
}

/// Equivocations that were told and are not told again.
const PROVEN: NonZeroUsize = NonZeroUsize::new(1_024).expect("not zero");

/// All readers of a node's events.
#[derive(Debug)]
pub(crate) struct Hub {
    readers: Mutex<Vec<Feed<Event>>>,
    /// The second messages of equivocations.
    proven: Mutex<LruCache<MessageId, ()>>,
}

impl Default for Hub {
    fn default() -> Self {
        Self { readers: Mutex::default(), proven: Mutex::new(LruCache::sparse(PROVEN)) }
    }
}

impl Hub {
    pub(crate) fn listen(&self) -> Events {
        let (writer, reader) = feed(MAX_EVENTS, usize::MAX);
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        readers.retain(|reader| !reader.ended());
        readers.push(writer);
        Events(reader)
    }

    pub(crate) fn tell(&self, event: &Event) {
        tracing::debug!(?event);
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        readers.retain(|reader| !reader.ended());
        for reader in readers.iter() {
            reader.push(event.clone(), 0);
        }
    }

    /// Tells of two messages with one number; `false` where it was told already.
    pub(crate) fn equivocation(&self, first: &Message, second: &Message) -> bool {
        let new = self.proven.lock().unwrap_or_else(PoisonError::into_inner).put(*second.id(), ()).is_none();
        if new {
            self.tell(&Event::Equivocation { first: first.clone(), second: second.clone() });
        }
        new
    }

    /// Ends every reader's stream.
    pub(crate) fn end(&self) {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

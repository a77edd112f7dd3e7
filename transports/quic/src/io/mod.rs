//! Everything that touches sockets, streams, time and tasks.
//!
//! [`Shared`] is what all tasks of one transport hold; the transport itself holds it too, and when that is
//! dropped or closed, every task ends. A [`Link`](link::Link) is one connection to one peer.

pub(crate) mod accept;
pub(crate) mod ask;
pub(crate) mod control;
pub(crate) mod dial;
pub(crate) mod frames;
pub(crate) mod gossip;
pub(crate) mod hello;
pub(crate) mod keep;
pub(crate) mod link;
pub(crate) mod serve;
pub(crate) mod sockets;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use carrick_core::links::{self, Action, Packed};
use carrick_core::{Error, ErrorKind, Host, Lane, MessageId, PeerId, Receipt, Result, Topic};
use futures::future::join_all;
use quinn::VarInt;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::QuicConfig;
use crate::tls::Credentials;
use crate::wire::{self, Kind, Reason};
use accept::Places;
use dial::Dials;
use link::{Link, LinkId};
use sockets::Sockets;

/// What all tasks of one transport share.
pub(crate) struct Shared {
    pub(crate) host: Host,
    pub(crate) config: QuicConfig,
    pub(crate) credentials: Credentials,
    pub(crate) sockets: Sockets,
    /// Names this running instance in every hello.
    pub(crate) session: u64,
    /// Handshakes that others began and that are not done.
    pub(crate) places: Arc<Places>,
    pub(crate) dials: Dials,
    /// Wakes the keeper and whoever waits for a link: one came or went.
    pub(crate) changed: Notify,
    pub(crate) closing: CancellationToken,
    table: Mutex<Table>,
}

/// Who is linked, and all links: those that another one replaced, too, for as long as they last.
pub(crate) struct Table {
    pub(crate) state: links::Table<Link>,
    links: BTreeMap<LinkId, Arc<Link>>,
    next: LinkId,
}

impl Shared {
    /// Nothing runs yet.
    pub(crate) fn new(
        host: Host,
        config: QuicConfig,
        credentials: Credentials,
        sockets: Sockets,
    ) -> Arc<Self> {
        let limits = host.limits();
        let state = links::Table::new(host.me(), limits);
        Arc::new(Self {
            // Not from the host: a seeded run, started again, must not look like the same one.
            session: RandomState::new().build_hasher().finish(),
            places: Places::new(limits.handshakes),
            dials: Dials::default(),
            changed: Notify::new(),
            closing: CancellationToken::new(),
            table: Mutex::new(Table { state, links: BTreeMap::new(), next: 0 }),
            host,
            config,
            credentials,
            sockets,
        })
    }

    /// An error of this instance.
    pub(crate) fn fail(&self, kind: ErrorKind, operation: &'static str, detail: impl Into<String>) -> Error {
        self.host.fail(kind, operation, detail)
    }

    /// `Closed` once the transport is closed.
    pub(crate) fn open(&self, operation: &'static str) -> Result<()> {
        if self.closing.is_cancelled() {
            return Err(self.fail(ErrorKind::Closed, operation, "the transport is closed"));
        }
        Ok(())
    }

    /// The table. Nobody waits for anything while holding it.
    pub(crate) fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The link to a peer; one whose end was not noticed yet is none.
    pub(crate) fn link(&self, peer: &PeerId) -> Option<Arc<Link>> {
        let table = self.table();
        let link = table.state.link(peer)?;
        link.connection.close_reason().is_none().then(|| link.clone())
    }

    /// The links to all peers, sorted by peer.
    pub(crate) fn links(&self) -> Vec<Arc<Link>> {
        self.table().state.links().map(|(_, link)| link.clone()).collect()
    }

    /// Puts a message into the queue of every peer it goes to.
    pub(crate) fn send(&self, topic: &Topic, id: &MessageId, bytes: &Bytes, lane: Lane) -> Receipt {
        let message = Packed { head: wire::message_head(topic, bytes.len()), bytes: bytes.clone() };
        let size = message.head.len() + bytes.len();
        let push =
            |link: &Arc<Link>| link.messages.push(&self.host, &link.remote, lane, message.clone(), size);
        Receipt::tally(self.table().state.targets(topic, id, lane).map(push))
    }

    /// Lets what is queued go out; waits until every far end has it.
    pub(crate) async fn flush(&self) {
        let links = self.links();
        links.iter().for_each(|link| link.retire());
        join_all(links.iter().map(|link| link.flushed.cancelled())).await;
    }

    /// Ends everything now; what the far ends are told is on its way when this returns.
    pub(crate) fn shut_down(&self) {
        self.closing.cancel();
        self.sockets.close();
    }
}

/// A reason as QUIC carries it: the code of CONNECTION_CLOSE, and the number of a refusal.
pub(crate) fn code(reason: Reason) -> VarInt {
    VarInt::from_u32(reason as u32)
}

impl Table {
    /// A number for a new link.
    pub(crate) fn next_link(&mut self) -> LinkId {
        self.next += 1;
        self.next
    }

    /// Makes a link known, before the actions that speak of it.
    pub(crate) fn insert(&mut self, link: Arc<Link>) {
        self.links.insert(link.id, link);
    }

    /// Ends a link, if it has not ended: it is gone when this returns, and the far end learns why.
    pub(crate) fn end(&mut self, host: &Host, link: LinkId, reason: Reason) {
        let Some(link) = self.links.remove(&link) else { return };
        link.close(reason);
        let actions = self.state.down(&link.peer, &link);
        self.run(host, actions);
    }

    /// Ends the link to a peer whose connection is gone, before its own task does.
    pub(crate) fn end_dead(&mut self, host: &Host, peer: &PeerId) {
        let link = self.state.link(peer);
        if let Some(id) = link.filter(|link| link.connection.close_reason().is_some()).map(|link| link.id) {
            self.end(host, id, Reason::Goodbye);
        }
    }

    /// Carries out what the table decided, in its order: hence under the lock.
    pub(crate) fn run(&mut self, host: &Host, actions: Vec<Action<Link>>) {
        for action in actions {
            match action {
                Action::Notice(notice) => host.notice(notice),
                Action::Announce { link, topic, joined } => {
                    let kind = if joined { Kind::Join } else { Kind::Leave };
                    link.tell(wire::frame(kind, topic.as_str().as_bytes()));
                }
                Action::Retire(link) => self.retire(&link),
                Action::Close(link, reason) => self.end(host, link.id, reason),
            }
        }
    }

    /// Retires a link; one of the same peer that was retired before has had its time.
    fn retire(&self, link: &Link) {
        let before =
            |other: &&Arc<Link>| other.peer == link.peer && other.id != link.id && other.is_retired();
        self.links.values().filter(before).for_each(|link| link.close(Reason::Duplicate));
        link.retire();
    }

    /// Ends every link to a peer that is not admitted any more.
    pub(crate) fn expel(&mut self, host: &Host) {
        let refused = |link: &Arc<Link>| (!host.admits(&link.peer)).then_some(link.id);
        let refused: Vec<_> = self.links.values().filter_map(refused).collect();
        for link in refused {
            self.end(host, link, Reason::NotAdmitted);
        }
    }
}

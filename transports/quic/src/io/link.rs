//! One connection to one peer, from its hello to its end.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use carrick_core::links::frames::Fault;
use carrick_core::links::{Pace, Packed, SendQueue};
use carrick_core::{Direction, Misdeed, Multiaddr, PeerId, PeerInfo, Remote, Time};
use quinn::{ConnectionError, SendStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::frames::Reader;
use super::sockets::connection_window;
use super::{Shared, code};
use crate::address;
use crate::wire::Reason;

/// Control frames that may wait for one peer. Whoever lets more pile up does not read, and is let go.
pub(super) const CONTROL_FRAMES: usize = 512;
/// How long a link that another one replaced still carries what was on its way.
pub(super) const RETIREMENT: Duration = Duration::from_secs(2);

/// Numbers the links of one transport.
pub(crate) type LinkId = u64;

/// A link whose peer is known and admitted.
pub(crate) struct Link {
    pub(crate) id: LinkId,
    pub(crate) peer: PeerId,
    pub(crate) remote: Remote,
    pub(crate) connection: quinn::Connection,
    pub(crate) messages: SendQueue<Packed>,
    /// Cancelled when no more messages will be written: a retired link sent what was queued, any other one ended.
    pub(super) flushed: CancellationToken,
    direction: Direction,
    since: Time,
    control: mpsc::Sender<Bytes>,
    /// Records that it is told, and that it brought.
    pub(super) records: Pace,
    walks: Mutex<Walks>,
}

/// DAGs that are fetched over a link.
#[derive(Debug, Default)]
struct Walks {
    now: usize,
    /// As many there were at once.
    most: usize,
}

/// A link that was taken, before its tasks run.
pub(super) struct Taken {
    pub(super) link: Arc<Link>,
    pub(super) control: mpsc::Receiver<Bytes>,
}

impl Link {
    /// A link over a connection whose hello was read.
    pub(super) fn taken(
        shared: &Shared,
        id: LinkId,
        peer: PeerId,
        connection: quinn::Connection,
        dialled: bool,
    ) -> Taken {
        let (sender, control) = mpsc::channel(CONTROL_FRAMES);
        let link = Self {
            id,
            peer,
            remote: Remote::Peer(peer),
            connection,
            messages: SendQueue::new(shared.host.limits()),
            flushed: CancellationToken::new(),
            direction: if dialled { Direction::Outbound } else { Direction::Inbound },
            since: shared.host.now(),
            control: sender,
            records: Pace::new(),
            walks: Mutex::default(),
        };
        Taken { link: Arc::new(link), control }
    }

    /// Where the peer is reached now.
    pub(crate) fn addr(&self) -> Multiaddr {
        address::of_socket(self.connection.remote_address())
    }

    /// What `status` shows.
    pub(crate) fn info(&self) -> PeerInfo {
        let mut info = PeerInfo::new(self.remote.clone());
        info.addrs = vec![self.addr()];
        info.rtt = Some(self.connection.rtt());
        info.direction = Some(self.direction);
        info.since = Some(self.since);
        info
    }

    /// Sends a control frame that must not be lost; a peer that let the queue fill up is let go.
    pub(crate) fn tell(&self, frame: Bytes) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.control.try_send(frame) {
            self.close(Reason::Stalled);
        }
    }

    /// Sends a record of a peer, which may be lost; answers whether it will go. Half of the queue is kept for what
    /// may not, and no more go than the far end can be expected to bear.
    pub(crate) fn offer_record(&self, frame: Bytes) -> bool {
        let room = self.control.capacity() > CONTROL_FRAMES / 2;
        room && self.records.tells() && self.control.try_send(frame).is_ok()
    }

    /// A DAG begins to be fetched, whose caller may be slow, or is not fetched any more. What waits in its stream must not
    /// hold up the messages, so the connection's window, `window` at first, grows by that of a stream. It does not shrink
    /// again: QUIC takes credit back by what is read, which after small DAGs would be never.
    pub(super) fn walks(&self, begins: bool, window: usize) {
        let mut walks = self.walks.lock().unwrap_or_else(PoisonError::into_inner);
        if !begins {
            walks.now -= 1;
            return;
        }
        walks.now += 1;
        if walks.now > walks.most {
            walks.most = walks.now;
            self.connection.set_receive_window(connection_window(window, walks.most));
        }
    }

    /// Ends the link; the far end learns why.
    pub(crate) fn close(&self, reason: Reason) {
        self.connection.close(code(reason), reason.text().as_bytes());
    }

    /// Another link took its place: what is queued still goes out.
    pub(crate) fn retire(&self) {
        self.messages.close();
    }

    /// Whether another link took its place.
    pub(crate) fn is_retired(&self) -> bool {
        self.messages.is_closed()
    }
}

impl Shared {
    /// Starts the tasks of a link. They end with its connection. `first` goes before all other control
    /// frames.
    pub(super) fn start(
        self: &Arc<Self>,
        taken: Taken,
        control: SendStream,
        reader: Reader,
        first: Option<Bytes>,
    ) {
        let Taken { link, control: queue } = taken;
        let run = || (self.clone(), link.clone());
        let (shared, of) = run();
        self.host.spawn(async move { shared.supervise(&of).await });
        let (shared, of) = run();
        self.host.spawn(async move { shared.write_control(&of, control, first, queue).await });
        let (shared, of) = run();
        self.host.spawn(async move { shared.read_control(&of, reader).await });
        let (shared, of) = run();
        self.host.spawn(async move { shared.write_messages(&of).await });
        let (shared, of) = run();
        self.host.spawn(async move { shared.read_messages(&of).await });
        let (shared, of) = run();
        self.host.spawn(async move { shared.serve(&of).await });
        self.pass_known_records(&link);
        self.changed.notify_waiters();
    }

    /// Waits for the end of a link and clears up behind it.
    async fn supervise(&self, link: &Link) {
        let _gone = Gone { shared: self, link };
        let reason = link.connection.closed().await;
        tracing::debug!(peer = %link.peer, link = link.id, %reason, "link ended");
        if let ConnectionError::ApplicationClosed(close) = &reason
            && Reason::from_code(close.error_code.into_inner()) == Reason::Disconnected
        {
            let mut table = self.table();
            if table.state.link(&link.peer).is_some_and(|known| known.id == link.id) {
                // The link is gone already: nothing is left to close.
                let _ = table.state.part(link.peer);
            }
        }
    }

    /// Ends a link because of what went wrong on it, and blames the peer where it is to blame.
    pub(super) fn fault(&self, link: &Link, fault: &Fault) {
        match fault {
            Fault::Broken(broken) => {
                tracing::debug!(peer = %link.peer, %broken, "malformed");
                self.host.count("malformed", 1);
                self.host.report(&link.remote, Misdeed::Malformed);
                self.table().end(&self.host, link.id, Reason::Malformed);
            }
            Fault::Stalled => {
                self.host.report(&link.remote, Misdeed::Stalled);
                self.table().end(&self.host, link.id, Reason::Stalled);
            }
            Fault::Lost(_) => {}
            _ => self.table().end(&self.host, link.id, Reason::Goodbye),
        }
    }

    /// Closes a link that was replaced, once its retirement is over.
    pub(super) async fn see_off(&self, link: &Link) {
        // Either end may be the first.
        let _ = timeout(RETIREMENT, link.connection.closed()).await;
        link.close(Reason::Duplicate);
    }
}

/// Takes a link out of the table when its supervisor ends, in whatever way.
struct Gone<'a> {
    shared: &'a Shared,
    link: &'a Link,
}

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        self.shared.table().end(&self.shared.host, self.link.id, Reason::Goodbye);
        self.shared.changed.notify_waiters();
    }
}

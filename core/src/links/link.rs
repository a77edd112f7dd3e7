//! A link: what waits for its writers, and its end.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use super::{Pace, Reason, SendQueue};
use crate::{Direction, Host, PeerInfo, Remote, Time};

/// Frames that may wait beside messages. More than a peer that reads ever lets pile up.
const FRAMES: usize = 1_024;

/// A link to a peer that is proven and admitted, over a wire of yours.
///
/// Two queues wait for its writers: [`messages`](Self::messages), and the frames beside them that [`frame`](Self::frame)
/// hands out.
pub struct Link<W> {
    /// What you need of it: a connection, say.
    pub wire: W,
    /// Messages that wait.
    pub messages: SendQueue<Packed>,
    peer: PeerId,
    remote: Remote,
    direction: Direction,
    addrs: Vec<Multiaddr>,
    since: Time,
    frames: Mutex<VecDeque<Bytes>>,
    told: Notify,
    /// Records that it is told, and that it brought.
    pub(super) records: Pace,
    /// Messages from it that may wait for a verdict.
    pub(super) verdicts: Arc<Semaphore>,
    ended: CancellationToken,
    why: OnceLock<Reason>,
}

/// A message on its way out.
#[derive(Clone, Debug)]
pub struct Packed {
    /// What your wire says before it; all links share it.
    pub head: Bytes,
    /// The envelope.
    pub bytes: Bytes,
}

impl<W> Link<W> {
    pub(super) fn new(host: &Host, wire: W, peer: PeerId, dialled: bool, addrs: Vec<Multiaddr>) -> Self {
        Self {
            wire,
            messages: SendQueue::new(host.limits()),
            peer,
            remote: Remote::Peer(peer),
            direction: if dialled { Direction::Outbound } else { Direction::Inbound },
            addrs,
            since: host.now(),
            frames: Mutex::default(),
            told: Notify::new(),
            records: Pace::new(),
            verdicts: Arc::new(Semaphore::new(2 * host.limits().gate_per_remote)),
            ended: CancellationToken::new(),
            why: OnceLock::new(),
        }
    }

    /// Who is at the other end.
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// The same, as the node names it.
    pub fn remote(&self) -> &Remote {
        &self.remote
    }

    /// What `status` shows.
    pub fn info(&self) -> PeerInfo {
        let mut info = PeerInfo::new(self.remote.clone());
        info.addrs = self.addrs.clone();
        info.direction = Some(self.direction);
        info.since = Some(self.since);
        info
    }

    /// Sends a frame that must not be lost. Who let the queue fill up does not read, and is let go.
    pub fn tell(&self, frame: Bytes) {
        if !self.push(frame, FRAMES) {
            self.end(Reason::Stalled);
        }
    }

    /// Sends a frame that may be lost; answers whether it will go. Half of the queue is kept for what may not.
    pub fn offer(&self, frame: Bytes) -> bool {
        self.push(frame, FRAMES / 2)
    }

    /// The same for a record of a peer, of which a link is told no more than its far end can be expected to bear.
    pub(super) fn offer_record(&self, frame: Bytes) -> bool {
        self.records.tells() && self.offer(frame)
    }

    /// The next frame; waits for it.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn frame(&self) -> Bytes {
        loop {
            if let Some(frame) = self.frames().pop_front() {
                return frame;
            }
            self.told.notified().await;
        }
    }

    /// Ends the link; the far end is to be told [why](Self::why). What is queued goes out before, unless the two are at odds.
    ///
    /// For the table, and for links that it does not know any more; [`Hub::end`](super::Hub::end) is for all others.
    pub fn end(&self, why: Reason) {
        let _ = self.why.set(why);
        if !matches!(why, Reason::Goodbye | Reason::Duplicate) {
            self.messages.clear();
        }
        self.messages.close();
        self.ended.cancel();
    }

    /// Another link took its place: what is queued still goes out, and what comes is still read.
    pub(super) fn retire(&self) {
        let _ = self.why.set(Reason::Duplicate);
        self.messages.close();
    }

    /// Why it ends: the first reason.
    pub fn why(&self) -> Reason {
        self.why.get().copied().unwrap_or(Reason::Goodbye)
    }

    /// Cancelled when the link ends.
    pub fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    fn push(&self, frame: Bytes, limit: usize) -> bool {
        let mut frames = self.frames();
        let room = frames.len() < limit;
        if room {
            frames.push_back(frame);
            self.told.notify_one();
        }
        room
    }

    fn frames(&self) -> MutexGuard<'_, VecDeque<Bytes>> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W> fmt::Debug for Link<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({:?} {})", self.direction, self.peer)
    }
}

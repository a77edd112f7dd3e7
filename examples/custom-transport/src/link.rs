//! One connection to one peer: what waits for its writer, and its end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use carrick_core::{
    Bytes, Direction, Host, Lane, LaneQueue, Misdeed, Multiaddr, Notice, PeerId, PeerInfo, Remote, Served,
    Skip, Time,
};
use tokio::io::AsyncWriteExt as _;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::blocks::Asked;
use crate::wire::{End, Frame, No};

/// Where nothing else is to be said, this often the far end is told that we are there.
const PING: Duration = Duration::from_secs(5);
/// Frames that may wait beside messages and blocks. Who lets more pile up does not read, and is let go.
const FRAMES: usize = 1_024;
/// Frames of a far end that cost it nothing, such as a topic it joins: so many are free at once,
const FREE: f64 = 512.0;
/// and so many a second. An honest peer says far less.
const FREE_A_SECOND: f64 = 32.0;

/// A link whose peer is proven and admitted.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) host: Host,
    pub(crate) peer: PeerId,
    pub(crate) addr: Multiaddr,
    pub(crate) dialled: bool,
    since: Time,
    messages: Mutex<LaneQueue<Bytes>>,
    /// A message waits.
    queued: Notify,
    frames: mpsc::Sender<Bytes>,
    /// Blocks that are ready to be written, with their share of serving memory.
    pub(crate) blocks: mpsc::Sender<(u64, Served)>,
    pub(crate) asked: Mutex<Asked>,
    /// How many more requests may be open.
    pub(crate) room: Arc<Semaphore>,
    /// Requests of the far end that are being answered, by number. Cancelled where it wants no answer.
    pub(crate) serving: Mutex<BTreeMap<u64, CancellationToken>>,
    pub(crate) ended: CancellationToken,
    why: OnceLock<End>,
    /// What is still free, and when that was so.
    free: Mutex<(f64, Instant)>,
}

/// What waits for the writer of a link.
pub(crate) struct Waiting {
    frames: mpsc::Receiver<Bytes>,
    blocks: mpsc::Receiver<(u64, Served)>,
}

impl Link {
    pub(crate) fn new(host: &Host, peer: PeerId, addr: Multiaddr, dialled: bool) -> (Arc<Self>, Waiting) {
        let (frames, waiting_frames) = mpsc::channel(FRAMES);
        let (blocks, waiting_blocks) = mpsc::channel(1);
        let link = Self {
            peer,
            addr,
            dialled,
            since: host.now(),
            messages: Mutex::new(LaneQueue::new(host.limits().send_queue_bytes)),
            queued: Notify::new(),
            frames,
            blocks,
            asked: Mutex::default(),
            room: Arc::new(Semaphore::new(host.limits().streams_per_peer)),
            serving: Mutex::default(),
            ended: CancellationToken::new(),
            why: OnceLock::new(),
            free: Mutex::new((FREE, Instant::now())),
            host: host.clone(),
        };
        (Arc::new(link), Waiting { frames: waiting_frames, blocks: waiting_blocks })
    }

    pub(crate) fn remote(&self) -> Remote {
        Remote::Peer(self.peer)
    }

    /// What `status` shows.
    pub(crate) fn info(&self) -> PeerInfo {
        let mut info = PeerInfo::new(self.remote());
        info.addrs = vec![self.addr.clone()];
        info.direction = Some(if self.dialled { Direction::Outbound } else { Direction::Inbound });
        info.since = Some(self.since);
        info
    }

    /// Sends a frame. Half of the room is kept from records, which may be lost.
    pub(crate) fn tell(&self, frame: &Frame<'_>) {
        if matches!(frame, Frame::Record(_)) && self.frames.capacity() < FRAMES / 2 {
            self.host.count("records_dropped", 1);
        } else if let Err(mpsc::error::TrySendError::Full(_)) = self.frames.try_send(frame.encode(&[])) {
            self.end(End::Stalled);
        }
    }

    /// Lets a message wait for the writer; or says why not.
    pub(crate) fn queue(&self, lane: Lane, message: &Bytes) -> Option<Skip> {
        if !self.host.relays_to(&self.remote()) {
            return Some(Skip::Banned);
        }
        let pushed = locked(&self.messages).push(lane, message.clone(), message.len());
        if pushed.dropped > 0 {
            self.host.notice(Notice::Dropped { remote: self.remote(), count: pushed.dropped });
        }
        self.queued.notify_one();
        (!pushed.taken).then_some(Skip::QueueFull)
    }

    /// The far end said something that costs it nothing. It is blamed where it says too much of that.
    pub(crate) fn costs_nothing(&self) {
        let mut free = locked(&self.free);
        let refilled = free.0 + FREE_A_SECOND * free.1.elapsed().as_secs_f64();
        *free = ((refilled - 1.0).clamp(0.0, FREE), Instant::now());
        if refilled < 1.0 {
            self.host.report(&self.remote(), Misdeed::Spam);
        }
    }

    /// Ends the link; the far end is told the first reason.
    pub(crate) fn end(&self, why: End) {
        let _ = self.why.set(why);
        self.ended.cancel();
    }

    fn pop_message(&self) -> Option<Bytes> {
        locked(&self.messages).pop()
    }

    async fn next_message(&self) -> Bytes {
        loop {
            match self.pop_message() {
                Some(message) => return message,
                None => self.queued.notified().await,
            }
        }
    }

    /// Writes what waits, each kind in its turn, until the link ends; then what is queued, and why it ends.
    pub(crate) async fn write(&self, to: &mut OwnedWriteHalf, mut waiting: Waiting) -> Result<(), End> {
        loop {
            let (head, block) = tokio::select! {
                () = self.ended.cancelled() => break,
                message = self.next_message() => (message, None),
                Some(frame) = waiting.frames.recv() => (frame, None),
                Some((request, served)) = waiting.blocks.recv() => {
                    let bytes = u32::try_from(served.bytes().len()).map_err(|_| No::TooLarge);
                    (Frame::Answer { request, bytes }.encode(&[]), Some(served))
                }
                () = sleep(PING) => (Frame::Ping.encode(&[]), None),
            };
            let writing = async {
                to.write_all(&head).await?;
                // Its share of serving memory is held until the kernel has all of it.
                if let Some(served) = &block { to.write_all(served.bytes()).await } else { Ok(()) }
            };
            timeout(self.host.limits().fetch_deadline, writing).await.map_err(|_| End::Stalled)??;
        }
        let why = self.why.get().copied().unwrap_or(End::Goodbye);
        while matches!(why, End::Goodbye | End::Duplicate)
            && let Some(message) = self.pop_message()
        {
            to.write_all(&message).await?;
        }
        to.write_all(&Frame::Bye(why).encode(&[])).await?;
        Ok(to.shutdown().await?)
    }
}

/// A lock whose holders neither wait nor panic.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

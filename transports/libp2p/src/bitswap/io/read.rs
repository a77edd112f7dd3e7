//! Streams that peers open: messages are read and taken in, one after the other.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use carrick_core::{Misdeed, PeerId, Remote};
use futures::io::{AsyncReadExt as _, BufReader};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::super::address;
use super::super::message::{Ask, Broken, MAX_MESSAGE, Message};
use super::super::server::Taken;
use super::{Link, Outcome, Shared, Wire};

/// How long a stream may be open between two messages.
const BETWEEN: Duration = Duration::from_secs(300);
/// A message takes at most so many times the idle limit.
const WHOLE: u32 = 6;
/// How long a wantlist that is full holds up the next message.
const FULL: Duration = Duration::from_secs(1);
/// How often a message that takes long is told to make progress.
const PROGRESS: Duration = Duration::from_secs(1);
/// Of a message that takes long, what comes at least between two times that it makes progress.
const TRICKLE: usize = 4 << 10;
/// Entries taken in at once.
const BATCH: usize = 256;
/// A block that is a smaller part of its message is copied out of it, so that it does not keep all of it in memory, here and
/// in the store until that has written it.
const PART: usize = 2;
/// Messages up to this size are read without asking for room.
const SMALL: usize = 4 << 10;
/// The first part of a message of whoever was asked for no block, or sent none yet; each further one doubles what is there.
const STEP: usize = 64 << 10;

/// Why a stream ended.
#[derive(Debug)]
enum End {
    /// The far end ended it, or the connection did, or it was idle.
    Over,
    /// The far end stopped inside a message.
    Stalled,
    /// There was no room for its message.
    Crowded,
    /// It ended inside a message.
    Cut,
    Broken(Broken),
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Over
    }
}

impl From<Broken> for End {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

/// What a message takes while it is read: of its peer's room and of that of all.
struct Room {
    budgets: [Arc<Semaphore>; 2],
    taken: Vec<OwnedSemaphorePermit>,
}

impl Room {
    async fn take(&mut self, bytes: usize) -> Result<(), AcquireError> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        for budget in &self.budgets {
            self.taken.push(Arc::clone(budget).acquire_many_owned(bytes).await?);
        }
        Ok(())
    }
}

impl Shared {
    /// A stream that a peer opened. All versions are read alike.
    pub(in super::super) fn inbound(self: &Arc<Self>, peer: PeerId, stream: Box<dyn Wire>) {
        let link = self.with(|state, now| {
            state.client.unmute(&peer, now);
            state.links.get(&peer).cloned()
        });
        let Some(link) = link else { return };
        let shared = Arc::clone(self);
        self.spawn(async move {
            let gone = link.gone.clone();
            gone.run_until_cancelled(shared.read(peer, link, stream)).await;
        });
    }

    /// Reads messages until the stream ends. Dropping the stream resets it.
    async fn read(self: Arc<Self>, peer: PeerId, link: Link, stream: Box<dyn Wire>) {
        let mut stream = BufReader::with_capacity(SMALL, stream);
        let end = loop {
            match self.read_message(&peer, &link, &mut stream).await {
                Ok((message, room)) => {
                    if let Err(broken) = self.take_in(&peer, &link, message).await {
                        break End::Broken(broken);
                    }
                    drop(room);
                }
                Err(end) => break end,
            }
        };
        match end {
            End::Over => {}
            End::Stalled | End::Cut | End::Crowded => {
                let what =
                    if matches!(end, End::Crowded) { "bitswap_read_busy" } else { "bitswap_read_stalled" };
                self.host.count(what, 1);
                // While it stops, the room for its message is nobody else's.
                if matches!(end, End::Stalled) {
                    self.host.report(&Remote::Peer(peer), Misdeed::Stalled);
                }
                // What it answered is lost, and it may think it sent it.
                self.with(|state, now| state.client.ask_again(&peer, now));
            }
            End::Broken(broken) => {
                tracing::debug!(%peer, %broken, "bitswap stream reset");
                self.host.count("bitswap_malformed", 1);
                self.host.report(&Remote::Peer(peer), Misdeed::Malformed);
            }
        }
    }

    async fn read_message(
        self: &Arc<Self>,
        peer: &PeerId,
        link: &Link,
        stream: &mut BufReader<Box<dyn Wire>>,
    ) -> Result<(Message, Room), End> {
        let idle = self.host.limits().fetch_idle;
        let length = timeout(BETWEEN, read_length(stream, idle)).await.map_err(|_| End::Over)??;
        // Whoever was asked for no block, or never sent one, shows its bytes first: to announce much holds nobody up.
        let (awaited, known) = {
            let state = self.lock();
            (state.client.awaits_block(peer), state.client.has_delivered(peer))
        };
        let budget = if awaited { &self.reading_awaited } else { &self.reading_others };
        let mut room = Room { budgets: [Arc::clone(&link.reading), Arc::clone(budget)], taken: vec![] };
        let (mut body, mut at) = (Vec::new(), 0);
        let (mut until, mut told, mut told_at) = (Instant::now() + idle * WHOLE, Instant::now(), 0);
        while at < length {
            if at == body.len() {
                let more = if awaited && known { length } else { at.max(STEP).min(length - at) };
                until += self.take_room(peer, &mut room, more).await?;
                body.reserve_exact(more);
                body.resize(at + more, 0);
            }
            let left = until.saturating_duration_since(Instant::now());
            match timeout(idle.min(left), stream.read(&mut body[at..])).await {
                Ok(Ok(0) | Err(_)) => return Err(End::Cut),
                Ok(Ok(read)) => at += read,
                Err(_) => return Err(End::Stalled),
            }
            if told.elapsed() >= PROGRESS && at >= told_at + TRICKLE {
                (told, told_at) = (Instant::now(), at);
                self.with(|state, now| state.client.progress(peer, now));
            }
        }
        Ok((Message::decode(Bytes::from(body))?, room))
    }

    /// Takes room for so many bytes more, and answers how long that took: that we have none is no fault of the peer.
    async fn take_room(
        self: &Arc<Self>,
        peer: &PeerId,
        room: &mut Room,
        bytes: usize,
    ) -> Result<Duration, End> {
        if bytes <= SMALL {
            return Ok(Duration::ZERO);
        }
        let (began, most) = (Instant::now(), self.host.limits().fetch_idle * WHOLE);
        let mut taking = pin!(room.take(bytes));
        while began.elapsed() < most {
            if let Ok(taken) = timeout(PROGRESS, &mut taking).await {
                return taken.map(|()| began.elapsed()).map_err(|_| End::Over);
            }
            self.with(|state, now| state.client.progress(peer, now));
        }
        Err(End::Crowded)
    }

    /// Takes in what a peer sent: first what we wait for, then what it wants.
    async fn take_in(
        self: &Arc<Self>,
        peer: &PeerId,
        link: &Link,
        mut message: Message,
    ) -> Result<(), Broken> {
        let total = message.size();
        for block in message.take_blocks() {
            let (prefix, bytes) = block?;
            self.take_block(peer, prefix, bytes, total);
            // Hashing takes its time; others want theirs.
            tokio::task::yield_now().await;
        }
        self.take_presences(peer, &message)?;
        if message.is_full() {
            self.with(|state, _| state.server.clear(peer));
        }
        self.take_asks(peer, link, &message).await
    }

    /// A block: hashed outside the lock, and not at all where nothing is wanted of the peer.
    fn take_block(
        self: &Arc<Self>,
        peer: &PeerId,
        prefix: super::super::message::Prefix,
        bytes: Bytes,
        total: usize,
    ) {
        if !self.lock().client.expects(peer) {
            return self.with(|state, _| state.client.unrequested(peer));
        }
        let too_large = bytes.len() > self.host.limits().block_bytes;
        let bytes = if bytes.len() < total / PART { Bytes::copy_from_slice(&bytes) } else { bytes };
        let Some(claim) = address::claim(prefix, bytes) else {
            self.host.count("bitswap_hash_unknown", 1);
            return self.with(|state, _| state.client.unrequested(peer));
        };
        self.with(|state, now| {
            if too_large {
                return state.client.too_large(peer, claim.cid(), now);
            }
            for request in state.client.block(peer, claim.cid(), claim.size(), now) {
                if let Some(sink) = state.sinks.remove(&request) {
                    sink.send(request, Outcome::Here(claim.clone(), *peer));
                }
            }
        });
    }

    fn take_presences(self: &Arc<Self>, peer: &PeerId, message: &Message) -> Result<(), Broken> {
        let mut presences = message.presences().peekable();
        while presences.peek().is_some() {
            let batch: Vec<_> = presences.by_ref().take(BATCH).collect::<Result<_, _>>()?;
            self.with(|state, now| {
                for (cid, has) in batch.into_iter().flatten() {
                    state.client.presence(peer, &cid, has, now);
                }
            });
        }
        Ok(())
    }

    async fn take_asks(
        self: &Arc<Self>,
        peer: &PeerId,
        link: &Link,
        message: &Message,
    ) -> Result<(), Broken> {
        let mut asks = message.asks().peekable();
        let mut waited = false;
        while asks.peek().is_some() {
            let batch: Vec<_> = asks.by_ref().take(BATCH).collect::<Result<_, _>>()?;
            let unknown = batch.iter().filter(|ask| ask.is_none()).count();
            if unknown > 0 {
                self.host.count("bitswap_hash_unknown", unknown as u64);
            }
            let mut rest: Vec<Ask> = batch.into_iter().flatten().collect();
            while let Some(left) = self.take_batch(peer, &rest, link) {
                // One that asks for more than its wantlist holds waits, but not so long that it hears nothing of us.
                if waited || timeout(FULL, left.1).await.is_err() {
                    waited = true;
                    self.host.count("bitswap_wants_dropped", (rest.len() - left.0) as u64);
                    break;
                }
                rest.drain(..left.0);
            }
        }
        Ok(())
    }

    /// Takes entries in until the wantlist is full: answers how many it took, and when to go on.
    fn take_batch(
        self: &Arc<Self>,
        peer: &PeerId,
        asks: &[Ask],
        link: &Link,
    ) -> Option<(usize, impl Future<Output = ()> + use<>)> {
        let room = Arc::clone(&link.room).notified_owned();
        let taken =
            self.with(|state, _| asks.iter().position(|ask| state.server.asked(peer, *ask) == Taken::Full))?;
        Some((taken, room))
    }
}

/// The length before a message. Waits for its first byte as long as the caller does.
async fn read_length(stream: &mut BufReader<Box<dyn Wire>>, idle: Duration) -> Result<usize, End> {
    let mut number = 0_u64;
    for at in 0..4 {
        let mut byte = [0];
        let read = stream.read(&mut byte);
        let read =
            if at == 0 { read.await? } else { timeout(idle, read).await.map_err(|_| End::Stalled)?? };
        if read == 0 {
            return Err(End::Over);
        }
        number |= u64::from(byte[0] & 0x7f) << (7 * at);
        if byte[0] & 0x80 == 0 {
            return match usize::try_from(number) {
                Ok(length) if length <= MAX_MESSAGE => Ok(length),
                _ => Err(Broken::TooLong(number).into()),
            };
        }
    }
    Err(Broken::Length.into())
}

//! Frames on QUIC streams: read without a copy too many, written without any.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use bytes::{BufMut, Bytes};
use carrick_core::Host;
use quinn::{Connection, FrameStats, ReadExactError, RecvStream, SendStream};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::buffers::Buffers;
use crate::error::Fault;
use crate::wire::{Broken, HEAD_BYTES, Head, Kind};

/// Reads the frames of one stream.
///
/// Dropping it before the end tells the far end to stop sending.
pub(crate) struct Reader {
    stream: RecvStream,
    host: Host,
    idle: Option<Duration>,
    /// That of an answer.
    connection: Option<Connection>,
    buffers: Buffers,
}

impl Reader {
    /// Waits for a head for ever; for the rest of a frame that has begun, as long as a fetch would.
    pub(crate) fn new(stream: RecvStream, host: &Host) -> Self {
        Self { stream, host: host.clone(), idle: None, connection: None, buffers: Buffers::default() }
    }

    /// Gives up when no byte came for so long, of a head too.
    pub(crate) fn idle(mut self, limit: Duration) -> Self {
        self.idle = Some(limit);
        self
    }

    /// Reads an answer: it gives up as [`idle`](Self::idle) does, and tells who is silent from who is slow.
    pub(crate) fn answer(self, connection: &Connection, limit: Duration) -> Self {
        Self { connection: Some(connection.clone()), ..self.idle(limit) }
    }

    /// The next head; `None` where the stream ends between two frames.
    pub(crate) async fn head(&mut self) -> Result<Option<Head>, Fault> {
        let mut head = [0; HEAD_BYTES];
        let limits = self.host.limits();
        let read = self.stream.read_exact(&mut head);
        match waited(self.idle, self.connection.as_ref(), limits.fetch_idle, read).await? {
            Ok(()) => Ok(Some(Head::decode(head, limits)?)),
            Err(ReadExactError::FinishedEarly(0)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The next head, which must be there and be one of `kinds`.
    pub(crate) async fn expect(&mut self, kinds: &[Kind]) -> Result<Head, Fault> {
        let head = self.head().await?.ok_or(Fault::Cut)?;
        if kinds.contains(&head.kind) { Ok(head) } else { Err(Broken::Misplaced(head.kind).into()) }
    }

    /// As many bytes as a head said, in one piece of exactly that size.
    pub(crate) async fn body(&mut self, length: usize) -> Result<Bytes, Fault> {
        let patience = self.host.limits().fetch_idle;
        let idle = Some(self.idle.unwrap_or(patience));
        let mut body = self.buffers.take(length);
        let mut room = (&mut body).limit(length);
        while room.has_remaining_mut() {
            let read = self.stream.read_buf(&mut room);
            if waited(idle, self.connection.as_ref(), patience, read).await?? == 0 {
                return Err(Fault::Cut);
            }
        }
        Ok(self.buffers.lend(body))
    }
}

/// Writes chunks as they are; gives up when the far end takes no byte for `idle`.
pub(crate) async fn write(
    stream: &mut SendStream,
    mut chunks: &mut [Bytes],
    idle: Option<Duration>,
) -> Result<(), Fault> {
    while !chunks.is_empty() {
        let written = within(idle, stream.write_chunks(chunks)).await??;
        chunks = &mut chunks[written.chunks..];
    }
    Ok(())
}

/// Bounds a step of reading. An answer is stalled only where over all of its link no stream brought anything for `patience`:
/// else what has a higher priority may have gone before it; and where the far end showed a sign of life in the second half
/// of it, as what keeps connections alive is at either end: else the way is dead, and no answer could come. Looking takes a
/// lock, so that is done where a step lasts.
async fn waited<T>(
    idle: Option<Duration>,
    connection: Option<&Connection>,
    patience: Duration,
    step: impl Future<Output = T>,
) -> Result<T, Fault> {
    let (Some(idle), Some(connection)) = (idle, connection) else { return within(idle, step).await };
    let mut step = pin!(step);
    let (soon, half) = (idle / 16, idle / 2);
    if let Ok(done) = timeout(soon, &mut step).await {
        return Ok(done);
    }
    let received = || connection.stats().frame_rx;
    let before = received();
    if let Ok(done) = timeout(half - soon, &mut step).await {
        return Ok(done);
    }
    let alive = |received: &FrameStats| received.acks + received.ping;
    let halfway = received();
    if let Ok(done) = timeout(idle - half, step).await {
        return Ok(done);
    }
    let now = received();
    let stalled = idle >= patience && now.stream == before.stream && alive(&now) > alive(&halfway);
    Err(if stalled { Fault::Stalled } else { Fault::Slow })
}

/// Bounds a step by an idle limit, if there is one.
pub(crate) async fn within<T>(idle: Option<Duration>, step: impl Future<Output = T>) -> Result<T, Fault> {
    match idle {
        None => Ok(step.await),
        Some(idle) => timeout(idle, step).await.map_err(|_| Fault::Stalled),
    }
}

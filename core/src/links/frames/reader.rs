//! Frames of one stream, read without a copy too many.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::timeout;

use super::buffers::Buffers;
use super::{Broken, Fault, FrameKind, HEAD_BYTES, Head};
use crate::Host;

/// What came over a link so far, in any unit that only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// What brings answers, over all streams of the link: bytes or frames.
    pub answers: u64,
    /// What shows that the far end lives, whatever it answers: acknowledgements, or pings.
    pub signs: u64,
}

/// A link that knows what came over it: so it is told who is silent from who is slow, or out of reach.
pub trait Hears: Send + Sync {
    /// What came so far. Asked a few times for an answer that takes long, and never for one that does not.
    fn heard(&self) -> Heard;
}

/// Reads the frames of one stream.
///
/// Dropping it before the end tells the far end to stop sending, where the stream does so.
pub struct Reader<R> {
    stream: R,
    host: Host,
    idle: Option<Duration>,
    /// That of an answer.
    link: Option<Arc<dyn Hears>>,
    buffers: Buffers,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// Waits for a head for ever; for the rest of a frame that has begun, as long as a fetch would.
    pub fn new(stream: R, host: &Host) -> Self {
        Self { stream, host: host.clone(), idle: None, link: None, buffers: Buffers::default() }
    }

    /// Gives up when no byte came for so long, of a head too.
    #[must_use]
    pub fn idle(mut self, limit: Duration) -> Self {
        self.idle = Some(limit);
        self
    }

    /// Reads an answer: it gives up as [`idle`](Self::idle) does, and tells who is silent from who is slow.
    #[must_use]
    pub fn answer(self, link: Arc<dyn Hears>, limit: Duration) -> Self {
        Self { link: Some(link), ..self.idle(limit) }
    }

    /// The next head, which must be one of `kinds`; `None` where the stream ends between two frames.
    ///
    /// # Errors
    /// Any fault.
    pub async fn head<K: FrameKind>(&mut self, kinds: &[K]) -> Result<Option<Head<K>>, Fault> {
        let mut head = [0; HEAD_BYTES];
        let limits = self.host.limits();
        let read = fill(&mut self.stream, &mut head);
        match waited(self.idle, self.link.as_deref(), limits.fetch_idle, read).await?? {
            HEAD_BYTES => {}
            0 => return Ok(None),
            _ => return Err(Fault::Cut),
        }
        let head = Head::decode(head, limits)?;
        if kinds.contains(&head.kind) {
            Ok(Some(head))
        } else {
            Err(Broken::Misplaced(head.kind.number()).into())
        }
    }

    /// The next head, which must be there and be one of `kinds`.
    ///
    /// # Errors
    /// Any fault.
    pub async fn expect<K: FrameKind>(&mut self, kinds: &[K]) -> Result<Head<K>, Fault> {
        self.head(kinds).await?.ok_or(Fault::Cut)
    }

    /// As many bytes as a head said, in one piece of exactly that size.
    ///
    /// # Errors
    /// Any fault but `Broken`.
    pub async fn body(&mut self, length: usize) -> Result<Bytes, Fault> {
        let patience = self.host.limits().fetch_idle;
        let idle = Some(self.idle.unwrap_or(patience));
        let mut body = self.buffers.take(length);
        let mut filled = 0;
        while filled < length {
            let read = self.stream.read(&mut body[filled..]);
            match waited(idle, self.link.as_deref(), patience, read).await?? {
                0 => return Err(Fault::Cut),
                read => filled += read,
            }
        }
        Ok(self.buffers.lend(body))
    }

    /// What is left of the stream.
    pub fn into_inner(self) -> R {
        self.stream
    }
}

/// Reads until all of `room` is full or the stream ends; answers how much came.
async fn fill(stream: &mut (impl AsyncRead + Unpin), room: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < room.len() {
        match stream.read(&mut room[filled..]).await? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

/// Bounds a step of reading. An answer is stalled only where over all of its link no stream brought anything for `patience`:
/// else what has a higher priority may have gone before it; and where the far end showed a sign of life in the second half
/// of it, as what keeps connections alive is at either end: else the way is dead, and no answer could come. Looking may take
/// a lock, so that is done where a step lasts.
async fn waited<T>(
    idle: Option<Duration>,
    link: Option<&dyn Hears>,
    patience: Duration,
    step: impl Future<Output = T>,
) -> Result<T, Fault> {
    let (Some(idle), Some(link)) = (idle, link) else { return within(idle, step).await };
    let mut step = pin!(step);
    let (soon, half) = (idle / 16, idle / 2);
    if let Ok(done) = timeout(soon, &mut step).await {
        return Ok(done);
    }
    let before = link.heard();
    if let Ok(done) = timeout(half - soon, &mut step).await {
        return Ok(done);
    }
    let halfway = link.heard();
    if let Ok(done) = timeout(idle - half, step).await {
        return Ok(done);
    }
    let now = link.heard();
    let stalled = idle >= patience && now.answers == before.answers && now.signs > halfway.signs;
    Err(if stalled { Fault::Stalled } else { Fault::Slow })
}

/// Bounds a step by an idle limit, if there is one.
///
/// # Errors
/// `Stalled`.
pub async fn within<T>(idle: Option<Duration>, step: impl Future<Output = T>) -> Result<T, Fault> {
    match idle {
        None => Ok(step.await),
        Some(idle) => timeout(idle, step).await.map_err(|_| Fault::Stalled),
    }
}

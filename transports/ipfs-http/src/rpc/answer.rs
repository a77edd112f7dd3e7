//! Reading an answer: to its true end, within bounds.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::Response;
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::{Fault, causes};
use crate::Endpoint;

/// Where Kubo says that what came before is not all.
const STREAM_ERROR: &str = "x-stream-error";

/// An answer that began with 200. Dropping it closes the connection, which ends the work of the daemon.
pub(crate) struct Answer {
    body: Incoming,
    idle: Duration,
    /// To which command it is one, and where.
    to: (&'static str, Endpoint),
    _slot: Option<OwnedSemaphorePermit>,
}

impl Answer {
    pub(super) fn new(
        response: Response<Incoming>,
        idle: Duration,
        slot: Option<OwnedSemaphorePermit>,
        to: (&'static str, Endpoint),
    ) -> Self {
        Self { body: response.into_body(), idle, to, _slot: slot }
    }

    /// Says of a fault in which answer it was.
    fn named(&self, fault: Fault) -> Fault {
        fault.of(self.to.0, &self.to.1)
    }

    /// The next bytes; `None` at the end. A failure that the daemon tells of after its 200 is an error.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            let frame = timeout(self.idle, self.body.frame()).await;
            let frame = frame.map_err(|_| self.named(Fault::silent("no byte", self.idle)))?;
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|error| self.named(Fault::cut(causes(&error)).because(error)))?;
            match frame.into_data() {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => return Ok(Some(bytes)),
                Err(trailers) => {
                    let trailers = trailers.into_trailers().unwrap_or_default();
                    if let Some(error) = trailers.get(STREAM_ERROR) {
                        return Err(self.named(Fault::said(&String::from_utf8_lossy(error.as_bytes()))));
                    }
                }
            }
        }
    }

    /// All of it, if it is no longer than `limit`; without a copy where it comes in one piece.
    pub(crate) async fn whole(mut self, limit: usize) -> Result<Bytes, Fault> {
        let mut all: Option<Bytes> = None;
        let mut joined = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            if chunk.len() > limit - joined.len() - all.as_ref().map_or(0, Bytes::len) {
                return Err(self.named(Fault::too_large(limit)));
            }
            match all.take() {
                Some(first) => joined.extend([first, chunk]),
                None if joined.is_empty() => all = Some(chunk),
                None => joined.extend_from_slice(&chunk),
            }
        }
        Ok(all.unwrap_or_else(|| joined.freeze()))
    }

    pub(crate) fn lines(self, limit: usize) -> Lines {
        Lines { answer: self, buffer: BytesMut::new(), searched: 0, limit, skips: false }
    }
}

/// An answer line by line.
pub(crate) struct Lines {
    answer: Answer,
    buffer: BytesMut,
    /// How much of the buffer holds no end of a line.
    searched: usize,
    limit: usize,
    /// In the middle of a line that is too long.
    skips: bool,
}

impl Lines {
    /// The next line, without its end; `None` at the end of the answer. One that is too long is empty: what a stranger sends
    /// ends no subscription.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            if let Some(at) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(self.searched + at + 1).freeze();
                self.searched = 0;
                let skipped = std::mem::take(&mut self.skips);
                return Ok(Some(if skipped { Bytes::new() } else { line.slice(..line.len() - 1) }));
            }
            if self.buffer.len() > self.limit {
                self.skips = true;
            }
            if self.skips {
                self.buffer.clear();
            }
            self.searched = self.buffer.len();
            match self.answer.chunk().await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None if self.buffer.is_empty() => return Ok(None),
                None => {
                    self.searched = 0;
                    return Ok(Some(std::mem::take(&mut self.buffer).freeze()));
                }
            }
        }
    }
}

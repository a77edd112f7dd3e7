//! Requests of a peer: one stream each, answered from the host.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use carrick_core::links::exchange::{Reply, serve};
use carrick_core::links::frames::{Fault, within};
use quinn::SendStream;
use tokio::sync::Notify;

use super::frames::{self, Recv};
use super::link::Link;
use super::{Shared, code};
use crate::wire::Reason;

/// Blocks are written in pieces of so many bytes: each that arrives shows that an answer is taken.
const PIECE: usize = 64 << 10;

impl Shared {
    /// Answers requests until the link ends. QUIC bounds how many streams a peer has open.
    pub(super) async fn serve(self: &Arc<Self>, link: &Arc<Link>) {
        while let Ok((send, recv)) = link.connection.accept_bi().await {
            let (shared, link) = (self.clone(), link.clone());
            self.host.spawn(async move {
                // Only a broken frame ends the link.
                if let Err(broken) = serve(&shared.host, &link.remote, Recv(recv), Answer::new(send)).await {
                    shared.fault(&link, &broken.into());
                }
            });
        }
    }
}

/// The stream that an answer is written to.
struct Answer {
    send: SendStream,
    /// Told when the far end has another piece of a block.
    arrived: Arc<Notify>,
    whole: bool,
}

impl Answer {
    fn new(send: SendStream) -> Self {
        Self { send, arrived: Arc::default(), whole: false }
    }
}

impl Reply for Answer {
    type Request = Recv;

    fn prioritise(&mut self, priority: i8) {
        let _ = self.send.set_priority(priority.into());
    }

    /// A block goes without a copy of it. Its share of serving memory goes when QUIC lets go of its bytes.
    async fn write(&mut self, head: Bytes, bytes: Bytes, idle: Duration) -> Result<(), Fault> {
        let piece = |at: usize| Piece {
            bytes: bytes.slice(at..bytes.len().min(at + PIECE)),
            arrived: self.arrived.clone(),
        };
        let pieces = (0..bytes.len()).step_by(PIECE).map(|at| Bytes::from_owner(piece(at)));
        let mut chunks: Vec<_> = std::iter::once(head).chain(pieces).collect();
        drop(bytes);
        frames::write(&mut self.send, &mut chunks, Some(idle)).await
    }

    fn stopped(&self, rest: Recv) -> impl Future<Output = ()> + Send + 'static {
        let stopped = self.send.stopped();
        async move {
            let _ = stopped.await;
            drop(rest);
        }
    }

    /// Until the far end has all of it, QUIC holds the bytes. One that takes no more of them is given up.
    async fn finish(mut self, stopped: impl Future<Output = ()> + Send, idle: Duration) -> Result<(), Fault> {
        // Fails only where the far end stopped the stream: then nobody waits for its end.
        let _ = self.send.finish();
        let mut stopped = pin!(stopped);
        loop {
            let arrived = within(Some(idle), self.arrived.notified());
            tokio::select! {
                biased;
                () = &mut stopped => break,
                moved = arrived => moved?,
            }
        }
        self.whole = true;
        Ok(())
    }
}

/// Bytes of a block that QUIC holds until the far end has them.
struct Piece {
    bytes: Bytes,
    arrived: Arc<Notify>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.arrived.notify_one();
    }
}

impl Drop for Answer {
    /// Half an answer must not look like a whole one, nor wait for a reader that is not there.
    fn drop(&mut self) {
        if !self.whole {
            let _ = self.send.reset(code(Reason::Stalled));
        }
    }
}

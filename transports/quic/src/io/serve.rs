//! Requests of a peer: one stream each, answered from the host.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use carrick_core::{Cid, ErrorKind, Served, WantDag};
use futures::StreamExt;
use quinn::{RecvStream, SendStream};
use tokio::sync::Notify;

use super::frames::{self, Reader};
use super::link::Link;
use super::{Shared, code};
use crate::error::Fault;
use crate::wire::{self, AskBlock, AskDag, Kind, Reason};

/// Blocks are written in pieces of so many bytes: each that arrives shows that an answer is taken.
const PIECE: usize = 64 << 10;

impl Shared {
    /// Answers requests until the link ends. QUIC bounds how many streams a peer has open.
    pub(super) async fn serve(self: &Arc<Self>, link: &Arc<Link>) {
        while let Ok((send, recv)) = link.connection.accept_bi().await {
            let (shared, link) = (self.clone(), link.clone());
            self.host.spawn(async move {
                // Whoever stops, stalls or goes is no longer served; only a broken frame ends the link.
                match shared.answer(&link, send, recv).await {
                    Err(fault @ Fault::Broken(_)) => shared.fault(&link, &fault),
                    Err(Fault::Stalled) => shared.host.count("serve_stalled", 1),
                    _ => {}
                }
            });
        }
    }

    async fn answer(&self, link: &Link, send: SendStream, recv: RecvStream) -> Result<(), Fault> {
        let idle = self.host.limits().fetch_idle;
        let mut reader = Reader::new(recv, &self.host).idle(idle);
        let head = reader.expect(&[Kind::AskBlock, Kind::AskHas, Kind::AskDag]).await?;
        let body = reader.body(head.length).await?;
        let mut stopped = pin!(send.stopped());
        let mut answer = Answer { send, idle, arrived: Arc::default(), whole: false };
        let answered = async {
            match head.kind {
                Kind::AskHas => self.answer_has(link, wire::read_cid(head.kind, &body)?, &mut answer).await,
                Kind::AskDag => self.answer_dag(link, AskDag::decode(&body)?, &mut answer).await,
                _ => self.answer_block(link, AskBlock::decode(&body)?, &mut answer).await,
            }
        };
        tokio::select! {
            biased;
            _ = &mut stopped => return Ok(()),
            answered = answered => answered?,
        }
        answer.arrive(stopped).await
    }

    async fn answer_has(&self, link: &Link, cid: Cid, answer: &mut Answer) -> Result<(), Fault> {
        let kind = match self.host.has(&link.remote, &cid).await {
            Ok(true) => Kind::Present,
            Ok(false) => Kind::Absent,
            Err(_) => Kind::Busy,
        };
        answer.last(kind).await
    }

    async fn answer_block(&self, link: &Link, ask: AskBlock, answer: &mut Answer) -> Result<(), Fault> {
        let _ = answer.send.set_priority(ask.priority.into());
        let served = match self.host.block(&link.remote, &ask.cid).await {
            Ok(Some(served)) => served,
            Ok(None) => return answer.last(Kind::Absent).await,
            Err(_) => return answer.last(Kind::Busy).await,
        };
        if served.bytes().len() > ask.max_bytes as usize {
            return answer.last(Kind::Limit).await;
        }
        answer.block(&ask.cid, served).await
    }

    async fn answer_dag(&self, link: &Link, ask: AskDag, answer: &mut Answer) -> Result<(), Fault> {
        let mut want = WantDag::new(ask.roots[0], self.host.limits().fetch_deadline);
        want.roots = ask.roots;
        want.have = ask.have;
        want.follow = ask.follow;
        want.depth = ask.depth;
        want.limit_bytes = ask.limit;
        let mut walk = self.host.dag(link.remote.clone(), want);
        while let Some(step) = walk.next().await {
            match step {
                Ok((cid, served)) => answer.block(&cid, served).await?,
                Err(error) => {
                    let kind = match error.kind() {
                        ErrorKind::NotFound => Kind::Absent,
                        ErrorKind::TooLarge => Kind::Limit,
                        _ => Kind::Busy,
                    };
                    return answer.last(kind).await;
                }
            }
        }
        answer.last(Kind::End).await
    }
}

/// The stream that an answer is written to.
struct Answer {
    send: SendStream,
    idle: Duration,
    /// Told when the far end has another piece of a block.
    arrived: Arc<Notify>,
    whole: bool,
}

impl Answer {
    /// A block, without a copy of it. Its share of serving memory goes when QUIC lets go of its bytes.
    async fn block(&mut self, cid: &Cid, served: Served) -> Result<(), Fault> {
        let head = wire::block_head(cid, served.bytes().len());
        let bytes = served.into_bytes();
        let piece = |at: usize| Piece {
            bytes: bytes.slice(at..bytes.len().min(at + PIECE)),
            arrived: self.arrived.clone(),
        };
        let pieces = (0..bytes.len()).step_by(PIECE).map(|at| Bytes::from_owner(piece(at)));
        let mut chunks: Vec<_> = std::iter::once(head).chain(pieces).collect();
        drop(bytes);
        frames::write(&mut self.send, &mut chunks, Some(self.idle)).await
    }

    /// A frame without a body, as the last.
    async fn last(&mut self, kind: Kind) -> Result<(), Fault> {
        frames::write(&mut self.send, &mut [wire::frame(kind, &[])], Some(self.idle)).await
    }

    /// Ends the stream and waits until the far end has all of it: until then QUIC holds the bytes. One that
    /// takes no more of them is given up.
    async fn arrive<T>(&mut self, stopped: impl Future<Output = T>) -> Result<(), Fault> {
        // Fails only where the far end stopped the stream: then nobody waits for its end.
        let _ = self.send.finish();
        let mut stopped = pin!(stopped);
        loop {
            let arrived = frames::within(Some(self.idle), self.arrived.notified());
            tokio::select! {
                biased;
                _ = &mut stopped => break,
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

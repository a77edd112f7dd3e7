//! Requests of a peer: one stream each, answered from the host.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use carrick_core::{Cid, ErrorKind, WantDag};
use futures::StreamExt;
use quinn::{RecvStream, SendStream};

use super::Shared;
use super::frames::{self, Reader};
use super::link::Link;
use crate::error::Fault;
use crate::wire::{self, AskBlock, AskDag, Kind, Reason};

impl Shared {
    /// Answers requests until the link ends. QUIC bounds how many streams a peer has open.
    pub(super) async fn serve(self: &Arc<Self>, link: &Arc<Link>) {
        while let Ok((send, recv)) = link.connection.accept_bi().await {
            let (shared, link) = (self.clone(), link.clone());
            self.host.spawn(async move {
                // Whoever stops, stalls or goes is no longer served; only a broken frame ends the link.
                if let Err(fault @ Fault::Broken(_)) = shared.answer(&link, send, recv).await {
                    shared.fault(&link, &fault);
                }
            });
        }
    }

    async fn answer(&self, link: &Link, send: SendStream, recv: RecvStream) -> Result<(), Fault> {
        let idle = self.host.limits().fetch_idle;
        let mut reader = Reader::new(recv, &self.host).idle(idle);
        let head = reader.expect(&[Kind::AskBlock, Kind::AskHas, Kind::AskDag]).await?;
        let body = reader.body(head.length).await?;
        let stopped = send.stopped();
        let mut answer = Answer { send, idle, whole: false };
        let answered = async {
            match head.kind {
                Kind::AskHas => self.answer_has(link, wire::read_cid(head.kind, &body)?, &mut answer).await,
                Kind::AskDag => self.answer_dag(link, AskDag::decode(&body)?, &mut answer).await,
                _ => self.answer_block(link, AskBlock::decode(&body)?, &mut answer).await,
            }
        };
        tokio::select! {
            biased;
            _ = stopped => Ok(()),
            answered = answered => answered,
        }
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
        answer.block(&ask.cid, served.bytes()).await?;
        answer.done();
        // `served` goes here, with its share of serving memory: QUIC holds at most a send window of it.
        Ok(())
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
                Ok((cid, served)) => answer.block(&cid, served.bytes()).await?,
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
    whole: bool,
}

impl Answer {
    /// A block, without a copy of it.
    async fn block(&mut self, cid: &Cid, bytes: &Bytes) -> Result<(), Fault> {
        let mut chunks = [wire::block_head(cid, bytes.len()), bytes.clone()];
        frames::write(&mut self.send, &mut chunks, Some(self.idle)).await
    }

    /// A frame without a body, and the end of the stream.
    async fn last(&mut self, kind: Kind) -> Result<(), Fault> {
        frames::write(&mut self.send, &mut [wire::frame(kind, &[])], Some(self.idle)).await?;
        self.done();
        Ok(())
    }

    fn done(&mut self) {
        // Fails only where the far end stopped the stream: then nobody waits for its end.
        let _ = self.send.finish();
        self.whole = true;
    }
}

impl Drop for Answer {
    /// Half an answer must not look like a whole one, nor wait for a reader that is not there.
    fn drop(&mut self) {
        if !self.whole {
            let _ = self.send.reset(Reason::Stalled.code());
        }
    }
}

//! Answering one request from the host.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use cid::Cid;
use futures::future::{Either, select};
use futures::stream::TryStreamExt as _;
use tokio::io::AsyncRead;
use tokio::time::timeout;

use super::{AskBlock, AskDag, Kind, block_head, read_cid};
use crate::links::frames::{Broken, Fault, Reader, frame};
use crate::{Error, ErrorKind, Host, Remote, Served, ServedStream, WantDag};

/// The stream that an answer is written to.
///
/// Dropping it before [`finish`](Self::finish) ends it half-way, at once.
pub trait Reply: Send {
    /// What the request is read from.
    type Request: AsyncRead + Unpin + Send;

    /// Higher goes first among the answers to one asker, where the wire can order them.
    fn prioritise(&mut self, priority: i8);

    /// Writes two pieces, of which the second may be empty: for a block, its head and its bytes. Its share of serving memory
    /// goes with the last reference to the bytes, so a wire that does not copy them holds them for as long as it needs.
    ///
    /// # Errors
    /// `Stalled` when the far end takes no byte for `idle`; `Stopped`, `Lost`.
    fn write(
        &mut self,
        head: Bytes,
        bytes: Bytes,
        idle: Duration,
    ) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Completes when the far end wants no more of the answer. `rest` is what is left of the request's side.
    fn stopped(&self, rest: Self::Request) -> impl Future<Output = ()> + Send + 'static;

    /// Ends the stream, and waits until the far end has all of it where the wire holds bytes until then; `stopped` says when
    /// it need not wait any more, and is what [`stopped`](Self::stopped) made.
    ///
    /// # Errors
    /// `Stalled` when nothing more of it arrives for `idle`.
    fn finish(
        self,
        stopped: impl Future<Output = ()> + Send,
        idle: Duration,
    ) -> impl Future<Output = Result<(), Fault>> + Send;
}

/// Reads one request of a peer and answers it from the host. The caller bounds how many of one peer are answered at once.
///
/// Whoever stops, stalls or goes is no longer served; a stall is counted as `serve_stalled`.
///
/// # Errors
/// How the request breaks the format: the asker is to be blamed, and its connection ended.
///
/// # Cancel safety
/// Dropping the future ends the answer half-way.
pub async fn serve<W: Reply>(
    host: &Host,
    asker: &Remote,
    request: W::Request,
    reply: W,
) -> Result<(), Broken> {
    match answer(host, asker, request, reply).await {
        Err(Fault::Broken(broken)) => Err(broken),
        Err(Fault::Stalled) => {
            host.count("serve_stalled", 1);
            Ok(())
        }
        _ => Ok(()),
    }
}

async fn answer<W: Reply>(host: &Host, asker: &Remote, request: W::Request, reply: W) -> Result<(), Fault> {
    let idle = host.limits().fetch_idle;
    let mut reader = Reader::new(request, host).idle(idle);
    let head = reader.expect(&[Kind::AskBlock, Kind::AskHas, Kind::AskDag]).await?;
    let body = reader.body(head.length).await?;
    let mut stopped = pin!(reply.stopped(reader.into_inner()));
    let mut answer = Answer { host, asker, reply, idle };
    let answered = async {
        match head.kind {
            Kind::AskHas => answer.has(read_cid(head.kind, &body)?).await,
            Kind::AskDag => answer.dag(AskDag::decode(&body)?).await,
            _ => answer.block(AskBlock::decode(&body)?).await,
        }
    };
    tokio::select! {
        biased;
        () = &mut stopped => return Ok(()),
        answered = answered => answered?,
    }
    answer.reply.finish(stopped, idle).await
}

/// An answer that is being written.
struct Answer<'a, W> {
    host: &'a Host,
    asker: &'a Remote,
    reply: W,
    idle: Duration,
}

impl<W: Reply> Answer<'_, W> {
    async fn has(&mut self, cid: Cid) -> Result<(), Fault> {
        let kind = match self.host.has(self.asker, &cid).await {
            Ok(true) => Kind::Present,
            Ok(false) => Kind::Absent,
            Err(_) => Kind::Busy,
        };
        self.last(kind).await
    }

    async fn block(&mut self, ask: AskBlock) -> Result<(), Fault> {
        self.reply.prioritise(ask.priority);
        let served = match self.host.block(self.asker, &ask.cid).await {
            Ok(Some(served)) => served,
            Ok(None) => return self.last(Kind::Absent).await,
            Err(_) => return self.last(Kind::Busy).await,
        };
        let size = served.bytes().len();
        if size > ask.max_bytes as usize {
            return self.last(Kind::Limit).await;
        }
        self.reply.write(block_head(&ask.cid, size), served.into_bytes(), self.idle).await
    }

    async fn dag(&mut self, ask: AskDag) -> Result<(), Fault> {
        let mut want = WantDag::new(ask.roots[0], self.host.limits().fetch_deadline);
        want.roots = ask.roots;
        want.have = ask.have;
        want.follow = ask.follow;
        want.depth = ask.depth;
        want.limit_bytes = ask.limit;
        let mut walk = self.host.dag(self.asker.clone(), want);
        let mut ahead = None;
        loop {
            let step = match ahead.take() {
                Some(step) => step,
                None => next(self.host, self.asker, self.idle / 2, &mut walk).await,
            };
            let (cid, served) = match step {
                Ok(Some(step)) => step,
                Ok(None) => return self.last(Kind::End).await,
                Err(error) => return self.last(refusal(&error)).await,
            };
            let head = block_head(&cid, served.bytes().len());
            let mut written = pin!(self.reply.write(head, served.into_bytes(), self.idle));
            // The next one is read meanwhile, if there is room for it.
            match select(&mut written, walk.try_next()).await {
                Either::Left((done, _)) => done?,
                Either::Right((next, _)) => {
                    written.await?;
                    ahead = Some(next);
                }
            }
        }
    }

    /// A frame without a body, as the last.
    async fn last(&mut self, kind: Kind) -> Result<(), Fault> {
        self.reply.write(frame(kind, &[]), Bytes::new(), self.idle).await
    }
}

/// The next step of a walk. Busy where there is no serving memory for it for so long: before the asker has left without hearing
/// so.
async fn next(
    host: &Host,
    asker: &Remote,
    patience: Duration,
    walk: &mut ServedStream,
) -> crate::Result<Option<(Cid, Served)>> {
    loop {
        match timeout(patience, walk.try_next()).await {
            Ok(step) => return step,
            // The store takes its time.
            Err(_) if host.has_room_for(asker) => {}
            Err(_) => return Err(Error::new(ErrorKind::Busy, "dag", "serving memory is full")),
        }
    }
}

/// How the asker is told why a walk ends early.
fn refusal(error: &Error) -> Kind {
    match error.kind() {
        ErrorKind::NotFound => Kind::Absent,
        ErrorKind::TooLarge => Kind::Limit,
        _ => Kind::Busy,
    }
}

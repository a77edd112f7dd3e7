//! Messages: one stream in each direction, read no faster than the gate takes them.

use std::sync::Arc;

use bytes::Bytes;
use carrick_core::links::frames::{Fault, within};
use carrick_core::links::{Arrived, Packed};
use carrick_core::{Inbound, Lane, MessageId, Misdeed, Relay, Topic};
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use quinn::RecvStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::Shared;
use super::frames::{self, Reader, Recv};
use super::hello::BEFORE_BLOCKS;
use super::link::{Link, RETIREMENT};
use crate::wire::{self, Kind};

/// Messages are written about so many bytes at a time.
const BATCH: usize = 32 << 10;
/// Verdicts of one peer's messages that may be outstanding. The gate's slots bound those being judged; a
/// second copy of a message holds none while it waits for the verdict of the first.
const VERDICTS: usize = 256;
/// Messages on their way from the reader to those that wait for verdicts.
const VERDICTS_AT_ONCE: usize = 16;

impl Shared {
    /// Writes what is queued until the link ends or retires.
    pub(super) async fn write_messages(&self, link: &Link) {
        let flushed = link.flushed.clone().drop_guard();
        let Ok(mut stream) = link.connection.open_uni().await else { return };
        let _ = stream.set_priority(BEFORE_BLOCKS);
        loop {
            let mut chunks = Vec::new();
            let each = |Packed { head, bytes }| chunks.extend([head, bytes]);
            let more = tokio::select! {
                biased;
                _ = link.connection.closed() => return,
                more = link.messages.take(BATCH, each) => more,
            };
            if !more {
                break;
            }
            if frames::write(&mut stream, &mut chunks, None).await.is_err() {
                return;
            }
        }
        // Fails only where the connection is gone; else the far end has all of it when this returns.
        if stream.finish().is_ok() {
            let _ = timeout(RETIREMENT, stream.stopped()).await;
        }
        drop(flushed);
        self.see_off(link).await;
    }

    /// Reads the peer's stream of messages until the link ends.
    pub(super) async fn read_messages(self: &Arc<Self>, link: &Arc<Link>) {
        while let Ok(stream) = link.connection.accept_uni().await {
            if let Err(fault) = self.read_stream(link, stream).await {
                return self.fault(link, &fault);
            }
        }
    }

    async fn read_stream(self: &Arc<Self>, link: &Arc<Link>, stream: RecvStream) -> Result<(), Fault> {
        let mut reader = Reader::new(Recv(stream), &self.host);
        let (judged, verdicts) = mpsc::channel(VERDICTS_AT_ONCE);
        // Goes on when the link ends: what was accepted is passed on all the same.
        self.host.spawn(self.clone().pass_on(verdicts));
        while let Some(head) = reader.head(&[Kind::Message]).await? {
            self.read_one(link, &mut reader, head.length, &judged).await?;
        }
        Ok(())
    }

    /// Reads one message and hands it to the gate. Until the gate has room, not a byte of it is read, and
    /// QUIC's window slows the sender down. Once it has, the message must come: it holds the room.
    async fn read_one(
        &self,
        link: &Link,
        reader: &mut Reader,
        length: usize,
        judged: &mpsc::Sender<Judging>,
    ) -> Result<(), Fault> {
        let slot = self.host.slot(&link.remote).await;
        let deadline = Some(self.host.limits().fetch_deadline);
        let (topic, bytes) = wire::read_message(within(deadline, reader.body(length)).await??)?;
        let id = MessageId::of(&bytes);
        let arrived = self.table().state.arrived(link.peer, &topic, id);
        if arrived != Arrived::Wanted {
            self.host.count("unjoined", 1);
            if arrived == Arrived::Unasked {
                self.host.report(&link.remote, Misdeed::Needless);
            }
            return Ok(());
        }
        let inbound =
            Inbound { from: link.remote.clone(), topic: topic.clone(), bytes: bytes.clone(), wire_id: None };
        let verdict = slot.deliver(inbound);
        let judging = async move { Judged { relay: verdict.await, topic, id, bytes } };
        // Fails only while the transport closes.
        let _ = judged.send(judging.boxed()).await;
        Ok(())
    }

    /// Waits for the verdicts of one stream and passes on what was accepted.
    ///
    /// The gate answers for one author in the order of arrival, and so do we: what is ready at the same time
    /// goes out in that order.
    async fn pass_on(self: Arc<Self>, mut judged: mpsc::Receiver<Judging>) {
        let mut pending = FuturesUnordered::new();
        let (mut arrived, mut open) = (0_u64, true);
        while open || !pending.is_empty() {
            let first = tokio::select! {
                biased;
                () = self.closing.cancelled() => return,
                Some(first) = pending.next() => first,
                judging = judged.recv(), if open && pending.len() < VERDICTS => {
                    let order = arrived;
                    arrived += 1;
                    match judging {
                        Some(judging) => pending.push(judging.map(move |judged| (order, judged))),
                        None => open = false,
                    }
                    continue;
                }
            };
            let mut ready = vec![first];
            while let Some(Some(more)) = pending.next().now_or_never() {
                ready.push(more);
            }
            ready.sort_unstable_by_key(|(order, _)| *order);
            for (_, Judged { relay, topic, id, bytes }) in ready {
                if relay == Relay::Accept {
                    self.send(&topic, &id, &bytes, Lane::Relay);
                }
            }
        }
    }
}

/// A message that the gate judges.
type Judging = BoxFuture<'static, Judged>;

/// A message that was judged.
struct Judged {
    relay: Relay,
    topic: Topic,
    id: MessageId,
    bytes: Bytes,
}

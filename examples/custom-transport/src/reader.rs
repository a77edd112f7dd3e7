//! What comes over a link: messages go to the gate, requests to the host.

use std::sync::Arc;
use std::time::Duration;

use carrick_core::{Bytes, Cid, Inbound, Lane, Misdeed, PeerRecord, Relay, Topic};
use futures::future::join;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::link::{Link, Waiting, locked};
use crate::shared::Shared;
use crate::wire::{self, End, Frame, read_bytes, read_frame};

/// A far end that says nothing for so long is gone. It says something every 5 s.
const SILENCE: Duration = Duration::from_secs(20);
/// How long an ended link may take for what is queued and for the goodbye.
const FAREWELL: Duration = Duration::from_millis(500);

impl Shared {
    /// Carries a link from its handshake to its end.
    pub(crate) async fn run(self: Arc<Self>, link: Arc<Link>, stream: TcpStream, waiting: Waiting) {
        let (mut from, mut to) = stream.into_split();
        let reading = async {
            self.end(&link, self.read(&link, &mut from).await);
            // A socket that is closed before it was read to its end is reset, and our goodbye lost.
            let _ = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
        };
        let writing = async {
            if let Err(why) = link.write(&mut to, waiting).await {
                self.end(&link, why);
            }
        };
        let ending = async {
            link.ended.cancelled().await;
            sleep(FAREWELL).await;
        };
        tokio::select! {
            _ = join(reading, writing) => {}
            () = ending => {}
        }
    }

    /// Ends a link, and blames the far end where it is to blame.
    fn end(&self, link: &Arc<Link>, why: End) {
        match why {
            End::Broken => self.host.report(&link.remote(), Misdeed::Malformed),
            End::Stalled => self.host.report(&link.remote(), Misdeed::Stalled),
            End::Parted => self.table().part(link.peer),
            _ => {}
        }
        self.table().leave(link, why);
    }

    async fn read(self: &Arc<Self>, link: &Arc<Link>, from: &mut OwnedReadHalf) -> End {
        // A second copy of a message waits without room in the gate, so those that wait are bounded here too.
        let verdicts = Arc::new(Semaphore::new(2 * self.host.limits().gate_per_remote));
        let reading = async {
            loop {
                if let Err(why) = self.read_one(link, from, &verdicts).await {
                    return why;
                }
            }
        };
        tokio::select! {
            biased;
            () = link.ended.cancelled() => End::Goodbye,
            why = reading => why,
        }
    }

    async fn read_one(
        self: &Arc<Self>,
        link: &Arc<Link>,
        from: &mut OwnedReadHalf,
        verdicts: &Arc<Semaphore>,
    ) -> Result<(), End> {
        let frame = read_frame(from, SILENCE).await?;
        match Frame::decode(&frame)? {
            Frame::Message { topic, bytes } => {
                self.read_message(link, from, verdicts, wire::topic(topic)?, bytes as usize).await
            }
            Frame::Answer { request, bytes } => link.take_answer(from, request, bytes).await,
            other => self.take(link, other),
        }
    }

    /// Room in the gate first, then the message, then its verdict, then on to others.
    async fn read_message(
        self: &Arc<Self>,
        link: &Link,
        from: &mut OwnedReadHalf,
        verdicts: &Arc<Semaphore>,
        topic: Topic,
        length: usize,
    ) -> Result<(), End> {
        if length > self.host.limits().envelope_bytes() {
            return Err(End::Broken);
        }
        let waits = verdicts.clone().acquire_owned().await;
        let slot = self.host.slot(&link.remote()).await;
        let bytes = read_bytes(from, length, self.host.limits().fetch_idle).await?;
        if !self.table().topics.contains(&topic) {
            self.host.count("unjoined", 1);
            link.costs_nothing();
            return Ok(());
        }
        let inbound =
            Inbound { from: link.remote(), topic: topic.clone(), bytes: bytes.clone(), wire_id: None };
        // Called here, in the order of arrival; awaited elsewhere, in any order.
        let verdict = slot.deliver(inbound);
        let (shared, peer) = (self.clone(), link.peer);
        self.host.spawn(async move {
            let relay = verdict.await;
            drop(waits);
            if relay == Relay::Accept {
                shared.table().send(&topic, &bytes, Lane::Relay, Some(peer));
            }
        });
        Ok(())
    }

    /// Takes a frame behind which nothing follows.
    fn take(self: &Arc<Self>, link: &Arc<Link>, frame: Frame<'_>) -> Result<(), End> {
        link.costs_nothing();
        match frame {
            Frame::Ping => {}
            Frame::Bye(why) => return Err(why),
            Frame::Topic { name, joined } => self.table().heard(link, wire::topic(name)?, joined)?,
            Frame::Record(bytes) => self.take_record(link, Bytes::copy_from_slice(bytes))?,
            Frame::Ask { request, cid, most } => {
                let cid = Cid::try_from(cid).map_err(|_| End::Broken)?;
                link.serve(self, request, cid, most as usize)?;
            }
            Frame::Cancel { request } => {
                // One that was answered meanwhile is not there any more.
                locked(&link.serving).get(&request).into_iter().for_each(|serving| serving.cancel());
            }
            _ => return Err(End::Broken),
        }
        Ok(())
    }

    /// Learns where a peer listens; what is news goes on to the others.
    fn take_record(&self, link: &Link, bytes: Bytes) -> Result<(), End> {
        let record = PeerRecord::decode(bytes, self.host.network()).map_err(|_| End::Broken)?;
        if *record.peer() == self.host.me() || !self.host.learn(&link.remote(), record.clone()) {
            return Ok(());
        }
        let passed = |other: &&Arc<Link>| other.peer != link.peer && other.peer != *record.peer();
        let frame = Frame::Record(record.encoded());
        self.table().links().filter(passed).for_each(|other| other.tell(&frame));
        Ok(())
    }
}

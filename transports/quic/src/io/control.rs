//! The control stream after the hello: topics joined and left, peer records passed on.

use std::sync::Arc;

use bytes::Bytes;
use carrick_core::{Misdeed, PeerRecord, Remote};
use quinn::SendStream;
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant, sleep};

use super::Shared;
use super::frames::{self, Reader};
use super::hello::BEFORE_BLOCKS;
use super::link::Link;
use crate::error::Fault;
use crate::wire::{self, Broken, Kind};

/// Records passed on to a new neighbour.
const RECORDS_AT_START: usize = 32;
/// Records taken from one peer without a pause. More than a peer ever has to say at once.
const BURST: f64 = 512.0;
/// Records a second taken from one peer for long; it is read no faster, so QUIC slows it down.
const RATE: f64 = 32.0;

impl Shared {
    /// Writes what is queued until the link ends.
    pub(super) async fn write_control(
        &self,
        link: &Link,
        mut stream: SendStream,
        mut first: Option<Bytes>,
        mut queue: mpsc::Receiver<Bytes>,
    ) {
        let _ = stream.set_priority(BEFORE_BLOCKS);
        loop {
            let frame = match first.take() {
                Some(first) => Some(first),
                None => tokio::select! {
                    biased;
                    _ = link.connection.closed() => return,
                    frame = queue.recv() => frame,
                },
            };
            let Some(frame) = frame else { return };
            if frames::write(&mut stream, &mut [frame], None).await.is_err() {
                return;
            }
        }
    }

    /// Reads what the peer says until the link ends.
    pub(super) async fn read_control(&self, link: &Arc<Link>, mut reader: Reader) {
        let mut pace = Pace::new();
        loop {
            match self.read_control_frame(link, &mut reader).await {
                Ok(Kind::Record) => pace.step().await,
                Ok(_) => self.host.report(&link.remote, Misdeed::Needless),
                Err(fault) => return self.fault(link, &fault),
            }
        }
    }

    async fn read_control_frame(&self, link: &Arc<Link>, reader: &mut Reader) -> Result<Kind, Fault> {
        let head = reader.expect(&[Kind::Join, Kind::Leave, Kind::Record]).await?;
        let body = reader.body(head.length).await?;
        if head.kind == Kind::Record {
            return self.take_record(link, body).map(|()| head.kind);
        }
        let topic = wire::read_topic(head.kind, &body)?;
        let mut table = self.table();
        let joins = head.kind == Kind::Join;
        let actions = table
            .state
            .heard(&link.peer, link, topic, joins)
            .map_err(|_| Broken::Body(head.kind, "one topic too many"))?;
        table.run(&self.host, actions);
        Ok(head.kind)
    }

    /// Learns a record; what is news goes on to the others, once.
    fn take_record(&self, link: &Link, body: Bytes) -> Result<(), Fault> {
        let record = PeerRecord::decode(body, self.host.network())
            .map_err(|_| Broken::Body(Kind::Record, "no record of a peer"))?;
        let from = Remote::Peer(link.peer);
        if *record.peer() != self.host.me() && self.host.learn(&from, record.clone()) {
            self.pass_record(&record, Some(link));
            self.changed.notify_waiters();
        }
        Ok(())
    }

    /// Passes a record to all neighbours but the one it came from and the one it is about.
    pub(super) fn pass_record(&self, record: &PeerRecord, from: Option<&Link>) {
        let frame = wire::frame(Kind::Record, record.encoded());
        for link in self.links() {
            if from.is_some_and(|from| from.id == link.id) || link.peer == *record.peer() {
                continue;
            }
            if !link.offer(frame.clone()) {
                self.host.count("records_dropped", 1);
            }
        }
    }

    /// Tells a new neighbour whom we know, and those we know of the new neighbour.
    pub(super) fn pass_known_records(&self, link: &Link) {
        // One more than are sent: the neighbour's own may be among them.
        for record in self.host.records(RECORDS_AT_START + 1) {
            if *record.peer() == link.peer {
                self.pass_record(&record, Some(link));
            } else if !link.offer(wire::frame(Kind::Record, record.encoded())) {
                self.host.count("records_dropped", 1);
            }
        }
    }
}

/// A bucket of tokens: pauses who takes them too fast.
struct Pace {
    tokens: f64,
    at: Instant,
}

impl Pace {
    fn new() -> Self {
        Self { tokens: BURST, at: Instant::now() }
    }

    async fn step(&mut self) {
        let now = Instant::now();
        self.tokens = (self.tokens + now.duration_since(self.at).as_secs_f64() * RATE).min(BURST);
        self.at = now;
        if self.tokens < 1.0 {
            sleep(Duration::from_secs_f64((1.0 - self.tokens) / RATE)).await;
        }
        self.tokens -= 1.0;
    }
}

//! The control stream after the hello: topics joined and left, peer records passed on.

use std::sync::Arc;

use bytes::Bytes;
use carrick_core::links::frames::Fault;
use carrick_core::{Misdeed, PeerRecord, Remote};
use quinn::SendStream;
use tokio::sync::mpsc;

use super::Shared;
use super::frames::{self, Reader};
use super::hello::BEFORE_BLOCKS;
use super::link::Link;
use crate::wire::{self, Broken, Kind};

/// Records passed on to a new neighbour.
const RECORDS_AT_START: usize = 32;

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
        loop {
            match self.read_control_frame(link, &mut reader).await {
                Ok(()) => self.host.report(&link.remote, Misdeed::Needless),
                Err(fault) => return self.fault(link, &fault),
            }
        }
    }

    async fn read_control_frame(&self, link: &Arc<Link>, reader: &mut Reader) -> Result<(), Fault> {
        let head = reader.expect(&[Kind::Join, Kind::Leave, Kind::Record]).await?;
        let body = reader.body(head.length).await?;
        if head.kind == Kind::Record {
            return self.take_record(link, body);
        }
        let topic = wire::read_topic(head.kind, &body)?;
        let mut table = self.table();
        let joins = head.kind == Kind::Join;
        let actions = table
            .state
            .heard(&link.peer, link, topic, joins)
            .map_err(|_| Broken::body(head.kind, "one topic too many"))?;
        table.run(&self.host, actions);
        Ok(())
    }

    /// Learns a record; what is news goes on to the others, once.
    fn take_record(&self, link: &Link, body: Bytes) -> Result<(), Fault> {
        let record = PeerRecord::decode(body, self.host.network())
            .map_err(|_| Broken::body(Kind::Record, "no record of a peer"))?;
        let from = Remote::Peer(link.peer);
        if *record.peer() != self.host.me() && self.host.learn(&from, record.clone()) {
            self.pass_record(&record, link);
            self.changed.notify_waiters();
        }
        Ok(())
    }

    /// Tells all neighbours our own record.
    pub(super) fn tell_record(&self, record: &PeerRecord) {
        let frame = wire::frame(Kind::Record, record.encoded());
        self.links().iter().for_each(|link| link.tell(frame.clone()));
    }

    /// Passes a record to all neighbours but the one it came from and the one it is about.
    fn pass_record(&self, record: &PeerRecord, from: &Link) {
        if !from.records.passes(from.peer == *record.peer()) {
            return self.host.count("records_dropped", 1);
        }
        let others =
            self.links().into_iter().filter(|link| link.id != from.id && link.peer != *record.peer());
        others.for_each(|link| self.offer_record(&link, record));
    }

    fn offer_record(&self, link: &Link, record: &PeerRecord) {
        if !link.offer_record(wire::frame(Kind::Record, record.encoded())) {
            self.host.count("records_dropped", 1);
        }
    }

    /// Tells a new neighbour whom we know, and those we know of the new neighbour.
    pub(super) fn pass_known_records(&self, link: &Link) {
        // One more than are sent: the neighbour's own may be among them.
        for record in self.host.records(RECORDS_AT_START + 1) {
            if *record.peer() == link.peer {
                self.pass_record(&record, link);
            } else {
                self.offer_record(link, &record);
            }
        }
    }
}

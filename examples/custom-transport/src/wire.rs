//! What crosses a connection: many streams side by side, and on them frames.
//!
//! The first stream stands as long as the link and carries hellos, topics, records, messages and the goodbye. The others
//! are requests for a block: one frame there, one frame back, and the block.

use std::time::Duration;

use carrick_core::limits::MAX_TOPIC_BYTES;
use carrick_core::links::{Reason, Wire};
use carrick_core::{Bytes, Limits, PeerRecord, Topic};
use remoc::chmux::{Cfg, Client, Receiver, RecvError};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

/// Longest frame but a hello. The longest that there is carries a record of 2 KiB.
pub(crate) const MAX_FRAME_BYTES: usize = 4 << 10;
/// A far end from which nothing comes for so long is gone; the multiplexer says something twice as often. Less than the
/// default of `fetch_idle`, so that nobody is blamed for not answering over a way that is dead.
const SILENCE: Duration = Duration::from_secs(8);
/// So much of one stream may wait to be read, or less where a whole link may not have as much.
const WINDOW_BYTES: usize = 256 << 10;

/// A frame, in postcard. A new variant comes last, or old nodes misread it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Frame<'a> {
    /// The first of each end. Another session means that the peer was started again. It answers so many requests at once.
    Hello { network: &'a str, session: u64, requests: u16, topics: Vec<&'a str> },
    /// Nothing more comes; the number of the reason.
    Bye(u8),
    /// The sender takes part in a topic, or not any more.
    Topic { name: &'a str, joined: bool },
    /// Where a peer listens, signed by that peer.
    Record(&'a [u8]),
    /// An envelope of this topic is next, by itself: so it can wait until there is room for it.
    Message { topic: &'a str },
    /// Asks for a block of at most so many bytes.
    Ask { cid: &'a [u8], most: u32 },
    /// A block of so many bytes is next, by itself.
    Block { bytes: u32 },
    /// There is no such block,
    Absent,
    /// or it is larger than was asked for,
    TooLarge,
    /// or it cannot be served now.
    Busy,
}

impl<'a> Frame<'a> {
    pub(crate) fn encode(&self) -> Bytes {
        postcard::to_allocvec(self).expect("all its parts know their length").into()
    }

    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, Reason> {
        match postcard::take_from_bytes(bytes) {
            Ok((frame, [])) => Ok(frame),
            _ => Err(Reason::Malformed),
        }
    }
}

/// What a link needs of its connection beside the first stream: more streams, and how many may still be opened.
#[derive(Debug)]
pub(crate) struct Streams {
    pub(crate) client: Client,
    pub(crate) room: Semaphore,
}

impl Wire for Streams {
    fn topic(topic: &Topic, joined: bool) -> Bytes {
        Frame::Topic { name: topic.as_str(), joined }.encode()
    }

    fn record(record: &PeerRecord) -> Bytes {
        Frame::Record(record.encoded()).encode()
    }

    fn head(topic: &Topic, _: usize) -> Bytes {
        Frame::Message { topic: topic.as_str() }.encode()
    }
}

/// Waits for what is next on a stream. More than `most` bytes break the format, and are not collected.
pub(crate) async fn receive(from: &mut Receiver, most: usize) -> Result<Bytes, Reason> {
    from.set_max_data_size(most);
    match from.recv().await {
        Ok(Some(bytes)) => Ok(bytes.into()),
        Ok(None) | Err(RecvError::ChMux) => Err(Reason::Goodbye),
        Err(_) => Err(Reason::Malformed),
    }
}

/// A topic as the far end names it.
pub(crate) fn topic(name: &str) -> Result<Topic, Reason> {
    Topic::from_wire(name).map_err(|_| Reason::Malformed)
}

/// Longest hello: it names all topics.
pub(crate) fn max_hello_bytes(limits: &Limits) -> usize {
    MAX_FRAME_BYTES + limits.topics_per_peer * (MAX_TOPIC_BYTES + 2)
}

/// How many requests of a far end are answered at once.
pub(crate) fn requests(limits: &Limits) -> u16 {
    u16::try_from(limits.streams_per_peer).unwrap_or(u16::MAX)
}

/// What the multiplexer keeps to.
pub(crate) fn streams(limits: &Limits) -> Cfg {
    let requests = requests(limits);
    let window = limits.receive_window_bytes.min(WINDOW_BYTES);
    Cfg {
        connection_timeout: Some(SILENCE),
        // As many requests of the far end as of ours, and the first stream.
        max_ports: 2 * u32::from(requests) + 1,
        connect_queue: requests,
        receive_buffer: u32::try_from(window).unwrap_or(u32::MAX),
        flush_delay: Duration::ZERO,
        ..Cfg::default()
    }
}

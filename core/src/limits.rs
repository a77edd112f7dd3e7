//! Every default limit of a node, in one place.
//!
//! Nothing waits without a deadline and nothing queues without a bound in count and bytes. Each field can be set
//! under `[node.limits]`; durations are written as seconds. All nodes of one network should agree on
//! [`payload_bytes`](Limits::payload_bytes), [`block_bytes`](Limits::block_bytes) and
//! [`clock_skew`](Limits::clock_skew).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Result};

/// What an envelope may need beside its payload: names, 64 parents, a signature.
pub const ENVELOPE_OVERHEAD: usize = 4 * 1024;
/// Most parents an envelope may name.
pub const MAX_PARENTS: usize = 64;
/// Most roots one [`WantDag`](crate::WantDag) may name.
pub const MAX_ROOTS: usize = 64;
/// Largest signed [`PeerRecord`](crate::PeerRecord), in bytes.
pub const MAX_RECORD_BYTES: usize = 2 * 1024;
/// Largest number that peers sign: `seqno` and `time` of a message, `seq` of a record. 2^63 − 1, because some readers of
/// dag-cbor know no unsigned numbers of 64 bits.
pub const MAX_NUMBER: u64 = i64::MAX as u64;
/// Longest topic name, in bytes.
pub const MAX_TOPIC_BYTES: usize = 256;
/// Longest network id, in bytes.
pub const MAX_NETWORK_BYTES: usize = 64;
/// Largest block a node may be configured to take, whatever the wire could carry.
pub const MAX_BLOCK_BYTES: usize = 8 * 1024 * 1024;

/// The bounds a node keeps. `Limits::default()` is what the documentation states.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Limits {
    /// Largest payload inside an envelope; a larger one travels as a link. Default 64 KiB, range 1 KiB to 1 MiB.
    pub payload_bytes: usize,
    /// Largest block stored, served or fetched. Default 2 MiB, range 64 KiB to 8 MiB.
    pub block_bytes: usize,
    /// Topics one peer may join. Default 128, range 1 to 65,536.
    pub topics_per_peer: usize,
    /// Messages of one remote in the gate. Default 64, range 1 to 65,536.
    pub gate_per_remote: usize,
    /// Messages in the gate. Default 1,024, range 1 to 1,048,576.
    pub gate_total: usize,
    /// Deferred messages waiting for what they need. Default 1,024, range 0 to 1,048,576.
    pub waiting: usize,
    /// Bytes of deferred messages. Default 64 MiB, range 0 to 1 GiB.
    pub waiting_bytes: usize,
    /// Deferred messages of one author. Default 64, range 0 to 1,048,576.
    pub waiting_per_author: usize,
    /// Blocks and messages one deferral may fetch. Default 256, any number.
    pub defer_blocks: u32,
    /// How deep a deferral may nest. Default 64, any number.
    pub defer_depth: u32,
    /// How long a deferral may take. Default 30 s, range 1 ms to 1 h.
    #[serde(with = "seconds")]
    pub defer_time: Duration,
    /// Gaps of topics that keep their messages that are being mended, or wait for it; what is above is told as a gap at once.
    /// Default 256, range 0 (none is mended) to 65,536.
    pub repairs: usize,
    /// Those of one author. Default 8, range 0 to 65,536.
    pub repairs_per_author: usize,
    /// Messages fetched to mend one gap. Default 256, range 1 to 65,536.
    pub repair_messages: usize,
    /// Their bytes, held in memory until they pass the gate; eight gaps are being mended at once. Default 2 MiB, range one
    /// envelope to 1 GiB.
    pub repair_bytes: usize,
    /// How long it may take to mend a gap; what is missing then is told. Default 30 s, range 1 ms to 1 h.
    #[serde(with = "seconds")]
    pub repair_time: Duration,
    /// Time of the validators for one message or block, and again for `accepted`. Default 2 s, range 1 ms to 1 h.
    #[serde(with = "seconds")]
    pub validation: Duration,
    /// How long the id of an accepted or rejected message is remembered; accepted ones of a topic without
    /// [`numbers`](crate::TopicRules::numbers) stay as long as there is room. Default 120 s, as Kubo's
    /// `Pubsub.SeenMessagesTTL`, range 1 ms to 1 h.
    #[serde(with = "seconds")]
    pub seen_ttl: Duration,
    /// Ids remembered; malformed ones in a list of their own of the same size. Default 65,536, range 16 to 16,777,216.
    pub seen: usize,
    /// Pairs of author and topic whose numbers are remembered; the least recent goes. Default 65,536, range 16 to
    /// 16,777,216.
    pub authors: usize,
    /// How long a live message waits for the one that it follows, where that one comes later. Default 0.1 s, range 0 (it
    /// never waits) to 10 s.
    #[serde(with = "seconds")]
    pub reorder: Duration,
    /// How far the clock of a live message may be off; outside it the verdict is Ignore. Default 120 s, range 1 ms to 1 h.
    #[serde(with = "seconds")]
    pub clock_skew: Duration,
    /// Connections. Default 512, range 1 to 65,536.
    pub connections: usize,
    /// Handshakes in progress that others began. Default 64, range 1 to 65,536.
    pub handshakes: usize,
    /// Concurrent streams of one peer. Default 100, range 4 to 65,536.
    pub streams_per_peer: usize,
    /// Time for a handshake. Default 10 s, range 1 ms to 1 h.
    #[serde(with = "seconds")]
    pub handshake: Duration,
    /// Deadline of a fetch. Default 60 s, range 1 ms to 1 h.
    #[serde(with = "seconds")]
    pub fetch_deadline: Duration,
    /// Longest time without a new block during a fetch; divided by the number of transports that fetch, the head start of
    /// each before the next. Half of it is how long a request of a peer waits for serving memory. Who answers nothing for
    /// so long is blamed. Default 10 s, range 1 ms to 1 h.
    #[serde(with = "seconds")]
    pub fetch_idle: Duration,
    /// Blocks being fetched at once; more wait. Default 256, range 1 to 65,536.
    pub flights: usize,
    /// Bytes queued for sending to one peer; then the oldest of the last lane goes first. Default 1 MiB, range one envelope
    /// to 1 GiB.
    pub send_queue_bytes: usize,
    /// Messages a subscriber may lag behind; then it is told `Lagged(n)`. Default 1,024, range 1 to 1,048,576.
    pub subscriber_messages: usize,
    /// Bytes a subscriber may lag behind; then it is told `Lagged(n)`. Default 16 MiB, range one envelope to 1 GiB.
    pub subscriber_bytes: usize,
    /// Bytes of blocks being served to all peers; a quarter of it, but at least one block, to one. Default 32 MiB, range one
    /// block to 4 GiB.
    pub serving_bytes: usize,
    /// Blocks remembered by all DAG walks that are being served, a quarter of it by those of one peer at most. Each walk
    /// takes 1,024 at a time. Beyond it the answer is `Busy`. Default 1,048,576, range 4,096 to
    /// 67,108,864.
    pub walk_blocks: usize,
    /// Receive window of one connection. Default 2 MiB, range 64 KiB to 64 MiB.
    pub receive_window_bytes: usize,
    /// Messages kept for a topic while nobody is there. Default 64, range 0 to 65,536.
    pub outbox: usize,
    /// How long a message is kept while nobody is there. Default 30 s, range 1 ms to 1 h.
    #[serde(with = "seconds")]
    pub outbox_time: Duration,
    /// Peers whose own records are kept, and as many again that others told of. Default 1,024, range 1 to 65,536.
    pub known_peers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            payload_bytes: 64 << 10,
            block_bytes: 2 << 20,
            topics_per_peer: 128,
            gate_per_remote: 64,
            gate_total: 1_024,
            waiting: 1_024,
            waiting_bytes: 64 << 20,
            waiting_per_author: 64,
            defer_blocks: 256,
            defer_depth: 64,
            defer_time: Duration::from_secs(30),
            repairs: 256,
            repairs_per_author: 8,
            repair_messages: 256,
            repair_bytes: 2 << 20,
            repair_time: Duration::from_secs(30),
            validation: Duration::from_secs(2),
            seen_ttl: Duration::from_secs(120),
            seen: 65_536,
            authors: 65_536,
            reorder: Duration::from_millis(100),
            clock_skew: Duration::from_secs(120),
            connections: 512,
            handshakes: 64,
            streams_per_peer: 100,
            handshake: Duration::from_secs(10),
            fetch_deadline: Duration::from_secs(60),
            fetch_idle: Duration::from_secs(10),
            flights: 256,
            send_queue_bytes: 1 << 20,
            subscriber_messages: 1_024,
            subscriber_bytes: 16 << 20,
            serving_bytes: 32 << 20,
            walk_blocks: 1 << 20,
            receive_window_bytes: 2 << 20,
            outbox: 64,
            outbox_time: Duration::from_secs(30),
            known_peers: 1_024,
        }
    }
}

impl Limits {
    /// Largest encoded envelope: the inline payload and its overhead.
    pub fn envelope_bytes(&self) -> usize {
        self.payload_bytes + ENVELOPE_OVERHEAD
    }

    /// Checks every range.
    ///
    /// # Errors
    /// `Config` names the first field out of range, what it is and what is allowed.
    pub fn check(&self) -> Result<()> {
        let sizes = [
            ("payload_bytes", self.payload_bytes, 1 << 10, 1 << 20),
            ("block_bytes", self.block_bytes, 64 << 10, MAX_BLOCK_BYTES),
            ("topics_per_peer", self.topics_per_peer, 1, 65_536),
            ("gate_per_remote", self.gate_per_remote, 1, 65_536),
            ("gate_total", self.gate_total, 1, 1 << 20),
            ("waiting", self.waiting, 0, 1 << 20),
            ("waiting_bytes", self.waiting_bytes, 0, 1 << 30),
            ("waiting_per_author", self.waiting_per_author, 0, 1 << 20),
            ("repairs", self.repairs, 0, 65_536),
            ("repairs_per_author", self.repairs_per_author, 0, 65_536),
            ("repair_messages", self.repair_messages, 1, 65_536),
            ("repair_bytes", self.repair_bytes, self.envelope_bytes(), 1 << 30),
            ("seen", self.seen, 16, 1 << 24),
            ("authors", self.authors, 16, 1 << 24),
            ("connections", self.connections, 1, 65_536),
            ("handshakes", self.handshakes, 1, 65_536),
            ("streams_per_peer", self.streams_per_peer, 4, 65_536),
            ("flights", self.flights, 1, 65_536),
            ("send_queue_bytes", self.send_queue_bytes, self.envelope_bytes(), 1 << 30),
            ("subscriber_messages", self.subscriber_messages, 1, 1 << 20),
            ("subscriber_bytes", self.subscriber_bytes, self.envelope_bytes(), 1 << 30),
            ("serving_bytes", self.serving_bytes, self.block_bytes, 1 << 32),
            ("walk_blocks", self.walk_blocks, 4_096, 1 << 26),
            ("receive_window_bytes", self.receive_window_bytes, 64 << 10, 64 << 20),
            ("outbox", self.outbox, 0, 65_536),
            ("known_peers", self.known_peers, 1, 65_536),
        ];
        for (name, found, low, high) in sizes {
            if !(low..=high).contains(&found) {
                return Err(out_of_range(name, found, low, high));
            }
        }
        if self.reorder > Duration::from_secs(10) {
            return Err(out_of_range("reorder", self.reorder.as_secs_f64(), 0.0, 10.0));
        }
        let times = [
            ("defer_time", self.defer_time),
            ("repair_time", self.repair_time),
            ("validation", self.validation),
            ("seen_ttl", self.seen_ttl),
            ("handshake", self.handshake),
            ("fetch_deadline", self.fetch_deadline),
            ("fetch_idle", self.fetch_idle),
            ("clock_skew", self.clock_skew),
            ("outbox_time", self.outbox_time),
        ];
        for (name, found) in times {
            if !(Duration::from_millis(1)..=Duration::from_secs(3_600)).contains(&found) {
                return Err(out_of_range(name, found.as_secs_f64(), 0.001, 3_600.0));
            }
        }
        Ok(())
    }
}

fn out_of_range<T: std::fmt::Display + PartialOrd>(name: &str, found: T, low: T, high: T) -> Error {
    let detail = format!("{name} is {found}; allowed is {low} to {high}");
    let nearest = if found < low { low } else { high };
    Error::new(ErrorKind::Config, "limits", detail)
        .mend(format!("the nearest that is allowed: {name} = {nearest}"))
}

/// Durations as seconds, whole or with a fraction, as configuration writes them.
pub(crate) mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    use crate::{Error, ErrorKind, config::refuse};

    pub(crate) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(value.as_secs_f64())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let seconds = f64::deserialize(from)?;
        Duration::try_from_secs_f64(seconds)
            .map_err(|_| {
                Error::new(ErrorKind::Config, "limits", format!("{seconds} is not a number of seconds"))
            })
            .map_err(|error| refuse(&error.mend("write seconds, whole or with a fraction: 5, 0.5")))
    }

    /// The same where there may be none.
    pub(crate) mod option {
        use std::time::Duration;

        use serde::{Deserializer, Serializer};

        pub(crate) fn serialize<S: Serializer>(value: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
            match value {
                Some(value) => super::serialize(value, to),
                None => to.serialize_none(),
            }
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
            super::deserialize(from).map(Some)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_in_range() {
        Limits::default().check().expect("defaults are valid");
    }

    #[test]
    fn a_limit_out_of_range_is_named() {
        let limits = Limits { block_bytes: 1, ..Limits::default() };
        let error = limits.check().expect_err("one byte is too small");
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.detail().starts_with("block_bytes is 1; allowed is"), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.ends_with("block_bytes = 65536")), "{error:?}");
    }
}

//! The objects that cross the control socket. Their names are those of `--json`.

use std::path::PathBuf;

use carrick::dag::{DAG_PB, EntryKind};
use carrick::node::{Collected, Delivery, Gap};
use carrick::{DAG_CBOR, Direction, Pin, PinDepth, RAW, Topic, node};
use serde::{Deserialize, Serialize};

use crate::fault::Fault;

/// The first line of `carrick up --json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Ready {
    pub(crate) event: String,
    pub(crate) peer: String,
    pub(crate) network: String,
    pub(crate) transports: Vec<Listening>,
    pub(crate) control: PathBuf,
    pub(crate) pid: u32,
}

/// A transport instance and its addresses.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Listening {
    pub(crate) name: String,
    /// With `/p2p/`, as another node takes them.
    pub(crate) listen: Vec<String>,
}

/// A connected peer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Peer {
    pub(crate) peer: String,
    pub(crate) address: Option<String>,
    pub(crate) transport: String,
    pub(crate) direction: Option<Direction>,
    pub(crate) since: Option<u64>,
    pub(crate) topics: Vec<String>,
    pub(crate) reputation: f64,
}

impl From<node::Peer> for Peer {
    fn from(peer: node::Peer) -> Self {
        Self {
            peer: peer.remote.to_string(),
            address: peer.addr.map(|addr| addr.to_string()),
            transport: peer.transport,
            direction: peer.direction,
            since: peer.since.map(|time| time.as_millis()),
            topics: peer.topics.iter().map(Topic::to_string).collect(),
            reputation: peer.reputation,
        }
    }
}

/// A topic, to subscribe to.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OnTopic {
    pub(crate) topic: String,
}

/// A message to publish.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ToPublish {
    pub(crate) topic: String,
    #[serde(with = "base64_text")]
    pub(crate) payload: Vec<u8>,
}

/// What became of a published message.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Published {
    pub(crate) id: String,
    pub(crate) topic: String,
    pub(crate) peers: Option<u32>,
    pub(crate) queued: bool,
    pub(crate) skipped: Vec<Skipped>,
}

/// Peers that a message did not go to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Skipped {
    pub(crate) reason: serde_json::Value,
    pub(crate) count: u32,
}

impl Published {
    pub(crate) fn new(topic: &Topic, published: node::Published) -> Self {
        let skipped = |(reason, count)| Skipped {
            reason: serde_json::to_value(reason).unwrap_or(serde_json::Value::Null),
            count,
        };
        Self {
            id: published.id.cid().to_string(),
            topic: topic.to_string(),
            peers: published.sent_to,
            queued: published.queued,
            skipped: published.skipped.into_iter().map(skipped).collect(),
        }
    }
}

/// A line of a subscription.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Heard {
    /// The topic was joined: nothing that is published from now on is missed.
    Subscribed { subscribed: String },
    /// An accepted message.
    Message(Message),
    /// The reader was too slow, and so many were dropped.
    Lagged { lagged: u64 },
    /// Messages are missing that the node never saw.
    Gap { gap: Missing },
    /// The subscription ends with an error.
    Error { error: Fault },
}

/// An accepted message.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Message {
    pub(crate) id: String,
    pub(crate) topic: String,
    pub(crate) author: Option<String>,
    pub(crate) seqno: u64,
    pub(crate) time: u64,
    #[serde(with = "base64_text")]
    pub(crate) payload: Vec<u8>,
    /// The payload again, where it is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
}

/// Messages that were missed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Missing {
    pub(crate) author: Option<String>,
    pub(crate) last: Option<String>,
    pub(crate) missed: Option<u64>,
}

impl From<&carrick::Message> for Message {
    fn from(message: &carrick::Message) -> Self {
        Self {
            id: message.id().cid().to_string(),
            topic: message.topic().to_string(),
            author: message.author().map(ToString::to_string),
            seqno: message.seqno(),
            time: message.time().as_millis(),
            payload: message.payload().to_vec(),
            text: std::str::from_utf8(message.payload()).ok().map(str::to_string),
        }
    }
}

impl From<&Gap> for Missing {
    fn from(gap: &Gap) -> Self {
        Self {
            author: gap.author.map(|author| author.to_string()),
            last: gap.last.as_ref().map(|id| id.cid().to_string()),
            missed: gap.missed,
        }
    }
}

impl Heard {
    /// The line of a delivery; none for kinds that came after this program.
    pub(crate) fn from_delivery(delivery: &Delivery) -> Option<Self> {
        match delivery {
            Delivery::Message(message) => Some(Self::Message(message.into())),
            Delivery::Lagged(lagged) => Some(Self::Lagged { lagged: *lagged }),
            Delivery::Gap(gap) => Some(Self::Gap { gap: (&**gap).into() }),
            _ => None,
        }
    }
}

/// A line of the node's events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Event {
    pub(crate) event: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) transport: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) peer: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) topic: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) count: Option<u64>,
}

impl Event {
    pub(crate) fn named(event: &str) -> Self {
        Self { event: event.into(), ..Self::default() }
    }
}

impl From<&node::Event> for Event {
    fn from(event: &node::Event) -> Self {
        use node::Event as E;
        let at = |name, transport: &String, peer: &dyn ToString| Self {
            transport: Some(transport.clone()),
            peer: Some(peer.to_string()),
            ..Self::named(name)
        };
        match event {
            E::Up { transport, remote } => at("up", transport, remote),
            E::Down { transport, remote } => at("down", transport, remote),
            E::Joined { transport, remote, topic } => {
                Self { topic: Some(topic.to_string()), ..at("joined", transport, remote) }
            }
            E::Left { transport, remote, topic } => {
                Self { topic: Some(topic.to_string()), ..at("left", transport, remote) }
            }
            E::Gap(gap) => Self {
                topic: gap.topic.as_ref().map(Topic::to_string),
                peer: gap.author.map(|author| author.to_string()),
                count: gap.missed,
                ..Self::named("gap")
            },
            E::Equivocation { second, .. } => Self {
                peer: second.author().map(ToString::to_string),
                id: Some(second.id().cid().to_string()),
                ..Self::named("equivocation")
            },
            E::Banned { remote } => Self { peer: Some(remote.to_string()), ..Self::named("banned") },
            E::Expired { topic, id } => Self {
                topic: Some(topic.to_string()),
                id: Some(id.cid().to_string()),
                ..Self::named("expired")
            },
            E::Listening { transport, .. } => {
                Self { transport: Some(transport.clone()), ..Self::named("addresses") }
            }
            E::Learnt { peer } => Self { peer: Some(peer.to_string()), ..Self::named("learnt") },
            E::Lagged(count) => Self { count: Some(*count), ..Self::named("lagged") },
            _ => Self::named("other"),
        }
    }
}

/// A peer's address, to connect to.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ToConnect {
    pub(crate) address: String,
}

/// A peer by its id.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OfPeer {
    pub(crate) peer: String,
}

/// A root.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OfCid {
    pub(crate) cid: String,
}

/// Blocks that were stored.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Stored {
    pub(crate) blocks: u64,
    pub(crate) bytes: u64,
}

/// Which pins to list.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ToListPins {
    /// Those of every owner, and not of the person alone.
    pub(crate) all: bool,
}

/// A line of a list of pins.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum PinLine {
    /// One more.
    Pin(Pinned),
    /// The list ends with an error.
    Error { error: Fault },
}

/// A pin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pinned {
    pub(crate) cid: String,
    pub(crate) owner: String,
    pub(crate) depth: PinDepth,
}

impl From<Pin> for Pinned {
    fn from(pin: Pin) -> Self {
        Self { cid: pin.cid.to_string(), owner: pin.owner.as_str().into(), depth: pin.depth }
    }
}

/// What went with a root, and what of it stays.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Removed {
    pub(crate) cid: String,
    #[serde(flatten)]
    pub(crate) collected: Collected,
}

/// What a CID is, and what is here of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Stat {
    pub(crate) cid: String,
    pub(crate) codec: String,
    pub(crate) kind: String,
    /// Of a file its length, of all else what all blocks under it have, as its author says.
    pub(crate) bytes: u64,
    pub(crate) block_bytes: u64,
    pub(crate) links: u64,
    pub(crate) blocks: u64,
    pub(crate) missing: u64,
    pub(crate) pins: Vec<Pinned>,
}

impl From<node::Stat> for Stat {
    fn from(stat: node::Stat) -> Self {
        let (cid, kind) = (stat.entry.cid, stat.entry.kind);
        let (kind, bytes) = match kind {
            EntryKind::File { bytes } => ("file", bytes),
            EntryKind::Directory { .. } => ("folder", stat.entry.dag_size),
            EntryKind::Sharded => ("sharded folder", stat.entry.dag_size),
            EntryKind::Symlink { .. } => ("symbolic link", stat.entry.dag_size),
            _ => ("block", stat.entry.dag_size),
        };
        Self {
            cid: cid.to_string(),
            codec: codec_name(cid.codec()),
            kind: kind.into(),
            bytes,
            block_bytes: stat.entry.block_bytes,
            links: stat.entry.links as u64,
            blocks: stat.blocks,
            missing: stat.missing,
            pins: stat.pins.into_iter().map(Pinned::from).collect(),
        }
    }
}

/// A codec by its name in the table of multicodecs, where we know it.
fn codec_name(codec: u64) -> String {
    match codec {
        RAW => "raw".into(),
        DAG_CBOR => "dag-cbor".into(),
        DAG_PB => "dag-pb".into(),
        other => format!("{other:#x}"),
    }
}

/// Everything under a CID, to fetch into the store. Times in seconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ToFetch {
    pub(crate) cid: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) deadline: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) idle: Option<f64>,
}

/// A line of a fetch.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Fetching {
    /// How far it is.
    Progress(Stored),
    /// All of it is in the store.
    Done { done: Fetched },
    /// It ends with an error; what came stays.
    Error { error: Fault },
}

/// What a fetch brought.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Fetched {
    pub(crate) blocks: u64,
    pub(crate) bytes: u64,
    pub(crate) seconds: f64,
    pub(crate) sources: Vec<Source>,
}

/// Who sent how much.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Source {
    pub(crate) peer: String,
    pub(crate) bytes: u64,
}

impl From<&node::Got> for Fetched {
    fn from(got: &node::Got) -> Self {
        let sources =
            got.sources.iter().map(|(remote, bytes)| Source { peer: remote.to_string(), bytes: *bytes });
        Self {
            blocks: got.blocks,
            bytes: got.bytes,
            seconds: got.time.as_secs_f64(),
            sources: sources.collect(),
        }
    }
}

/// An error as an answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Refusal {
    pub(crate) error: Fault,
}

/// Bytes as base64.
pub(super) mod base64_text {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(in crate::control) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&BASE64.encode(bytes))
    }

    pub(in crate::control) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        BASE64.decode(String::deserialize(from)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_a_subscription_are_told_apart() {
        let message = Message {
            id: "b".into(),
            topic: "t".into(),
            author: None,
            seqno: 1,
            time: 2,
            payload: b"hi".to_vec(),
            text: Some("hi".into()),
        };
        let line = serde_json::to_string(&Heard::Message(message)).expect("json");
        assert_eq!(
            line,
            r#"{"id":"b","topic":"t","author":null,"seqno":1,"time":2,"payload":"aGk=","text":"hi"}"#
        );
        let parse = |text: &str| serde_json::from_str::<Heard>(text).expect(text);
        assert!(matches!(parse(&line), Heard::Message(_)));
        assert!(matches!(parse(r#"{"lagged":3}"#), Heard::Lagged { lagged: 3 }));
        assert!(matches!(parse(r#"{"subscribed":"t"}"#), Heard::Subscribed { .. }));
        assert!(matches!(parse(r#"{"gap":{"author":null,"last":null,"missed":1}}"#), Heard::Gap { .. }));
        let error = r#"{"error":{"kind":"closed","operation":"subscribe","message":"gone"}}"#;
        assert!(matches!(parse(error), Heard::Error { .. }));
    }
}

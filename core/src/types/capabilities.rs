//! What a transport promises, and what a configuration demands.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::limits::seconds;

/// When a copy goes on to other peers; the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum RelayGate {
    /// Never: every receiver hears the publisher itself.
    Never,
    /// After the node's verdict: what is refused goes no further.
    AfterVerdict,
    /// Before it: a daemon relays first, we drop after.
    BeforeVerdict,
}

/// Whether the other end of a link proved a key, and whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Identity {
    /// The peer's own, the one behind its `PeerId`.
    Peer,
    /// A daemon's.
    Daemon,
    /// Some links prove one, others none.
    Mixed,
}

/// What happens to messages while the gate is full; the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Overload {
    /// The wire waits: the sender is slowed down.
    WireWaits,
    /// They are dropped in our process and counted.
    DropsCounted,
    /// They may be dropped where we cannot see it.
    DropsUnseen,
}

/// Where a transport serves blocks from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Serving {
    /// It asks its host for every block.
    FromHost,
    /// A store of its own; the node provides every block it keeps.
    FromOwnStore,
    /// The host's blocks, and plain files.
    FromHostFiles,
}

/// Whether a publisher learns how many peers it sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Reach {
    /// Yes.
    Counted,
    /// The wire does not tell.
    Unknown,
}

/// How providers of content are found; the best last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Discovery {
    /// They are not: the caller names them.
    None,
    /// Connected peers are asked.
    Neighbours,
    /// A routing system finds them anywhere.
    Routing,
}

/// How strangers are kept out; the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Privacy {
    /// Membership is checked in the handshake, or as soon as it is over: a stranger is told nothing.
    Handshake,
    /// A pre-shared key closes the network.
    PreSharedKey,
    /// They are not.
    None,
}

/// What a transport promises of broadcast. No transport promises order or delivery.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct BroadcastCaps {
    /// Largest encoded message it carries, in bytes.
    pub max_message_bytes: usize,
    /// When a copy goes on to other peers.
    pub relay: RelayGate,
    /// How long it can hold a message while the node makes up its mind; after that `deliver` answers `Ignore`.
    #[serde(with = "seconds")]
    pub hold_verdict: Duration,
    /// What happens while the gate is full.
    pub overload: Overload,
    /// Whether a publisher learns its reach.
    pub reach: Reach,
    /// Whether our own messages come back to us. Bare payloads do not say whose they are: an echo of ours on a raw topic is
    /// handed out as if it were another's.
    pub echoes_own: bool,
    /// Whether bare payloads can travel, without an envelope.
    pub raw_topics: bool,
    /// Whether a message can be handed in again after its verdict came late, and goes out.
    pub late_relay: bool,
}

impl BroadcastCaps {
    /// The capabilities of a wire of our own: relays after the verdict, waits, counts, does not echo.
    pub fn new(max_message_bytes: usize) -> Self {
        Self {
            max_message_bytes,
            relay: RelayGate::AfterVerdict,
            hold_verdict: Duration::from_secs(30),
            overload: Overload::WireWaits,
            reach: Reach::Counted,
            echoes_own: false,
            raw_topics: false,
            late_relay: true,
        }
    }

    fn together(self, other: &Self) -> Self {
        Self {
            max_message_bytes: self.max_message_bytes.min(other.max_message_bytes),
            relay: self.relay.max(other.relay),
            hold_verdict: self.hold_verdict.min(other.hold_verdict),
            overload: self.overload.max(other.overload),
            reach: self.reach.max(other.reach),
            echoes_own: self.echoes_own || other.echoes_own,
            raw_topics: self.raw_topics && other.raw_topics,
            late_relay: self.late_relay && other.late_relay,
        }
    }
}

/// What a transport promises of fetch.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct FetchCaps {
    /// Largest block it carries, in bytes.
    pub max_block_bytes: usize,
    /// Where it serves from.
    pub serving: Serving,
    /// How providers are found.
    pub discovery: Discovery,
    /// Whether a whole DAG comes in one request.
    pub dag_in_one_request: bool,
    /// Whether it says who sent a block, so that a liar can be blamed and avoided.
    pub names_provider: bool,
    /// Whether it uses hints about who has a block.
    pub takes_hints: bool,
}

impl FetchCaps {
    /// The capabilities of a wire of our own, but for the whole DAG in one request.
    pub fn new(max_block_bytes: usize, serving: Serving, discovery: Discovery) -> Self {
        Self {
            max_block_bytes,
            serving,
            discovery,
            dag_in_one_request: false,
            names_provider: true,
            takes_hints: true,
        }
    }

    fn together(self, other: &Self) -> Self {
        Self {
            max_block_bytes: self.max_block_bytes.min(other.max_block_bytes),
            serving: self.serving,
            discovery: self.discovery.max(other.discovery),
            dag_in_one_request: self.dag_in_one_request || other.dag_in_one_request,
            names_provider: self.names_provider && other.names_provider,
            takes_hints: self.takes_hints || other.takes_hints,
        }
    }
}

/// What one transport instance, as configured, can do.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Capabilities {
    /// Broadcast, if it has it.
    pub broadcast: Option<BroadcastCaps>,
    /// Fetch, if it has it.
    pub fetch: Option<FetchCaps>,
    /// Whose key the other end of a link proves.
    pub identity: Identity,
    /// How strangers are kept out.
    pub privacy: Privacy,
    /// Whether a peer that is not admitted is refused before any application byte.
    pub admits_in_handshake: bool,
    /// Whether `dial` works.
    pub dials: bool,
    /// Whether `disconnect` works.
    pub disconnects: bool,
    /// Whether what crosses is encrypted.
    pub encrypted: bool,
}

impl Capabilities {
    /// A transport whose links are dialled, encrypted and prove the peer's key in the handshake; adjust what differs.
    pub fn new(broadcast: Option<BroadcastCaps>, fetch: Option<FetchCaps>, identity: Identity) -> Self {
        let proves = identity == Identity::Peer;
        Self {
            broadcast,
            fetch,
            identity,
            privacy: if proves { Privacy::Handshake } else { Privacy::None },
            admits_in_handshake: proves,
            dials: true,
            disconnects: true,
            encrypted: true,
        }
    }

    /// What several transports promise together: of each promise the weakest, but of finding content the best.
    pub fn together(mut self, other: &Self) -> Self {
        self.broadcast = match (self.broadcast, &other.broadcast) {
            (Some(mine), Some(theirs)) => Some(mine.together(theirs)),
            (mine, theirs) => mine.or_else(|| theirs.clone()),
        };
        self.fetch = match (self.fetch, &other.fetch) {
            (Some(mine), Some(theirs)) => Some(mine.together(theirs)),
            (mine, theirs) => mine.or_else(|| theirs.clone()),
        };
        if self.identity != other.identity {
            self.identity = Identity::Mixed;
        }
        self.privacy = self.privacy.max(other.privacy);
        self.admits_in_handshake &= other.admits_in_handshake;
        self.dials |= other.dials;
        self.disconnects &= other.disconnects;
        self.encrypted &= other.encrypted;
        self
    }

    /// The promises of `[node.require]` that this transport does not keep; empty when it keeps all.
    pub fn unmet(&self, require: &Requirements) -> Vec<Unmet> {
        let mut unmet = Vec::new();
        let mut need = |promise: &'static str, kept: bool, needs: String, has: String| {
            if !kept {
                unmet.push(Unmet { promise, needs, has });
            }
        };
        if let Some(identity) = require.identity {
            need("identity", self.identity == identity, kebab(&identity), kebab(&self.identity));
        }
        if require.private {
            need("private", self.privacy != Privacy::None, "true".into(), kebab(&self.privacy));
        }
        if let Some(caps) = &self.broadcast {
            if let Some(relay) = require.relay {
                let kept = caps.relay <= relay;
                need("relay", kept, kebab(&relay), kebab(&caps.relay));
            }
            if let Some(hold) = require.hold_verdict {
                need("hold_verdict", caps.hold_verdict >= hold, secs(hold), secs(caps.hold_verdict));
            }
            if let Some(bytes) = require.message_bytes {
                let has = caps.max_message_bytes;
                need("message_bytes", has >= bytes, bytes.to_string(), has.to_string());
            }
            if let Some(reach) = require.reach {
                need(
                    "reach",
                    caps.reach == reach || caps.reach == Reach::Counted,
                    kebab(&reach),
                    kebab(&caps.reach),
                );
            }
        }
        unmet
    }
}

fn secs(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

/// A unit variant in the words of configuration.
fn kebab(value: &impl std::fmt::Debug) -> String {
    let mut out = String::new();
    for c in format!("{value:?}").chars() {
        if c.is_uppercase() && !out.is_empty() {
            out.push('-');
        }
        out.extend(c.to_lowercase());
    }
    out
}

/// What a configuration demands of its transports under `[node.require]`; an absent key demands nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Requirements {
    /// When a copy may go on to other peers.
    pub relay: Option<RelayGate>,
    /// Whose key a link must prove.
    pub identity: Option<Identity>,
    /// Whether strangers must be kept out.
    pub private: bool,
    /// How long a message must be held for its verdict.
    #[serde(with = "optional_seconds")]
    pub hold_verdict: Option<Duration>,
    /// Largest message that must fit, in bytes.
    pub message_bytes: Option<usize>,
    /// Whether publishers must learn their reach.
    pub reach: Option<Reach>,
}

/// A demand that a transport does not meet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unmet {
    /// The key under `[node.require]`.
    pub promise: &'static str,
    /// What is demanded.
    pub needs: String,
    /// What the transport has.
    pub has: String,
}

mod optional_seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(value: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => to.serialize_some(&value.as_secs_f64()),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        let seconds = Option::<f64>::deserialize(from)?;
        seconds.map(|s| Duration::try_from_secs_f64(s).map_err(D::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unmet_promise_is_named_in_the_words_of_configuration() {
        let mut caps = Capabilities::new(Some(BroadcastCaps::new(1 << 20)), None, Identity::Mixed);
        caps.broadcast.as_mut().expect("some").relay = RelayGate::BeforeVerdict;
        let require = Requirements {
            relay: Some(RelayGate::AfterVerdict),
            identity: Some(Identity::Peer),
            private: true,
            ..Requirements::default()
        };
        let unmet = caps.unmet(&require);
        let words: Vec<_> = unmet.iter().map(|u| (u.promise, u.needs.as_str(), u.has.as_str())).collect();
        assert_eq!(
            words,
            [
                ("identity", "peer", "mixed"),
                ("private", "true", "none"),
                ("relay", "after-verdict", "before-verdict")
            ]
        );
        assert!(caps.unmet(&Requirements::default()).is_empty());
    }
}

//! Names: networks, topics, patterns over topics, and the rules of a topic.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, de};

use super::Time;
use crate::limits::{MAX_NETWORK_BYTES, MAX_TOPIC_BYTES, seconds};
use crate::{Error, ErrorKind, Result};

/// Names a network: 1 to 64 of `a-z 0-9 . _ -`. Peers of another network never get past the handshake.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct NetworkId(Arc<str>);

impl NetworkId {
    /// Checks and takes a network id.
    ///
    /// # Errors
    /// `Config` when it is empty, longer than 64 bytes or has another character.
    pub fn new(id: impl AsRef<str>) -> Result<Self> {
        let id = id.as_ref();
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
        let too_long = id.len() > MAX_NETWORK_BYTES;
        if id.is_empty() || too_long || !id.chars().all(allowed) {
            let id = shown(id, too_long);
            let detail = format!("{id} is no network id: 1 to {MAX_NETWORK_BYTES} of a-z 0-9 . _ -");
            return Err(Error::new(ErrorKind::Config, "network", detail).mend("for example sensors-1"));
        }
        Ok(Self(id.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A refused name; of one that is too long only its length, because it may be many times as long as is allowed.
fn shown(name: &str, too_long: bool) -> String {
    if too_long { format!("a name of {} bytes", name.len()) } else { format!("{name:?}") }
}

/// Names a channel of messages: 1 to 256 bytes of UTF-8 without control characters.
///
/// Topics that begin with `_` are reserved for services: [`Topic::new`] refuses them, [`Topic::reserved`] makes them,
/// so a user's topic can never collide with a service's.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Topic(Arc<str>);

impl Topic {
    /// Checks and takes the name of an ordinary topic.
    ///
    /// # Errors
    /// `Config` when it is empty, too long, has control characters or begins with `_`.
    pub fn new(name: impl AsRef<str>) -> Result<Self> {
        let topic = Self::from_wire(name.as_ref())?;
        if topic.is_reserved() {
            let detail = format!("{name:?} begins with _ and is reserved for services", name = name.as_ref());
            return Err(Error::new(ErrorKind::Config, "topic", detail));
        }
        Ok(topic)
    }

    /// The reserved topic `_name`, for services.
    ///
    /// # Errors
    /// `Config` when the name is empty, too long or has control characters.
    pub fn reserved(name: impl AsRef<str>) -> Result<Self> {
        Self::from_wire(format!("_{}", name.as_ref()))
    }

    /// A topic as another peer names it: ordinary or reserved.
    ///
    /// # Errors
    /// `Config` when it is empty, too long or has control characters.
    pub fn from_wire(name: impl AsRef<str>) -> Result<Self> {
        let name = name.as_ref();
        let too_long = name.len() > MAX_TOPIC_BYTES;
        if name.is_empty() || too_long || name.chars().any(char::is_control) {
            let detail = format!(
                "{} is no topic: 1 to {MAX_TOPIC_BYTES} bytes without control characters",
                shown(name, too_long)
            );
            return Err(Error::new(ErrorKind::Config, "topic", detail));
        }
        Ok(Self(name.into()))
    }

    /// Whether it belongs to a service.
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with('_')
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Chooses topics: a name, or a beginning followed by `*`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct TopicPattern(Arc<str>);

impl TopicPattern {
    /// Takes a pattern such as `ledger/*` or `readings`.
    ///
    /// # Errors
    /// `Config` when it is no topic, or has a `*` elsewhere than at its end.
    pub fn new(pattern: impl AsRef<str>) -> Result<Self> {
        let pattern = pattern.as_ref();
        Topic::from_wire(pattern)?;
        if pattern.find('*').is_some_and(|at| at + 1 != pattern.len()) {
            let detail = format!("{pattern:?} has a * that is not its last character");
            return Err(Error::new(ErrorKind::Config, "topic", detail));
        }
        Ok(Self(pattern.into()))
    }

    /// Whether the pattern chooses this topic.
    pub fn matches(&self, topic: &Topic) -> bool {
        match self.0.strip_suffix('*') {
            Some(beginning) => topic.as_str().starts_with(beginning),
            None => &*self.0 == topic.as_str(),
        }
    }

    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What the node keeps of a topic's accepted messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Keep {
    /// Nothing: a message lives as long as it is on its way.
    #[default]
    Nothing,
    /// Every message, as a block in the store, so that others can fetch it by its id: for good, as a ledger does, or within
    /// the bounds of the [rules](TopicRules).
    Everything,
}

/// How the gate treats the messages of a topic; set by whoever owns the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct TopicRules {
    /// Whether a number that an author used before is refused. Default true. Off on a ledger, where both messages of
    /// an equivocation are accepted so that all nodes agree.
    ///
    /// Where it is on and messages are kept, the node mends gaps: a message names the one that its author sent before, and
    /// where that one is missing it is fetched. Where it is off, whoever owns the topic does so, as a ledger does.
    pub numbers: bool,
    /// Whether the clock of a live message must be near ours. Default true.
    pub time: bool,
    /// What is kept. Default nothing.
    pub keep: Keep,
    /// How many messages are kept at most; the oldest leave first. Default no bound, range from 1. Needs
    /// [`Keep::Everything`], as the two that follow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_messages: Option<u64>,
    /// How many bytes of messages are kept at most: their envelopes, and payloads that travelled apart. Default no bound,
    /// range from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_bytes: Option<u64>,
    /// How long a message is kept, counted from the time that its author gave it; from its arrival where that is earlier, or
    /// where [`time`](Self::time) is off. Default no bound, range from 1 ms; in seconds where it is written.
    #[serde(with = "seconds::option", skip_serializing_if = "Option::is_none")]
    pub keep_for: Option<Duration>,
    /// Whether payloads travel bare: no author, no replay guard, no repair, and none is kept. Default false.
    pub raw: bool,
}

impl Default for TopicRules {
    fn default() -> Self {
        Self {
            numbers: true,
            time: true,
            keep: Keep::Nothing,
            keep_messages: None,
            keep_bytes: None,
            keep_for: None,
            raw: false,
        }
    }
}

/// How much of a topic's messages stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) messages: usize,
    pub(crate) bytes: u64,
    age: Option<Duration>,
}

impl Bounds {
    /// What is older than this has left; `None` where nothing is too old.
    pub(crate) fn oldest(&self, now: Time) -> Option<Time> {
        let age = self.age?.as_millis();
        Some(Time(now.as_millis().saturating_sub(u64::try_from(age).unwrap_or(u64::MAX))))
    }

    /// When the age of a message ends.
    pub(crate) fn end(&self, since: Time) -> Option<Time> {
        let age = self.age?.as_millis();
        Some(Time(since.as_millis().saturating_add(u64::try_from(age).unwrap_or(u64::MAX))))
    }
}

impl TopicRules {
    /// Rules of a ledger's topic: no number window, every message stored for good.
    pub fn kept() -> Self {
        Self { numbers: false, keep: Keep::Everything, ..Self::default() }
    }

    /// Rules of a topic of bare payloads.
    pub fn raw() -> Self {
        Self { numbers: false, time: false, raw: true, ..Self::default() }
    }

    /// Whether what a message follows tells its order, and every message stays for good: a ledger.
    pub fn is_a_ledger(&self) -> bool {
        let bounds = (self.keep_messages, self.keep_bytes, self.keep_for);
        self.keep == Keep::Everything && bounds == (None, None, None) && !self.numbers && !self.raw
    }

    /// The rules of every reserved topic: the clock is never checked there.
    pub(crate) fn reserved() -> Self {
        Self { time: false, ..Self::default() }
    }

    /// Checks that the rules go together.
    ///
    /// # Errors
    /// `Config` names the first key that is wrong, and why.
    pub fn check(&self) -> Result<()> {
        let wrong = |detail: String| Error::new(ErrorKind::Config, "topic", detail);
        if self.raw && self.keep == Keep::Everything {
            return Err(wrong("keep is \"everything\", and bare payloads cannot be kept".into())
                .mend("leave out raw or keep"));
        }
        let least = Duration::from_millis(1);
        let bounds = [
            ("keep_messages", self.keep_messages.map(|most| most > 0), "1"),
            ("keep_bytes", self.keep_bytes.map(|most| most > 0), "1"),
            ("keep_for", self.keep_for.map(|longest| longest >= least), "0.001"),
        ];
        for (key, in_range, low) in bounds {
            match in_range {
                Some(_) if self.keep == Keep::Nothing => {
                    return Err(wrong(format!("{key} bounds what is kept, and nothing is"))
                        .mend("write keep = \"everything\" beside it, or leave it out"));
                }
                Some(false) => {
                    return Err(wrong(format!("{key} is below {low}, which keeps nothing"))
                        .mend("keep = \"nothing\" says so"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether what its messages follow is fetched where it is missing.
    pub(crate) fn mends(&self) -> bool {
        self.keep == Keep::Everything && self.numbers && !self.raw
    }

    /// The bounds of what is kept; `None` where nothing is kept, or everything for good.
    pub(crate) fn bounds(&self) -> Option<Bounds> {
        let bounded = self.keep_messages.is_some() || self.keep_bytes.is_some() || self.keep_for.is_some();
        (bounded && self.keep == Keep::Everything).then(|| Bounds {
            messages: self
                .keep_messages
                .map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX)),
            bytes: self.keep_bytes.unwrap_or(u64::MAX),
            age: self.keep_for,
        })
    }
}

macro_rules! name_impls {
    ($name:ident, $parse:path) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:?})"), &*self.0)
            }
        }
        impl FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self> {
                $parse(text)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(from)?;
                $parse(&*text).map_err(|error| de::Error::custom(error.detail()))
            }
        }
    };
}

name_impls!(NetworkId, NetworkId::new);
name_impls!(Topic, Topic::from_wire);
name_impls!(TopicPattern, TopicPattern::new);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_short_clean_utf8() {
        assert!(Topic::new("sensors/élan 1").is_ok());
        for bad in ["", "a\nb", "_peers", &"x".repeat(257)] {
            assert_eq!(Topic::new(bad).expect_err(bad).kind(), ErrorKind::Config);
        }
        assert!(Topic::new("x".repeat(256)).is_ok());
        assert_eq!(Topic::reserved("peers").expect("reserved").as_str(), "_peers");
    }

    #[test]
    fn a_network_id_is_lower_case_and_short() {
        assert!(NetworkId::new("sensors-2026.a_b").is_ok());
        for bad in ["", "Sensors", "a b", "ä", &"x".repeat(65)] {
            assert!(NetworkId::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pattern_chooses_by_beginning_or_whole_name() {
        let topic = Topic::new("ledger/a").expect("topic");
        assert!(TopicPattern::new("ledger/*").expect("pattern").matches(&topic));
        assert!(TopicPattern::new("*").expect("pattern").matches(&topic));
        assert!(!TopicPattern::new("ledger").expect("pattern").matches(&topic));
        assert!(TopicPattern::new("led*er").is_err());
    }
}

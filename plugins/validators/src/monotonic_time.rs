//! `monotonic-time`: no message of an author carries a time before that of the author's message before it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use carrick_core::{
    Block, Cause, Context, Message, MessageId, Need, PeerId, Result, Site, Time, Topic, TopicPattern,
    Validator, Verdict, async_trait,
};
use lru::LruCache;
use serde::{Deserialize, Serialize};

use crate::guarded::{Guarded, default_authors, remembered};

/// Where time may not go back. `topics` is required.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct MonotonicTimeConfig {
    /// The topics it guards, by name or as a beginning followed by `*`. At least one.
    pub topics: Vec<TopicPattern>,
    /// Pairs of author and topic remembered, of topics that are no ledgers; the least recent goes, and begins anew when
    /// it comes back. Default 4,096, range 1 to 1,048,576.
    #[serde(default = "default_authors")]
    pub authors: usize,
}

impl MonotonicTimeConfig {
    /// Guards topics.
    pub fn new(topics: impl IntoIterator<Item = TopicPattern>) -> Self {
        Self { topics: topics.into_iter().collect(), authors: default_authors() }
    }
}

/// Accepts no message whose time is before that of its author's message before it, on the topics it guards; everything else
/// is no concern of its.
#[derive(Debug)]
pub struct MonotonicTime {
    topics: Guarded,
    /// Number and time of the message with the highest number that was accepted, of topics that keep none.
    heard: Mutex<Heard>,
}

type Heard = LruCache<(PeerId, Topic), (u64, Time)>;

impl MonotonicTime {
    /// Checks the configuration and makes the validator.
    ///
    /// # Errors
    /// `Config` when it guards no topic or `authors` is out of its range.
    pub fn new(config: MonotonicTimeConfig) -> Result<Self> {
        let MonotonicTimeConfig { topics, authors } = config;
        let topics = Guarded::new("monotonic-time", topics)?;
        let heard = Mutex::new(LruCache::sparse(remembered("monotonic-time", authors)?));
        Ok(Self { topics, heard })
    }

    pub(crate) async fn open(config: MonotonicTimeConfig, _: Site) -> Result<Self> {
        Self::new(config)
    }

    /// The author whose messages a message continues: of a guarded topic, and signed.
    fn author<'a>(&self, message: &'a Message) -> Option<&'a PeerId> {
        message.author().filter(|_| self.topics.covers(message.topic()))
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Compares a message with what was heard before. Nobody is blamed: who has not heard that passes the message on in good
    /// faith.
    fn after_what_was_heard(&self, author: &PeerId, message: &Message) -> Verdict {
        match self.heard().get(&(*author, message.topic().clone())) {
            Some((number, time)) if message.seqno() > *number && message.time() < *time => {
                Verdict::Ignore(too_early(message.time(), *time))
            }
            _ => Verdict::Accept,
        }
    }
}

#[async_trait]
impl Validator for MonotonicTime {
    async fn message(&self, cx: &Context<'_>, message: &Message) -> Verdict {
        let Some(author) = self.author(message) else { return Verdict::Accept };
        match of_a_ledger(cx) {
            true => after_its_parents(cx, author, message).await,
            false => self.after_what_was_heard(author, message),
        }
    }

    async fn block(&self, _: &Context<'_>, _: &Block) -> Verdict {
        Verdict::Accept
    }

    async fn accepted(&self, cx: &Context<'_>, message: &Message) -> Result<()> {
        if let Some(author) = self.author(message).filter(|_| !of_a_ledger(cx)) {
            let this = (message.seqno(), message.time());
            let mut heard = self.heard();
            let highest = heard.get_or_insert_mut((*author, message.topic().clone()), || this);
            if this.0 > highest.0 {
                *highest = this;
            }
        }
        Ok(())
    }
}

fn of_a_ledger(cx: &Context<'_>) -> bool {
    cx.rules.is_some_and(|rules| rules.is_a_ledger())
}

/// Compares a message with those that it names as its parents. All of them must be there before it is accepted: so the answer
/// is the same on every node, whatever came first. What is bad for ever is said at once, whatever else is missing.
async fn after_its_parents(cx: &Context<'_>, author: &PeerId, message: &Message) -> Verdict {
    let (mut missing, mut unfit) = (Vec::new(), None);
    for cid in message.parents() {
        match cx.stored(&MessageId::from_cid(*cid)).await {
            // The gate would not take it on this topic: nodes that lack it answer the same.
            Ok(Some(parent)) if parent.topic() != message.topic() => {
                unfit = Some(Cause::from("a message it follows is of another topic"));
            }
            Ok(Some(parent)) if parent.author() == Some(author) && parent.time() > message.time() => {
                return Verdict::Reject(too_early(message.time(), parent.time()));
            }
            Ok(Some(_)) => {}
            Ok(None) => missing.push(Need::Message(*cid)),
            Err(error) => unfit = Some(format!("a message it follows cannot be read: {error}").into()),
        }
    }
    match (unfit, missing.is_empty()) {
        (Some(cause), _) => Verdict::Ignore(cause),
        (None, true) => Verdict::Accept,
        (None, false) => Verdict::Defer(missing),
    }
}

fn too_early(time: Time, before: Time) -> Cause {
    let by = before.as_millis().saturating_sub(time.as_millis());
    format!("its time is {by} ms before that of its author's message before it").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use carrick_core::ErrorKind;
    use figment::Figment;
    use figment::providers::{Format, Serialized, Toml};

    fn read(toml: &str) -> Result<MonotonicTimeConfig, String> {
        Figment::from(Toml::string(toml)).extract().map_err(|error| error.to_string())
    }

    #[test]
    fn a_table_is_read_and_written_alike_and_what_is_wrong_is_named() {
        let config = read("topics = ['a', 'b/*']").expect("valid");
        assert_eq!(config.authors, 4_096);
        let written = Figment::from(Serialized::defaults(&config));
        assert_eq!(written.extract::<MonotonicTimeConfig>().expect("valid"), config);
        for (toml, says) in
            [("authors = 1", "missing field `topics`"), ("topics = ['a']\nauthor = 1", "author")]
        {
            let error = read(toml).expect_err(toml);
            assert!(error.contains(says), "{error}");
        }
        let none = read("topics = ['a']\nauthors = 0").expect("a number");
        for config in [MonotonicTimeConfig::new([]), none] {
            let error = MonotonicTime::new(config).expect_err("refused");
            assert_eq!((error.kind(), error.operation()), (ErrorKind::Config, "monotonic-time"));
        }
    }
}

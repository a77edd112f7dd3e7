//! `rate`: an author publishes no more than so many messages within so many seconds.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use carrick_core::{
    Block, Cause, Context, Error, ErrorKind, Message, Path, PeerId, Result, Site, TopicPattern, Validator,
    Verdict, async_trait,
};
use lru::LruCache;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::bucket::{Bucket, Rule};
use crate::guarded::{Guarded, out_of_range, remembered};
use crate::under_way::UnderWay;

const MESSAGES: (u32, u32) = (1, 1_000_000);
/// A millisecond, the unit of the clock, to a day.
const SECONDS: (f64, f64) = (0.001, 86_400.0);

/// How often an author may publish where. `topics`, `messages` and `seconds` are required.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RateConfig {
    /// The topics it guards, by name or as a beginning followed by `*`. At least one. An author's messages on all of them
    /// count together.
    pub topics: Vec<TopicPattern>,
    /// How many messages of one author are taken within [`seconds`](Self::seconds); they may come all at once. Range 1 to
    /// 1,000,000.
    pub messages: u32,
    /// The window in seconds, whole or with a fraction. Range 0.001 to 86,400.
    pub seconds: f64,
    /// Authors remembered; the least recent goes, and begins anew when it comes back. Default 4,096, range 1 to 1,048,576.
    #[serde(default = "crate::guarded::default_authors")]
    pub authors: usize,
}

impl RateConfig {
    /// Guards topics for so many messages of one author within so many seconds.
    pub fn new(topics: impl IntoIterator<Item = TopicPattern>, messages: u32, seconds: f64) -> Self {
        let authors = crate::guarded::default_authors();
        Self { topics: topics.into_iter().collect(), messages, seconds, authors }
    }
}

/// Ignores what an author publishes beyond its rate, on the topics it guards; everything else is no concern of its.
#[derive(Debug)]
pub struct Rate {
    topics: Guarded,
    messages: u32,
    window: Duration,
    rule: Rule,
    accounts: Mutex<LruCache<PeerId, Account>>,
}

/// What counts of one author: what was accepted, and what may be.
#[derive(Debug, Default)]
struct Account {
    accepted: Bucket,
    under_way: UnderWay,
}

impl Rate {
    /// Checks the configuration and makes the validator.
    ///
    /// # Errors
    /// `Config` when it guards no topic or a number is out of its range.
    pub fn new(config: RateConfig) -> Result<Self> {
        let RateConfig { topics, messages, seconds, authors } = config;
        let topics = Guarded::new("rate", topics)?;
        if !(MESSAGES.0..=MESSAGES.1).contains(&messages) {
            return Err(out_of_range("rate", "messages", messages, MESSAGES));
        }
        if !(SECONDS.0..=SECONDS.1).contains(&seconds) {
            return Err(out_of_range("rate", "seconds", seconds, SECONDS));
        }
        let window = Duration::try_from_secs_f64(seconds).map_err(|source| {
            Error::new(ErrorKind::Config, "rate", format!("seconds is {seconds}")).from_source(source)
        })?;
        let rule = Rule::new(messages, window.as_millis().try_into().unwrap_or(u64::MAX));
        let accounts = Mutex::new(LruCache::sparse(remembered("rate", authors)?));
        Ok(Self { topics, messages, window, rule, accounts })
    }

    pub(crate) async fn open(config: RateConfig, _: Site) -> Result<Self> {
        Self::new(config)
    }

    /// The author whom a message counts for: of a guarded topic, signed, and not fetched later.
    fn counts<'a>(&self, cx: &Context<'_>, message: &'a Message) -> Option<&'a PeerId> {
        let later = cx.path == Path::CatchUp;
        message.author().filter(|_| !later && self.topics.covers(message.topic()))
    }

    fn accounts(&self) -> MutexGuard<'_, LruCache<PeerId, Account>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Validator for Rate {
    /// Takes a place for the message until it is told that it was accepted: several are judged at once. One that is ignored
    /// takes none.
    async fn message(&self, cx: &Context<'_>, message: &Message) -> Verdict {
        let Some(author) = self.counts(cx, message) else { return Verdict::Accept };
        let mut accounts = self.accounts();
        let account = accounts.get_or_insert_mut(*author, Account::default);
        account.under_way.tidy(Instant::now(), message.id());
        let room = account.accepted.room(self.rule, cx.now);
        let fits = room > account.under_way.count() as u64
            && account.under_way.begin(*message.id(), cx.deadline, self.window);
        if fits {
            return Verdict::Accept;
        }
        let (messages, seconds) = (self.messages, self.window.as_secs_f64());
        Verdict::Ignore(Cause::from(format!("more than {messages} messages of {author} within {seconds} s")))
    }

    async fn block(&self, _: &Context<'_>, _: &Block) -> Verdict {
        Verdict::Accept
    }

    /// Only here a message counts for good: those after this validator may have refused it.
    async fn accepted(&self, cx: &Context<'_>, message: &Message) -> Result<()> {
        if let Some(author) = self.counts(cx, message) {
            let mut accounts = self.accounts();
            let account = accounts.get_or_insert_mut(*author, Account::default);
            account.under_way.end(message.id());
            account.accepted.pour(self.rule, cx.now);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use figment::Figment;
    use figment::providers::{Format, Serialized, Toml};

    fn read(toml: &str) -> Result<RateConfig, String> {
        Figment::from(Toml::string(toml)).extract().map_err(|error| error.to_string())
    }

    #[test]
    fn a_table_is_read_and_written_alike_and_what_is_wrong_is_named() {
        let config = read("topics = ['a', 'b/*']\nmessages = 10\nseconds = 0.5").expect("valid");
        assert_eq!((config.messages, config.seconds, config.authors), (10, 0.5, 4_096));
        let written = Figment::from(Serialized::defaults(&config));
        assert_eq!(written.extract::<RateConfig>().expect("valid"), config);
        assert!(read("topics = ['a']\nmessages = 10\nseconds = 60").is_ok(), "whole seconds");
        for (toml, says) in [
            ("topics = ['a']\nmessages = 1", "missing field `seconds`"),
            ("topics = ['a']\nseconds = 1", "missing field `messages`"),
            ("messages = 1\nseconds = 1", "missing field `topics`"),
            ("topics = ['a']\nmessages = 1\nseconds = 1\nburst = 2", "burst"),
        ] {
            let error = read(toml).expect_err(toml);
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn what_is_out_of_range_is_refused_with_the_range() {
        let topics = || [TopicPattern::new("a").expect("a pattern")];
        let at = |messages, seconds, authors| {
            Rate::new(RateConfig { authors, ..RateConfig::new(topics(), messages, seconds) })
        };
        for (messages, seconds, authors) in [(1, 0.001, 1), (1_000_000, 86_400.0, 1_048_576)] {
            assert!(at(messages, seconds, authors).is_ok());
        }
        for (refused, says) in [
            (at(0, 1.0, 1), "messages is 0; allowed is 1 to 1000000"),
            (at(1_000_001, 1.0, 1), "messages is 1000001; allowed is 1 to 1000000"),
            (at(1, 0.0, 1), "seconds is 0; allowed is 0.001 to 86400"),
            (at(1, f64::NAN, 1), "seconds is NaN"),
            (at(1, f64::INFINITY, 1), "seconds is inf"),
            (at(1, -1.0, 1), "seconds is -1"),
            (at(1, 1.0, 0), "authors is 0; allowed is 1 to 1048576"),
            (at(1, 1.0, 1_048_577), "authors is 1048577"),
            (Rate::new(RateConfig::new([], 1, 1.0)), "topics is empty"),
        ] {
            let error = refused.expect_err(says);
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.detail().contains(says) && error.hint().is_some(), "{error}");
        }
    }
}

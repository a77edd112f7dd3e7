//! `size`: payloads are no larger than so many bytes.

use carrick_core::{
    Block, Cause, Context, Message, Result, Site, Topic, TopicPattern, Validator, Verdict, async_trait,
};
use serde::{Deserialize, Serialize};

use crate::guarded::Guarded;

/// How large a payload may be where. Both keys are required.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SizeConfig {
    /// The topics it guards, by name or as a beginning followed by `*`. At least one.
    pub topics: Vec<TopicPattern>,
    /// Bytes of a payload at most, however it travelled. Any number; 0 lets only empty payloads pass.
    pub max_bytes: u64,
}

impl SizeConfig {
    /// Guards topics for payloads of at most so many bytes.
    pub fn new(topics: impl IntoIterator<Item = TopicPattern>, max_bytes: u64) -> Self {
        Self { topics: topics.into_iter().collect(), max_bytes }
    }
}

/// Accepts no payload above a size, on the topics it guards; everything else is no concern of its.
#[derive(Debug)]
pub struct Size {
    topics: Guarded,
    max_bytes: u64,
}

impl Size {
    /// Checks the configuration and makes the validator.
    ///
    /// # Errors
    /// `Config` when it guards no topic.
    pub fn new(config: SizeConfig) -> Result<Self> {
        let SizeConfig { topics, max_bytes } = config;
        Ok(Self { topics: Guarded::new("size", topics)?, max_bytes })
    }

    pub(crate) async fn open(config: SizeConfig, _: Site) -> Result<Self> {
        Self::new(config)
    }

    fn judge(&self, topic: &Topic, payload: &[u8]) -> Verdict {
        let size = payload.len() as u64;
        if size <= self.max_bytes || !self.topics.covers(topic) {
            return Verdict::Accept;
        }
        let allowed = self.max_bytes;
        Verdict::Reject(Cause::from(format!(
            "its payload is {size} bytes, and at most {allowed} are allowed on {topic}"
        )))
    }
}

#[async_trait]
impl Validator for Size {
    /// A payload that travelled as a link is at hand already.
    async fn message(&self, _: &Context<'_>, message: &Message) -> Verdict {
        self.judge(message.topic(), message.payload())
    }

    /// A block says not of which topic it is; its own limit is `block_bytes` of the node.
    async fn block(&self, _: &Context<'_>, _: &Block) -> Verdict {
        Verdict::Accept
    }

    async fn accepted(&self, _: &Context<'_>, _: &Message) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carrick_core::ErrorKind;
    use figment::Figment;
    use figment::providers::{Format, Serialized, Toml};

    fn read(toml: &str) -> Result<SizeConfig, String> {
        Figment::from(Toml::string(toml)).extract().map_err(|error| error.to_string())
    }

    #[test]
    fn the_limit_itself_passes_and_one_byte_more_does_not() {
        let size = Size::new(read("topics = ['small']\nmax_bytes = 4").expect("valid")).expect("valid");
        let judge = |topic: &str, payload: &[u8]| size.judge(&Topic::new(topic).expect("a topic"), payload);
        assert_eq!(judge("small", b""), Verdict::Accept);
        assert_eq!(judge("small", b"four"), Verdict::Accept);
        let refused = judge("small", b"fives");
        let says = "its payload is 5 bytes, and at most 4 are allowed on small";
        assert_eq!(refused, Verdict::Reject(says.into()));
        assert_eq!(judge("large", b"fives"), Verdict::Accept);
    }

    #[test]
    fn a_table_is_read_and_written_alike_and_what_is_wrong_is_named() {
        let config = read("topics = ['a', 'b/*']\nmax_bytes = 0").expect("valid");
        let written = Figment::from(Serialized::defaults(&config));
        assert_eq!(written.extract::<SizeConfig>().expect("valid"), config);
        for (toml, says) in [
            ("topics = ['a']", "missing field `max_bytes`"),
            ("max_bytes = 1", "missing field `topics`"),
            ("topics = ['a']\nmax_bytes = -1", "-1"),
            ("topics = ['a']\nmax_bytes = 1\nmaximum = 1", "maximum"),
        ] {
            let error = read(toml).expect_err(toml);
            assert!(error.contains(says), "{error}");
        }
        let nothing = Size::new(SizeConfig::new([], 1)).expect_err("refused");
        assert_eq!((nothing.kind(), nothing.operation()), (ErrorKind::Config, "size"));
    }
}

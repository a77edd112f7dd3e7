//! The rule itself.

use carrick_core::{
    Block, Cause, Context, Error, ErrorKind, Message, PeerId, Result, Site, Topic, Validator, Verdict,
    async_trait,
};

use crate::AuthorsConfig;

/// Accepts messages of named authors only, on the topics it guards; everything else is no concern of its.
#[derive(Debug)]
pub struct Authors {
    config: AuthorsConfig,
}

impl Authors {
    /// Checks the configuration and makes the validator.
    ///
    /// # Errors
    /// `Config` when it guards no topic.
    pub fn new(config: AuthorsConfig) -> Result<Self> {
        if config.topics.is_empty() {
            let error =
                Error::new(ErrorKind::Config, "authors", "topics is empty, so nothing would be guarded");
            return Err(error.mend("name the topics, such as [\"ledger/*\"], or take the validator out"));
        }
        Ok(Self { config })
    }

    pub(crate) async fn open(config: AuthorsConfig, _: Site) -> Result<Self> {
        Self::new(config)
    }

    fn judge(&self, topic: &Topic, author: Option<&PeerId>) -> Verdict {
        if !self.config.topics.iter().any(|pattern| pattern.matches(topic)) {
            return Verdict::Accept;
        }
        match author {
            Some(author) if self.config.allow.contains(author) => Verdict::Accept,
            Some(author) => Verdict::Reject(Cause::from(format!("{author} may not publish on {topic}"))),
            None => {
                Verdict::Reject(Cause::from(format!("nobody signed it, and {topic} is for named authors")))
            }
        }
    }
}

#[async_trait]
impl Validator for Authors {
    async fn message(&self, _: &Context<'_>, message: &Message) -> Verdict {
        self.judge(message.topic(), message.author())
    }

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
    use carrick_core::{Keypair, TopicPattern};

    fn peer() -> PeerId {
        Keypair::generate_ed25519().public().to_peer_id()
    }

    fn topic(name: &str) -> Topic {
        Topic::new(name).expect("a topic")
    }

    #[test]
    fn only_the_named_publish_on_the_guarded_topics() {
        let (named, stranger) = (peer(), peer());
        let guarded = ["exact", "ledger/*"].map(|pattern| TopicPattern::new(pattern).expect("a pattern"));
        let authors = Authors::new(AuthorsConfig::new(guarded, [named])).expect("valid");
        for name in ["exact", "ledger/a"] {
            assert_eq!(authors.judge(&topic(name), Some(&named)), Verdict::Accept);
            let refused = authors.judge(&topic(name), Some(&stranger));
            assert!(matches!(&refused, Verdict::Reject(cause) if cause.contains(&stranger.to_string())));
            assert!(matches!(authors.judge(&topic(name), None), Verdict::Reject(_)));
        }
        for name in ["exactly", "ledger", "other"] {
            for author in [Some(&named), Some(&stranger), None] {
                assert_eq!(authors.judge(&topic(name), author), Verdict::Accept);
            }
        }
    }

    #[test]
    fn guarding_nothing_is_a_mistake() {
        let error = Authors::new(AuthorsConfig::new([], [peer()])).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.hint().is_some());
    }
}

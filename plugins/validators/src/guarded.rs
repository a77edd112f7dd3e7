//! What all validators share: the topics that each guards.

use carrick_core::{Error, ErrorKind, Result, Topic, TopicPattern};

/// The topics that a validator guards: at least one.
#[derive(Debug)]
pub(crate) struct Guarded(Vec<TopicPattern>);

impl Guarded {
    /// Fails with `Config` in the name of `validator` when there is none.
    pub(crate) fn new(validator: &'static str, topics: Vec<TopicPattern>) -> Result<Self> {
        if topics.is_empty() {
            let error =
                Error::new(ErrorKind::Config, validator, "topics is empty, so nothing would be guarded");
            return Err(error.mend("name the topics, such as [\"ledger/*\"], or take the validator out"));
        }
        Ok(Self(topics))
    }

    /// Whether a topic is one of them.
    pub(crate) fn covers(&self, topic: &Topic) -> bool {
        self.0.iter().any(|pattern| pattern.matches(topic))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_covered_by_its_name_or_its_beginning() {
        let patterns = ["exact", "ledger/*"].map(|pattern| TopicPattern::new(pattern).expect("a pattern"));
        let guarded = Guarded::new("test", patterns.into()).expect("valid");
        let covers = |name: &str| guarded.covers(&Topic::new(name).expect("a topic"));
        assert!(["exact", "ledger/a"].into_iter().all(covers));
        assert!(!["exactly", "ledger", "other"].into_iter().any(covers));
    }

    #[test]
    fn guarding_nothing_is_a_mistake() {
        let error = Guarded::new("test", vec![]).expect_err("refused");
        assert_eq!((error.kind(), error.operation()), (ErrorKind::Config, "test"));
        assert!(error.hint().is_some());
    }
}

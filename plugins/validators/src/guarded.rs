//! What the validators share: the topics that each guards, and how many authors are remembered.

use std::fmt::Display;
use std::num::NonZeroUsize;

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

/// Authors remembered, least and most.
const AUTHORS: (usize, usize) = (1, 1 << 20);

/// Authors remembered where the configuration says nothing.
pub(crate) fn default_authors() -> usize {
    4_096
}

/// How many authors to remember; `Config` out of range.
pub(crate) fn remembered(validator: &'static str, authors: usize) -> Result<NonZeroUsize> {
    NonZeroUsize::new(authors)
        .filter(|_| authors <= AUTHORS.1)
        .ok_or_else(|| out_of_range(validator, "authors", authors, AUTHORS))
}

/// A number that is not allowed, and which is.
pub(crate) fn out_of_range<T: Display + PartialOrd>(
    validator: &'static str,
    key: &str,
    found: T,
    (low, high): (T, T),
) -> Error {
    let detail = format!("{key} is {found}; allowed is {low} to {high}");
    let nearest = if found > high { high } else { low };
    Error::new(ErrorKind::Config, validator, detail)
        .mend(format!("the nearest that is allowed: {key} = {nearest}"))
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

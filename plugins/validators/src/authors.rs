//! `authors`: only named authors publish on the topics.

use std::collections::BTreeSet;

use carrick_core::{
    Block, Cause, Context, Message, PeerId, Result, Site, Topic, TopicPattern, Validator, Verdict,
    async_trait,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::guarded::Guarded;

/// Who may publish where. Both keys are required.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct AuthorsConfig {
    /// The topics it guards, by name or as a beginning followed by `*`. At least one.
    pub topics: Vec<TopicPattern>,
    /// The authors allowed there, as peer ids. Empty: nobody.
    #[serde(serialize_with = "write_peers", deserialize_with = "read_peers")]
    pub allow: BTreeSet<PeerId>,
}

impl AuthorsConfig {
    /// Guards topics for some authors.
    pub fn new(
        topics: impl IntoIterator<Item = TopicPattern>,
        allow: impl IntoIterator<Item = PeerId>,
    ) -> Self {
        Self { topics: topics.into_iter().collect(), allow: allow.into_iter().collect() }
    }
}

/// Accepts messages of named authors only, on the topics it guards; everything else is no concern of its.
#[derive(Debug)]
pub struct Authors {
    topics: Guarded,
    allow: BTreeSet<PeerId>,
}

impl Authors {
    /// Checks the configuration and makes the validator.
    ///
    /// # Errors
    /// `Config` when it guards no topic.
    pub fn new(config: AuthorsConfig) -> Result<Self> {
        let AuthorsConfig { topics, allow } = config;
        Ok(Self { topics: Guarded::new("authors", topics)?, allow })
    }

    pub(crate) async fn open(config: AuthorsConfig, _: Site) -> Result<Self> {
        Self::new(config)
    }

    fn judge(&self, topic: &Topic, author: Option<&PeerId>) -> Verdict {
        if !self.topics.covers(topic) {
            return Verdict::Accept;
        }
        match author {
            Some(author) if self.allow.contains(author) => Verdict::Accept,
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

fn write_peers<S: Serializer>(peers: &BTreeSet<PeerId>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(peers.iter().map(PeerId::to_string))
}

fn read_peers<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeSet<PeerId>, D::Error> {
    let texts = Vec::<String>::deserialize(from)?;
    texts.iter().map(|text| read_peer(text).map_err(de::Error::custom)).collect()
}

/// The text form of a peer id whose key can sign messages: an ed25519 key inside the id itself.
fn read_peer(text: &str) -> Result<PeerId, String> {
    const ED25519_KEY: [u8; 4] = [0x08, 0x01, 0x12, 0x20];
    let form = "it looks like 12D3KooW…, as `carrick status` prints it";
    let peer: PeerId = text.parse().map_err(|error| format!("{text:?} is no peer id ({error}); {form}"))?;
    let hash = peer.as_ref();
    if hash.code() != 0 || !hash.digest().starts_with(&ED25519_KEY) {
        return Err(format!(
            "{text:?} is the peer id of another kind of key, which signs no messages; {form}"
        ));
    }
    Ok(peer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use carrick_core::{ErrorKind, Keypair};
    use figment::Figment;
    use figment::providers::{Format, Toml};

    const PEER: &str = "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5";

    fn read(toml: &str) -> Result<AuthorsConfig, String> {
        Figment::from(Toml::string(toml)).extract().map_err(|error| error.to_string())
    }

    #[test]
    fn a_table_is_read_and_written_alike() {
        let config = read(&format!("topics = ['a', 'b/*']\nallow = ['{PEER}', '{PEER}']")).expect("valid");
        assert_eq!(config.topics.len(), 2);
        assert_eq!(config.allow.iter().map(PeerId::to_string).collect::<Vec<_>>(), [PEER]);
        let written = Figment::from(figment::providers::Serialized::defaults(&config));
        assert_eq!(written.extract::<AuthorsConfig>().expect("valid"), config);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (toml, says) in [
            ("topics = ['a']\nallow = ['12D3KooWwrong']", "\"12D3KooWwrong\" is no peer id"),
            (
                "topics = ['a']\nallow = ['QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N']",
                "another kind of key",
            ),
            ("topics = ['a*b']\nallow = []", "\"a*b\" has a * that is not its last character"),
            ("topics = ['a']\nallow = []\nalow = []", "alow"),
            ("allow = []", "missing field `topics`"),
            ("topics = ['a']", "missing field `allow`"),
        ] {
            let error = read(toml).expect_err(toml);
            assert!(error.contains(says), "{error}");
        }
    }

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

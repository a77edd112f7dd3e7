//! The table that configures the validator.

use std::collections::BTreeSet;

use carrick_core::{PeerId, TopicPattern};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

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
}

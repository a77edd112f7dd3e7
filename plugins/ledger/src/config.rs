//! `[ledger.NAME]`.

use std::collections::BTreeSet;
use std::sync::Arc;

use carrick_core::{PeerId, Verdict, async_trait};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{Entry, Past, Rule};

/// The table `[ledger.NAME]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct LedgerConfig {
    /// Who may write: `"any"`, or a list of peer ids. The same on all nodes. Default `"any"`.
    pub authors: Writers,
}

impl LedgerConfig {
    pub(crate) fn rules(self) -> Vec<Arc<dyn Rule>> {
        match self.authors {
            Writers::Any => vec![],
            Writers::Named(named) => vec![Arc::new(Named(named))],
        }
    }
}

/// Who may write to a ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Writers {
    /// Everybody in the network.
    #[default]
    Any,
    /// Those alone. Empty: nobody.
    Named(BTreeSet<PeerId>),
}

const ANY: &str = "any";
const ALLOWED: &str =
    "allowed: \"any\", or a list of peer ids such as 12D3KooW…, as `carrick status` prints them";

impl Serialize for Writers {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Any => to.serialize_str(ANY),
            Self::Named(named) => to.collect_seq(named.iter().map(PeerId::to_string)),
        }
    }
}

impl<'de> Deserialize<'de> for Writers {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Text {
            One(String),
            Many(Vec<String>),
        }
        let wrong = |text: &str| de::Error::custom(format!("found {text:?}; {ALLOWED}"));
        match Text::deserialize(from).map_err(|_| de::Error::custom(ALLOWED))? {
            Text::One(word) if word == ANY => Ok(Self::Any),
            Text::One(word) => Err(wrong(&word)),
            Text::Many(ids) => {
                let read = |id: &String| id.parse().map_err(|_| wrong(id));
                Ok(Self::Named(ids.iter().map(read).collect::<Result<_, _>>()?))
            }
        }
    }
}

/// Lets some authors write and nobody else.
#[derive(Debug)]
struct Named(BTreeSet<PeerId>);

#[async_trait]
impl Rule for Named {
    async fn entry(&self, _: &Past<'_>, entry: &Entry) -> Verdict {
        match self.0.contains(entry.author()) {
            true => Verdict::Accept,
            false => Verdict::Reject(format!("{} may not write to this ledger", entry.author()).into()),
        }
    }
}

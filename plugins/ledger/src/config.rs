//! `[ledger.NAME]`.

use std::collections::BTreeSet;
use std::sync::Arc;

use carrick_core::{PeerId, Verdict, async_trait};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{Entry, Past, Rule, StopAuthor};

/// The table `[ledger.NAME]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct LedgerConfig {
    /// Who may write: `"any"`, or a list of peer ids. The same on all nodes. Default `"any"`.
    pub authors: Writers,
    /// What becomes of an author that signs two entries with one number: `"keep"`, or `"stop-author"`. The same on all nodes.
    /// Default `"keep"`.
    pub equivocation: OnEquivocation,
}

impl LedgerConfig {
    pub(crate) fn rules(self) -> Vec<Arc<dyn Rule>> {
        let mut rules: Vec<Arc<dyn Rule>> = Vec::new();
        if let Writers::Named(named) = self.authors {
            rules.push(Arc::new(Named(named)));
        }
        if self.equivocation == OnEquivocation::StopAuthor {
            rules.push(Arc::new(StopAuthor));
        }
        rules
    }
}

/// What becomes of an author that signs two entries with one number. Both stay in the log, as evidence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum OnEquivocation {
    /// Nothing.
    #[default]
    Keep,
    /// What it makes after both is refused: [`StopAuthor`].
    StopAuthor,
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

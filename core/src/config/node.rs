//! The table `[node]`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use libp2p_identity::PeerId;
use serde::{Deserialize, Deserializer};

use super::explain::{refuse, wrong};
use crate::{Limits, Membership, NetworkId, Requirements, Result, Topic};

/// The transport of a node whose configuration names none.
const DEFAULT_TRANSPORT: &str = "quic";

/// What `[node]` says.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct NodeConfig {
    /// The network's id, the same on all its nodes. The only key without a default.
    pub network: NetworkId,
    /// Where key, blocks and control socket are; a relative path counts from the configuration file's folder. Default
    /// `data`.
    #[serde(default = "default_data_dir")]
    pub data_dir: PathBuf,
    /// The one transport instance that carries everything. Default `quic`.
    #[serde(default)]
    pub transport: Option<String>,
    /// Instead of `transport`: the instances that carry messages; several are a bridge.
    #[serde(default)]
    pub broadcast: Option<Vec<String>>,
    /// Instead of `transport`: the instances that fetch content, asked in this order.
    #[serde(default)]
    pub fetch: Option<Vec<String>>,
    /// The store. Default `fjall` where it is linked, else `memory`.
    #[serde(default)]
    pub store: Option<String>,
    /// The peers that may connect and publish. Absent: anybody.
    #[serde(default)]
    pub members: Option<Members>,
    /// Limits that differ from their defaults.
    #[serde(default)]
    pub limits: Limits,
    /// What the transports must promise.
    #[serde(default)]
    pub require: Requirements,
}

fn default_data_dir() -> PathBuf {
    "data".into()
}

/// Which transport instances carry what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Routes {
    pub(super) broadcast: Vec<String>,
    pub(super) fetch: Vec<String>,
}

impl NodeConfig {
    /// Which instances carry messages and which fetch.
    pub(super) fn routes(&self, origin: &str) -> Result<Routes> {
        match (&self.transport, &self.broadcast, &self.fetch) {
            (Some(_), None, None) | (None, None, None) => {
                let both = vec![self.transport.clone().unwrap_or_else(|| DEFAULT_TRANSPORT.into())];
                Ok(Routes { broadcast: both.clone(), fetch: both })
            }
            (None, Some(broadcast), Some(fetch)) if broadcast.is_empty() && fetch.is_empty() => {
                Err(wrong(format!("{origin}: [node]: both broadcast and fetch are empty"))
                    .mend("name a transport, for example transport = \"quic\""))
            }
            (None, Some(broadcast), Some(fetch)) => {
                Ok(Routes { broadcast: once(broadcast, "broadcast", origin)?, fetch: once(fetch, "fetch", origin)? })
            }
            (Some(_), _, _) => Err(wrong(format!(
                "{origin}: [node]: found transport beside broadcast or fetch; allowed: either transport, or both of broadcast and fetch"
            ))
            .mend("remove the line transport, which stands for both")),
            (None, broadcast, _) => {
                let (there, missing) =
                    if broadcast.is_some() { ("broadcast", "fetch") } else { ("fetch", "broadcast") };
                Err(wrong(format!("{origin}: [node] {missing}: is missing beside {there}"))
                    .mend(format!("write {missing} = [\"…\"], or {missing} = [] for none")))
            }
        }
    }
}

fn once(names: &[String], key: &str, origin: &str) -> Result<Vec<String>> {
    match names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
        Some((_, twice)) => Err(wrong(format!("{origin}: [node] {key}: {twice:?} stands there twice"))),
        None => Ok(names.to_vec()),
    }
}

/// A fixed list of peers: only they, and the node itself, may connect and publish.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members(BTreeSet<PeerId>);

impl Members {
    /// Adds a peer.
    #[must_use]
    pub fn with(mut self, peer: PeerId) -> Self {
        self.0.insert(peer);
        self
    }
}

impl FromIterator<PeerId> for Members {
    fn from_iter<I: IntoIterator<Item = PeerId>>(peers: I) -> Self {
        Self(peers.into_iter().collect())
    }
}

impl Membership for Members {
    fn admits(&self, peer: &PeerId) -> bool {
        self.0.contains(peer)
    }

    fn may_publish(&self, author: &PeerId, _: &Topic) -> bool {
        self.0.contains(author)
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let peer = |text: String| {
            text.parse::<PeerId>().map_err(|_| {
                refuse(
                    &wrong(format!("{text:?} is no peer id, such as 12D3KooW…"))
                        .mend("`carrick up` prints the id of the node that it runs"),
                )
            })
        };
        Vec::<String>::deserialize(from)?.into_iter().map(peer).collect()
    }
}

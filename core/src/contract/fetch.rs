//! The part of a transport that fetches content by its address.

use std::time::Duration;

use async_trait::async_trait;
use cid::Cid;
use futures::stream::BoxStream;
use libp2p_identity::PeerId;
use serde::{Deserialize, Serialize};

use crate::{Claim, PeerAddr, Remote, Result};

/// Fetches content by its address.
///
/// What comes is a [`Claim`]: the transport need not hash it. The node checks every claim, blames who sent wrong bytes,
/// and asks again without them.
#[async_trait]
pub trait Fetch: Send + Sync {
    /// Asks provider after provider for one block until one answers or `timeout` passes.
    ///
    /// Hints are asked first; whoever stands in `avoid` is not asked at all.
    ///
    /// # Errors
    /// `NotFound` when everybody asked has it not, `NoPeers` when there was nobody to ask, `Timeout`, `TooLarge` for a block
    /// above its limit or that of all blocks, `Unreachable`, `Closed`.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the request on the wire and frees both ends.
    async fn block(&self, want: &Want) -> Result<Fetched>;

    /// Asks for what is under `roots` and not under `have`, breadth first, each block once, in one request where the wire
    /// can. The asker may stop anywhere by dropping the stream.
    ///
    /// The stream ends after the last block, or with an `Err` that says why not all came: `NotFound` when the provider lacks
    /// a block, `Timeout` when it stalls, `TooLarge` at `limit_bytes`. What came before stays good.
    ///
    /// # Errors
    /// `Unsupported` where the wire fetches only single blocks; otherwise as [`block`](Fetch::block).
    ///
    /// # Cancel safety
    /// Dropping the future or the stream cancels the request on the wire and frees both ends.
    async fn dag(&self, want: &WantDag) -> Result<Claims>;

    /// Makes blocks available to others; the node hands over at most 256 at once. Where the backend serves from a store of
    /// its own, it reads them from the host, and those that it has already cost little: the node provides all that it keeps
    /// each time it opens, and after each [`Notice::Forgot`](crate::Notice::Forgot). Where it serves from the host there is
    /// nothing to do but to look whether the host has them.
    ///
    /// # Errors
    /// `Unreachable`, `Full`, `NotFound` when the host has one of them not, wherever it is served from; `Closed`. Some of
    /// them may be provided then.
    ///
    /// # Cancel safety
    /// Dropping the future leaves it open which blocks are provided.
    async fn provide(&self, cids: &[Cid]) -> Result<()>;

    /// Blocks were put into the host's store, where some of them may have been before: a wire on which others wait for them
    /// tells them now. Does not wait.
    fn stored(&self, cids: &[Cid]) {
        let _ = cids;
    }

    /// Ends [`provide`](Fetch::provide), and [`announce`](Fetch::announce) of what is among them. What was never provided is no
    /// error, and what the backend keeps for somebody else stays there.
    ///
    /// The node withdraws what a garbage collection is about to delete, at most 256 at once, and deletes it only after that; it
    /// provides nothing meanwhile. What could not be withdrawn stays in the store, and is withdrawn by a later collection.
    ///
    /// # Errors
    /// `Unreachable`, `Closed`. Some of them may be withdrawn then.
    ///
    /// # Cancel safety
    /// Dropping the future leaves it open which blocks are still provided.
    async fn withdraw(&self, cids: &[Cid]) -> Result<()>;

    /// Tells the network that the DAG under a root can be fetched here, for strangers who look for it by its address. Does
    /// nothing where the wire has no routing to tell. One that goes on by itself until somebody is told need not wait for that.
    ///
    /// # Errors
    /// `NoPeers` when there is nobody to tell; `Unreachable`, `Timeout`, `Closed`.
    ///
    /// # Cancel safety
    /// Dropping the future leaves it open whether anybody was told.
    async fn announce(&self, root: &Cid) -> Result<()>;

    /// Peers that say they have a block, at most `limit`. Empty when the search found nobody.
    ///
    /// # Errors
    /// `Unsupported`, `Unreachable`, `Timeout`, `Closed`.
    async fn providers(&self, cid: &Cid, limit: usize) -> Result<Vec<PeerAddr>>;
}

/// A block to fetch.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Want {
    /// Its address.
    pub cid: Cid,
    /// Who probably has it; asked first.
    pub hints: Vec<PeerId>,
    /// Who must not be asked: they lied or stalled.
    pub avoid: Vec<Remote>,
    /// How long the whole search may take.
    pub timeout: Duration,
    /// How large it may be; a larger one need not come. Default no bound but that of all blocks.
    pub limit_bytes: usize,
    /// Higher goes first where requests compete. Default 0.
    pub priority: i8,
}

impl Want {
    /// A block, without hints.
    pub fn new(cid: Cid, timeout: Duration) -> Self {
        Self { cid, hints: vec![], avoid: vec![], timeout, limit_bytes: usize::MAX, priority: 0 }
    }
}

/// Bytes that came, and from whom.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// What was sent; not hashed yet.
    pub claim: Claim,
    /// Who sent it, where the wire can name them.
    pub from: Option<Remote>,
}

/// Which links of a block are followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Follow {
    /// Every link.
    #[default]
    All,
    /// Only the `parents` of messages: a ledger's history without what its payloads link to.
    Parents,
}

/// A DAG to fetch.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WantDag {
    /// Where to begin; at most 64.
    pub roots: Vec<Cid>,
    /// What the asker has; each stands for itself and all under it.
    pub have: Vec<Cid>,
    /// Which links to follow.
    pub follow: Follow,
    /// How many links below a root to go; 0 is the roots alone.
    pub depth: u32,
    /// How many bytes may come at most.
    pub limit_bytes: u64,
    /// Who probably has it; asked first.
    pub hints: Vec<PeerId>,
    /// Who must not be asked.
    pub avoid: Vec<Remote>,
    /// How long the next block may take, again and again: an idle limit, not a total.
    pub timeout: Duration,
}

impl WantDag {
    /// Everything under one root, however deep and large.
    pub fn new(root: Cid, timeout: Duration) -> Self {
        Self {
            roots: vec![root],
            have: vec![],
            follow: Follow::All,
            depth: u32::MAX,
            limit_bytes: u64::MAX,
            hints: vec![],
            avoid: vec![],
            timeout,
        }
    }
}

/// The blocks of a DAG as they arrive.
pub type Claims = BoxStream<'static, Result<Fetched>>;

//! What a ledger of one's own demands of its entries.

use std::fmt::Debug;

use carrick_core::{Verdict, async_trait};

use crate::{Entry, Past};

/// Judges entries before they are stored, served, handed out or passed on, on every node alike.
///
/// **It must depend on the entry and its ancestors alone**: not on the clock, on what else has arrived, on the order of
/// arrival, or on anything outside the ledger. Nodes that judge otherwise part for ever. [`Past`] shows nothing else: the
/// entries before it, the heads that its author knew, what the author said before, and what a fold makes of all of them.
///
/// # Examples
///
/// Who is a member is what the log says, so that all nodes say the same of each entry, whenever it comes:
///
/// ```
/// use std::collections::BTreeSet;
/// use std::sync::Arc;
///
/// use carrick_core::{ErrorKind, Keypair, NetworkId, Node, PeerAddr, PeerId, Result, Verdict, async_trait};
/// use carrick_plugin_ledger::{Entry, Fold, Ledger, Past, PastFold, Rule};
/// use carrick_transport_memory::MemoryNetwork;
/// use futures::TryStreamExt as _;
///
/// /// The members: a founder, and whom it let in by an entry `+PEER` and did not put out again by `-PEER`.
/// struct Members {
///     founder: PeerId,
/// }
///
/// impl Fold for Members {
///     type State = BTreeSet<PeerId>;
///
///     fn start(&self) -> Self::State {
///         [self.founder].into()
///     }
///
///     fn apply(&self, members: &mut Self::State, entry: &Entry) {
///         let text = std::str::from_utf8(entry.payload()).unwrap_or_default();
///         let said = text.split_at_checked(1).and_then(|(sign, peer)| Some((sign, peer.parse().ok()?)));
///         match said {
///             Some(("+", peer)) if *entry.author() == self.founder => drop(members.insert(peer)),
///             Some(("-", peer)) if *entry.author() == self.founder => drop(members.remove(&peer)),
///             _ => {}
///         }
///     }
/// }
///
/// /// Lets in what was written by who was a member as far as it knew.
/// #[derive(Debug)]
/// struct MembersWrite(PastFold<Members>);
///
/// #[async_trait]
/// impl Rule for MembersWrite {
///     async fn entry(&self, past: &Past<'_>, entry: &Entry) -> Verdict {
///         match past.fold(&self.0).await {
///             Ok(members) if members.contains(entry.author()) => Verdict::Accept,
///             Ok(_) => Verdict::Reject("its author is no member".into()),
///             // Our own disk is nobody's fault.
///             Err(error) => Verdict::Ignore(error.to_string().into()),
///         }
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// # let wire = MemoryNetwork::new(1);
/// # let (founder, guest) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
/// # let members = || Members { founder: founder.public().to_peer_id() };
/// # let open = async |key: &Keypair| {
/// #     let node = Node::builder().network(NetworkId::new("club")?).identity(key.clone());
/// let rule = Arc::new(MembersWrite(PastFold::new(members())));
/// let ledger = Ledger::new("club", vec![rule])?;
/// #     let node = ledger.mount(node.mount("memory", wire.transport())).open().await?;
/// #     Ok::<_, carrick_core::Error>((node, ledger))
/// # };
/// # let (one, of_founder) = open(&founder).await?;
/// # let (other, of_guest) = open(&guest).await?;
/// # let guest = other.peer_id();
/// // On the founder's node and on the guest's:
/// let refused = of_guest.append("hello").await.expect_err("it is no member");
/// assert_eq!(refused.kind(), ErrorKind::Rejected);
/// of_founder.append(format!("+{guest}")).await?;
/// # one.connect(&PeerAddr::from(other.listen_addrs()[0].clone())).await?;
/// of_guest.follow(None).try_next().await?; // so it knows
/// of_guest.append("hello").await?;
/// # one.close().await?;
/// # other.close().await
/// # }
/// ```
#[async_trait]
pub trait Rule: Debug + Send + Sync + 'static {
    /// Judges an entry whose form, signature and parents are checked, and whose parents are entries. Reject what no node may
    /// take; to answer Ignore or Defer is to say that this node cannot tell now, such as when it could not read.
    ///
    /// # Cancel safety
    /// The future is dropped when [`Limits::validation`](carrick_core::Limits::validation) is over, which counts as Ignore.
    async fn entry(&self, past: &Past<'_>, entry: &Entry) -> Verdict;
}

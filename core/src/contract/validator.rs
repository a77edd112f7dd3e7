//! What a ledger decides: is this message or block good, and who may speak.

use std::borrow::Cow;
use std::fmt::Debug;

use async_trait::async_trait;
use bytes::Bytes;
use cid::Cid;
use libp2p_identity::PeerId;

use super::Store;
use crate::{
    Block, Error, ErrorKind, Message, MessageId, NetworkId, Remote, Result, Time, Topic, TopicRules,
};

/// Judges messages and blocks before they are stored, relayed or handed out.
///
/// Validators run concurrently, each within [`Limits::validation`](crate::Limits::validation). One that panics, is late or
/// fails inside counts as Ignore, is logged and counted; nobody is blamed for it. When several judge one message, they are
/// asked in the order of the configuration and the first that does not accept decides.
///
/// **Reject by the message alone**, what it names and a configuration that all nodes share: so that each says the same, however
/// and whenever the message came. What depends on the clock, the path, the link, the order of arrival or what else is stored
/// is [`Verdict::Ignore`].
#[async_trait]
pub trait Validator: Debug + Send + Sync + 'static {
    /// Judges a message whose form, network, signature, number and author are checked already.
    ///
    /// # Cancel safety
    /// The future is dropped when the time is up.
    async fn message(&self, cx: &Context<'_>, message: &Message) -> Verdict;

    /// Judges a fetched block whose bytes match its address. `Defer` counts as Ignore here.
    ///
    /// # Cancel safety
    /// The future is dropped when the time is up.
    async fn block(&self, cx: &Context<'_>, block: &Block) -> Verdict;

    /// Metadata to write into the store together with a message that its topic keeps and that every validator lets through,
    /// before [`accepted`](Validator::accepted) is called. Default none. After a crash it may be there for a message that was
    /// never accepted.
    ///
    /// # Errors
    /// An `Err` counts as Ignore: the message may come again.
    async fn noted(&self, cx: &Context<'_>, message: &Message) -> Result<Vec<(String, Bytes)>> {
        let _ = (cx, message);
        Ok(vec![])
    }

    /// Called once for each accepted message, before it is relayed and handed out; never lossy, so slowness here pushes
    /// back. A ledger applies entries here. After a crash it may come again for one id: be idempotent.
    ///
    /// # Errors
    /// An `Err` counts as Ignore: the message is neither relayed nor handed out, and may come again.
    async fn accepted(&self, cx: &Context<'_>, message: &Message) -> Result<()>;
}

/// What a validator knows beside the message.
#[derive(Debug)]
#[non_exhaustive]
pub struct Context<'a> {
    /// How it came.
    pub path: Path,
    /// From whom, where the wire can name them. Not the author: the link.
    pub from: Option<&'a Remote>,
    /// Over which transport instance; `None` for our own and for catch-up.
    pub transport: Option<&'a str>,
    /// The rules of the message's topic; `None` for a block, which is of no topic.
    pub rules: Option<TopicRules>,
    /// The node's store, for what was accepted before.
    pub store: &'a dyn Store,
    /// The time, from the node's clock.
    pub now: Time,
    /// Who may connect and publish, as of this moment.
    ///
    /// **It is this node's configuration**, and may be another one when a message comes again: [`Node::set_membership`]. A
    /// verdict that must be the same on all nodes follows from it only where all have the same list all the time; else it is
    /// [`Verdict::Ignore`]. Whether the author may publish is asked by the node itself before, but not on
    /// [`Path::CatchUp`].
    ///
    /// [`Node::set_membership`]: crate::Node::set_membership
    pub membership: &'a dyn Membership,
    /// When the budget ends; on tokio's clock, which tests can pause.
    pub deadline: tokio::time::Instant,
    pub(crate) network: &'a NetworkId,
    pub(crate) payload_limit: usize,
}

impl Context<'_> {
    /// Reads a message back from the store, such as a parent on a topic that keeps its messages: of this network, in canonical
    /// form and signed by its author, all checked again. `None` when it is not there; a verdict that needs it is
    /// [`Verdict::Defer`] with [`Need::Message`].
    ///
    /// That it is stored does not prove that the gate accepted it: somebody may have put it there as a plain block. A payload
    /// that travelled as a link is not read with it and is empty here.
    ///
    /// # Errors
    /// `Rejected` when what is stored under the id is nothing that the gate would take for a message; else those of
    /// [`Store::get`]. Neither is anybody's fault.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn stored(&self, id: &MessageId) -> Result<Option<Message>> {
        let Some(block) = self.store.get(id.cid()).await? else { return Ok(None) };
        match Message::read_back(*id, block.into_bytes(), self.network, self.payload_limit) {
            Ok(message) => Ok(Some(message)),
            Err(why) => {
                Err(Error::new(ErrorKind::Rejected, "stored", format!("{id} is no message here: {why}")))
            }
        }
    }
}

/// How a message or block came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Path {
    /// Published here.
    Own,
    /// Over a transport, as it was published.
    Live,
    /// Fetched later: neither clock nor the present right to publish is checked, and it is not relayed.
    CatchUp,
}

/// A reason, in a few words, for logs and counters.
pub type Cause = Cow<'static, str>;

/// What becomes of a message or block.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Verdict {
    /// Good: store, relay, hand out.
    Accept,
    /// Drop it; nobody is to blame, and it may come again.
    Ignore(Cause),
    /// Drop it; whoever relayed it before checking loses reputation.
    Reject(Cause),
    /// It cannot be judged before these are there. The node fetches them and asks again; what is out of its reach
    /// ends as Ignore.
    Defer(Vec<Need>),
}

impl Verdict {
    /// Whether it is [`Verdict::Accept`].
    pub fn is_accept(&self) -> bool {
        matches!(self, Self::Accept)
    }
}

/// What must be there before a message can be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Need {
    /// A message, which passes the gate itself: never straight into the store.
    Message(Cid),
    /// A block.
    Block(Cid),
}

/// Who may connect, publish and read. May change while the node runs: a ledger's epochs.
///
/// Not async, because TLS asks inside the handshake; keep it in memory.
pub trait Membership: Debug + Send + Sync + 'static {
    /// Whether a peer may be connected.
    fn admits(&self, peer: &PeerId) -> bool;

    /// Whether an author may publish on a topic now. Asked for our own and live messages; catch-up is judged by the ledger's
    /// own rule. On reserved topics [`admits`](Membership::admits) is asked instead.
    fn may_publish(&self, author: &PeerId, topic: &Topic) -> bool;
}

/// Everybody may connect and publish.
#[derive(Clone, Copy, Debug, Default)]
pub struct Open;

impl Membership for Open {
    fn admits(&self, _: &PeerId) -> bool {
        true
    }

    fn may_publish(&self, _: &PeerId, _: &Topic) -> bool {
        true
    }
}

//! What everybody speaks: peers, topics, messages, blocks, addresses, capabilities.

mod address;
mod block;
mod capabilities;
mod digest;
mod list;
mod message;
mod peer;
mod record;
mod time;
mod topic;

pub use address::PeerAddr;
pub use block::{Block, CidPolicy, Claim, RAW, cid_of};
pub use capabilities::{
    BroadcastCaps, Capabilities, Discovery, FetchCaps, Identity, Overload, Privacy, Reach, RelayGate,
    Requirements, Serving, Unmet,
};
pub use digest::{Digest, cid_of_digest, digest_of};
pub use list::at_most;
pub(crate) use message::{Body, Draft, Unreadable};
pub use message::{DAG_CBOR, Message, MessageId};
pub use peer::{Direction, PeerInfo, Remote};
pub use record::PeerRecord;
pub(crate) use record::public_key;
pub use time::{Clock, SystemClock, Time};
pub(crate) use topic::Bounds;
pub use topic::{Keep, NetworkId, Topic, TopicPattern, TopicRules};

//! The contract between a ledger and its network, and the node that keeps its promises.
//!
//! A transport carries bytes, the node decides. Plugin authors implement the traits of [`contract`]; users hold a
//! [`Node`]. Nothing in this crate opens a socket.

pub mod config;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod contract;
pub mod dag;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod decoders;
mod error;
mod lanes;
pub mod limits;
pub mod links;
pub mod node;
#[macro_use]
pub mod registry;
mod store;
mod types;

pub use contract::{
    Broadcast, Cause, Claims, Context, Fetch, Fetched, Follow, Kept, Lane, Membership, Need, Open, Outgoing,
    Owner, Path, Pin, PinDepth, Receipt, Service, Skip, Store, Transport, Usage, Validator, Verdict, Want,
    WantDag,
};
pub use error::{BoxError, Error, ErrorKind, Result, Retry};
pub use lanes::{LaneQueue, Pushed};
pub use limits::Limits;
pub use node::{
    Blocks, Collected, Content, Delivery, Event, Events, Gap, Get, GetOptions, Got, Hold, Host, Inbound,
    Misdeed, Node, NodeBuilder, NodeSource, Notice, Peak, Peer, Progress, Published, Received, Relay, Served,
    ServedStream, SignatureMemo, Slot, Stat, Status, Subscription, Tap, TransportInfo, WeakNode,
};
pub use registry::{Entry, Kind, Registry, Site};
pub use store::{MemoryStore, MemoryStoreConfig};
pub use types::{
    Block, BroadcastCaps, Capabilities, CidPolicy, Claim, Clock, DAG_CBOR, Digest, Direction, Discovery,
    FetchCaps, Identity, Keep, Message, MessageId, NetworkId, Overload, PeerAddr, PeerInfo, PeerRecord,
    Privacy, RAW, Reach, RelayGate, Remote, Requirements, Serving, SystemClock, Time, Topic, TopicPattern,
    TopicRules, Unmet, at_most, cid_of, cid_of_digest, digest_of,
};

pub use async_trait::async_trait;
pub use bytes::Bytes;
pub use cid::Cid;
pub use inventory;
pub use libp2p_identity::{Keypair, PeerId, PublicKey};
pub use multiaddr::{Multiaddr, Protocol};

/// Pages of the book whose code must compile.
#[cfg(doctest)]
#[doc = include_str!("../../docs/plugins.md")]
mod plugins_page {}

#[cfg(doctest)]
#[doc = include_str!("../../docs/plugins/transport.md")]
mod transport_page {}

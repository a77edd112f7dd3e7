//! A backend that carries bytes between peers.

use std::fmt::Debug;

use async_trait::async_trait;
use multiaddr::Multiaddr;

use super::{Broadcast, Fetch};
use crate::{Capabilities, PeerAddr, PeerInfo, Remote, Result};

/// Carries bytes between peers: links, and over them broadcast and fetch.
///
/// A transport is opened with a [`Host`](crate::Host), the node's side of the contract, and asks it for every decision.
/// Broadcast and fetch are parts: a backend implements what it has and says so in its [`Capabilities`].
///
/// All methods may be called from many tasks at once. After [`close`](Transport::close) every one of them, and every
/// method of the parts, fails with `Closed`.
#[async_trait]
pub trait Transport: Debug + Send + Sync + 'static {
    /// What this instance, as configured, promises. Does not change while it is open.
    fn capabilities(&self) -> Capabilities;

    /// Where others can dial it now, without the node's own `/p2p/`: addresses that work, not wildcards. Where a daemon
    /// listens for the node, they end with the daemon's. May change; a change is told by
    /// [`Notice::Listening`](crate::Notice::Listening).
    fn listen_addrs(&self) -> Vec<Multiaddr>;

    /// Connects to a peer.
    ///
    /// `Ok` means that both ends admitted each other, and that the far end said so. Dialling a connected peer answers
    /// with the link there is; two peers that dial each other keep one connection. The deadline is
    /// [`Limits::handshake`](crate::Limits::handshake) for each address.
    ///
    /// # Errors
    /// `Unreachable` when no address answers; `Unauthorized` when either end refuses the other (another key than the one
    /// dialled, another network, not a member, banned); `Config` for an address of another transport or oneself;
    /// `Busy` at the connection limit; `Unsupported`, `Closed`.
    ///
    /// # Cancel safety
    /// Dropping the future gives the attempt up; a connection that stands already stays.
    async fn dial(&self, peer: &PeerAddr) -> Result<Remote>;

    /// Ends the link to a remote. Neither end restores it by itself, not even to a bootstrap peer, until a user of either
    /// dials.
    ///
    /// `Ok` also when there was none.
    ///
    /// # Errors
    /// `Unsupported`, `Closed`.
    ///
    /// # Cancel safety
    /// Dropping the future leaves it open whether the link ended.
    async fn disconnect(&self, peer: &Remote) -> Result<()>;

    /// The connected remotes, sorted.
    ///
    /// # Errors
    /// `Unreachable` where a daemon must be asked and does not answer; `Closed`.
    async fn peers(&self) -> Result<Vec<PeerInfo>>;

    /// The broadcast part, if it has one. The same answer for the whole life.
    fn broadcast(&self) -> Option<&dyn Broadcast>;

    /// The fetch part, if it has one. The same answer for the whole life.
    fn fetch(&self) -> Option<&dyn Fetch>;

    /// Sends what is queued and tells peers goodbye where the wire can, ends all links, frees sockets: others can listen
    /// there though this value lives on. Idempotent.
    ///
    /// The node sets the deadline: when it passes, the future is dropped and the transport's tasks are cancelled.
    ///
    /// # Errors
    /// Whatever could not be ended cleanly; the transport is closed all the same.
    ///
    /// # Cancel safety
    /// Safe; what is left ends when the transport is dropped.
    async fn close(&self) -> Result<()>;
}

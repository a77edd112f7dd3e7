//! A foe for every wire: an honest transport under a node that is none.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cid::Cid;
use futures::future::{self, BoxFuture};
use futures::{FutureExt as _, StreamExt as _, stream};
use tokio::time::timeout;

use super::{Member, RawWire, Wrapper};
use crate::{
    Claims, Host, Inbound, Lane, MessageId, Misdeed, Outgoing, PeerId, Relay, Remote, Result, Served,
    ServedStream, Slot, Tap, Topic, WantDag,
};

/// The node's side of a foe: reads nothing, has everything, sends none of it, and blames nobody.
#[derive(Debug)]
pub(super) struct Gutted;

impl Tap for Gutted {
    fn admits(&self, _: &Host, _: &PeerId) -> bool {
        true
    }

    fn relays_to(&self, _: &Host, _: &Remote) -> bool {
        true
    }

    fn slot<'a>(&'a self, _: &'a Host, _: &'a Remote) -> BoxFuture<'a, Slot> {
        future::pending().boxed()
    }

    fn try_slot(&self, _: &Host, _: &Remote) -> Option<Slot> {
        None
    }

    fn deliver(&self, _: Slot, _: Inbound) -> BoxFuture<'static, Relay> {
        future::pending().boxed()
    }

    fn block<'a>(&'a self, _: &'a Host, _: &'a Remote, _: &'a Cid) -> BoxFuture<'a, Result<Option<Served>>> {
        future::pending().boxed()
    }

    fn has<'a>(&'a self, _: &'a Host, _: &'a Remote, _: &'a Cid) -> BoxFuture<'a, Result<bool>> {
        future::ready(Ok(true)).boxed()
    }

    fn dag(&self, _: &Host, _: Remote, _: WantDag) -> ServedStream {
        stream::pending().boxed()
    }

    fn report(&self, _: &Host, _: &Remote, _: Misdeed) {}
}

impl Wrapper for Gutted {}

/// Speaks through the transport of a [`Gutted`] node. It cannot break what that transport writes, only lie with it.
pub(super) struct StandIn {
    member: Member,
    link: Remote,
    quiet: Duration,
    asked: Vec<Claims>,
}

impl StandIn {
    /// Over the link of a member; what is not taken within `quiet` is not taken.
    pub(super) fn new(member: Member, link: Remote, quiet: Duration) -> Self {
        Self { member, link, quiet, asked: Vec::new() }
    }
}

/// Whether a link is there. A transport that is closed has none.
async fn is_linked(member: &Member, link: &Remote) -> bool {
    let peers = member.transport.peers().await.unwrap_or_default();
    peers.iter().any(|info| info.remote == *link)
}

impl fmt::Debug for StandIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StandIn({})", self.link)
    }
}

#[async_trait]
impl RawWire for StandIn {
    async fn ended(&mut self) {
        let mut events = self.member.events();
        while is_linked(&self.member, &self.link).await && events.next().await.is_some() {}
    }

    async fn join(&mut self, topic: &Topic) -> bool {
        let Some(broadcast) = self.member.transport.broadcast() else { return false };
        // Joining twice is joining once: so that it is told again, it leaves first.
        broadcast.leave(topic).await.and(broadcast.join(topic).await).is_ok()
    }

    async fn leave(&mut self, topic: &Topic) -> bool {
        let Some(broadcast) = self.member.transport.broadcast() else { return false };
        broadcast.leave(topic).await.is_ok()
    }

    async fn message(&mut self, topic: &Topic, bytes: &[u8]) -> bool {
        let Some(broadcast) = self.member.transport.broadcast() else { return false };
        let bytes = Bytes::copy_from_slice(bytes);
        let outgoing = Outgoing { id: MessageId::of(&bytes), topic: topic.clone(), bytes, lane: Lane::Own };
        // A transport sends nothing on a topic of which it does not know that anybody is there.
        let _ = timeout(self.quiet, self.member.ready(topic, 1)).await;
        let sent = broadcast.publish(&outgoing).await.is_ok_and(|receipt| receipt.sent_to != Some(0));
        sent || !is_linked(&self.member, &self.link).await
    }

    async fn ask(&mut self, cid: &Cid) -> bool {
        let Some(fetch) = self.member.transport.fetch() else { return false };
        let asked = fetch.dag(&WantDag::new(*cid, Duration::from_secs(600))).await;
        let taken = asked.is_ok();
        self.asked.extend(asked);
        taken
    }
}

//! A place between a transport and its node.

use std::fmt::Debug;

use cid::Cid;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use libp2p_identity::PeerId;

use super::host::{Host, Inbound, Misdeed, Notice, Relay, Served, ServedStream, Slot};
use crate::{Limits, NetworkId, PeerRecord, Remote, Result, WantDag};

/// Stands between a transport and its node and changes what they say to each other.
///
/// Each method gets the host behind it and, unless it is written anew, only asks that. Put before a transport by
/// [`Host::tapped`].
pub trait Tap: Debug + Send + Sync + 'static {
    /// See [`Host::network`].
    fn network<'a>(&'a self, host: &'a Host) -> &'a NetworkId {
        host.network()
    }

    /// See [`Host::limits`].
    fn limits<'a>(&'a self, host: &'a Host) -> &'a Limits {
        host.limits()
    }

    /// See [`Host::admits`].
    fn admits(&self, host: &Host, peer: &PeerId) -> bool {
        host.admits(peer)
    }

    /// See [`Host::relays_to`].
    fn relays_to(&self, host: &Host, remote: &Remote) -> bool {
        host.relays_to(remote)
    }

    /// See [`Host::slot`].
    fn slot<'a>(&'a self, host: &'a Host, from: &'a Remote) -> BoxFuture<'a, Slot> {
        host.slot(from).boxed()
    }

    /// See [`Host::try_slot`].
    fn try_slot(&self, host: &Host, from: &Remote) -> Option<Slot> {
        host.try_slot(from)
    }

    /// See [`Slot::deliver`]: `slot` is that of the host behind.
    fn deliver(&self, slot: Slot, inbound: Inbound) -> BoxFuture<'static, Relay> {
        slot.deliver(inbound).boxed()
    }

    /// See [`Host::learn`].
    fn learn(&self, host: &Host, from: &Remote, record: PeerRecord) -> bool {
        host.learn(from, record)
    }

    /// See [`Host::block`].
    fn block<'a>(
        &'a self,
        host: &'a Host,
        asker: &'a Remote,
        cid: &'a Cid,
    ) -> BoxFuture<'a, Result<Option<Served>>> {
        host.block(asker, cid).boxed()
    }

    /// See [`Host::has`].
    fn has<'a>(&'a self, host: &'a Host, asker: &'a Remote, cid: &'a Cid) -> BoxFuture<'a, Result<bool>> {
        host.has(asker, cid).boxed()
    }

    /// See [`Host::dag`].
    fn dag(&self, host: &Host, asker: Remote, want: WantDag) -> ServedStream {
        host.dag(asker, want)
    }

    /// See [`Host::report`].
    fn report(&self, host: &Host, who: &Remote, misdeed: Misdeed) {
        host.report(who, misdeed);
    }

    /// See [`Host::notice`].
    fn notice(&self, host: &Host, notice: Notice) {
        host.notice(notice);
    }

    /// See [`Host::spawn`].
    fn spawn(&self, host: &Host, task: BoxFuture<'static, ()>) {
        host.spawn(task);
    }
}

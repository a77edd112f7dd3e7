//! The core.
use super::gate::{Gate, Ticket};
use crate::*;
use cid::Cid;
use libp2p_identity::{Keypair, PeerId};
use multiaddr::Multiaddr;
use std::future::Future;
use std::sync::Arc;
pub(crate) struct Core {
    pub key: Keypair,
    pub me: PeerId,
    pub network: NetworkId,
    pub limits: Limits,
    pub clock: Arc<dyn Clock>,
    pub gate: Gate,
    pub counters: Counters,
    pub book: Book,
    pub tasks: Tasks,
    pub reputation: Reputation,
}
pub(crate) struct Counters;
pub(crate) struct Book;
pub(crate) struct Tasks;
pub(crate) struct Reputation;
impl Counters {
    pub(crate) fn count(&self, _: &str, _: &'static str) {
        todo!()
    }
    pub(crate) fn add(&self, _: &str, _: &'static str, _: u64) {
        todo!()
    }
}
impl Reputation {
    pub(crate) fn relays(&self, _: &Remote) -> bool {
        todo!()
    }
}
impl Book {
    pub(crate) fn addresses(&self, _: &PeerId) -> Vec<Multiaddr> {
        todo!()
    }
    pub(crate) fn records(&self, _: usize) -> Vec<PeerRecord> {
        todo!()
    }
}
impl Tasks {
    pub(crate) fn spawn(&self, _: impl Future<Output = ()> + Send + 'static) {
        todo!()
    }
}
impl Core {
    pub(crate) fn random(&self) -> u64 {
        todo!()
    }
    pub(crate) fn admits(&self, _: &PeerId) -> bool {
        todo!()
    }
    pub(crate) fn record(&self) -> PeerRecord {
        todo!()
    }
    pub(crate) fn learn(&self, _: PeerRecord) -> bool {
        todo!()
    }
    pub(crate) async fn serve_block(&self, _: &Remote, _: &Cid) -> Result<Option<Served>> {
        todo!()
    }
    pub(crate) async fn serve_has(&self, _: &Remote, _: &Cid) -> Result<bool> {
        todo!()
    }
    pub(crate) fn serve_dag(self: Arc<Self>, _: Remote, _: WantDag) -> ServedStream {
        todo!()
    }
    pub(crate) fn report(&self, _: &str, _: &Remote, _: Misdeed) {
        todo!()
    }
    pub(crate) fn notice(&self, _: &str, _: Notice) {
        todo!()
    }
    pub(crate) fn deliver(
        self: Arc<Self>,
        _: Arc<str>,
        _: Ticket,
        _: Inbound,
    ) -> impl Future<Output = Relay> + Send + 'static {
        async { todo!() }
    }
}

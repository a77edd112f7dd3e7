//! Flaws of links.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;
use tokio_util::sync::CancellationToken;

use super::{Mutant, Wrapper};
use crate::{
    Broadcast, Capabilities, ErrorKind, Host, Identity, Inbound, Lane, NetworkId, Notice, Outgoing, PeerAddr,
    PeerInfo, PeerRecord, Privacy, Receipt, Relay, Remote, Result, Slot, Tap, Transport,
};

/// The flaws, each for its case.
pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "returns_before_the_answer",
        flaw: "a dial is `Ok` as soon as it began",
        case: "dial_ok_means_admitted",
        make: || Arc::new(ReturnsBeforeTheAnswer),
    },
    Mutant {
        name: "tells_of_a_link_twice",
        flaw: "each link is told to the node twice",
        case: "two_dials_make_one_link",
        make: || Arc::new(TellsOfALinkTwice),
    },
    Mutant {
        name: "takes_whoever_answers",
        flaw: "the id that was dialled is not compared with who answers",
        case: "another_key_is_refused",
        make: || Arc::new(TakesWhoeverAnswers),
    },
    Mutant {
        name: "waits_for_the_dead",
        flaw: "a dial of an address where nobody answers never ends",
        case: "dead_address_is_unreachable_in_time",
        make: || Arc::new(WaitsForTheDead),
    },
    Mutant {
        name: "dials_itself",
        flaw: "a dial of the node's own id is `Ok`",
        case: "oneself_is_not_dialled",
        make: || Arc::new(DialsItself),
    },
    Mutant {
        name: "finds_no_foreign_address",
        flaw: "an address that it cannot read is `Unreachable`",
        case: "address_of_another_transport_is_refused",
        make: || Arc::new(FindsNoForeignAddress),
    },
    Mutant {
        name: "hides_its_network",
        flaw: "the network is not in the handshake",
        case: "another_network_is_refused",
        make: || Arc::new(HidesItsNetwork(NetworkId::new("any").expect("a network"))),
    },
    Mutant {
        name: "admits_everybody",
        flaw: "the host is not asked who is admitted",
        case: "stranger_is_refused",
        make: || Arc::new(AdmitsEverybody),
    },
    Mutant {
        name: "swallows_the_end",
        flaw: "the end of a link is not told to the node",
        case: "closed_peer_is_noticed",
        make: || Arc::new(SwallowsTheEnd),
    },
    Mutant {
        name: "keeps_the_dead",
        flaw: "who was connected once is named among the peers for ever",
        case: "killed_peer_is_noticed",
        make: || Arc::new(KeepsTheDead::default()),
    },
    Mutant {
        name: "takes_a_cut_for_a_pause",
        flaw: "the end of a link is told when the next one comes",
        case: "silent_peer_is_noticed",
        make: || Arc::new(TakesACutForAPause::default()),
    },
    Mutant {
        name: "comes_back_without_topics",
        flaw: "who comes back is not said to take part in a topic",
        case: "lost_stream_gives_a_gap",
        make: || Arc::new(ComesBackWithoutTopics::default()),
    },
    Mutant {
        name: "never_takes_back",
        flaw: "who was lost is never connected again",
        case: "restart_of_the_far_end_heals",
        make: || Arc::new(NeverTakesBack::default()),
    },
    Mutant {
        name: "reconnects",
        flaw: "a link that a user ended is dialled again",
        case: "disconnected_peer_is_left_alone",
        make: || Arc::new(Reconnects),
    },
    Mutant {
        name: "names_the_author",
        flaw: "a message is said to come from its author",
        case: "link_is_named_truthfully",
        make: || Arc::new(NamesTheAuthor),
    },
    Mutant {
        name: "makes_peers_of_daemons",
        flaw: "links prove a daemon's key alone, and are named as peers",
        case: "foreign_link_is_not_a_peer",
        make: || Arc::new(MakesPeersOfDaemons),
    },
    Mutant {
        name: "drops_records",
        flaw: "peer records that arrive are thrown away",
        case: "peer_record_crosses",
        make: || Arc::new(DropsRecords),
    },
    Mutant {
        name: "reports_a_wildcard",
        flaw: "an address that nobody can dial is among those it listens on",
        case: "listen_addrs_are_dialable",
        make: || Arc::new(ReportsAWildcard),
    },
    Mutant {
        name: "promises_what_it_does_not_check",
        flaw: "membership is said to be checked in a handshake that proves no key",
        case: "capabilities_hold",
        make: || Arc::new(PromisesWhatItDoesNotCheck),
    },
    Mutant {
        name: "changes_its_mind",
        flaw: "the capabilities change with the first link",
        case: "capabilities_hold",
        make: || Arc::new(ChangesItsMind::default()),
    },
    Mutant {
        name: "waits_for_its_peers",
        flaw: "closing waits until nobody is connected any more",
        case: "close_is_bounded_and_idempotent",
        make: || Arc::new(WaitsForItsPeers),
    },
    Mutant {
        name: "closes_once",
        flaw: "closing again is an error",
        case: "close_is_bounded_and_idempotent",
        make: || Arc::new(ClosesOnce::default()),
    },
    Mutant {
        name: "answers_when_closed",
        flaw: "after closing, nobody is said to be connected",
        case: "after_close_everything_is_closed",
        make: || Arc::new(AnswersWhenClosed),
    },
    Mutant {
        name: "leaks_a_task",
        flaw: "tasks do not end with the node, and hold it",
        case: "close_while_busy_leaves_nothing",
        make: || Arc::new(LeaksATask),
    },
    Mutant {
        name: "holds_itself",
        flaw: "tasks hold the node until the transport is closed",
        case: "dropping_without_close_frees_socket_and_store",
        make: || Arc::new(HoldsItself::default()),
    },
    Mutant {
        name: "forgets_every_fiftieth_end",
        flaw: "every fiftieth link is named among the peers for ever",
        case: "a_hundred_lives_leave_nothing",
        make: || Arc::new(ForgetsEveryFiftiethEnd::default()),
    },
    Mutant {
        name: "drops_what_it_is_to_relay",
        flaw: "messages that another transport brought are not sent",
        case: "two_transports_bridge_without_a_loop",
        make: || Arc::new(DropsWhatItIsToRelay),
    },
];

/// A part that nothing is changed of.
macro_rules! as_it_is {
    ($part:ident for $($mutant:ident),+) => {
        $(impl $part for $mutant {})+
    };
}

as_it_is!(Tap for ReturnsBeforeTheAnswer, TakesWhoeverAnswers, WaitsForTheDead, DialsItself, FindsNoForeignAddress);
as_it_is!(Tap for KeepsTheDead, Reconnects, MakesPeersOfDaemons, ReportsAWildcard, PromisesWhatItDoesNotCheck);
as_it_is!(Tap for WaitsForItsPeers, ClosesOnce, AnswersWhenClosed, DropsWhatItIsToRelay);
as_it_is!(Wrapper for TellsOfALinkTwice, HidesItsNetwork, AdmitsEverybody, SwallowsTheEnd, TakesACutForAPause);
as_it_is!(Wrapper for ComesBackWithoutTopics, NeverTakesBack, NamesTheAuthor, DropsRecords, LeaksATask);

#[derive(Debug)]
struct ReturnsBeforeTheAnswer;

#[async_trait]
impl Wrapper for ReturnsBeforeTheAnswer {
    async fn dial(&self, inner: &Arc<dyn Transport>, peer: &PeerAddr) -> Result<Remote> {
        let Some(id) = peer.peer else { return inner.dial(peer).await };
        let (inner, peer) = (Arc::clone(inner), peer.clone());
        tokio::spawn(async move { inner.dial(&peer).await });
        Ok(Remote::Peer(id))
    }
}

#[derive(Debug)]
struct TellsOfALinkTwice;

impl Tap for TellsOfALinkTwice {
    fn notice(&self, host: &Host, notice: Notice) {
        if matches!(notice, Notice::Up(..)) {
            host.notice(notice.clone());
        }
        host.notice(notice);
    }
}

#[derive(Debug)]
struct TakesWhoeverAnswers;

#[async_trait]
impl Wrapper for TakesWhoeverAnswers {
    async fn dial(&self, inner: &Arc<dyn Transport>, peer: &PeerAddr) -> Result<Remote> {
        inner.dial(&PeerAddr { peer: None, ..peer.clone() }).await
    }
}

#[derive(Debug)]
struct WaitsForTheDead;

#[async_trait]
impl Wrapper for WaitsForTheDead {
    async fn dial(&self, inner: &Arc<dyn Transport>, peer: &PeerAddr) -> Result<Remote> {
        match inner.dial(peer).await {
            Err(error) if error.kind() == ErrorKind::Unreachable => std::future::pending().await,
            answer => answer,
        }
    }
}

#[derive(Debug)]
struct DialsItself;

#[async_trait]
impl Wrapper for DialsItself {
    async fn dial(&self, inner: &Arc<dyn Transport>, peer: &PeerAddr) -> Result<Remote> {
        match (inner.dial(peer).await, peer.peer) {
            (Err(error), Some(id)) if error.kind() == ErrorKind::Config => Ok(Remote::Peer(id)),
            (answer, _) => answer,
        }
    }
}

#[derive(Debug)]
struct FindsNoForeignAddress;

#[async_trait]
impl Wrapper for FindsNoForeignAddress {
    async fn dial(&self, inner: &Arc<dyn Transport>, peer: &PeerAddr) -> Result<Remote> {
        let answer = inner.dial(peer).await;
        let itself = inner.listen_addrs();
        match answer {
            Err(error) if error.kind() == ErrorKind::Config && peer.addrs != itself => {
                Err(crate::Error::new(ErrorKind::Unreachable, "dial", "nobody is there"))
            }
            answer => answer,
        }
    }
}

#[derive(Debug)]
struct HidesItsNetwork(NetworkId);

impl Tap for HidesItsNetwork {
    fn network<'a>(&'a self, _: &'a Host) -> &'a NetworkId {
        &self.0
    }
}

#[derive(Debug)]
struct AdmitsEverybody;

impl Tap for AdmitsEverybody {
    fn admits(&self, _: &Host, _: &PeerId) -> bool {
        true
    }
}

#[derive(Debug)]
struct SwallowsTheEnd;

impl Tap for SwallowsTheEnd {
    fn notice(&self, host: &Host, notice: Notice) {
        if !matches!(notice, Notice::Down(_)) {
            host.notice(notice);
        }
    }
}

#[derive(Debug, Default)]
struct KeepsTheDead(Mutex<Vec<PeerInfo>>);

#[async_trait]
impl Wrapper for KeepsTheDead {
    async fn peers(&self, inner: &dyn Transport) -> Result<Vec<PeerInfo>> {
        let now = inner.peers().await?;
        let mut all = self.0.lock().expect("nobody panicked");
        all.retain(|before| now.iter().all(|info| info.remote != before.remote));
        all.extend(now);
        Ok(all.clone())
    }
}

#[derive(Debug, Default)]
struct TakesACutForAPause(Mutex<Vec<Notice>>);

impl Tap for TakesACutForAPause {
    fn notice(&self, host: &Host, notice: Notice) {
        let mut late = self.0.lock().expect("nobody panicked");
        match notice {
            Notice::Down(_) => late.push(notice),
            notice => {
                late.drain(..).for_each(|down| host.notice(down));
                host.notice(notice);
            }
        }
    }
}

#[derive(Debug, Default)]
struct ComesBackWithoutTopics(Mutex<BTreeSet<Remote>>);

impl Tap for ComesBackWithoutTopics {
    fn notice(&self, host: &Host, notice: Notice) {
        let mut lost = self.0.lock().expect("nobody panicked");
        match &notice {
            Notice::Down(remote) => drop(lost.insert(remote.clone())),
            Notice::Joined(remote, _) if lost.contains(remote) => return,
            _ => {}
        }
        host.notice(notice);
    }
}

#[derive(Debug, Default)]
struct NeverTakesBack(Mutex<BTreeSet<PeerId>>);

impl Tap for NeverTakesBack {
    fn admits(&self, host: &Host, peer: &PeerId) -> bool {
        host.admits(peer) && !self.0.lock().expect("nobody panicked").contains(peer)
    }

    fn notice(&self, host: &Host, notice: Notice) {
        if let Notice::Down(Remote::Peer(peer)) = &notice {
            self.0.lock().expect("nobody panicked").insert(*peer);
        }
        host.notice(notice);
    }
}

#[derive(Debug)]
struct Reconnects;

#[async_trait]
impl Wrapper for Reconnects {
    async fn disconnect(&self, inner: &dyn Transport, peer: &Remote) -> Result<()> {
        let linked = inner.peers().await?.into_iter().find(|info| info.remote == *peer);
        inner.disconnect(peer).await?;
        if let Some(info) = linked {
            inner.dial(&PeerAddr { peer: peer.peer().copied(), addrs: info.addrs }).await?;
        }
        Ok(())
    }
}

#[derive(Debug)]
struct NamesTheAuthor;

/// What this flaw reads of a message.
#[derive(serde::Deserialize)]
struct Envelope {
    author: serde_bytes::ByteBuf,
}

impl Tap for NamesTheAuthor {
    fn deliver(&self, slot: Slot, mut inbound: Inbound) -> BoxFuture<'static, Relay> {
        let envelope = serde_ipld_dagcbor::from_slice::<Envelope>(&inbound.bytes).ok();
        let author = envelope.and_then(|envelope| PeerId::from_bytes(&envelope.author).ok());
        inbound.from = author.map_or(inbound.from, Remote::Peer);
        slot.deliver(inbound).boxed()
    }
}

#[derive(Debug)]
struct MakesPeersOfDaemons;

#[async_trait]
impl Wrapper for MakesPeersOfDaemons {
    fn capabilities(&self, inner: &dyn Transport) -> Capabilities {
        let mut caps = inner.capabilities();
        caps.identity = Identity::Daemon;
        caps.privacy = Privacy::None;
        caps.admits_in_handshake = false;
        caps
    }
}

#[derive(Debug)]
struct DropsRecords;

impl Tap for DropsRecords {
    fn learn(&self, _: &Host, _: &Remote, _: PeerRecord) -> bool {
        false
    }
}

#[derive(Debug)]
struct ReportsAWildcard;

#[async_trait]
impl Wrapper for ReportsAWildcard {
    fn listen_addrs(&self, inner: &dyn Transport) -> Vec<Multiaddr> {
        let wildcard = "/ip4/0.0.0.0/udp/4600/quic-v1".parse().expect("an address");
        let mut addrs = inner.listen_addrs();
        if !addrs.is_empty() {
            addrs.push(wildcard);
        }
        addrs
    }
}

#[derive(Debug)]
struct PromisesWhatItDoesNotCheck;

#[async_trait]
impl Wrapper for PromisesWhatItDoesNotCheck {
    fn capabilities(&self, inner: &dyn Transport) -> Capabilities {
        let mut caps = inner.capabilities();
        caps.identity = Identity::Mixed;
        caps
    }
}

#[derive(Debug, Default)]
struct ChangesItsMind(AtomicBool);

impl Tap for ChangesItsMind {
    fn notice(&self, host: &Host, notice: Notice) {
        self.0.fetch_or(matches!(notice, Notice::Up(..)), Ordering::Relaxed);
        host.notice(notice);
    }
}

#[async_trait]
impl Wrapper for ChangesItsMind {
    fn capabilities(&self, inner: &dyn Transport) -> Capabilities {
        let mut caps = inner.capabilities();
        caps.encrypted |= self.0.load(Ordering::Relaxed);
        caps
    }
}

#[derive(Debug)]
struct WaitsForItsPeers;

#[async_trait]
impl Wrapper for WaitsForItsPeers {
    async fn close(&self, inner: &dyn Transport) -> Result<()> {
        while inner.peers().await.is_ok_and(|peers| !peers.is_empty()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        inner.close().await
    }
}

#[derive(Debug, Default)]
struct ClosesOnce(AtomicBool);

#[async_trait]
impl Wrapper for ClosesOnce {
    async fn close(&self, inner: &dyn Transport) -> Result<()> {
        if self.0.swap(true, Ordering::Relaxed) {
            return Err(crate::Error::new(ErrorKind::Closed, "close", "it is closed already"));
        }
        inner.close().await
    }
}

#[derive(Debug)]
struct AnswersWhenClosed;

#[async_trait]
impl Wrapper for AnswersWhenClosed {
    async fn peers(&self, inner: &dyn Transport) -> Result<Vec<PeerInfo>> {
        Ok(inner.peers().await.unwrap_or_default())
    }
}

#[derive(Debug)]
struct LeaksATask;

impl Tap for LeaksATask {
    fn spawn(&self, host: &Host, task: BoxFuture<'static, ()>) {
        let host = host.clone();
        tokio::spawn(async move {
            task.await;
            std::future::pending::<()>().await;
            drop(host);
        });
    }
}

#[derive(Debug, Default)]
struct HoldsItself(CancellationToken);

impl Tap for HoldsItself {
    fn spawn(&self, host: &Host, task: BoxFuture<'static, ()>) {
        let (host, closed) = (host.clone(), self.0.clone());
        tokio::spawn(async move {
            task.await;
            closed.cancelled().await;
            drop(host);
        });
    }
}

#[async_trait]
impl Wrapper for HoldsItself {
    async fn close(&self, inner: &dyn Transport) -> Result<()> {
        self.0.cancel();
        inner.close().await
    }
}

#[derive(Debug, Default)]
struct ForgetsEveryFiftiethEnd(Mutex<(usize, Vec<PeerInfo>)>);

impl Tap for ForgetsEveryFiftiethEnd {
    fn notice(&self, host: &Host, notice: Notice) {
        if let Notice::Up(remote, _) = &notice {
            let (count, kept) = &mut *self.0.lock().expect("nobody panicked");
            *count += 1;
            if *count % 50 == 0 {
                kept.push(PeerInfo::new(remote.clone()));
            }
        }
        host.notice(notice);
    }
}

#[async_trait]
impl Wrapper for ForgetsEveryFiftiethEnd {
    async fn peers(&self, inner: &dyn Transport) -> Result<Vec<PeerInfo>> {
        let mut peers = inner.peers().await?;
        peers.extend(self.0.lock().expect("nobody panicked").1.iter().cloned());
        Ok(peers)
    }
}

#[derive(Debug)]
struct DropsWhatItIsToRelay;

#[async_trait]
impl Wrapper for DropsWhatItIsToRelay {
    async fn publish(&self, inner: &dyn Broadcast, message: &Outgoing) -> Result<Receipt> {
        if message.lane == Lane::Relay {
            return Ok(Receipt::counted(0, vec![]));
        }
        inner.publish(message).await
    }
}

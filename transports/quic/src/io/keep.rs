//! Staying connected: bootstrap peers for ever, neighbours up to a number, strangers not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use carrick_core::{Host, Notice, PeerAddr, PeerId};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::Shared;
use crate::address;

/// How often membership is asked again for those connected.
const TICK: Duration = Duration::from_secs(1);
/// How often the interfaces are looked at, where we listen on all of them.
const INTERFACES: Duration = Duration::from_secs(15);
/// Learnt peers dialled at once.
const DIALS_AT_ONCE: usize = 4;

/// Keeps the connections of a transport until it closes.
pub(crate) async fn keep(shared: Arc<Shared>) {
    let (done, mut ended) = mpsc::channel(DIALS_AT_ONCE);
    let mut plan = Plan::new(&shared.config.bootstrap);
    let mut look = Instant::now() + INTERFACES;
    let mut told = shared.host.record().seq();
    loop {
        let changed = shared.changed.notified();
        shared.table().expel(&shared.host);
        if Instant::now() >= look {
            look = Instant::now() + INTERFACES;
            shared.look_at_interfaces();
        }
        shared.tell_own_record(&mut told);
        for (key, addr) in plan.due(&shared) {
            let (task, done) = (shared.clone(), done.clone());
            shared.host.spawn(async move {
                let peer = task.connect(&addr).await.map(|link| link.peer).ok();
                // The keeper ends with the transport.
                let _ = done.send((key, peer)).await;
            });
        }
        let wake = plan.next().unwrap_or(Instant::now() + TICK).min(Instant::now() + TICK);
        tokio::select! {
            biased;
            () = shared.closing.cancelled() => return,
            Some((key, peer)) = ended.recv() => plan.ended(key, peer, &shared.host),
            () = changed => {}
            () = sleep_until(wake) => {}
        }
    }
}

impl Shared {
    /// Tells the node when the addresses behind a wildcard changed.
    fn look_at_interfaces(&self) {
        if self.sockets.refresh() {
            self.host.notice(Notice::Listening(self.sockets.listen_addrs()));
        }
    }

    /// Tells the neighbours when our own record changed.
    fn tell_own_record(&self, told: &mut u64) {
        let record = self.host.record();
        if record.seq() != *told {
            *told = record.seq();
            self.tell_record(&record);
        }
    }
}

/// Whom a dial was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    /// A bootstrap peer by its place in the configuration.
    Bootstrap(usize),
    /// A peer whose record was passed on.
    Learnt(PeerId),
}

/// The history of dials to one peer.
#[derive(Clone, Copy, Debug)]
struct Tries {
    failed: u32,
    next: Instant,
    running: bool,
}

/// A peer of the configuration.
struct Bootstrap {
    addr: PeerAddr,
    /// Who it is: as configured, or who answered last.
    peer: Option<PeerId>,
}

/// Whom to dial when.
struct Plan {
    bootstrap: Vec<Bootstrap>,
    tries: BTreeMap<Key, Tries>,
}

impl Plan {
    fn new(bootstrap: &[PeerAddr]) -> Self {
        let known = |addr: &PeerAddr| Bootstrap { addr: addr.clone(), peer: addr.peer };
        Self { bootstrap: bootstrap.iter().map(known).collect(), tries: BTreeMap::new() }
    }

    /// What to dial now.
    fn due(&mut self, shared: &Shared) -> Vec<(Key, PeerAddr)> {
        let now = Instant::now();
        let wanted = |peer: &PeerId| {
            *peer != shared.host.me()
                && shared.link(peer).is_none()
                && !shared.table().state.is_apart(peer)
                && shared.host.admits(peer)
        };
        let mut due = Vec::new();
        for (nth, bootstrap) in self.bootstrap.iter().enumerate() {
            let key = Key::Bootstrap(nth);
            if bootstrap.peer.as_ref().is_none_or(wanted) && start(&mut self.tries, key, now) {
                due.push((key, bootstrap.addr.clone()));
            }
        }
        self.due_neighbours(shared, now, wanted, &mut due);
        due
    }

    /// Learnt peers, while there are fewer neighbours than wanted; from a random one on, so that not all
    /// nodes of a network dial the same.
    fn due_neighbours(
        &mut self,
        shared: &Shared,
        now: Instant,
        wanted: impl Fn(&PeerId) -> bool,
        due: &mut Vec<(Key, PeerAddr)>,
    ) {
        let running = self.tries.iter().filter(|(key, tries)| matches!(key, Key::Learnt(_)) && tries.running);
        let running = running.count();
        let missing = shared.config.neighbours.saturating_sub(shared.links().len() + running);
        let mut room = missing.min(DIALS_AT_ONCE.saturating_sub(running));
        if room == 0 {
            return;
        }
        let mut records = shared.host.records(usize::MAX);
        let known: BTreeSet<PeerId> = records.iter().map(|record| *record.peer()).collect();
        self.tries.retain(|key, tries| match key {
            Key::Bootstrap(_) => true,
            Key::Learnt(peer) => tries.running || known.contains(peer),
        });
        if !records.is_empty() {
            let from = usize::try_from(shared.host.random() % records.len() as u64).unwrap_or(0);
            records.rotate_left(from);
        }
        for record in records {
            let addrs: Vec<_> =
                record.addrs().iter().filter(|addr| address::is_quic(addr)).cloned().collect();
            let key = Key::Learnt(*record.peer());
            if room > 0 && !addrs.is_empty() && wanted(record.peer()) && start(&mut self.tries, key, now) {
                due.push((key, PeerAddr::new(*record.peer(), addrs)));
                room -= 1;
            }
        }
    }

    /// A dial ended.
    fn ended(&mut self, key: Key, peer: Option<PeerId>, host: &Host) {
        let Some(tries) = self.tries.get_mut(&key) else { return };
        tries.running = false;
        tries.failed = if peer.is_some() { 0 } else { tries.failed.saturating_add(1) };
        tries.next = Instant::now() + host.backoff(tries.failed);
        if let (Key::Bootstrap(nth), Some(peer)) = (key, peer) {
            self.bootstrap[nth].peer = Some(peer);
        }
    }

    /// When the next dial may be due.
    fn next(&self) -> Option<Instant> {
        self.tries
            .values()
            .filter(|tries| !tries.running)
            .map(|tries| tries.next)
            .filter(|next| *next > Instant::now())
            .min()
    }
}

/// Begins a dial if its time has come.
fn start(tries: &mut BTreeMap<Key, Tries>, key: Key, now: Instant) -> bool {
    let tries = tries.entry(key).or_insert(Tries { failed: 0, next: now, running: false });
    if tries.running || tries.next > now {
        return false;
    }
    tries.running = true;
    true
}

#[cfg(test)]
mod tests {
    use carrick_core::{PeerRecord, Remote};

    use super::*;
    use crate::hostile::Good;

    /// Whom a fresh plan with one bootstrap peer would dial.
    fn due(shared: &Shared, bootstrap: &PeerAddr) -> Vec<PeerAddr> {
        let due = Plan::new(std::slice::from_ref(bootstrap)).due(shared);
        due.into_iter().map(|(_, addr)| addr).collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_bootstrap_peer_is_due_unless_linked_or_apart() {
        let (a, b) = (Good::new("keep-due").await, Good::new("keep-due").await);
        assert_eq!(due(&a.shared, &b.addr()), [b.addr()]);
        a.connect(&b).await;
        assert!(due(&a.shared, &b.addr()).is_empty(), "linked");
        a.node.disconnect(&Remote::Peer(b.node.peer_id())).await.expect("disconnects");
        assert!(due(&a.shared, &b.addr()).is_empty(), "apart");
        b.connect(&a).await;
        a.node.ban(&Remote::Peer(b.node.peer_id()));
        assert!(due(&a.shared, &b.addr()).is_empty(), "banned");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_peer_whose_ban_is_over_is_due_again_at_both_ends() {
        let (a, b) = (Good::new("keep-forgiven").await, Good::new("keep-forgiven").await);
        a.connect(&b).await;
        let remote = Remote::Peer(b.node.peer_id());
        a.node.ban(&remote);
        for good in [&a, &b] {
            while !good.node.peers().await.expect("peers").is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        a.node.forgive(&remote);
        assert_eq!(due(&a.shared, &b.addr()), [b.addr()]);
        assert_eq!(due(&b.shared, &a.addr()), [a.addr()]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_failed_dial_is_due_again_later_and_one_at_a_time() {
        let (a, b) = (Good::new("keep-later").await, Good::new("keep-later").await);
        let mut plan = Plan::new(&[b.addr()]);
        let (key, _) = plan.due(&a.shared).pop().expect("due");
        assert!(plan.due(&a.shared).is_empty(), "it is being dialled");
        plan.ended(key, None, &a.shared.host);
        assert!(plan.due(&a.shared).is_empty(), "not at once");
        assert!(plan.next().is_some_and(|next| next <= Instant::now() + Duration::from_secs(1)));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn learnt_peers_are_dialled_up_to_the_number_of_neighbours() {
        let a = Good::with_neighbours("keep-learnt", 3).await;
        for n in 1..=8_u8 {
            let record = record(&a, &[&format!("/ip4/192.0.2.{n}/udp/4600/quic-v1")]);
            assert!(a.shared.host.learn(&Remote::Peer(*record.peer()), record));
        }
        let mut plan = Plan::new(&[]);
        assert_eq!(plan.due(&a.shared).len(), 3);
        assert!(plan.due(&a.shared).is_empty(), "three are being dialled");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn peers_heard_of_are_dialled_however_many_were_met() {
        let a = Good::with_neighbours("keep-heard", 3).await;
        for _ in 0..a.shared.host.limits().known_peers {
            let met = record(&a, &[]);
            assert!(a.shared.host.learn(&Remote::Peer(*met.peer()), met));
        }
        let heard = record(&a, &["/ip4/192.0.2.1/udp/4600/quic-v1"]);
        assert!(a.shared.host.learn(&Remote::Foreign("gossip".into()), heard.clone()));
        let due = Plan::new(&[]).due(&a.shared);
        assert_eq!(due.len(), 1);
        assert_eq!(due[0].1.peer.as_ref(), Some(heard.peer()));
    }

    fn record(good: &Good, addrs: &[&str]) -> PeerRecord {
        let addrs = addrs.iter().map(|addr| addr.parse().expect("an address")).collect();
        let key = carrick_core::Keypair::generate_ed25519();
        PeerRecord::sign(&key, good.shared.host.network(), 1, addrs, vec![]).expect("signs")
    }
}

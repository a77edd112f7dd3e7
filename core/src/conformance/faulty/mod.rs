//! A wire made worse on purpose: [`Faulty`] round any transport drops, delays, duplicates, corrupts, stalls and parts.
//!
//! One handle steers the nodes it was put round, one or all of a network, while they run:
//!
//! ```
//! use carrick_core::conformance::faulty::Faulty;
//! use carrick_core::{NetworkId, Node, Result};
//! use carrick_transport_memory::MemoryNetwork;
//! use std::time::Duration;
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<()> {
//! let (wire, faulty) = (MemoryNetwork::new(7), Faulty::new(7));
//! let builder = Node::builder().network(NetworkId::new("demo")?).mount("memory", wire.transport());
//! let node = faulty.round(builder).open().await?;
//! faulty.change(|faults| {
//!     faults.delay = Duration::from_millis(40);
//!     faults.loss = 0.1;
//! })?;
//! faulty.partition(&[&[node.peer_id()]]);
//! faulty.heal();
//! # node.close().await
//! # }
//! ```
//!
//! **Where faults act.** At the end where something arrives: a message at its reader, a request for content at its provider,
//! the answer at the asker. So where the same handle is round every node, each crossing is treated once and a round trip
//! costs the delay twice; round one node alone, what that node sends is carried as the transport inside carries it. Only a
//! partition and a stall hold in both directions, as far as that node can say.
//!
//! **Links.** A faulty wire cuts none: links stay up and quiet, as over a route that swallows packets, and who is linked and
//! who takes part in a topic is told at once all the same. Cut one with [`Node::disconnect`](crate::Node::disconnect).
//!
//! **Bounds.** Of each peer at most 1,024 messages and 4 MiB are on their way; what comes beyond is dropped and counted as
//! `dropped`. What faults do is counted under the name of the transport instance: `faulty_lost`, `faulty_parted`,
//! `faulty_delayed`, `faulty_duplicated`, `faulty_corrupted`.
//!
//! **The seed.** All chances are drawn from one generator, in the order in which things arrive. On one thread, in paused time
//! and over a wire that repeats itself, so does the run. Times are whole milliseconds, as timers are.
//!
//! Files that a transport reads piece by piece from [`Content`](crate::Content) are served as they are. For flaws of another
//! kind write a [`Wrapper`](super::transport::Wrapper).

mod faults;
mod flights;
mod here;
mod wrapper;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::Notify;

pub use self::faults::Faults;
use self::wrapper::Round;
use super::transport::Wrapped;
use crate::{Host, NodeBuilder, PeerId, Remote, Result, Transport};

/// Faults round any transport, from a seed. Cloning is cheap; all clones are the same.
///
/// A new one has no faults: what it is round behaves as before.
#[derive(Clone)]
pub struct Faulty(Arc<Shared>);

struct Shared {
    rng: Mutex<StdRng>,
    weather: Mutex<Weather>,
    /// First come, first woken: the wakers of a `watch` are woken in an order that no seed decides.
    changed: Notify,
}

/// Which ways are like what.
#[derive(Debug, Default)]
struct Weather {
    everywhere: Faults,
    from: BTreeMap<PeerId, Faults>,
    /// Which side of a partition a peer is on; `None` where there is none.
    sides: Option<BTreeMap<PeerId, usize>>,
}

impl Faulty {
    /// No faults; `seed` decides every chance.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Shared {
            rng: Mutex::new(StdRng::seed_from_u64(seed)),
            weather: Mutex::default(),
            changed: Notify::new(),
        }))
    }

    /// Puts it round every transport that is mounted so far, also those of a
    /// [configuration](crate::config::Plan::builder).
    pub fn round(&self, builder: NodeBuilder) -> NodeBuilder {
        let faulty = self.clone();
        builder.wrapped(move |host, open| faulty.open(host, open))
    }

    /// Opens one transport with it round: `.mount("quic", move |host| faulty.open(host, open_quic))`.
    ///
    /// # Errors
    /// Those of the transport.
    pub fn open<O, F>(&self, host: Host, open: O) -> impl Future<Output = Result<Wrapped>> + use<O, F>
    where
        O: FnOnce(Host) -> F,
        F: Future<Output = Result<Arc<dyn Transport>>>,
    {
        Wrapped::open(Arc::new(Round::new(self.clone(), host.clone())), host, open)
    }

    /// Changes what arrives, from everybody who has no faults of their own.
    ///
    /// # Errors
    /// `Config` names what is out of range; then nothing changes.
    pub fn change(&self, change: impl FnOnce(&mut Faults)) -> Result<()> {
        let mut faults = self.weather().everywhere;
        change(&mut faults);
        faults.check()?;
        self.weather().everywhere = faults;
        self.tell();
        Ok(())
    }

    /// Changes what arrives from one peer, at every node that this is round. Begins with the faults of everybody, and is
    /// then its own until [`clear`](Self::clear).
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub fn change_from(&self, peer: PeerId, change: impl FnOnce(&mut Faults)) -> Result<()> {
        let mut faults = self.faults_from(Some(&Remote::Peer(peer)));
        change(&mut faults);
        faults.check()?;
        self.weather().from.insert(peer, faults);
        self.tell();
        Ok(())
    }

    /// Parts the network: between peers of different sides nothing crosses until [`heal`](Self::heal). Each list is a side,
    /// and all peers that are in none are one more.
    ///
    /// Messages are lost. Requests for content and their answers wait, as what is sent again does, for as long as the asker
    /// does; a parted peer is not asked. Dialling it answers `Unreachable`, where its id is known. Links stay up.
    pub fn partition(&self, sides: &[&[PeerId]]) {
        let of_side = |(side, peers): (usize, &&[PeerId])| {
            peers.iter().map(move |peer| (*peer, side)).collect::<Vec<_>>()
        };
        self.weather().sides = Some(sides.iter().enumerate().flat_map(of_side).collect());
        self.tell();
    }

    /// Ends a [`partition`](Self::partition).
    pub fn heal(&self) {
        self.weather().sides = None;
        self.tell();
    }

    /// Ends all faults, those of single peers and a partition too. What is on its way still arrives when it is due.
    pub fn clear(&self) {
        *self.weather() = Weather::default();
        self.tell();
    }

    /// What arrives from a remote is like.
    fn faults_from(&self, from: Option<&Remote>) -> Faults {
        let weather = self.weather();
        let own = from.and_then(Remote::peer).and_then(|peer| weather.from.get(peer));
        *own.unwrap_or(&weather.everywhere)
    }

    /// Whether a partition is between two. A foreign remote is on the side of those who are not named.
    fn parts(&self, me: &PeerId, remote: &Remote) -> bool {
        let weather = self.weather();
        let side = |peer: Option<&PeerId>| weather.sides.as_ref().zip(peer).and_then(|(s, peer)| s.get(peer));
        side(Some(me)) != side(remote.peer())
    }

    /// Whether there is a partition at all.
    fn is_parted(&self) -> bool {
        self.weather().sides.is_some()
    }

    /// Waits until something holds that depends on what is changed here.
    async fn until(&self, holds: impl Fn(&Self) -> bool) {
        loop {
            let mut changed = pin!(self.0.changed.notified());
            // In the queue before it looks, so that no change is missed.
            changed.as_mut().enable();
            if holds(self) {
                return;
            }
            changed.await;
        }
    }

    /// Whether something happens that does so with a likelihood; the seed decides.
    fn happens(&self, likelihood: f64) -> bool {
        likelihood > 0.0 && self.rng().random_bool(likelihood.min(1.0))
    }

    /// A part of a time, as the seed has it.
    fn part_of(&self, time: Duration) -> Duration {
        if time.is_zero() { time } else { self.rng().random_range(Duration::ZERO..=time) }
    }

    /// A number below `end` from the seed.
    fn below(&self, end: usize) -> usize {
        self.rng().random_range(0..end.max(1))
    }

    fn tell(&self) {
        self.0.changed.notify_waiters();
    }

    fn weather(&self) -> MutexGuard<'_, Weather> {
        self.0.weather.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rng(&self) -> MutexGuard<'_, StdRng> {
        self.0.rng.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Faulty").field(&*self.weather()).finish()
    }
}

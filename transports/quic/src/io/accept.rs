//! Connections that others open.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quinn::{Endpoint, Incoming};
use tokio::time::timeout;

use super::Shared;

/// One source holds at most one place in so many with a proof of its address, and one in so many without.
const SHARES: usize = 8;

/// Takes connections of one endpoint until the transport closes.
///
/// While more than half of the places are taken, or the share of its source, whoever has not proved that it
/// receives at its address is asked to come again with a proof, which costs us nothing; whoever finds no place
/// is refused.
pub(crate) async fn accept(shared: Arc<Shared>, endpoint: Endpoint) {
    loop {
        let incoming = tokio::select! {
            biased;
            () = shared.closing.cancelled() => return,
            incoming = endpoint.accept() => incoming,
        };
        let Some(incoming) = incoming else { return };
        let source = Source::of(&incoming.remote_address(), incoming.remote_address_validated());
        let may_retry = !source.proven && incoming.may_retry();
        if may_retry && shared.places.are_half_taken() {
            // `may_retry` was asked.
            let _ = incoming.retry();
            continue;
        }
        let Some(place) = shared.places.take(source) else {
            if may_retry {
                let _ = incoming.retry();
                continue;
            }
            shared.host.count("refused", 1);
            incoming.refuse();
            continue;
        };
        let task = shared.clone();
        shared.host.spawn(async move {
            let _place = place;
            let deadline = task.host.limits().handshake;
            if !matches!(timeout(deadline, handshake(&task, incoming)).await, Ok(true)) {
                task.host.count("handshakes_failed", 1);
            }
        });
    }
}

/// TLS, then the hello; answers whether it got as far as an answer.
async fn handshake(shared: &Arc<Shared>, incoming: Incoming) -> bool {
    let Ok(connecting) = incoming.accept() else { return false };
    let Ok(connection) = connecting.await else { return false };
    shared.welcome(connection).await.is_ok()
}

/// Where a handshake comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Source {
    /// An address of IPv4, or the /64 of IPv6, which one host has for itself.
    net: IpAddr,
    /// Whether it receives there. Counted apart, so that nobody takes the places of an address by forging it.
    proven: bool,
}

impl Source {
    fn of(addr: &SocketAddr, proven: bool) -> Self {
        let net = match addr.ip().to_canonical() {
            IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64))),
            ip => ip,
        };
        Self { net, proven }
    }
}

/// The places for handshakes that others began and that are not done.
#[derive(Debug)]
pub(crate) struct Places {
    all: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by: BTreeMap<Source, usize>,
}

/// A place. Dropping it gives it back.
struct Place {
    of: Arc<Places>,
    source: Source,
}

impl Places {
    pub(crate) fn new(all: usize) -> Arc<Self> {
        Arc::new(Self { all, taken: Mutex::default() })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn are_half_taken(&self) -> bool {
        self.taken().all > self.all / 2
    }

    /// A place, if there is one for this source.
    fn take(self: &Arc<Self>, source: Source) -> Option<Place> {
        let mut taken = self.taken();
        let share = self.all.div_ceil(SHARES);
        if taken.all >= self.all || taken.by.get(&source).is_some_and(|by| *by >= share) {
            return None;
        }
        taken.all += 1;
        *taken.by.entry(source).or_default() += 1;
        Some(Place { of: self.clone(), source })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.of.taken();
        taken.all -= 1;
        if let Some(by) = taken.by.get_mut(&self.source) {
            *by -= 1;
            if *by == 0 {
                taken.by.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(addr: &str, proven: bool) -> Source {
        Source::of(&addr.parse().expect("an address"), proven)
    }

    #[test]
    fn one_source_leaves_places_for_the_others() {
        let places = Places::new(16);
        let mut held = vec![];
        for proven in [false, true] {
            for addr in ["192.0.2.1:1", "[2001:db8::1]:1"] {
                held.extend((0..10).filter_map(|_| places.take(source(addr, proven))));
            }
        }
        assert_eq!(held.len(), 8, "two for each, with a proof and without");
        assert!(places.take(source("[2001:db8::2]:9", true)).is_none(), "the same /64");
        assert!(places.take(source("[::ffff:192.0.2.1]:9", true)).is_none(), "the same address");
        let other = places.take(source("[2001:db8:0:1::1]:1", false)).expect("another /64");
        assert!(places.are_half_taken());
        drop(other);
        assert!(!places.are_half_taken());
        drop(held);
        let taken = places.taken();
        assert_eq!((taken.all, taken.by.len()), (0, 0));
    }

    #[test]
    fn there_is_a_place_however_few_and_never_one_more() {
        let places = Places::new(1);
        let first = places.take(source("192.0.2.1:1", false)).expect("a place");
        assert!(places.take(source("192.0.2.2:1", true)).is_none());
        drop(first);
        assert!(places.take(source("192.0.2.2:1", true)).is_some());
    }
}

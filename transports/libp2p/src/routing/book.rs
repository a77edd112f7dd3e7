//! Where the peers listen that this node was connected to, so that it finds them after a restart.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use carrick_core::{Multiaddr, PeerId, Time};
use serde_bytes::ByteBuf;

use super::saver::Saver;

/// Where they are saved.
pub(crate) const PREFIX: &str = "peer/";
/// Most peers remembered.
pub(crate) const MAX: usize = 1_024;

/// The peers met last.
#[derive(Debug)]
pub(crate) struct Book {
    saver: Saver,
    max: usize,
    peers: HashMap<PeerId, Known>,
    /// Who was met longest ago first.
    by_age: BTreeSet<(Time, PeerId)>,
}

/// What is known of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    /// Where it listens.
    pub(crate) addrs: Vec<Multiaddr>,
    /// The tables that it answers in, by their protocols.
    pub(crate) tables: Vec<String>,
    seen: Time,
}

impl Book {
    /// An empty one with room for so many.
    pub(crate) fn new(saver: Saver, max: usize) -> Self {
        Self { saver, max, peers: HashMap::new(), by_age: BTreeSet::new() }
    }

    /// Takes back what an earlier life saved; `false` when it cannot be read.
    pub(crate) fn restore(&mut self, key: &str, value: &[u8]) -> bool {
        let peer = key.strip_prefix(PREFIX).and_then(|peer| peer.parse().ok());
        let (Some(peer), Some(known)) = (peer, Known::decode(value)) else { return false };
        self.put(peer, known);
        true
    }

    /// A peer is connected and said where it listens.
    pub(crate) fn met(&mut self, peer: PeerId, addrs: Vec<Multiaddr>, tables: Vec<String>, now: Time) {
        if addrs.is_empty() {
            return self.remove(&peer);
        }
        let known = Known { addrs, tables, seen: now };
        self.saver.note(name(&peer), Some(known.encode()));
        self.put(peer, known);
    }

    /// A peer was connected until now.
    pub(crate) fn left(&mut self, peer: &PeerId, now: Time) {
        if let Some(known) = self.peers.get(peer).cloned() {
            self.met(*peer, known.addrs, known.tables, now);
        }
    }

    /// Forgets a peer.
    pub(crate) fn remove(&mut self, peer: &PeerId) {
        if let Some(known) = self.peers.remove(peer) {
            self.by_age.remove(&(known.seen, *peer));
            self.saver.note(name(peer), None);
        }
    }

    /// Where a peer listens.
    pub(crate) fn addresses(&self, peer: &PeerId) -> &[Multiaddr] {
        self.peers.get(peer).map_or(&[], |known| &known.addrs)
    }

    /// All of them, who was met last first.
    pub(crate) fn peers(&self) -> impl Iterator<Item = (&PeerId, &Known)> {
        self.by_age.iter().rev().filter_map(|(_, peer)| self.peers.get_key_value(peer))
    }

    fn put(&mut self, peer: PeerId, known: Known) {
        let seen = known.seen;
        self.by_age.insert((seen, peer));
        if let Some(old) = self.peers.insert(peer, known)
            && old.seen != seen
        {
            self.by_age.remove(&(old.seen, peer));
        }
        while self.peers.len() > self.max
            && let Some((_, oldest)) = self.by_age.first().copied()
        {
            self.remove(&oldest);
        }
    }
}

fn name(peer: &PeerId) -> String {
    format!("{PREFIX}{peer}")
}

/// Since when, in which tables, where.
type Saved = (u64, Vec<String>, Vec<ByteBuf>);

impl Known {
    fn encode(&self) -> Bytes {
        let addrs = self.addrs.iter().map(|addr| ByteBuf::from(addr.to_vec())).collect();
        let saved: Saved = (self.seen.as_millis(), self.tables.clone(), addrs);
        serde_ipld_dagcbor::to_vec(&saved).unwrap_or_default().into()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (seen, tables, addrs): Saved = serde_ipld_dagcbor::from_slice(bytes).ok()?;
        let addrs = addrs.into_iter().map(|addr| Multiaddr::try_from(addr.into_vec()));
        Some(Self { seen: Time(seen), tables, addrs: addrs.collect::<Result<_, _>>().ok()? })
    }
}

/// Whether these bytes are what is saved of a peer: for the test of decoders.
#[cfg(feature = "fuzzing")]
pub(crate) fn is_known(bytes: &[u8]) -> bool {
    Known::decode(bytes).is_some()
}

/// A good one.
#[cfg(feature = "fuzzing")]
pub(crate) fn known() -> Vec<u8> {
    let addrs = ["/ip4/10.0.0.7/tcp/4601", "/dns4/example.org/udp/4601/quic-v1"];
    let addrs = addrs.into_iter().filter_map(|addr| addr.parse().ok()).collect();
    let tables = vec!["/ipfs/kad/1.0.0".to_owned(), "/ipfs/lan/kad/1.0.0".to_owned()];
    Known { addrs, tables, seen: Time(7) }.encode().to_vec()
}

//! What strangers announced, on its way to the disk and back: a node that was away knows what others provide before they
//! announce it again.
//!
//! What a provider announced is on pages of its own, and only those of providers of whom something changed are written again.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use carrick_core::{Multiaddr, PeerId, Time};
use libp2p::kad::RecordKey;
use libp2p::kad::store::RecordStore as _;
use serde_bytes::ByteBuf;

use super::{MAX_KEY, Records, cost, of_addrs};

/// Most bytes of a page's records and addresses; a little more is around them, and a host takes 4,096.
const PAGE_BYTES: usize = 3_500;
/// What a record takes on a page beside its key, at most: its time, and what is around both.
const AROUND: usize = 16;

/// Where the provider listens, on its first page, and what it announced: a key, and when, in milliseconds since 1970.
type Page = (Vec<ByteBuf>, Vec<(ByteBuf, u64)>);

/// Which pages are on the disk, and which are out of date.
#[derive(Debug, Default)]
pub(super) struct OnDisk {
    /// How many pages there are of a provider.
    pages: HashMap<PeerId, usize>,
    changed: HashSet<PeerId>,
    /// Who changed first is written first. Those that are not among the changed ones any more are passed over.
    line: VecDeque<PeerId>,
}

impl OnDisk {
    /// What a provider announced is not what its pages say. `there`: it has announced something at all.
    pub(super) fn changed(&mut self, provider: &PeerId, there: bool) {
        if !there && !self.pages.contains_key(provider) {
            self.changed.remove(provider);
        } else if self.changed.insert(*provider) {
            self.line.push_back(*provider);
        }
        if self.line.len() > 2 * self.changed.len() + 64 {
            let mut kept = HashSet::new();
            self.line.retain(|peer| self.changed.contains(peer) && kept.insert(*peer));
        }
    }

    fn next(&mut self) -> Option<PeerId> {
        while let Some(provider) = self.line.pop_front() {
            if self.changed.remove(&provider) {
                return Some(provider);
            }
        }
        None
    }
}

/// The same once it is read.
type Read = (Vec<Multiaddr>, Vec<(RecordKey, Time)>);

/// What an earlier life saved of a table, until all of it is read.
#[derive(Debug, Default)]
pub(crate) struct Restored {
    /// Providers of whom a page is damaged.
    damaged: BTreeSet<PeerId>,
    pages: HashMap<PeerId, usize>,
    addrs: HashMap<PeerId, Vec<Multiaddr>>,
    /// The oldest first.
    records: BTreeMap<(Time, PeerId), Vec<RecordKey>>,
}

impl Restored {
    /// Takes a page; `false` when its name or what is on it cannot be read.
    pub(crate) fn take(&mut self, name: &str, value: &[u8]) -> bool {
        let Some((peer, number)) = name.split_once('/') else { return false };
        let (Ok(peer), Ok(number)) = (peer.parse::<PeerId>(), number.parse::<usize>()) else { return false };
        let pages = self.pages.entry(peer).or_default();
        *pages = (*pages).max(number.saturating_add(1));
        let Some((addrs, records)) = decode(value) else {
            self.damaged.insert(peer);
            return false;
        };
        if !addrs.is_empty() {
            self.addrs.insert(peer, addrs);
        }
        for (key, since) in records {
            self.records.entry((since, peer)).or_default().push(key);
        }
        true
    }
}

impl Records {
    /// The pages of providers of whom something changed, by their names; `None`: there is no such page any more. As soon as
    /// there are so many pages, the other providers' come next time.
    pub(crate) fn unsaved(&mut self, now: Time, pages: usize) -> Vec<(String, Option<Bytes>)> {
        let mut unsaved = Vec::new();
        while unsaved.len() < pages
            && let Some(provider) = self.disk.next()
        {
            let pages = self.pages_of(&provider, now);
            let before = self.disk.pages.remove(&provider).unwrap_or_default();
            let gone = (pages.len()..before).map(|number| (name(&provider, number), None));
            let there = pages.len();
            let come = pages.into_iter().enumerate();
            unsaved.extend(come.map(|(number, page)| (name(&provider, number), Some(page))).chain(gone));
            if there > 0 {
                self.disk.pages.insert(provider, there);
            }
        }
        unsaved
    }

    /// Takes back what an earlier life saved, within the bounds of this one.
    pub(crate) fn restore(&mut self, saved: Restored, now: Time, admits: impl Fn(&PeerId) -> bool) {
        let Restored { damaged, pages, addrs, records } = saved;
        self.disk = OnDisk { pages, ..OnDisk::default() };
        damaged.iter().for_each(|provider| self.disk.changed(provider, true));
        for ((since, provider), keys) in records {
            let age = Duration::from_millis(now.as_millis().saturating_sub(since.as_millis()));
            let lives = provider != self.me && age < self.bounds.lifetime && admits(&provider);
            let Some(since) = self.now.checked_sub(age).filter(|_| lives) else {
                self.disk.changed(&provider, true);
                continue;
            };
            // They passed the rule when they came; that of this life is not known before the node listens.
            let addrs = addrs.get(&provider).cloned().unwrap_or_default();
            for key in keys {
                // What was cut off while it was saved may have one on an old page and on a new one.
                let joined = self.joined(&provider);
                self.remove_provider(&key, &provider);
                if self.make_room(&key, &provider, cost(&key) + of_addrs(&addrs)) {
                    self.insert(key, provider, addrs.clone(), since, joined);
                } else {
                    self.disk.changed(&provider, true);
                }
            }
        }
    }

    fn pages_of(&self, provider: &PeerId, now: Time) -> Vec<Bytes> {
        let Some(held) = self.providers.get(provider) else { return vec![] };
        let since = |serial: &u64| {
            let (key, _) = self.by_age.get(serial)?;
            let entry = self.keys.get(key)?.iter().find(|entry| entry.serial == *serial)?;
            let age = u64::try_from((self.now - entry.since).as_millis()).unwrap_or(u64::MAX);
            Some((ByteBuf::from(key.to_vec()), now.as_millis().saturating_sub(age)))
        };
        let (mut pages, mut room) = (Vec::new(), PAGE_BYTES);
        let mut page: Page = (vec![], vec![]);
        for addr in &held.addrs {
            let Some(left) = room.checked_sub(addr.len() + AROUND) else { break };
            room = left;
            page.0.push(ByteBuf::from(addr.to_vec()));
        }
        for record in held.records.iter().filter_map(since) {
            let bytes = record.0.len() + AROUND;
            if room < bytes {
                pages.push(encode(&std::mem::take(&mut page)));
                room = PAGE_BYTES;
            }
            room -= bytes;
            page.1.push(record);
        }
        pages.push(encode(&page));
        pages
    }
}

fn name(provider: &PeerId, number: usize) -> String {
    format!("{provider}/{number}")
}

fn encode(page: &Page) -> Bytes {
    serde_ipld_dagcbor::to_vec(page).unwrap_or_default().into()
}

fn decode(bytes: &[u8]) -> Option<Read> {
    let (addrs, records): Page = serde_ipld_dagcbor::from_slice(bytes).ok()?;
    let addrs = addrs.into_iter().map(|addr| Multiaddr::try_from(addr.into_vec())).collect::<Result<_, _>>();
    let record = |(key, since): (ByteBuf, u64)| {
        (1..=MAX_KEY).contains(&key.len()).then(|| (RecordKey::from(key.into_vec()), Time(since)))
    };
    Some((addrs.ok()?, records.into_iter().map(record).collect::<Option<_>>()?))
}

/// Whether these bytes are a page: for the test of decoders.
#[cfg(feature = "fuzzing")]
pub(crate) fn is_page(bytes: &[u8]) -> bool {
    decode(bytes).is_some()
}

/// A good one.
#[cfg(feature = "fuzzing")]
pub(crate) fn page() -> Vec<u8> {
    let addrs = ["/ip4/10.0.0.7/tcp/4601", "/dns4/example.org/udp/4601/quic-v1"];
    let addrs = addrs.into_iter().filter_map(|addr| addr.parse::<Multiaddr>().ok());
    let records = (0..3).map(|n| (ByteBuf::from(vec![n; 34]), 1_700_000_000_000));
    encode(&(addrs.map(|addr| ByteBuf::from(addr.to_vec())).collect(), records.collect())).to_vec()
}

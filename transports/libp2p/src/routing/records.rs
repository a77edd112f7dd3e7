//! Who provides what, as others told us: the record store of a table.
//!
//! A server of the table stores what strangers announce, so strangers decide what is here and bounds decide how much. Records
//! are kept for 48 hours, over restarts too; their owners announce again within 22. There is a bound for each key, for each
//! provider and for all. Where the room for all is used up, whoever holds most makes room, and among equals the newest. So a
//! peer that floods pushes out what it said itself, a flood of many identities replaces each other, and who comes with few
//! records finds room however full it is. Nobody is sure of more than an even share: the records over the providers, 16.
//!
//! What this node provides itself is a set without these bounds, and only the node puts something into it. Records with values
//! are refused: nothing of ours reads them.

mod room;
mod saved;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use carrick_core::{Multiaddr, PeerId};
use libp2p::kad::store::{Error, RecordStore, Result};
use libp2p::kad::{ProviderRecord, Record, RecordKey};
use tokio::time::Instant;

use self::saved::OnDisk;
pub(crate) use self::saved::Restored;
#[cfg(feature = "fuzzing")]
pub(crate) use self::saved::{is_page, page};
use crate::address::Rule;

/// How much strangers can make a table store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Providers of one key. The answer to one question has no room for more.
    pub(crate) per_key: usize,
    /// Records of one provider.
    pub(crate) per_provider: usize,
    /// Providers.
    pub(crate) providers: usize,
    /// Records in all.
    pub(crate) records: usize,
    /// Bytes in all, about.
    pub(crate) bytes: usize,
    /// How long a record lives, as with Kubo.
    pub(crate) lifetime: Duration,
    /// How old a record must be before another provider may have its place at a key: it was not renewed in time.
    pub(crate) stale: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            per_key: 20,
            per_provider: 32_768,
            providers: 8_192,
            records: 131_072,
            bytes: 64 << 20,
            lifetime: Duration::from_secs(48 * 3600),
            stale: Duration::from_secs(24 * 3600),
        }
    }
}

/// Longest key, in bytes; Kubo's bound.
const MAX_KEY: usize = 80;
/// What a record takes beside its key, about: its places in the maps.
const RECORD: usize = 512;
/// Most peers whose floods are noted between two looks.
const MAX_FLOODERS: usize = 64;

/// What was not stored since the last look.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Refused {
    /// For want of room, or because they were no records for this table.
    pub(crate) refused: u64,
    /// Made room for others.
    pub(crate) evicted: u64,
    /// All their addresses were of no use here.
    pub(crate) poisoned: u64,
    /// Who sent more than a provider may have, and how many records.
    pub(crate) flooders: BTreeMap<PeerId, u32>,
}

/// The record store of one table.
#[derive(Debug)]
pub(crate) struct Records {
    me: PeerId,
    rule: Rule,
    bounds: Bounds,
    now: Instant,
    own: HashSet<RecordKey>,
    keys: HashMap<RecordKey, Vec<Entry>>,
    providers: HashMap<PeerId, Provider>,
    /// The providers by how much they hold, and among equals the newest last.
    by_size: BTreeSet<(usize, u64, PeerId)>,
    /// The oldest record first.
    by_age: BTreeMap<u64, (RecordKey, PeerId)>,
    /// Of the next record; of the next provider, too.
    serial: u64,
    bytes: usize,
    disk: OnDisk,
    refused: Refused,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    provider: PeerId,
    serial: u64,
    since: Instant,
}

#[derive(Debug)]
struct Provider {
    joined: u64,
    addrs: Vec<Multiaddr>,
    records: BTreeSet<u64>,
}

impl Records {
    /// An empty one of this node, which takes addresses by this rule.
    pub(crate) fn new(me: PeerId, rule: Rule, bounds: Bounds) -> Self {
        Self {
            me,
            rule,
            bounds,
            now: Instant::now(),
            own: HashSet::new(),
            keys: HashMap::new(),
            providers: HashMap::new(),
            by_size: BTreeSet::new(),
            by_age: BTreeMap::new(),
            serial: 0,
            bytes: 0,
            disk: OnDisk::default(),
            refused: Refused::default(),
        }
    }

    /// When a provider came, if it is here.
    fn joined(&self, provider: &PeerId) -> Option<u64> {
        self.providers.get(provider).map(|held| held.joined)
    }

    /// From now on addresses are taken by this rule.
    pub(crate) fn set_rule(&mut self, rule: Rule) {
        self.rule = rule;
    }

    /// This node provides a key.
    pub(crate) fn own(&mut self, key: RecordKey) {
        self.own.insert(key);
    }

    /// It does so no more.
    pub(crate) fn disown(&mut self, key: &RecordKey) {
        self.own.remove(key);
    }

    /// The time goes on: what is too old is dropped. Answers what was not stored since the last time.
    pub(crate) fn tick(&mut self, now: Instant) -> Refused {
        self.now = now;
        while let Some(first) = self.by_age.first_entry() {
            let (key, provider) = first.get().clone();
            let serial = *first.key();
            let entry = self.keys.get(&key).and_then(|entries| entries.iter().find(|e| e.serial == serial));
            if entry.is_some_and(|entry| now - entry.since < self.bounds.lifetime) {
                break;
            }
            self.by_age.remove(&serial);
            self.drop_record(&key, &provider, serial);
        }
        std::mem::take(&mut self.refused)
    }

    /// Forgets everything that a peer announced.
    pub(crate) fn forget(&mut self, peer: &PeerId) {
        while let Some(serial) = self.providers.get(peer).and_then(|held| held.records.first().copied()) {
            self.drop_serial(serial);
        }
    }

    /// Where a provider said that it listens.
    pub(crate) fn addresses(&self, provider: &PeerId) -> &[Multiaddr] {
        self.providers.get(provider).map_or(&[], |held| &held.addrs)
    }

    /// Who announced something that is here.
    pub(crate) fn providing(&self) -> impl Iterator<Item = PeerId> {
        self.providers.keys().copied()
    }

    /// How many records of strangers there are, and how many bytes they take, about.
    pub(crate) fn held(&self) -> (usize, usize) {
        (self.by_age.len(), self.bytes)
    }

    /// `joined`: when the provider came, if it was here before.
    fn insert(
        &mut self,
        key: RecordKey,
        provider: PeerId,
        addrs: Vec<Multiaddr>,
        since: Instant,
        joined: Option<u64>,
    ) {
        self.serial += 1;
        let serial = self.serial;
        self.bytes += cost(&key) + of_addrs(&addrs);
        let held = self.providers.entry(provider).or_insert_with(|| Provider {
            joined: joined.unwrap_or(serial),
            addrs: vec![],
            records: BTreeSet::new(),
        });
        self.by_size.remove(&(held.records.len(), held.joined, provider));
        self.bytes -= of_addrs(&held.addrs);
        held.addrs = addrs;
        held.records.insert(serial);
        self.by_size.insert((held.records.len(), held.joined, provider));
        // Most keys have one provider.
        let entries = self.keys.entry(key.clone()).or_insert_with(|| Vec::with_capacity(1));
        entries.push(Entry { provider, serial, since });
        self.by_age.insert(serial, (key, provider));
    }
}

fn cost(key: &RecordKey) -> usize {
    RECORD + key.as_ref().len()
}

fn of_addrs(addrs: &[Multiaddr]) -> usize {
    addrs.iter().map(|addr| addr.len() + size_of::<Multiaddr>()).sum()
}

impl RecordStore for Records {
    type RecordsIter<'a> = std::iter::Empty<Cow<'a, Record>>;
    type ProvidedIter<'a> = Box<dyn Iterator<Item = Cow<'a, ProviderRecord>> + 'a>;

    fn get(&self, _: &RecordKey) -> Option<Cow<'_, Record>> {
        None
    }

    fn put(&mut self, _: Record) -> Result<()> {
        self.refused.refused += 1;
        Err(Error::MaxRecords)
    }

    fn remove(&mut self, _: &RecordKey) {}

    fn records(&self) -> Self::RecordsIter<'_> {
        std::iter::empty()
    }

    /// Refused records are counted, and no error: the library writes a line into the log for each.
    fn add_provider(&mut self, record: ProviderRecord) -> Result<()> {
        let ProviderRecord { key, provider, addresses, .. } = record;
        let length = key.as_ref().len();
        if provider == self.me {
            // Announced by this node, or said by somebody else.
            self.refused.refused += u64::from(!self.own.contains(&key));
            return Ok(());
        }
        if length == 0 || length > MAX_KEY {
            self.refused.refused += 1;
            return Ok(());
        }
        let addrs = self.rule.of_peer(&provider, &addresses);
        if addrs.is_empty() && !addresses.is_empty() {
            self.refused.poisoned += 1;
            return Ok(());
        }
        // One that is renewed is a new one, of a provider as old as before.
        let joined = self.joined(&provider);
        self.remove_provider(&key, &provider);
        if self.make_room(&key, &provider, cost(&key) + of_addrs(&addrs)) {
            self.insert(key, provider, addrs, self.now, joined);
            self.disk.changed(&provider, true);
        } else {
            self.refused.refused += 1;
        }
        Ok(())
    }

    fn providers(&self, key: &RecordKey) -> Vec<ProviderRecord> {
        let record =
            |provider, addresses| ProviderRecord { key: key.clone(), provider, expires: None, addresses };
        let own = self.own.contains(key).then(|| record(self.me, vec![]));
        let fresh = |entry: &&Entry| self.now - entry.since < self.bounds.lifetime;
        let others = self.keys.get(key).into_iter().flatten().filter(fresh).map(|entry| {
            let addrs = self.providers.get(&entry.provider).map(|held| held.addrs.clone());
            record(entry.provider, addrs.unwrap_or_default())
        });
        own.into_iter().chain(others).collect()
    }

    fn provided(&self) -> Self::ProvidedIter<'_> {
        let record = |key: &RecordKey| Cow::Owned(ProviderRecord::new(key.clone(), self.me, vec![]));
        Box::new(self.own.iter().map(record))
    }

    fn remove_provider(&mut self, key: &RecordKey, provider: &PeerId) {
        let entry = self.keys.get(key).and_then(|all| all.iter().find(|entry| entry.provider == *provider));
        if let Some(serial) = entry.map(|entry| entry.serial) {
            self.drop_serial(serial);
        }
    }
}

#[cfg(test)]
mod tests;

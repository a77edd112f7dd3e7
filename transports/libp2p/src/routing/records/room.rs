//! Who makes room where there is none.

use carrick_core::PeerId;
use libp2p::kad::RecordKey;

use super::{MAX_FLOODERS, Records, cost, of_addrs};

impl Records {
    fn is_full(&self, more: usize) -> bool {
        self.by_age.len() >= self.bounds.records || self.bytes + more > self.bounds.bytes
    }

    /// Room for one more record at this key; `false` when nobody can be asked to make it.
    pub(super) fn make_room(&mut self, key: &RecordKey, provider: &PeerId, more: usize) -> bool {
        self.room_at_key(key) && self.room_of_provider(provider) && self.room_for_provider(provider) && {
            while self.is_full(more) {
                // However little that is: else many who hold little would keep all others out.
                let Some((.., biggest)) = self.by_size.last().copied() else { return false };
                if !self.evict_oldest_of(&biggest) {
                    return false;
                }
            }
            true
        }
    }

    fn room_at_key(&mut self, key: &RecordKey) -> bool {
        let Some(entries) = self.keys.get(key).filter(|entries| entries.len() >= self.bounds.per_key) else {
            return true;
        };
        let Some(oldest) = entries.iter().min_by_key(|entry| entry.serial).copied() else { return true };
        let stale = self.now - oldest.since >= self.bounds.stale;
        if stale {
            self.evict(oldest.serial);
        }
        stale
    }

    fn room_of_provider(&mut self, provider: &PeerId) -> bool {
        let held = self.providers.get(provider).map_or(0, |held| held.records.len());
        if held < self.bounds.per_provider {
            return true;
        }
        let noted = self.refused.flooders.len();
        if noted < MAX_FLOODERS || self.refused.flooders.contains_key(provider) {
            *self.refused.flooders.entry(*provider).or_default() += 1;
        }
        self.evict_oldest_of(provider)
    }

    /// A provider too many takes the place of the newest of those that hold fewest.
    fn room_for_provider(&mut self, provider: &PeerId) -> bool {
        if self.providers.contains_key(provider) || self.providers.len() < self.bounds.providers {
            return true;
        }
        let Some((fewest, ..)) = self.by_size.first().copied() else { return false };
        let newest = self.by_size.range(..(fewest + 1, 0, self.me)).next_back().copied();
        let Some((_, _, newest)) = newest else { return false };
        self.refused.evicted += fewest as u64;
        self.forget(&newest);
        true
    }

    fn evict_oldest_of(&mut self, provider: &PeerId) -> bool {
        let oldest = self.providers.get(provider).and_then(|held| held.records.first().copied());
        oldest.inspect(|serial| self.evict(*serial)).is_some()
    }

    fn evict(&mut self, serial: u64) {
        self.refused.evicted += 1;
        self.drop_serial(serial);
    }

    pub(super) fn drop_serial(&mut self, serial: u64) {
        if let Some((key, provider)) = self.by_age.remove(&serial) {
            self.drop_record(&key, &provider, serial);
        }
    }

    /// Drops a record from every map but that of ages.
    pub(super) fn drop_record(&mut self, key: &RecordKey, provider: &PeerId, serial: u64) {
        let Some(entries) = self.keys.get_mut(key) else { return };
        let Some(at) = entries.iter().position(|entry| entry.serial == serial) else { return };
        entries.swap_remove(at);
        if entries.is_empty() {
            self.keys.remove(key);
        }
        self.bytes -= cost(key);
        if let Some(held) = self.providers.get_mut(provider) {
            self.by_size.remove(&(held.records.len(), held.joined, *provider));
            held.records.remove(&serial);
            if held.records.is_empty() {
                self.bytes -= of_addrs(&held.addrs);
                self.providers.remove(provider);
            } else {
                self.by_size.insert((held.records.len(), held.joined, *provider));
            }
        }
        self.disk.changed(provider, self.providers.contains_key(provider));
    }
}

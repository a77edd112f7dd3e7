//! What is looked through every second: records that are too old, questions that nobody waits for, floods; and now and then
//! peers that are not admitted any more.

use carrick_core::{Host, Misdeed, Remote};
use tokio::time::Instant;

use super::behaviour::Behaviour;
use super::records::{Bounds, Refused};
use super::{RECORDS, table_name};

/// Every how many looks the tables are swept.
pub(super) const SWEEP: u32 = 60;
/// Every how many looks the tables are refreshed: every five minutes.
const REFRESH: u32 = 300;
/// Providers whose records are written at each sweep: however many change, the disk is written to this slowly.
const SAVED: usize = 512;
/// Most records of one flood that are blamed at once.
const MAX_BLAME: u32 = 8_192;

impl Behaviour {
    /// Looks once.
    pub(super) fn look(&mut self) {
        self.cancel(&self.jobs.given_up());
        for (_, table) in self.tables.each() {
            let refused = table.tick(Instant::now());
            let (records, _) = table.held();
            self.host.peak("provider_records", records, Bounds::default().records);
            note(&self.host, refused);
        }
        self.looked = (self.looked + 1) % REFRESH;
        if self.looked.is_multiple_of(SWEEP) {
            self.sweep();
        }
        if self.looked == 0 {
            self.tables.each().for_each(|(_, table)| table.refresh());
        }
    }

    /// Has written what strangers announced since the last time, of so many providers.
    pub(super) fn save_records(&mut self, providers: usize) {
        let now = self.host.now();
        for (_, table) in self.tables.each() {
            for (page, value) in table.unsaved(now, providers) {
                self.saver.note(format!("{RECORDS}{}/{page}", table_name(table)), value);
            }
        }
    }

    fn sweep(&mut self) {
        self.save_records(SAVED);
        for (_, table) in self.tables.each() {
            table.sweep(|peer| self.host.admits(peer));
        }
        let gone = self.book.peers().map(|(peer, _)| *peer).filter(|peer| !self.host.admits(peer));
        for peer in gone.collect::<Vec<_>>() {
            self.book.remove(&peer);
        }
    }
}

/// Counts what was not stored, and blames who sent more than anybody needs.
fn note(host: &Host, refused: Refused) {
    let counts = [
        ("provider_records_refused", refused.refused),
        ("provider_records_evicted", refused.evicted),
        ("provider_records_poisoned", refused.poisoned),
    ];
    for (what, n) in counts.into_iter().filter(|(_, n)| *n > 0) {
        host.count(what, n);
    }
    for (peer, n) in refused.flooders {
        let peer = Remote::Peer(peer);
        (0..n.min(MAX_BLAME)).for_each(|_| host.report(&peer, Misdeed::Needless));
    }
}

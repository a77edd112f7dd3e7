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
/// Pages of strangers' records that are written a second, in the long run: however much changes, the disk is written to this
/// slowly.
const SAVED: isize = 4;
/// How many may be written at once when there were none for a while.
const SAVED_AT_ONCE: isize = 64;
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
        self.save_some();
        self.looked = (self.looked + 1) % REFRESH;
        if self.looked.is_multiple_of(SWEEP) {
            self.sweep();
        }
        if self.looked == 0 {
            self.tables.each().for_each(|(_, table)| table.refresh());
        }
    }

    /// Has written some of what strangers announced since the last time.
    fn save_some(&mut self) {
        self.saves = (self.saves + SAVED).min(SAVED_AT_ONCE);
        // On a full disk nothing goes out, and what waits is not to grow.
        if self.saver.is_behind() {
            return;
        }
        if let Ok(pages) = usize::try_from(self.saves)
            && pages > 0
        {
            self.saves -= isize::try_from(self.save_records(pages)).unwrap_or(isize::MAX);
        }
    }

    /// Has written about so many pages of what strangers announced, and answers how many.
    pub(super) fn save_records(&mut self, pages: usize) -> usize {
        let now = self.host.now();
        let mut saved = 0;
        for (_, table) in self.tables.each() {
            for (page, value) in table.unsaved(now, pages) {
                self.saver.note(format!("{RECORDS}{}/{page}", table_name(table)), value);
                saved += 1;
            }
        }
        saved
    }

    fn sweep(&mut self) {
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

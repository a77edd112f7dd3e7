//! Entries that the rules let through, on their way to the disk: what follows them is judged meanwhile.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::time::Duration;

use carrick_core::Cid;
use carrick_core::limits::MAX_PARENTS;
use lru::LruCache;
use tokio::time::Instant;

use crate::Entry;
use crate::index::Record;
use crate::place::{Digest, Place, digest};

/// Entries on their way at most.
const MOST: NonZeroUsize = NonZeroUsize::new(4_096).expect("not zero");
/// How long one is on its way at most: what was not stored until then was not stored at all.
const LONGEST: Duration = Duration::from_secs(10);

/// Entries on their way.
#[derive(Debug)]
pub(crate) struct UnderWay {
    entries: LruCache<Digest, Judged>,
    /// What the next entry of our own follows, while some of our own are on their way: those and the heads, but what one of
    /// them follows.
    tips: Option<BTreeSet<Place>>,
    /// Appends that have not returned.
    appends: usize,
}

#[derive(Clone, Debug)]
struct Judged {
    record: Record,
    entry: Entry,
    own: bool,
    since: Instant,
}

impl Default for UnderWay {
    fn default() -> Self {
        Self { entries: LruCache::sparse(MOST), tips: None, appends: 0 }
    }
}

impl UnderWay {
    /// The rules let an entry through.
    pub(crate) fn begin(&mut self, record: &Record, entry: Entry) {
        let judged = Judged { record: record.clone(), entry, own: false, since: Instant::now() };
        self.entries.put(*record.place.digest(), judged);
    }

    /// The rules let an entry of our own through; these are the heads now.
    pub(crate) fn begin_own(&mut self, record: &Record, entry: Entry, heads: &BTreeSet<Place>) {
        let judged = Judged { record: record.clone(), entry, own: true, since: Instant::now() };
        self.entries.put(*record.place.digest(), judged);
        follow(self.tips.get_or_insert_with(|| heads.clone()), record);
    }

    /// What the next entry of our own follows: the highest, as many as it may.
    pub(crate) fn next_parents(&self, heads: &BTreeSet<Place>) -> Vec<Cid> {
        let tips = self.tips.as_ref().unwrap_or(heads);
        tips.iter().rev().take(MAX_PARENTS).map(Place::cid).collect()
    }

    pub(crate) fn begin_append(&mut self) {
        self.appends += 1;
    }

    /// Where one failed, the next one follows what is there.
    pub(crate) fn end_append(&mut self, made: bool) {
        self.appends -= 1;
        if self.appends == 0 || !made {
            self.tips = None;
        }
    }

    fn get(&self, digest: &Digest) -> Option<&Judged> {
        self.entries.peek(digest).filter(|judged| judged.since.elapsed() < LONGEST)
    }

    pub(crate) fn record(&self, digest: &Digest) -> Option<Record> {
        self.get(digest).map(|judged| judged.record.clone())
    }

    pub(crate) fn entry(&self, digest: &Digest) -> Option<Entry> {
        self.get(digest).map(|judged| judged.entry.clone())
    }

    /// It did not become an entry.
    pub(crate) fn forget(&mut self, cid: &Cid) {
        if let Some(digest) = digest(cid) {
            self.entries.pop(&digest);
        }
    }

    /// It is an entry now.
    pub(crate) fn end(&mut self, record: &Record) {
        let own = self.entries.pop(record.place.digest()).is_some_and(|judged| judged.own);
        if let Some(tips) = self.tips.as_mut().filter(|_| !own) {
            follow(tips, record);
        }
    }
}

fn follow(tips: &mut BTreeSet<Place>, record: &Record) {
    for parent in &record.parents {
        tips.remove(parent);
    }
    tips.insert(record.place);
}

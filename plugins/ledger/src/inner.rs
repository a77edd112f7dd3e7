//! What a ledger, the gate and the tasks share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use carrick_core::{Bytes, Cid, Error, ErrorKind, Node, Result, Store, Topic, WeakNode};
use lru::LruCache;
use tokio::sync::oneshot;

use crate::equivocation::Numbers;
use crate::index::{Index, Known, Record};
use crate::latest::Latest;
use crate::order::Absent;
use crate::place::{Digest, Place, cid, digest};
use crate::saved::{Draft, Saved, Shelf};
use crate::sync::Sync;
use crate::under_way::UnderWay;
use crate::watch::Changes;
use crate::{Change, Entry, PastFold, Rule};

#[derive(Debug)]
pub(crate) struct Inner {
    /// Itself, for tasks that outlive a call.
    pub(crate) me: Weak<Self>,
    pub(crate) name: String,
    pub(crate) topic: Topic,
    pub(crate) rules: Vec<Arc<dyn Rule>>,
    /// `None` until it is open.
    index: Mutex<Option<Index>>,
    pub(crate) shelf: Shelf,
    pub(crate) numbers: Numbers,
    /// Held while it is being saved.
    pub(crate) saved: tokio::sync::Mutex<Saved>,
    pub(crate) changes: Changes,
    pub(crate) refused: Mutex<LruCache<Digest, ()>>,
    pub(crate) under_way: Mutex<UnderWay>,
    /// Held while an entry is made, so that the next one follows it.
    pub(crate) appending: tokio::sync::Mutex<()>,
    /// Told when the entry that is being made was judged.
    pub(crate) judged: Mutex<Option<oneshot::Sender<()>>>,
    /// The node, which holds the ledger.
    pub(crate) node: Mutex<WeakNode>,
    pub(crate) sync: Sync,
    /// What each author said last, before an entry.
    pub(crate) latest: PastFold<Latest>,
}

/// Refused entries that are remembered: a child of one is refused without being looked at.
const REFUSED: std::num::NonZeroUsize = std::num::NonZeroUsize::new(65_536).expect("not zero");

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    pub(crate) fn new(
        me: &Weak<Self>,
        name: &str,
        topic: Topic,
        heads: Topic,
        rules: Vec<Arc<dyn Rule>>,
    ) -> Self {
        Self {
            me: Weak::clone(me),
            name: name.to_owned(),
            topic,
            rules,
            index: Mutex::default(),
            shelf: Shelf::new(name),
            numbers: Numbers::new(),
            saved: tokio::sync::Mutex::default(),
            changes: Changes::new(),
            refused: Mutex::new(LruCache::sparse(REFUSED)),
            under_way: Mutex::default(),
            appending: tokio::sync::Mutex::default(),
            judged: Mutex::default(),
            node: Mutex::default(),
            sync: Sync::new(heads),
            latest: PastFold::new(Latest),
        }
    }

    pub(crate) fn node(&self) -> Result<Node> {
        lock(&self.node).upgrade().ok_or_else(closed)
    }

    /// Asks the index for what needs no page.
    pub(crate) fn with_index<T>(&self, ask: impl FnOnce(&mut Index) -> T) -> Result<T> {
        lock(&self.index).as_mut().map(ask).ok_or_else(closed)
    }

    /// Asks the index, with the pages that it needs.
    pub(crate) async fn ask<T>(&self, mut ask: impl FnMut(&mut Index) -> Result<T, Absent>) -> Result<T> {
        loop {
            let Absent(page) = match self.with_index(&mut ask)? {
                Ok(answer) => return Ok(answer),
                Err(absent) => absent,
            };
            let node = self.node()?;
            let places = self.shelf.places(&**node.store(), &page).await?;
            self.with_index(|index| index.order.supply(page, places))?;
        }
    }

    /// Where an entry stands; `None` where there is none.
    pub(crate) async fn place(&self, cid: &Cid) -> Result<Option<Place>> {
        let Some(digest) = digest(cid) else { return Ok(None) };
        match self.with_index(|index| index.known(&digest))? {
            Known::Entry(place) => return Ok(Some(place)),
            Known::NoEntry => return Ok(None),
            Known::Unsure => {}
        }
        let node = self.node()?;
        let Some(record) = self.shelf.record(&**node.store(), &digest).await? else { return Ok(None) };
        // Its record may have been written meanwhile, for an entry that is being added.
        self.with_index(|index| match index.known(&digest) {
            Known::NoEntry => None,
            Known::Entry(place) => Some(place),
            Known::Unsure => {
                index.learn(&record.place);
                Some(record.place)
            }
        })
    }

    /// Those that are no entries here.
    pub(crate) async fn missing(&self, cids: &[Cid]) -> Result<Vec<Cid>> {
        let mut missing = Vec::new();
        for cid in cids {
            if self.place(cid).await?.is_none() {
                missing.push(*cid);
            }
        }
        Ok(missing)
    }

    /// Where an entry stands, or one that the rules let through and that is on its way to the disk.
    pub(crate) async fn judged_place(&self, cid: &Cid) -> Result<Option<Place>> {
        let under_way = digest(cid).and_then(|digest| lock(&self.under_way).record(&digest));
        match under_way {
            Some(record) => Ok(Some(record.place)),
            None => self.place(cid).await,
        }
    }

    /// An entry, or one that is on its way.
    pub(crate) async fn judged_entry(&self, cid: &Cid) -> Result<Option<Entry>> {
        let under_way = digest(cid).and_then(|digest| lock(&self.under_way).entry(&digest));
        match under_way {
            Some(entry) => Ok(Some(entry)),
            None => self.entry(cid).await,
        }
    }

    /// The record of an entry with these parents, or those of them that are no entries, nor on their way.
    pub(crate) async fn record(&self, entry: &Cid, parents: &[Cid]) -> Result<Result<Record, Vec<Cid>>> {
        let (mut places, mut missing) = (Vec::with_capacity(parents.len()), Vec::new());
        for parent in parents {
            match self.judged_place(parent).await? {
                Some(place) => places.push(place),
                None => missing.push(*parent),
            }
        }
        let record = Record::new(entry, places).filter(|_| missing.is_empty());
        Ok(record.ok_or(missing))
    }

    pub(crate) async fn entry(&self, cid: &Cid) -> Result<Option<Entry>> {
        match self.place(cid).await? {
            Some(place) => self.read(&place).await.map(Some),
            None => Ok(None),
        }
    }

    /// The entry at a place of the index.
    pub(crate) async fn read(&self, place: &Place) -> Result<Entry> {
        let message = self.node()?.message(&place.id()).await?;
        message.and_then(|message| Entry::new(place.clock(), message)).ok_or_else(|| {
            let detail = format!("the entry {} is not in the store any more", place.cid());
            Error::new(ErrorKind::Integrity, "ledger", detail)
                .mend(format!("have it fetched again: carrick ledger verify {} --all --mend", self.name))
        })
    }

    /// Reads which entries there are.
    pub(crate) async fn load(&self, store: &dyn Store) -> Result<()> {
        let (saved, index) = self.shelf.load(store).await?;
        *self.saved.lock().await = saved;
        *lock(&self.index) = Some(index);
        Ok(())
    }

    pub(crate) fn unload(&self) {
        lock(&self.index).take();
    }

    /// What is written together with an entry that every check let through.
    pub(crate) fn note(&self, record: &Record) -> Result<Vec<(String, Bytes)>> {
        self.with_index(|index| index.begin(&record.place))?;
        Ok(self.shelf.note(record))
    }

    /// Adds an entry that is on the disk. The gate asks for it after its parents: one that is none now was refused.
    pub(crate) async fn insert(&self, entry: &Entry, record: &Record) -> Result<()> {
        if let Some(parent) = self.missing(entry.parents()).await?.first() {
            lock(&self.under_way).forget(parent);
            let detail = format!("{parent}, which it follows, was not stored");
            return Err(Error::new(ErrorKind::Rejected, "ledger", detail));
        }
        let mut new = false;
        self.ask(|index| {
            let at = index.insert(record)?;
            new = at.is_some();
            lock(&self.under_way).end(record);
            if let Some(at) = at {
                let (last, entry) = (at + 1 == index.len(), entry.clone());
                // Told under the lock: in the order in which they came.
                self.changes.tell(if last {
                    Change::Appended(entry)
                } else {
                    Change::Inserted { at, entry }
                });
            }
            Ok(())
        })
        .await?;
        self.end_number(entry, record.place, new).await?;
        if self.with_index(|index| index.fresh.len())? >= MANY_FRESH {
            self.sync.save();
        }
        Ok(())
    }

    /// Saves the pages, through the node where it is open; answers the one that stands for all.
    pub(crate) async fn save(&self, store: &dyn Store, node: Option<&Node>) -> Result<Option<Cid>> {
        let mut saved = self.saved.lock().await;
        if self.with_index(|index| !index.fresh.is_empty())? {
            let draft = self.with_index(|index| Draft::of(index))??;
            self.shelf.save(store, node, &mut saved, &draft).await?;
            self.with_index(|index| draft.done(index))?;
        }
        Ok(saved.root.as_ref().map(cid))
    }
}

/// Entries in no page at which the pages are saved.
const MANY_FRESH: usize = 4_096;

pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "ledger", "the ledger is not open")
}

//! The ledger of a node.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_stream::try_stream;
use carrick_core::{
    Bytes, Cid, Error, ErrorKind, Node, NodeBuilder, Result, Service, Site, Store, Topic, WeakNode,
};
use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use lru::LruCache;

use crate::index::{Index, Record};
use crate::place::{Digest, Place, digest};
use crate::sync::Sync;
use crate::watch::Changes;
use crate::{Appended, Change, Entry, LedgerConfig, Rule, Watch};

/// Characters of a name at most.
const MAX_NAME: usize = 64;
/// Refused entries that are remembered: a child of one is refused without being looked at.
const REFUSED: NonZeroUsize = NonZeroUsize::new(65_536).expect("not zero");
/// Changes that are kept while the log is read before them.
const MEANWHILE: usize = 16_384;
/// Entries that are looked up at once while the log is read.
const READ_AT_ONCE: usize = 256;

/// A log that many may write: hash-linked, signed, the same on every node once all have the same entries. Cloning is cheap;
/// all clones are the same ledger.
///
/// It is made before the node opens, and opens with it.
#[derive(Clone, Debug)]
pub struct Ledger(pub(crate) Arc<Inner>);

/// What the ledger, the gate and the tasks share.
#[derive(Debug)]
pub(crate) struct Inner {
    name: String,
    pub(crate) topic: Topic,
    pub(crate) rules: Vec<Arc<dyn Rule>>,
    /// `None` until it is open.
    pub(crate) index: Mutex<Option<Index>>,
    pub(crate) changes: Changes,
    pub(crate) refused: Mutex<LruCache<Digest, ()>>,
    /// Held while an entry is made, so that the next one follows it.
    appending: tokio::sync::Mutex<()>,
    /// The node, which holds the ledger.
    pub(crate) node: Mutex<WeakNode>,
    pub(crate) sync: Sync,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ledger {
    /// A ledger by its name, with rules of one's own, which are asked in this order. Its topic is `ledger/NAME`.
    ///
    /// # Errors
    /// `Config` for a name that is not 1 to 64 of `a-z`, `0-9`, `.`, `_`, `-`.
    pub fn new(name: &str, rules: Vec<Arc<dyn Rule>>) -> Result<Self> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
        if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(fits) {
            let detail = format!("{name:?} is no name of a ledger");
            return Err(Error::new(ErrorKind::Config, "ledger", detail)
                .mend(format!("take 1 to {MAX_NAME} of a-z, 0-9, '.', '_' and '-'")));
        }
        let topic = Topic::new(format!("ledger/{name}"))?;
        let sync = Sync::new(Topic::reserved(format!("carrick/heads/{name}"))?);
        Ok(Self(Arc::new(Inner {
            name: name.to_owned(),
            sync,
            topic,
            rules,
            index: Mutex::default(),
            changes: Changes::new(),
            refused: Mutex::new(LruCache::sparse(REFUSED)),
            appending: tokio::sync::Mutex::default(),
            node: Mutex::default(),
        })))
    }

    /// Opens what a configuration says, as `[ledger.NAME]`.
    pub(crate) async fn open(config: LedgerConfig, site: Site) -> Result<Self> {
        Self::new(&site.instance, config.rules())
    }

    /// Puts it into a node that is being built; [`Node::service`] finds it by its name.
    pub fn mount(&self, builder: NodeBuilder) -> NodeBuilder {
        let ledger: Arc<dyn Service> = Arc::new(self.clone());
        builder.service_at(&self.0.name, move |_| async move { Ok(ledger) })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The topic on which its entries travel.
    pub fn topic(&self) -> &Topic {
        &self.0.topic
    }

    /// Makes an entry that follows all heads known here, the 64 highest of them where there are more. It is durable when this
    /// returns, and on its way to whoever is there; everybody else gets it later.
    ///
    /// # Errors
    /// `Rejected` when a rule or validator refuses it, `TooLarge` above the block limit, `Unauthorized` where this node may
    /// not publish, `Full`, `Closed`.
    ///
    /// # Cancel safety
    /// Dropping the future leaves it open whether it was made.
    pub async fn append(&self, payload: impl Into<Bytes> + Send) -> Result<Appended> {
        let node = self.0.node()?;
        let _turn = self.0.appending.lock().await;
        let parents = self.0.with_index(Index::highest_heads)?;
        let published = node.publish_following(&self.0.topic, payload, parents).await?;
        let cid = *published.id.cid();
        let place = self.0.with_index(|index| index.place(&cid))?;
        let place = place.ok_or_else(|| Error::new(ErrorKind::Closed, "append", "the ledger closed"))?;
        Ok(Appended { cid, clock: place.clock() })
    }

    /// The entries that no other one follows, the highest first.
    ///
    /// # Errors
    /// `Closed` before the node is open and after it closed.
    pub fn heads(&self) -> Result<Vec<Cid>> {
        self.0.with_index(|index| index.heads().map(|head| head.cid()).collect())
    }

    /// How many entries it has.
    ///
    /// # Errors
    /// `Closed` before the node is open and after it closed.
    pub fn count(&self) -> Result<usize> {
        self.0.with_index(Index::len)
    }

    /// An entry by its CID; `None` where there is none.
    ///
    /// # Errors
    /// What the store answers; `Closed`.
    pub async fn entry(&self, cid: &Cid) -> Result<Option<Entry>> {
        self.0.entry(cid).await
    }

    /// The rank of an entry, from 0; `None` where there is none.
    ///
    /// # Errors
    /// `Closed` before the node is open and after it closed.
    pub fn rank(&self, cid: &Cid) -> Result<Option<usize>> {
        self.0.with_index(|index| index.rank(&index.place(cid)?))
    }

    /// The entries in their order, from one of them on or from the first. What comes while it is read is among them where it
    /// stands behind what was read already.
    ///
    /// # Errors
    /// At the first: `NotFound` where `from` is no entry; then what the store answers, `Closed`.
    pub fn entries(&self, from: Option<Cid>) -> BoxStream<'static, Result<Entry>> {
        let inner = Arc::clone(&self.0);
        Box::pin(try_stream! {
            let mut next = match from {
                None => Bound::Unbounded,
                Some(cid) => Bound::Included(inner.with_index(|index| index.place(&cid))?.ok_or_else(|| absent(&cid))?),
            };
            loop {
                let places = inner.with_index(|index| index.from(next, READ_AT_ONCE))?;
                let Some(last) = places.last() else { break };
                next = Bound::Excluded(*last);
                for place in places {
                    yield inner.read(&place).await?;
                }
            }
        })
    }

    /// What changes from now on.
    pub fn watch(&self) -> Watch {
        self.0.changes.watch()
    }

    /// The entries in their order, as [`Change::Appended`], from one of them on or from the first, and then what changes. Each
    /// comes once, unless changes were missed, which is told.
    ///
    /// # Errors
    /// As [`entries`](Self::entries).
    pub fn follow(&self, from: Option<Cid>) -> BoxStream<'static, Result<Change>> {
        let (mut changes, mut entries) = (self.watch(), self.entries(from));
        Box::pin(try_stream! {
            // What came while the log was being read, and stands in it or not.
            let (mut meanwhile, mut known) = (Vec::new(), HashSet::new());
            while let Some(entry) = entries.try_next().await? {
                while let Some(Some(change)) = changes.next().now_or_never() {
                    known.extend(change.entry().map(|entry| *entry.cid()));
                    meanwhile.push(change);
                    if meanwhile.len() > MEANWHILE {
                        let missed = meanwhile.drain(..).count() as u64;
                        known.clear();
                        meanwhile.push(Change::Lagged(missed));
                    }
                }
                if !known.contains(entry.cid()) {
                    yield Change::Appended(entry);
                }
            }
            for change in meanwhile {
                yield change;
            }
            while let Some(change) = changes.next().await {
                yield change;
            }
        })
    }

    /// Reads the whole log and checks it: every entry is there, signed, and stands where its parents put it. Answers how many
    /// there are.
    ///
    /// # Errors
    /// `Integrity` with the first fault; what the store answers, `Closed`.
    pub async fn verify(&self) -> Result<u64> {
        let (mut entries, mut checked) = (self.entries(None), 0);
        while let Some(entry) = entries.try_next().await? {
            let record = self.0.with_index(|index| index.record(entry.cid(), entry.parents()))?;
            let stands = record.is_some_and(|record| record.place.clock() == entry.clock());
            if !stands {
                let detail = format!("the entry {} does not stand where its parents put it", entry.cid());
                return Err(Error::new(ErrorKind::Integrity, "verify", detail));
            }
            checked += 1;
        }
        Ok(checked)
    }
}

fn absent(cid: &Cid) -> Error {
    Error::new(ErrorKind::NotFound, "ledger", format!("{cid} is no entry here"))
}

impl Inner {
    pub(crate) fn node(&self) -> Result<Node> {
        lock(&self.node).upgrade().ok_or_else(closed)
    }

    pub(crate) fn with_index<T>(&self, ask: impl FnOnce(&Index) -> T) -> Result<T> {
        lock(&self.index).as_ref().map(ask).ok_or_else(closed)
    }

    pub(crate) async fn entry(&self, cid: &Cid) -> Result<Option<Entry>> {
        match self.with_index(|index| index.place(cid))? {
            Some(place) => self.read(&place).await.map(Some),
            None => Ok(None),
        }
    }

    /// The entry at a place of the index.
    async fn read(&self, place: &Place) -> Result<Entry> {
        let message = self.node()?.message(&place.id()).await?;
        message.and_then(|message| Entry::new(place.clock(), message)).ok_or_else(|| {
            let detail = format!("the entry {} is not in the store any more", place.cid());
            Error::new(ErrorKind::Integrity, "ledger", detail)
                .mend("have it fetched again: carrick get, from a node that has it")
        })
    }

    /// Where the record of an entry stands in the store.
    fn key(&self, cid: &Cid) -> String {
        format!("{}{cid}", self.prefix())
    }

    fn prefix(&self) -> String {
        format!("ledger/{}/", self.name)
    }

    /// Reads which entries there are.
    pub(crate) async fn load(&self, store: &dyn Store) -> Result<()> {
        let prefix = self.prefix();
        let mut listed = store.list_meta(&prefix);
        let mut records = Vec::new();
        while let Some((key, record)) = listed.try_next().await? {
            let name = key.strip_prefix(&prefix).and_then(|name| digest(&name.parse().ok()?));
            let name = name.ok_or_else(|| {
                Error::new(ErrorKind::Integrity, "open", format!("{key:?} in the store names no entry"))
            })?;
            records.push(Record::decode(name, &record)?);
        }
        *lock(&self.index) = Some(Index::of(&records));
        Ok(())
    }

    /// Adds an entry that every check let through.
    pub(crate) async fn add(&self, store: &dyn Store, entry: Entry, record: &Record) -> Result<()> {
        store.set_meta(&[(self.key(entry.cid()), Some(record.encode().into()))]).await?;
        let mut index = lock(&self.index);
        let index = index.as_mut().ok_or_else(closed)?;
        let Some(at) = index.insert(record) else { return Ok(()) };
        let last = at + 1 == index.len();
        // Told under the lock: in the order in which they came.
        self.changes.tell(if last { Change::Appended(entry) } else { Change::Inserted { at, entry } });
        Ok(())
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "ledger", "the ledger is not open")
}

//! The ledger of a node.

use std::collections::HashSet;
use std::ops::Bound;
use std::sync::Arc;

use async_stream::try_stream;
use carrick_core::{Bytes, Cid, Error, ErrorKind, NodeBuilder, Result, Service, Site, Topic};
use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};

use crate::inner::Inner;
use crate::{Appended, Change, Entry, Equivocation, LedgerConfig, Rule, Watch};

/// Characters of a name at most.
const MAX_NAME: usize = 64;
/// Changes that are kept while the log is read before them.
const MEANWHILE: usize = 16_384;

/// A log that many may write: hash-linked, signed, the same on every node once all have the same entries. Cloning is cheap;
/// all clones are the same ledger.
///
/// It is made before the node opens, and opens with it.
#[derive(Clone, Debug)]
pub struct Ledger(pub(crate) Arc<Inner>);

impl Ledger {
    /// A ledger by its name, with rules of one's own, which are asked in this order. Its topic is `ledger/NAME`.
    ///
    /// # Errors
    /// `Config` for a name that is not 1 to 64 of `a-z`, `0-9`, `.`, `_`, `-`.
    pub fn new(name: &str, rules: Vec<Arc<dyn Rule>>) -> Result<Self> {
        check_name(name, "a ledger")?;
        let topic = Topic::new(format!("ledger/{name}"))?;
        let heads = Topic::reserved(format!("carrick/heads/{name}"))?;
        Ok(Self(Arc::new_cyclic(|me| Inner::new(me, name, topic, heads, rules))))
    }

    /// Opens what a configuration says, as `[ledger.NAME]`.
    pub(crate) async fn open(config: LedgerConfig, site: Site) -> Result<Self> {
        Self::new(&site.instance, config.rules())
    }

    /// Puts it into a node that is being built; [`Node::service`](carrick_core::Node::service) finds it by its name.
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
        let published = self.0.make(payload.into()).await?;
        let cid = *published.id.cid();
        let place = self.0.place(&cid).await?;
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
        self.0.with_index(|index| index.len())
    }

    /// How many entries it has at least once it has caught up with the nodes that told theirs: by their own word, which may be
    /// a lie.
    ///
    /// # Errors
    /// `Closed` before the node is open and after it closed.
    pub fn expected(&self) -> Result<u64> {
        Ok(self.0.sync.furthest().max(self.count()? as u64))
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
    /// What the store answers; `Closed`.
    pub async fn rank(&self, cid: &Cid) -> Result<Option<usize>> {
        match self.0.place(cid).await? {
            Some(place) => self.0.ask(|index| index.rank(&place)).await,
            None => Ok(None),
        }
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
                Some(cid) => Bound::Included(inner.place(&cid).await?.ok_or_else(|| absent(&cid))?),
            };
            loop {
                let places = inner.ask(|index| index.from(next)).await?;
                let Some(last) = places.last() else { break };
                next = Bound::Excluded(*last);
                for place in places {
                    yield inner.read(&place).await?;
                }
            }
        })
    }

    /// Where authors equivocated: of each number that one author gave to several entries, the first in the order with each other
    /// one. All nodes with the same entries list the same, by author and number. The node tells each as
    /// [`Event::Equivocation`](carrick_core::Event::Equivocation) when its second entry comes.
    ///
    /// # Errors
    /// What the store answers; `Closed`.
    pub fn equivocations(&self) -> BoxStream<'static, Result<Equivocation>> {
        Arc::clone(&self.0).equivocations()
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
}

/// # Errors
/// `Config` for a name that is not 1 to 64 of `a-z`, `0-9`, `.`, `_`, `-`.
pub(crate) fn check_name(name: &str, of: &str) -> Result<()> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    if !name.is_empty() && name.len() <= MAX_NAME && name.chars().all(fits) {
        return Ok(());
    }
    let detail = format!("{name:?} is no name of {of}");
    Err(Error::new(ErrorKind::Config, "ledger", detail)
        .mend(format!("take 1 to {MAX_NAME} of a-z, 0-9, '.', '_' and '-'")))
}

pub(crate) fn absent(cid: &Cid) -> Error {
    Error::new(ErrorKind::NotFound, "ledger", format!("{cid} is no entry here"))
}

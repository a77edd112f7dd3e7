//! What a ledger keeps in the store beside its entries, under `ledger/NAME/`:
//!
//! | key | value |
//! |---|---|
//! | `entry/DIGEST` | its [record](Record) |
//! | `fresh/DIGEST` | nothing: an entry that is in no page yet |
//! | `head/DIGEST` | the clock of a head, when the pages were saved |
//! | `pages` | the digest of the page that stands for all, and the number of entries |
//! | `draft` | the digests of pages that are being saved, and of those that stand for nothing any more |
//! | `checked/DIGEST` | [what is remembered](crate::checked) of a page whose entries were all checked |
//! | `number/…`, `fork/…` | the [numbers of the authors](crate::equivocation) |
//!
//! A record is written with its `fresh` key at once, pages now and then: whatever happens in between, the next start reads
//! the pages and adds what is fresh.

use std::collections::BTreeSet;

use carrick_core::{Block, Bytes, Cid, Error, ErrorKind, Kept, Node, Owner, Pin, PinDepth, Result, Store};
use data_encoding::HEXLOWER;
use futures::TryStreamExt as _;

use crate::index::{Index, Record};
use crate::order::{Order, Places, State};
use crate::page::{Page, PageRef, above};
use crate::place::{CLOCK, Digest, Place, cid, digest};

/// Pages that are stored at once.
const AT_ONCE: usize = 64;
/// Keys that are written at once, where there may be any number.
pub(crate) const KEYS_AT_ONCE: usize = 512;

/// The part of a store in which a ledger keeps its own.
#[derive(Clone, Debug)]
pub(crate) struct Shelf {
    prefix: String,
    owner: Owner,
}

/// What was saved last.
#[derive(Debug, Default)]
pub(crate) struct Saved {
    /// The page that stands for all.
    pub(crate) root: Option<Digest>,
    pages: BTreeSet<Digest>,
    heads: BTreeSet<Place>,
    /// Pages that stand for nothing any more, or were being saved when that was cut off; others may be reading them still.
    retired: BTreeSet<Digest>,
}

/// What is about to be saved.
pub(crate) struct Draft {
    fresh: Vec<Place>,
    heads: BTreeSet<Place>,
    entries: u64,
    root: Option<Digest>,
    /// All pages.
    pages: BTreeSet<Digest>,
    blocks: Vec<Block>,
    /// Those of entries that changed, with their names.
    changed: Vec<(Places, Digest)>,
}

impl Shelf {
    pub(crate) fn new(ledger: &str) -> Self {
        Self { prefix: format!("ledger/{ledger}/"), owner: Owner::new(format!("ledger/{ledger}")) }
    }

    /// What all keys begin with.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(crate) fn key(&self, kind: &str, digest: &Digest) -> String {
        // Made for each entry, so without growing.
        let mut key = String::with_capacity(self.prefix.len() + kind.len() + 1 + 2 * digest.len());
        key.extend([&self.prefix, kind, "/"]);
        HEXLOWER.encode_append(digest, &mut key);
        key
    }

    /// What is remembered of an entry; `None` where there is none.
    pub(crate) async fn record(&self, store: &dyn Store, digest: &Digest) -> Result<Option<Record>> {
        let record = store.meta(&self.key("entry", digest)).await?;
        record.map(|record| Record::decode(*digest, &record)).transpose()
    }

    /// What is written together with an entry.
    pub(crate) fn note(&self, record: &Record) -> Vec<(String, Bytes)> {
        let name = record.place.digest();
        vec![(self.key("entry", name), record.encode().into()), (self.key("fresh", name), Bytes::new())]
    }

    /// The entries on a page.
    pub(crate) async fn places(&self, store: &dyn Store, page: &Digest) -> Result<Vec<Place>> {
        match self.page(store, page).await? {
            Page::Entries(places) => Ok(places),
            Page::Pages(..) => Err(damaged(page, "lists no entries")),
        }
    }

    async fn page(&self, store: &dyn Store, page: &Digest) -> Result<Page> {
        let block = store.get(&cid(page)).await?.ok_or_else(|| damaged(page, "is not there"))?;
        Page::decode(block.bytes()).map_err(|error| damaged(page, "cannot be read").from_source(error))
    }

    /// Reads what was saved, and adds what came since.
    pub(crate) async fn load(&self, store: &dyn Store) -> Result<(Saved, Index)> {
        let (mut saved, order) = match self.pages(store).await {
            Err(error) if error.kind() == ErrorKind::Integrity => {
                tracing::warn!(%error, "the pages of a ledger are made anew");
                return self.anew(store).await;
            }
            read => read?,
        };
        let mut index = Index::new(order, saved.heads.clone());
        let (mut fresh, mut without) = (Vec::new(), Vec::new());
        let mut listed = self.list(store, "fresh");
        while let Some((name, _)) = listed.try_next().await? {
            match self.record(store, &name).await? {
                Some(record) => fresh.push(record),
                None => without.push(name),
            }
        }
        let fresh = self.whole(store, fresh, &without).await?;
        let there: BTreeSet<&Digest> = fresh.iter().map(|record| record.place.digest()).collect();
        if let Some(lost) = without.iter().find(|name| !there.contains(name)) {
            return Err(damaged(lost, "is an entry without a record"));
        }
        match self.insert(store, &mut index, fresh).await {
            // A page that is there cannot be read; the records could.
            Err(error) if error.kind() == ErrorKind::Integrity => {
                tracing::warn!(%error, "the pages of a ledger are made anew");
                return self.anew(store).await;
            }
            inserted => inserted?,
        }
        saved.retired = self.left_over(store, &saved).await?;
        Ok((saved, index))
    }

    /// Those whose parents are entries, with those `named` and others whose records were lost and could be made anew. The others
    /// were cut off while what they follow was not written yet, or what they follow was lost since; they are forgotten, and come
    /// again by their heads.
    async fn whole(
        &self,
        store: &dyn Store,
        mut records: Vec<Record>,
        named: &[Digest],
    ) -> Result<Vec<Record>> {
        records.extend(self.found_again(store, &records, named.iter().copied()).await?);
        records.sort_unstable_by_key(|record| record.place);
        let named: BTreeSet<Digest> = records.iter().map(|record| *record.place.digest()).collect();
        let (mut whole, mut forgotten) = (BTreeSet::new(), Vec::new());
        for record in &records {
            let mut parents = true;
            for parent in &record.parents {
                parents &= match named.contains(parent.digest()) {
                    true => whole.contains(parent),
                    false => self.record(store, parent.digest()).await?.is_some_and(|it| it.place == *parent),
                };
            }
            match parents {
                true => drop(whole.insert(record.place)),
                false => forgotten
                    .extend(["entry", "fresh"].map(|kind| (self.key(kind, record.place.digest()), None))),
            }
        }
        if !forgotten.is_empty() {
            let entries = records.len() - whole.len();
            tracing::warn!(entries, "entries that lack what they follow are forgotten until they come again");
            // The last first: none is left of those that others follow, where this is cut off.
            for some in forgotten.rchunks(KEYS_AT_ONCE) {
                store.set_meta(some).await?;
            }
        }
        records.retain(|record| whole.contains(&record.place));
        Ok(records)
    }

    /// Pages of a draft that was not finished, and those that stand for nothing any more.
    async fn left_over(&self, store: &dyn Store, saved: &Saved) -> Result<BTreeSet<Digest>> {
        let draft = store.meta(&self.draft()).await?.unwrap_or_default();
        let (pages, _) = draft.as_chunks::<{ size_of::<Digest>() }>();
        Ok(pages.iter().filter(|page| !saved.pages.contains(*page)).copied().collect())
    }

    /// Adds entries in their order, each after its parents.
    async fn insert(&self, store: &dyn Store, index: &mut Index, mut records: Vec<Record>) -> Result<()> {
        records.sort_unstable_by_key(|record| record.place);
        for record in records {
            while let Err(absent) = index.insert(&record) {
                index.order.supply(absent.0, self.places(store, &absent.0).await?);
            }
        }
        Ok(())
    }

    /// From the records alone.
    async fn anew(&self, store: &dyn Store) -> Result<(Saved, Index)> {
        let mut records = Vec::new();
        let mut listed = self.list(store, "entry");
        while let Some((name, record)) = listed.try_next().await? {
            records.push(Record::decode(name, &record)?);
        }
        let heads = self.heads(store).await?;
        let mut named: Vec<Digest> = heads.iter().map(|head| *head.digest()).collect();
        let mut fresh = self.list(store, "fresh");
        while let Some((name, _)) = fresh.try_next().await? {
            named.push(name);
        }
        let records = self.whole(store, records, &named).await?;
        let mut index = Index::new(Order::default(), BTreeSet::new());
        self.insert(store, &mut index, records).await?;
        let pinned: Vec<Pin> = store.pins(Some(&self.owner)).try_collect().await?;
        let retired: BTreeSet<Digest> = pinned.iter().filter_map(|pin| digest(&pin.cid)).collect();
        for page in &retired {
            // One with the same entries would find it there, and not be written.
            if self.page(store, page).await.is_err_and(|error| error.kind() == ErrorKind::Integrity) {
                store.delete(&cid(page)).await?;
            }
        }
        Ok((Saved { heads, retired, ..Saved::default() }, index))
    }

    async fn heads(&self, store: &dyn Store) -> Result<BTreeSet<Place>> {
        let mut heads = BTreeSet::new();
        let mut listed = self.list(store, "head");
        while let Some((name, clock)) = listed.try_next().await? {
            let clock = clock.as_ref().try_into().map_err(|_| damaged(&name, "is a head without a clock"))?;
            heads.insert(Place::of(u64::from_be_bytes(clock), name));
        }
        Ok(heads)
    }

    async fn pages(&self, store: &dyn Store) -> Result<(Saved, Order)> {
        let Some(root) = store.meta(&format!("{}pages", self.prefix)).await? else {
            return Ok((Saved::default(), Order::default()));
        };
        let (root, count) = read_root(&root).ok_or_else(|| damaged(&[0; 32], "is no name of a page"))?;
        let (mut leaves, mut pages) = (Vec::new(), BTreeSet::from([root]));
        // The next one last.
        let mut next = vec![(root, None)];
        while let Some((page, level)) = next.pop() {
            match self.page(store, &page).await? {
                Page::Entries(places) => {
                    let first = *places.first().ok_or_else(|| damaged(&page, "is empty"))?;
                    leaves.push(PageRef { page, entries: places.len() as u64, first });
                }
                Page::Pages(found, listed) => {
                    if level.is_some_and(|level| found != level) {
                        return Err(damaged(&page, "stands on another level"));
                    }
                    pages.extend(listed.iter().map(|listed| listed.page));
                    match found {
                        1 => leaves.extend(listed),
                        _ => next.extend(listed.iter().rev().map(|listed| (listed.page, Some(found - 1)))),
                    }
                }
            }
        }
        let order = Order::of(leaves);
        if order.len() as u64 != count {
            return Err(damaged(&root, "counts other entries than there are"));
        }
        for leaf in order.leaves() {
            if let State::Saved(page) = &leaf.state
                && !store.has(&cid(page)).await?
            {
                return Err(damaged(page, "is not there"));
            }
        }
        let heads = self.heads(store).await?;
        Ok((Saved { root: Some(root), pages, heads, retired: BTreeSet::new() }, order))
    }

    /// What is named so under one kind of key.
    fn list<'a>(
        &'a self,
        store: &'a dyn Store,
        kind: &str,
    ) -> impl futures::TryStream<Ok = (Digest, Bytes), Error = Error> + Unpin + use<'a> {
        let prefix = format!("{}{kind}/", self.prefix);
        let listed = store.list_meta(&prefix);
        listed.and_then(move |(key, value)| {
            let name = key.strip_prefix(&prefix).and_then(|name| HEXLOWER.decode(name.as_bytes()).ok());
            let name = name.and_then(|name| Digest::try_from(name).ok());
            let wrong =
                || Error::new(ErrorKind::Integrity, "open", format!("{key:?} in the store names no entry"));
            std::future::ready(name.map(|name| (name, value)).ok_or_else(wrong))
        })
    }

    /// Saves a draft: through the node while it is open, so that transports which serve from a store of their own have the
    /// pages too. Nothing but blocks is written where it fails.
    pub(crate) async fn save(
        &self,
        store: &dyn Store,
        node: Option<&Node>,
        saved: &mut Saved,
        draft: &Draft,
    ) -> Result<()> {
        let new: Vec<Block> = draft.blocks.iter().filter(|block| !saved.has(block.cid())).cloned().collect();
        // With those that are not deleted yet: where this is cut off, the next one knows of all of them.
        saved.retired.extend(new.iter().filter_map(|block| digest(block.cid())));
        store.set_meta(&[(self.draft(), named(&saved.retired))]).await?;
        for some in new.chunks(AT_ONCE) {
            let pin =
                |block: &Block| Pin { cid: *block.cid(), owner: self.owner.clone(), depth: PinDepth::Block };
            let pins = some.iter().map(pin).collect();
            store.keep(&Kept { blocks: some.to_vec(), pins, meta: vec![] }).await?;
            if let Some(node) = node {
                // They are stored, and handed over.
                node.put_blocks(some).await?;
            }
        }
        let gone: Vec<Digest> = saved.retired.difference(&draft.pages).copied().collect();
        let old = saved.pages.difference(&draft.pages).copied();
        let retired: BTreeSet<Digest> = old.chain(gone.iter().copied()).collect();
        store.set_meta(&self.changes(saved, draft, &retired)).await?;
        (saved.root, saved.pages, saved.heads) = (draft.root, draft.pages.clone(), draft.heads.clone());
        saved.retired = retired;
        for page in self.discard(store, node, gone.iter().map(cid).collect()).await?.iter().filter_map(digest)
        {
            saved.retired.remove(&page);
        }
        Ok(())
    }

    /// Deletes pages that are none any more, and answers which. Those that stay are tried again with the next ones.
    async fn discard(&self, store: &dyn Store, node: Option<&Node>, pages: Vec<Cid>) -> Result<Vec<Cid>> {
        if let Some(node) = node {
            let discarded = node.discard(&pages, &self.owner).await;
            return Ok(discarded.unwrap_or_else(|error| {
                tracing::debug!(%error, "pages that are none any more were not deleted");
                vec![]
            }));
        }
        for page in &pages {
            store.unpin(page, &self.owner).await?;
            store.delete(page).await?;
        }
        Ok(pages)
    }

    fn changes(
        &self,
        saved: &Saved,
        draft: &Draft,
        retired: &BTreeSet<Digest>,
    ) -> Vec<(String, Option<Bytes>)> {
        let fresh = draft.fresh.iter().map(|place| (self.key("fresh", place.digest()), None));
        let clock = |head: &Place| Bytes::copy_from_slice(&head.clock().to_be_bytes());
        let heads = draft.heads.difference(&saved.heads);
        let heads = heads.map(|head| (self.key("head", head.digest()), Some(clock(head))));
        let gone = saved.heads.difference(&draft.heads).map(|head| (self.key("head", head.digest()), None));
        let root = draft.root.map(|root| [&root[..], &draft.entries.to_be_bytes()].concat().into());
        let unchecked = saved.pages.difference(&draft.pages).map(|page| (self.key("checked", page), None));
        let done = [(format!("{}pages", self.prefix), root), (self.draft(), named(retired))];
        fresh.chain(heads).chain(gone).chain(unchecked).chain(done).collect()
    }

    fn draft(&self) -> String {
        format!("{}draft", self.prefix)
    }
}

impl Saved {
    fn has(&self, page: &Cid) -> bool {
        digest(page).is_some_and(|page| self.lists(&page))
    }

    /// Whether a page is one of these.
    pub(crate) fn lists(&self, page: &Digest) -> bool {
        self.pages.contains(page)
    }
}

impl Draft {
    /// What there is to save.
    pub(crate) fn of(index: &Index) -> Result<Self> {
        let (mut blocks, mut changed, mut listed) = (Vec::new(), Vec::new(), Vec::new());
        for leaf in index.order.leaves() {
            let page = match &leaf.state {
                State::Saved(page) => *page,
                State::Changed(places) => {
                    let block = Page::Entries(places.to_vec()).encode()?;
                    let page = digest(block.cid()).unwrap_or_default();
                    blocks.push(block);
                    changed.push((Places::clone(places), page));
                    page
                }
            };
            listed.push(leaf.listed(page));
        }
        let mut pages: BTreeSet<Digest> = listed.iter().map(|listed| listed.page).collect();
        let (root, above) = above(listed)?.map_or((None, vec![]), |(root, above)| (Some(root), above));
        pages.extend(above.iter().filter_map(|block| digest(block.cid())));
        blocks.extend(above);
        let (fresh, heads, entries) = (index.fresh.clone(), index.heads.clone(), index.len() as u64);
        Ok(Self { fresh, heads, entries, root, pages, blocks, changed })
    }

    /// Notes that it is saved.
    pub(crate) fn done(self, index: &mut Index) {
        index.fresh.drain(..self.fresh.len());
        for (places, page) in &self.changed {
            index.order.save(places, *page);
        }
    }
}

/// The value of the draft's key; none where there are no pages.
fn named(pages: &BTreeSet<Digest>) -> Option<Bytes> {
    (!pages.is_empty()).then(|| pages.iter().flatten().copied().collect())
}

fn read_root(bytes: &[u8]) -> Option<(Digest, u64)> {
    let (root, count) = bytes.split_first_chunk::<{ size_of::<Digest>() }>()?;
    let count: [u8; CLOCK] = count.try_into().ok()?;
    Some((*root, u64::from_be_bytes(count)))
}

fn damaged(page: &Digest, what: &str) -> Error {
    Error::new(ErrorKind::Integrity, "ledger", format!("the page {} {what}", cid(page)))
}
